import dataclasses
import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from tests.conftest import random_features, small_config
from wsign_jax.data.pipeline import Batch
from wsign_jax.keypoints import joints
from wsign_jax.model import whisper_sign
from wsign_jax.train import losses, optimizer, stages
from wsign_jax.train.state import LossScale, create_state
from wsign_jax.train.step import _next_scale, _over_parts, make_gradients, make_train_step

ROOT = pathlib.Path(__file__).parents[2]
V = 7
AUGMENTATION = small_config().data.augment
GRAPH, SHAPES = whisper_sign.build_network(small_config().model, V)


def make_batch(rows=3, frames=40):
    """A batch whose last row is masked."""
    rng = np.random.default_rng(0)
    raw = [joints.positions_and_confidence(random_features(rng, frames)) for _ in range(rows)]
    positions, confidence = map(np.stack, zip(*raw, strict=True))
    confidence[-1] = 0
    labels = rng.integers(1, V, size=(rows, 3)).astype(np.int32)
    labels[-1] = 0
    counts = np.array([frames] * (rows - 1) + [0], np.int32)
    return Batch(
        positions,
        confidence,
        counts,
        counts,
        labels,
        np.minimum(counts, 3),
        np.array([*range(rows - 1), -1], np.int32),
        np.zeros(rows, np.int32),
        frames,
    )


@functools.cache
def fresh_params():
    return whisper_sign.init_params(small_config().model, SHAPES, seed=0)


def loss_of(model, batch, given=None, **options):
    """A batch's loss, without augmentation."""
    features = model.features(*map(jnp.asarray, (batch.positions, batch.confidence, batch.frames)))
    return losses.batch_loss(
        model, features, batch, given or settings(), 0.1, hybrid=True, **options
    )


def settings(lr=1e-2, alpha=0.3, chunk=2**30):
    return stages.StepSettings(
        np.float32(lr), np.float32(0.01), np.float32(alpha), np.int32(chunk), np.int32(0)
    )


@functools.cache
def step_of(rules, precision="float32", hybrid=True):
    """A step with a moving average, its labels and its optimizer; traced once for all tests."""
    labels = stages.label_parameters(SHAPES, rules, "stage2")
    tx = optimizer.make_optimizer(labels, settings(), 1.0)
    graph = whisper_sign.build_network(small_config().model, V, jnp.dtype(precision))[0]
    training = small_config().training
    training.ema = 0.9
    return make_train_step(graph, labels, training, AUGMENTATION, hybrid=hybrid), labels, tx


def start(rules, precision="float32", hybrid=True, loss_scale=2.0**15):
    step, labels, tx = step_of(rules, precision, hybrid)
    scale = loss_scale if precision == "float16" else None
    params = jax.tree.map(jnp.copy, fresh_params())  # a step uses its state up
    return step, create_state(params, tx, 0, ema=True, loss_scale=scale), labels


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_frozen_parameters_do_not_move_and_the_rest_all_do(stage):
    step, state, labels = start(base.get_config()[stage].rules, hybrid=stage == "stage2")
    before = jax.device_get(state.params)
    for _ in range(2):
        state, metrics = step(state, make_batch(), settings())
    after = whisper_sign.parameter_paths(jax.device_get(state.params))
    labels = whisper_sign.parameter_paths(labels)
    for path, old in whisper_sign.parameter_paths(before).items():
        if labels[path] == "freeze":
            np.testing.assert_array_equal(after[path], old, path)
        else:
            assert (after[path] != old).any(), f"{path} did not move"
    assert int(state.step) == 2
    assert {"loss", "ctc", "grad_norm", "frames"} <= metrics.keys()
    assert ("attention" in metrics) == (stage == "stage2")


def loss_at(params, alpha):
    """The hybrid loss, without dropout."""
    model = whisper_sign.bind_params(GRAPH, params)
    return loss_of(model, make_batch(), settings()._replace(alpha=alpha))[0]


def test_both_halves_of_the_loss_reach_what_they_should():
    gradients = jax.jit(jax.grad(loss_at))
    of_ctc, of_attention, of_both = (
        whisper_sign.parameter_paths(gradients(fresh_params(), np.float32(alpha)))
        for alpha in (1, 0, 0.3)
    )
    for path in of_both:
        part = path.split("/")[0]
        assert (np.abs(of_ctc[path]).max() > 0) == (part != "decoder"), f"CTC at {path}"
        assert (np.abs(of_attention[path]).max() > 0) == (part != "ctc_head"), (
            f"attention at {path}"
        )
        mixed = 0.3 * of_ctc[path] + 0.7 * of_attention[path]
        np.testing.assert_allclose(of_both[path], mixed, rtol=1e-3, atol=1e-6, err_msg=path)


def test_the_losses_are_the_mean_over_real_rows():
    whole = make_batch()
    cut = jax.tree.map(lambda x: x[:-1], whole)
    of_batch = jax.jit(
        lambda params, batch: loss_of(whisper_sign.bind_params(GRAPH, params), batch)
    )
    for batch in (whole, cut):
        loss, parts = of_batch(fresh_params(), batch)
        assert float(loss) == pytest.approx(float(0.3 * parts["ctc"] + 0.7 * parts["attention"]))
        if batch is whole:
            expected = float(loss)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("standard_promotion")
