"""Programs compiled ahead: in order, once each; errors come where a program is needed."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.train.compile_ahead import BackgroundCompiler, CompileTask
from wsign_jax.train.state import batch_shapes

STATE, SETTINGS = jnp.float32(2), np.float32(3)


def batch_of(frames):
    return jax.tree.map(lambda x: np.ones(x.shape, x.dtype), batch_shapes(2, frames, 3))


def prepare(compiler, step, *lengths):
    shapes = (batch_shapes(2, frames, 3) for frames in lengths)
    compiler.prepare(CompileTask("stage1", step, (STATE, batch, SETTINGS)) for batch in shapes)


def test_programs_are_compiled_once_in_order_and_give_what_the_step_gives():
    traced = []

    @jax.jit
    def step(state, batch, settings):
        traced.append((batch.length, threading.current_thread()))
        return state * settings + jnp.sum(batch.positions)

    with BackgroundCompiler() as compiler:
        prepare(compiler, step, 16, 32, 16, 48)
        assert [frames for frames, _ in traced] == [16], "the others start after the first step"
        for frames in (16, 48, 32, 16):
            result = compiler.run(step, STATE, batch_of(frames), SETTINGS)
            assert float(result) == 6 + 2 * frames * 42 * 3
    assert [frames for frames, _ in traced] == [16, 32, 48], "in the order of need, each once"
    assert traced[0][1] is threading.current_thread() and traced[1][1] is not traced[0][1]
    assert step._cache_size() == 0, "nothing was compiled when it was met"
    said = compiler.messages()
    assert [line.split(" in ")[0] for line in said] == [
        f"compiled stage1 for 2 x {frames} frames" for frames in (16, 32, 48)
    ]
    assert compiler.messages() == []


def test_what_was_not_announced_is_compiled_when_it_is_met():
    step = jax.jit(lambda state, batch, settings: state + settings)
    with BackgroundCompiler() as compiler:
        assert float(compiler.run(step, STATE, batch_of(16), SETTINGS)) == 5
    assert step._cache_size() == 1 and compiler.messages() == []


@pytest.mark.parametrize("first", [16, 48])
def test_what_goes_wrong_on_the_thread_is_raised_where_the_program_is_needed(first):
    """Also if the first step is not the one that was announced first."""

    @jax.jit
    def step(state, batch, settings):
        if batch.length == 32:
            raise ValueError("not a length for this step")
        return state

    with BackgroundCompiler() as compiler:
        prepare(compiler, step, 16, 32, 48)
        assert float(compiler.run(step, STATE, batch_of(first), SETTINGS)) == 2
        with pytest.raises(ValueError, match="not a length for this step"):
            compiler.run(step, STATE, batch_of(32), SETTINGS)


def test_leaving_gives_up_what_has_not_begun():
    begun, go_on, traced = threading.Event(), threading.Event(), []

    @jax.jit
    def step(state, batch, settings):
        traced.append(batch.length)
        if batch.length == 32:
            begun.set()
            assert go_on.wait(60)
        return state

    with BackgroundCompiler() as compiler:
        prepare(compiler, step, 16, 32, 48)
        compiler.run(step, STATE, batch_of(16), SETTINGS)
        assert begun.wait(60)
    go_on.set()
    compiler._pool.shutdown(wait=True)
    assert traced == [16, 32]
