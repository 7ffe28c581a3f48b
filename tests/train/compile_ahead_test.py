"""Programs compiled ahead: in order, once each; errors come where a program is needed."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.train import state as train_state
from wsign_jax.train.compile_ahead import Ahead, Task


def batch_of(frames):
    shapes = train_state.batch_shapes(2, frames, 3)
    return jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)


def task(step, frames, name="stage1"):
    return Task(name, step, (jnp.float32(2), train_state.batch_shapes(2, frames, 3), np.float32(3)))


def test_programs_are_compiled_once_in_order_and_give_what_the_step_gives():
    traced = []

    @jax.jit
    def step(state, batch, settings):
        traced.append((batch.features.shape[1], threading.current_thread()))
        return state * settings + jnp.sum(batch.features)

    with Ahead() as ahead:
        ahead.prepare(task(step, frames) for frames in (16, 32, 16, 48))
        results = [
            float(ahead.run(step, jnp.float32(2), batch_of(frames), np.float32(3)))
            for frames in (16, 48, 32, 16)
        ]
        assert ahead.compiled == 3
    assert [frames for frames, _ in traced] == [16, 32, 48], "in the order of need, each once"
    assert traced[0][1] is threading.current_thread() and traced[1][1] is not traced[0][1]
    assert step._cache_size() == 0, "nothing was compiled when it was met"
    assert results == [6 + 2 * frames * 42 * 7 for frames in (16, 48, 32, 16)]
    said = ahead.messages()
    assert [line.split(" in ")[0] for line in said] == [
        f"compiled stage1 for 2 x {frames} frames" for frames in (16, 32, 48)
    ]
    assert ahead.messages() == []


def test_what_was_not_announced_is_compiled_when_it_is_met():
    step = jax.jit(lambda state, batch, settings: state + settings)
    with Ahead() as ahead:
        assert float(ahead.run(step, jnp.float32(2), batch_of(16), np.float32(3))) == 5
    assert step._cache_size() == 1 and ahead.messages() == []


def test_what_goes_wrong_on_the_thread_is_raised_where_the_program_is_needed():
    @jax.jit
    def step(state, batch, settings):
        if batch.features.shape[1] > 16:
            raise ValueError("too long for this step")
        return state

    with Ahead() as ahead:
        ahead.prepare([task(step, 16), task(step, 32)])
        ahead.run(step, jnp.float32(2), batch_of(16), np.float32(3))
        with pytest.raises(ValueError, match="too long for this step"):
            ahead.run(step, jnp.float32(2), batch_of(32), np.float32(3))


def test_nothing_is_compiled_beside_the_first_step():
    """Unless what is met first is not what was announced first, and would wait for ever."""
    traced, running, go_on = [], threading.Event(), threading.Event()

    def wait(_):
        running.set()
        assert go_on.wait(60)
        return np.float32(1)

    @jax.jit
    def step(state, batch, settings):
        traced.append(batch.features.shape[1])
        return state * jax.pure_callback(wait, jax.ShapeDtypeStruct((), jnp.float32), settings)

    with Ahead() as ahead:
        ahead.prepare(task(step, frames) for frames in (16, 32))
        first = threading.Thread(
            target=ahead.run, args=(step, jnp.float32(2), batch_of(16), np.float32(3))
        )
        first.start()
        assert running.wait(60)
        # Time enough to trace the second, were it not kept back.
        assert not go_on.wait(0.5) and traced == [16]
        go_on.set()
        first.join()
        ahead.run(step, jnp.float32(2), batch_of(32), np.float32(3))
    with Ahead() as ahead:
        ahead.prepare(task(step, frames) for frames in (16, 32))
        ahead.run(step, jnp.float32(2), batch_of(32), np.float32(3))


def test_leaving_gives_up_what_has_not_begun():
    begun, go_on = threading.Event(), threading.Event()

    @jax.jit
    def step(state, batch, settings):
        if batch.features.shape[1] == 32:
            begun.set()
            assert go_on.wait(60)
        return state

    with Ahead() as ahead:
        ahead.prepare(task(step, frames) for frames in (16, 32, 48))
        ahead.run(step, jnp.float32(2), batch_of(16), np.float32(3))
        assert begun.wait(60)
    go_on.set()
    assert sum(future.cancelled() for future in ahead._programs.values()) == 1


def test_leaving_before_the_first_step_compiles_no_more():
    step = jax.jit(lambda state, batch, settings: state)
    with Ahead() as ahead:
        ahead.prepare(task(step, frames) for frames in (16, 32, 48))
    ahead._pool.shutdown(wait=True)
    assert ahead.compiled == 3 and [line.split()[5] for line in ahead.messages()] == ["16"]