def test_dropout_is_keyed_by_seed_and_step():
    found = []
    for at in (0, 0, 1):
        step, state, _ = start(((".*", "train"),))
        state = state.replace(step=jnp.asarray(at, jnp.int32))
        found.append(float(step(state, make_batch(), settings())[1]["loss"]))
    assert found[0] == found[1] != found[2]


@pytest.mark.usefixtures("standard_promotion")
def test_a_batch_in_parts_gives_the_same_losses_and_gradients():
    config = small_config()
    for part in (config.model.frontend, config.model.encoder, config.model.decoder):
        part.dropout = 0.0
    config.model.frontend.spatial_dropout = 0.0
    graph, _ = whisper_sign.build_network(config.model, V)
    labels = stages.label_parameters(SHAPES, ((".*", "train"),), "stage2")
    whole = make_batch(rows=8, frames=24)
    # Of two parts one has a single real row, of four parts one has none.
    whole.frames[[1, 3]] = 0
    results = []
    for parts in (1, 2, 4):
        config.training.accumulate = parts
        config.training.remat = parts == 4
        step = make_train_step(graph, labels, config.training, AUGMENTATION, hybrid=True)
        params = jax.tree.map(jnp.copy, fresh_params())
        tx = optimizer.make_optimizer(labels, settings(), 1.0)
        begun = create_state(params, tx, 0, ema=False, loss_scale=None)
        ended, metrics = step(begun, whole, settings())
        # The optimizer's state holds the clipped gradients and their squares.
        results.append((jax.device_get(metrics), jax.device_get(ended.opt_state)))
    for metrics, opt_state in results[1:]:
        assert metrics.keys() == results[0][0].keys()
        for name, value in metrics.items():
            np.testing.assert_allclose(value, results[0][0][name], rtol=1e-5, err_msg=name)
        for got, expected in zip(
            jax.tree.leaves(opt_state), jax.tree.leaves(results[0][1]), strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_every_part_of_a_batch_has_its_own_rows_and_dropout():
    def gradients(part, key, share):
        rows = jnp.isin(jnp.arange(12, dtype=jnp.int32), part.example)
        return {}, {"draw": jnp.where(rows, jax.random.uniform(key), 0.0), "shares": share}

    batch = dataclasses.replace(make_batch(rows=12), example=np.arange(12, dtype=np.int32))
    batch = jax.tree.map(jnp.asarray, batch)
    _, sums = _over_parts(gradients, batch, jax.random.key(0), 3)
    assert (sums["draw"] > 0).all(), "a row was left out"
    assert len(set(sums["draw"].tolist())) == 3
    assert float(sums["shares"]) == pytest.approx(1.0)


def test_rows_that_are_spread_over_devices_stay_where_they_are():
    code = """if True:
        import jax, re
        from tests.train.step_test import make_batch
        from wsign_jax.train import sharding
        from wsign_jax.train.step import _over_parts

        def gradients(part, key, share):
            return {"sum": part.positions.sum() * share}, {}

        batch = sharding.put_batch(make_batch(rows=8), sharding.make_mesh())
        run = jax.jit(lambda batch, key: _over_parts(gradients, batch, key, 2))
        compiled = run.lower(batch, jax.random.key(0)).compile().as_text()
        print(sorted(set(re.findall(r"\\b(all-[a-z]+|collective-[a-z]+)\\(", compiled))))
    """
    four = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=four,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "['all-reduce']", done.stderr


@pytest.mark.usefixtures("standard_promotion")
def test_settings_do_not_compile_again_and_the_moving_average_trails_the_weights():
    step, state, _ = start(((".*", "train"),))
    before = jax.device_get(state.params["ctc_head"]["kernel"])
    state, _ = step(state, make_batch(), settings())
    after = state.params["ctc_head"]["kernel"]
    expected = 0.9 * before + 0.1 * after
    np.testing.assert_allclose(state.ema["ctc_head"]["kernel"], expected, atol=1e-6)
    assert state.evaluated is state.ema
    for lr, alpha, chunk in ((1e-4, 0.5, 2), (0.0, 0.3, 8)):
        state, _ = step(state, make_batch(), settings(lr, alpha, chunk))
    assert step._cache_size() == 1


@pytest.mark.parametrize(
    ("before", "finite", "after"),  # scale, steps without overflow, skipped steps
    [
        ((1024.0, 5, 3), True, (1024.0, 6, 3)),
        ((1024.0, 5, 3), False, (512.0, 0, 4)),
        ((1.5, 5, 3), False, (1.0, 0, 4)),  # never below 1
        ((1024.0, 1998, 3), True, (1024.0, 1999, 3)),
        ((1024.0, 1999, 3), True, (2048.0, 0, 3)),
        ((2.0**23, 1999, 3), True, (2.0**24, 0, 3)),
        ((2.0**24, 1999, 3), True, (2.0**24, 0, 3)),  # never above
        ((1024.0, 1999, 3), False, (512.0, 0, 4)),
    ],
)
def test_the_next_loss_scale_by_hand(before, finite, after):
    scale, good_steps, skipped = before
    given = LossScale(jnp.float32(scale), jnp.int32(good_steps), jnp.int32(skipped))
    found = _next_scale(given, jnp.asarray(finite))
    assert (float(found.scale), int(found.good_steps), int(found.skipped)) == after


@pytest.mark.usefixtures("standard_promotion")
def test_a_loss_scale_leaves_the_gradients_alone_and_excuses_what_is_not_finite():
    _, begun, labels = start(((".*", "train"),), hybrid=False)
    gradients = jax.jit(
        make_gradients(GRAPH, labels, small_config().training, AUGMENTATION, hybrid=False)
    )
    norms = []
    for scale, excused in ((1.0, False), (1024.0, True)):
        given = begun.replace(loss_scale=LossScale.at(scale))
        grads, metrics = gradients(given, make_batch(), settings())
        norms.append(float(metrics["grad_norm"]))
        assert norms[-1] == pytest.approx(np.sqrt(sum(np.sum(np.square(g)) for g in grads)))
        assert bool(metrics["finite"]) and int(metrics["frames"]) == 80
        broken = dataclasses.replace(make_batch(), positions=make_batch().positions * np.nan)
        _, metrics = gradients(given, broken, settings())
        assert bool(metrics["finite"]) == excused
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)


