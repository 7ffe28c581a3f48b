import os
import signal
import sys
import threading

import pytest

from configs import base
from wsign_jax.train import save_policy, sharding
from wsign_jax.train.save_policy import Due


@pytest.fixture
def now(monkeypatch):
    """A clock in minutes."""
    minutes = [0.0]
    monkeypatch.setattr(save_policy.time, "monotonic", lambda: 60 * minutes[0])
    return minutes


def make(signals=None, **settings):
    config = base.get_config().checkpoint
    config.update(settings)
    return save_policy.SaveSchedule(config, sharding.make_mesh(), signals or save_policy.Signals())


def test_saves_are_due_by_steps():
    due = make(every_steps=3)
    assert [due(step) for step in range(1, 7)] == [Due.NOTHING, Due.NOTHING, Due.SAVE] * 2


def test_saves_are_due_by_minutes_since_the_last(now):
    due = make(every_minutes=5.0)
    now[0] = 4.9
    assert due(1) is Due.NOTHING
    now[0] = 5.1
    assert due(2) is due(3) is Due.SAVE, "due until it is done"
    due.saved()
    assert due(4) is Due.NOTHING
    now[0] = 10.2
    assert due(5) is Due.SAVE


def test_a_save_can_be_asked_for(now):
    due = make(every_minutes=5.0)
    due.save_soon()
    assert due(1) is Due.SAVE
    due.saved()
    assert due(2) is Due.NOTHING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_asks_to_stop(number, capfd):
    before = signal.getsignal(number)
    with save_policy.Signals() as signals:
        due = make(signals, every_steps=1)
        assert due(1) is Due.SAVE and not due.stopping
        os.kill(os.getpid(), number)
        assert due(2) is Due.STOP
        assert signals.caught == number.name and due.stopping
        # What a second one meets is the kernel's own way: an end at once.
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(number) is before
    assert f"{number.name}: saving after this step" in capfd.readouterr().err


def test_a_second_sigterm_is_the_same_wish():
    with save_policy.Signals() as signals:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.caught == "SIGTERM"


def test_under_nohup_a_hang_up_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with save_policy.Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.caught is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_reader_that_goes_away_asks_to_stop(monkeypatch, capfd):
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        signals = save_policy.Signals()
        with save_policy.outlive_reader(signals):
            print("heard", flush=True)
            assert signals.caught is None
            os.close(reading)
            print("not heard", flush=True)
            print("nor this", flush=True)
        assert signals.caught == save_policy.READER_GONE and sys.stdout is pipe
    assert "SIGPIPE: saving after this step" in capfd.readouterr().err


def test_a_full_disk_under_the_output_is_no_reader_that_went_away(monkeypatch):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        signals = save_policy.Signals()
        with (
            pytest.raises(OSError, match="No space left"),
            save_policy.outlive_reader(signals),
        ):
            print("x", flush=True)
        assert signals.caught is None
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # or closing raises it again


def test_off_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run():
        with save_policy.Signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_several_processes_act_on_a_wish_one_step_later(monkeypatch, now):
    monkeypatch.setattr(save_policy.jax, "process_count", lambda: 2)
    due = make(every_minutes=5.0)
    now[0] = 6.0
    assert due(1) is Due.NOTHING, "the others have not heard of it"
    assert due(2) is Due.SAVE
    due.saved()
    assert due(3) is due(4) is Due.NOTHING, "granted once"
    now[0] = 12.0
    assert due(5) is Due.NOTHING
    assert due(6) is Due.SAVE


def test_several_processes_hear_of_a_signal_while_every_step_is_saved(monkeypatch):
    monkeypatch.setattr(save_policy.jax, "process_count", lambda: 2)
    signals = save_policy.Signals()
    due = make(signals, every_steps=1)
    assert due(1) is Due.SAVE
    due.saved()
    signals.caught = "SIGTERM"
    assert due(2) is Due.SAVE
    due.saved()
    assert due(3) is Due.STOP
