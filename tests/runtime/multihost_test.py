"""Several devices and processes: all agree with one, and all end when one does."""

import json
import re
import shutil

import jax
import numpy as np
import pytest

from tests.conftest import small_config, write_random_split
from tests.helpers import logs, processes
from tests.helpers.logs import figures
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.runtime import multihost
from wsign_jax.train.checkpoint import store
from wsign_jax.train.run import make_network, process_rows

SHARD = "--config.training.sharding=(('.*','shard'),)"
STEPS = 6


def parse(*flags):
    return multihost.parse_cluster(["main", *flags])


def test_without_its_flags_there_is_one_process():
    assert parse("--config=a", "--workdir", "b") == (None, ["main", "--config=a", "--workdir", "b"])


def test_flags_and_environment_say_the_same(monkeypatch):
    flags = ("--coordinator=host:12", "--num_processes=3", "--process_id=2", "--patience=7")
    expected = multihost.Cluster("host:12", 3, 2, 7)
    assert parse("--config=a", *flags) == (expected, ["main", "--config=a"])
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:12")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "3")
    monkeypatch.setenv("JAX_PROCESS_ID", "1")
    assert parse("--process_id=2", "--patience=7")[0] == expected, "a flag goes first"


def test_jax_may_find_the_cluster():
    assert parse("--distributed")[0] == multihost.Cluster(None, None, None, 120)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--coordinator=a"], "it must be HOST:PORT"),
        (["--coordinator=:1"], "it must be HOST:PORT"),
        (["--num_processes=two"], "num_processes=two"),
        (["--patience=3000000000"], r"--patience=3000000000: .* in the range \[1, 1000000\]"),
    ],
)
def test_flags_that_do_not_fit_are_named(flags, message):
    with pytest.raises(WSignError, match=message) as error:
        parse(*flags)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (processes.cluster_flags(2)[1], "the other processes did not come within 3 s"),
        (["--coordinator=a:1", "--num_processes=2"], "cannot join .* process id .* must be def"),
    ],
)
def test_a_process_that_cannot_join_says_so(tmp_path, flags, message):
    ((code, _, err),) = processes.finish(processes.start(tmp_path, *flags, "--patience=3"))
    assert code == 2
    assert re.match(f"error: .*{message}", err) and err.count("\n") == 1


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """Of a run of six steps, two of them masked in part, on data of one bucket."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 20), ("val", 5)):
        write_random_split(root, split, count, frames=(20, 32))
    layout.write_label_map(root, {"<blank>": 0} | {f"G{id}": id for id in range(1, 6)})
    return [
        f"--config.data.dir={root}",
        "--config.data.max_buckets=1",
        "--config.stage2.batch_size=8",
        "--config.eval.batch_size=8",
        "--config.eval.split=val",
        "--config.checkpoint.every_steps=1",
        "--config.checkpoint.keep=9",
    ]


@pytest.fixture(scope="module")
def one_device(tmp_path_factory, flags):
    """The workdir of a run on one device."""
    workdir = tmp_path_factory.mktemp("one")
    processes.succeed(processes.start(workdir, *flags))
    return workdir


@pytest.fixture(scope="module")
def eight_devices(tmp_path_factory, flags):
    """The workdir of a run on eight devices with sharded parameters."""
    workdir = tmp_path_factory.mktemp("eight")
    processes.succeed(processes.start(workdir, *flags, SHARD, devices=8))
    return workdir


def assert_same_training(ours, theirs):
    """Every step once, losses and last weights alike but for float32's rounding."""
    assert [line["step"] for line in figures(ours) if "train/loss" in line] == [
        *range(1, STEPS + 1)
    ]
    for a, b in zip(figures(ours), figures(theirs), strict=True):
        assert a.pop("stage") == b.pop("stage")
        assert a == pytest.approx(b, rel=1e-5)
    shapes = make_network(small_config(), 6).shapes
    for a, b in zip(
        *(
            jax.tree.leaves(store.Checkpoints(workdir).restore_weights(STEPS, shapes))
            for workdir in (ours, theirs)
        ),
        strict=True,
    ):
        # Adam divides by the root of a mean square: where that is nearly 0, rounding is not.
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)


def test_eight_devices_with_sharded_parameters_train_as_one(one_device, eight_devices):
    assert_same_training(eight_devices, one_device)