@pytest.mark.usefixtures("standard_promotion")
def test_float16_halves_its_scale_on_overflow_skips_the_step_and_counts_it():
    step, state, _ = start(((".*", "train"),), precision="float16")
    state, metrics = step(state, make_batch(), settings())
    assert int(metrics["skipped_steps"]) == 0 and float(metrics["loss_scale"]) == 2.0**15
    broken = dataclasses.replace(make_batch(), positions=make_batch().positions * np.float32(1e6))
    before = jax.device_get(state)
    for skipped in (1, 2):
        state, metrics = step(state, broken, settings())
        assert int(metrics["skipped_steps"]) == int(state.loss_scale.skipped) == skipped
        assert float(metrics["loss_scale"]) == 2.0 ** (15 - skipped)
        assert bool(metrics["finite"]), "a skipped step is no divergence"
    assert int(state.step) == 3
    kept = jax.device_get(state)
    for old, new in zip(
        jax.tree.leaves((before.params, before.opt_state, before.ema)),
        jax.tree.leaves((kept.params, kept.opt_state, kept.ema)),
        strict=True,
    ):
        np.testing.assert_array_equal(old, new)
    state, metrics = step(state, make_batch(), settings())
    assert int(metrics["skipped_steps"]) == 2 and float(metrics["loss_scale"]) == 2.0**13
    moved = state.params["ctc_head"]["kernel"] != kept.params["ctc_head"]["kernel"]
    assert moved.any(), "the step after goes on"


@pytest.mark.usefixtures("standard_promotion")
def test_a_loss_scale_too_high_to_begin_with_comes_down_until_steps_count():
    step, state, _ = start(((".*", "train"),), precision="float16", loss_scale=2.0**24)
    skipped = []
    for _ in range(14):
        state, metrics = step(state, make_batch(), settings())
        skipped.append(int(metrics["skipped_steps"]))
        assert float(metrics["loss_scale"]) == 2.0 ** (24 - skipped[-1])
    assert skipped[0] == 1 and skipped[-1] < 10, (
        "later steps count, but for one that overflows again"
    )


@pytest.mark.usefixtures("standard_promotion")
def test_what_is_gathered_in_low_precision_is_what_the_network_would_cast():
    """So a sharded parameter may be cast before it travels."""
    graph = whisper_sign.build_network(small_config().model, V, jnp.dtype("bfloat16"))[0]
    params = fresh_params()
    cast = [
        leaf if whisper_sign.computes_in_float32(path) else leaf.astype(jnp.bfloat16)
        for path, leaf in whisper_sign.parameter_paths(params).items()
    ]
    cast = jax.tree.unflatten(jax.tree.structure(params), cast)
    loss = jax.jit(lambda params: loss_of(whisper_sign.bind_params(graph, params), make_batch()))
    whole, early = loss(params), loss(cast)
    assert whole[1]["ctc"] == early[1]["ctc"] and whole[0] == early[0]


@pytest.mark.usefixtures("standard_promotion")
def test_steps_do_not_depend_on_who_else_holds_the_state():
    """A donated state must not be written to before it is read; one that is held cannot be donated."""
    results = []
    for held in (False, True):
        step, state, _ = start(base.get_config().stage2.rules)
        found = []
        for _ in range(4):
            views = [np.asarray(leaf) for leaf in jax.tree.leaves(state) if held]
            state, metrics = step(state, make_batch(), settings())
            found.append(
                metrics["loss"]
            )  # read at the end: the next step begins before this one ends
            del views
        results.append(jax.device_get((found, state.params)))
    assert results[0][0] == results[1][0]
    jax.tree.map(np.testing.assert_array_equal, *results)
