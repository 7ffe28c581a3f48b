"""Traced programs are read back by whoever would trace the same, and by nobody else."""

import hashlib
import os
import pickle
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.processes import ROOT
from tests.small import get_config
from wsign_jax import traced
from wsign_jax.model import whisper_sign
from wsign_jax.traced import Traced
from wsign_jax.train import stages
from wsign_jax.train import step as step_lib


class Pair(NamedTuple):
    first: jax.Array
    second: jax.Array


@pytest.fixture(name="folder")
def keep_in(tmp_path, monkeypatch):
    """Where programs are kept meanwhile."""
    monkeypatch.setattr(traced, "_code", lambda: "this code")  # it may be edited while tests run
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "traced"
    jax.config.update("jax_compilation_cache_dir", before)


class Function:
    """Scales a pair by a factor that no argument tells; counts how often it is traced."""

    def __init__(self, factor=2.0):
        self.factor, self.traced = factor, 0
        self.__qualname__ = "Function"

    def __call__(self, pair, by):
        self.traced += 1
        return {"pair": Pair(*(x * by * self.factor for x in pair)), "sum": jnp.sum(pair.first)}


PAIR = Pair(np.arange(3.0, dtype=np.float32), np.ones((2, 2), np.float32))


def result(function, pair=PAIR, closure=(2.0,), **options):
    """What the program gives that is read, or else traced and kept."""
    by = np.float32(3)
    return Traced(function, closure, **options).lower(pair, by).compile()(pair, by)


def test_what_one_has_traced_another_reads(folder):
    first, second = Function(), Function()
    expected, found = result(first), result(second)
    assert (first.traced, second.traced) == (1, 0) and len(list(folder.iterdir())) == 1
    assert isinstance(found["pair"], Pair)
    np.testing.assert_array_equal(found["pair"].first, [0, 6, 12])
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_others_are_not_confused_with_it(folder):
    result(Function())
    other = Function(5.0)
    assert result(other, closure=(5.0,))["pair"].first[1] == 15
    longer = PAIR._replace(first=np.ones(4, np.float32))
    result(other, longer)
    with jax.numpy_dtype_promotion("standard"):
        integers = PAIR._replace(first=np.ones(3, np.int32))
        result(other, integers)
    with jax.default_matmul_precision("highest"):
        result(other)
    other.__qualname__ = "another"
    result(other)
    assert other.traced == len(list(folder.iterdir())) - 1 == 5


@pytest.mark.parametrize("untold", [np.arange(2000), lambda x: x, (lambda: result)])
def test_what_repr_does_not_tell_is_not_kept(folder, untold):
    function = Function()
    assert result(function, closure=(untold,))["pair"].first[1] == 6
    assert not folder.exists()


def test_code_that_changes_while_a_process_starts_is_not_kept(monkeypatch, tmp_path):
    (tmp_path / "traced.py").write_text("")
    (tmp_path / "model.py").write_text("")
    os.utime(tmp_path / "traced.py", (0, 0))
    os.utime(tmp_path / "model.py", (0, 0))
    monkeypatch.setattr(traced, "__file__", str(tmp_path / "traced.py"))
    whole = traced._code.__wrapped__()
    assert len(whole) == 64
    (tmp_path / "model.py").write_text("changed")
    assert traced._code.__wrapped__() is None
    os.utime(tmp_path / "model.py", (0, 0))
    assert traced._code.__wrapped__() not in (None, whole)
    (tmp_path / ".#model.py").symlink_to("me@host.123")  # an editor's
    assert traced._code.__wrapped__() is None


def test_errors_of_the_function_are_its_own(folder):
    def wrong(pair, by):
        calls.append(1)
        raise ValueError("wrong shapes")

    calls = []
    with pytest.raises(ValueError, match="wrong shapes") as error:
        result(wrong)
    assert error.value.__context__ is None and len(calls) == 1


