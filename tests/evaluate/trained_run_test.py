import contextlib
import dataclasses
import json

import jax
import numpy as np
import pytest

from tests.train.checkpoint.store_test import info, make_state
from wsign_jax.common.errors import WSignError
from wsign_jax.evaluate import decoder_settings
from wsign_jax.evaluate.trained_run import (
    TUNED,
    config_overrides,
    fit_lm,
    language_model,
    open_run,
    read_split,
)
from wsign_jax.train.checkpoint import store


def test_a_run_is_opened_by_its_folder_or_by_a_checkpoint(trained_run):
    _, workdir = trained_run
    best = open_run(workdir)
    [path] = best.checkpoints
    same = open_run(path, overrides={"eval.chunk": 3, "data.dir": "elsewhere"})
    assert same.workdir == workdir and same.checkpoints == (path,)
    assert same.config.eval.chunk == 3 and same.config.data.dir == "elsewhere"
    assert best.config.eval.chunk == 0
    jax.tree.map(np.testing.assert_array_equal, best.params, same.params)
    for wrong in (workdir / "nothing", path.with_name("999"), workdir / "tensorboard"):
        with pytest.raises(WSignError, match="no checkpoint in it"):
            open_run(wrong)


def test_the_last_checkpoints_are_averaged_within_their_stage(tmp_path):
    states = [make_state(step, seed=step) for step in (1, 2, 3)]
    with contextlib.closing(store.Checkpoints(tmp_path, keep=4)) as checkpoints:
        for state, stage in zip(states, (0, 1, 1), strict=True):
            checkpoints.save(state, info(stage))
    run = open_run(tmp_path, average=3)
    assert [path.name for path in run.checkpoints] == ["2", "3"]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, states[1].params, states[2].params)
    for a, b in zip(jax.tree.leaves(run.params), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_run_that_never_trained_its_attention_decoder_says_so(opened):
    _, run = opened
    info = json.loads(json.dumps(run.info.config))
    info["stage2"]["alpha"] = 1.0
    run = dataclasses.replace(run, info=dataclasses.replace(run.info, config=info))
    for decoder in ("attention", "rescore", "joint"):
        with pytest.raises(WSignError, match=r"never trained .* take 'prefix_beam'"):
            run.check_decoder(decoder)
    run.check_decoder("prefix_beam")


def test_a_window_is_of_any_whole_numbers():
    chosen = config_overrides(None, np.int64(8), np.int32(2))
    assert chosen == {"eval.chunk": 8, "eval.left_context": 2}
    assert all(type(value) is int for value in chosen.values())
    for wrong in (-1, 1.5, "8", True, np.float32(8), 2**30):
        with pytest.raises(WSignError, match=r"chunk is .*; give"):
            config_overrides(None, wrong, None)


def test_language_models_by_name(opened):
    root, run = opened
    assert language_model(run, "none", root) is None
    fresh = language_model(run, "2", root)
    kept = run.workdir / "lm_2.arpa"
    assert not kept.exists()
    split = read_split(run, root, "val")
    decoder_settings.write_tuned(run, root, split, [], {"2": fit_lm(run, "2", root)})
    read = language_model(run, str(kept), root)
    np.testing.assert_array_equal(read.keys, fresh.keys)
    np.testing.assert_allclose(read.log_probs, fresh.log_probs, atol=1e-4)
    # What decoders were tuned with goes before the data set's labels, which may be gone.
    again = language_model(run, "2", root / "gone")
    jax.tree.map(np.testing.assert_array_equal, again, read)
    tuned = run.workdir / TUNED
    kept.write_text(kept.read_text().replace("\\end\\", "\n\\end\\"))
    with pytest.raises(WSignError, match=r"lm_2.arpa: is not the one that decoder.json was tuned"):
        language_model(run, "2", root)
    content = json.loads(tuned.read_text())
    tuned.write_text(json.dumps({name: content[name] for name in ("tuned_on", "decoders")}))
    language_model(run, "2", root / "gone")  # an earlier version noted no digest
    # Without its decoder.json it is what an interrupted tuning of an earlier version has left.
    tuned.unlink()
    for order in ("2", "3"):
        with pytest.raises(WSignError, match=r"gone.label_map.json: no such file"):
            language_model(run, order, root / "gone")
    for order in ("0", "12", "9" * 5000):
        with pytest.raises(WSignError, match=f"a language model of order {order:.9};"):
            language_model(run, order, root)
    for name in ("", str(root)):
        with pytest.raises(WSignError, match="; give 1 to 9, an ARPA file, or 'none'"):
            language_model(run, name, root)
    with pytest.raises(WSignError, match="²: no such file"):
        language_model(run, "²", root)
    with pytest.raises(WSignError, match=r"nowhere\.arpa"):
        language_model(run, str(root / "nowhere.arpa"), root)