def test_two_processes_train_as_one(tmp_path, flags, one_device):
    first, second = processes.succeed(*processes.start_cluster(tmp_path, *flags))
    assert_same_training(tmp_path, one_device)
    assert "2 processes, 8 devices" in first and "val: WER" in first
    assert not any(word in second for word in ("data:", "stage2", "WER")), second
    reports = [json.loads((w / "report_val.json").read_text()) for w in (tmp_path, one_device)]
    assert reports[0]["wer"] == reports[1]["wer"]


@pytest.mark.parametrize("devices", [1, 8])
def test_a_run_goes_on_with_other_devices_and_sharding(
    tmp_path, flags, one_device, eight_devices, devices
):
    before, now = (eight_devices, []) if devices == 1 else (one_device, [SHARD])
    shutil.copytree(before, tmp_path, dirs_exist_ok=True)
    for step in range(4, STEPS + 1):
        shutil.rmtree(tmp_path / "checkpoints" / str(step))
    (out,) = processes.succeed(processes.start(tmp_path, *flags, *now, devices=devices))
    assert "going on from step 3" in out
    assert_same_training(tmp_path, one_device)


def test_a_batch_that_the_devices_do_not_divide_is_named(tmp_path, flags):
    call = processes.start(tmp_path / "work", *flags, "--config.stage2.batch_size=12", devices=8)
    ((code, _, err),) = processes.finish(call)
    assert code == 2
    assert "config.stage2.batch_size is 12; it must be a multiple of 8 (devices)" in err


def test_a_mistake_in_one_process_stops_both(tmp_path, flags):
    own = processes.cluster_flags(2)
    own[1].append("--config.data.dir=nowhere")
    ends = processes.finish(*(processes.start(tmp_path, *flags, *f) for f in own))
    assert [code for code, _, _ in ends] == [2, 2]
    assert "error: process 1 stopped; its own error says why" in ends[0][2]
    assert "error: nowhere: no such folder" in ends[1][2]


def test_processes_with_other_settings_are_refused(tmp_path, flags):
    own = processes.cluster_flags(2)
    own[1].append("--config.stage2.lr=0.5")
    ends = processes.finish(*(processes.start(tmp_path, *flags, *f) for f in own))
    for code, _, err in ends:
        assert code == 2 and "error: the configs differ between the processes" in err


def test_rows_are_divided_among_the_processes(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    rows = []
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        rows += range(16)[process_rows(16, "stage2.batch_size")]
    assert rows == [*range(16)]


def saved(workdir, step):
    """Whether a run has saved this step."""
    return (workdir / "checkpoints" / str(step)).exists


@pytest.mark.slow
def test_processes_that_are_killed_and_stopped_go_on_to_the_same_numbers(tmp_path, flags):
    longer = [*flags, SHARD, "--config.stage2.epochs=4"]
    left_alone, cut = tmp_path / "left_alone", tmp_path / "cut"
    processes.succeed(*processes.start_cluster(left_alone, *longer))
    cluster = processes.start_cluster(cut, *longer)
    processes.kill_when(saved(cut, 3), *cluster)

    # One process hears the signal; both stop after the same step.
    cluster = processes.start_cluster(cut, *longer)
    processes.wait_until(saved(cut, 5), *cluster)
    cluster[1].terminate()
    first, second = processes.succeed(*cluster)
    stopped = max(int(path.name) for path in (cut / "checkpoints").iterdir())
    assert "going on from step" in first and f"checkpoints/{stopped}" in first
    assert "to go on: python -m wsign_jax.main --config=tests/helpers/small.py" in first
    assert "stopped by" not in second
    assert logs.last_step(cut) == stopped < 12

    processes.succeed(*processes.start_cluster(cut, *longer))
    assert figures(cut) == figures(left_alone)
    ours, theirs = (store.Checkpoints(workdir) for workdir in (cut, left_alone))
    shapes = make_network(small_config(), 6).shapes
    for a, b in zip(
        jax.tree.leaves(ours.restore_weights(12, shapes)),
        jax.tree.leaves(theirs.restore_weights(12, shapes)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_the_loss_of_a_process_ends_the_other(tmp_path, flags, lost):
    cluster = processes.start_cluster(tmp_path, *flags, SHARD, "--patience=10")
    processes.kill_when(saved(tmp_path, 2), cluster[lost])
    ((code, _, err),) = processes.finish(cluster[1 - lost], seconds=40)
    assert code != 0, err