def test_a_tree_that_cannot_be_written_is_compiled_all_the_same(folder):
    class Local(NamedTuple):
        value: jax.Array

    assert result(lambda pair, by: Local(pair.first * by)).value[1] == 3
    assert not folder.exists()


def test_options_hold_for_what_is_read(folder):
    for function in (Function(), Function()):
        pair = jax.tree.map(jnp.asarray, PAIR)
        lowered = Traced(function, (), donate_argnums=(0,)).lower(pair, np.float32(1))
        lowered.compile()(pair, np.float32(1))
        assert pair.first.is_deleted(), "donated"


def test_a_damaged_file_is_made_again(folder):
    result(Function())
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    other = pickle.dumps("of another program")
    for damaged in (
        b"",
        hashlib.sha256(other).digest() + other,
        whole[:-1],
        whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
    ):
        path.write_bytes(damaged)
        function = Function()
        assert result(function)["pair"].first[1] == 6 and function.traced == 1
        assert path.read_bytes()[32:36] == whole[32:36] and len(path.read_bytes()) == len(whole)


def test_nothing_is_kept_where_a_person_wants_no_cache(folder):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        for function in (Function(), Function()):
            result(function)
            assert function.traced == 1
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_done_without(folder):
    folder.write_text("a file where the folder should be")
    function = Function()
    assert result(function)["pair"].first[1] == 6 and function.traced == 1


def test_what_cannot_be_kept_is_compiled_all_the_same(folder):
    def told(pair, by):
        jax.debug.callback(lambda x: said.append(float(x)), by)
        return pair

    said = []
    assert result(told).first[1] == 1
    jax.effects_barrier()
    assert said == [3.0]
    assert not folder.exists()


def training_step(change=lambda config: None, hybrid=True, rates=None):
    """The two programs of a stage 2 step, of a config with a change."""
    config = get_config()
    change(config)
    graph, shapes = whisper_sign.build(config.model, 6)
    labels = stages.label_parameters(shapes, config.stage2.rules, "stage2")
    if rates is not None:
        rates = jax.tree.map(lambda _: rates, shapes)
    step = step_lib.make_train_step(graph, labels, config.training, hybrid=hybrid, rates=rates)
    return step._gradients, step._update


def names(programs):
    return tuple(program._name(()) for program in programs)


CHANGES = (
    "model.encoder.dropout=0.3",
    "model.frontend.look_ahead=1",
    "model.positions=sinusoidal",
    "training.seed=7",
    "training.label_smoothing=0.3",
    "training.remat=True",
    "training.accumulate=2",
)
OF_THE_UPDATE = ("training.grad_clip=0.5", "training.ema=0.9")


def test_each_setting_that_a_step_computes_with_makes_another_program(monkeypatch):
    def setting(text):
        field, _, value = text.partition("=")

        def change(config):
            now = config
            *blocks, name = field.split(".")
            for block in blocks:
                now = now[block]
            kind = type(now[name])
            now[name] = value == "True" if kind is bool else kind(value)

        return change

    monkeypatch.setattr(traced, "_code", lambda: "this code")
    before = gradients, update = names(training_step())
    assert names(training_step(setting("training.max_steps=7"))) == before
    others = [training_step(hybrid=False), *(training_step(setting(text)) for text in CHANGES)]
    found = [names(programs) for programs in others]
    assert len({gradients, *(name for name, _ in found)}) == len(found) + 1
    assert {name for _, name in found} == {update}
    others = [training_step(rates=0.5), *(training_step(setting(text)) for text in OF_THE_UPDATE)]
    found = [names(programs) for programs in others]
    assert len({update, *(name for _, name in found)}) == len(found) + 1
    assert {name for name, _ in found} == {gradients}


def test_processes_agree_on_the_name():
    program = "from wsign_jax import traced; traced._code = lambda: ''; "
    program += (
        "from tests import traced_test; print(*traced_test.names(traced_test.training_step()))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(told) == 1 and [len(name) for name in told.pop().split()] == [64, 64]
