import dataclasses
import json

import jax
import numpy as np
import pytest

from wsign_jax import trained
from wsign_jax.errors import WSignError
from wsign_jax.trained import Choice


def test_a_run_is_opened_by_its_folder_or_by_a_checkpoint(trained_run):
    _, workdir = trained_run
    best = trained.open_run(workdir)
    [path] = best.checkpoints
    same = trained.open_run(path, overrides={"eval.chunk": 3, "data.dir": "elsewhere"})
    assert same.workdir == workdir and same.checkpoints == (path,)
    assert same.config.eval.chunk == 3 and same.config.data.dir == "elsewhere"
    assert best.config.eval.chunk == 0
    jax.tree.map(np.testing.assert_array_equal, best.params, same.params)
    for wrong in (workdir / "nothing", path.with_name("999"), workdir / "tensorboard"):
        with pytest.raises(WSignError, match="no checkpoint to evaluate"):
            trained.open_run(wrong)


def test_a_run_that_never_trained_its_attention_decoder_says_so(opened):
    _, run = opened
    info = json.loads(json.dumps(run.info.config))
    info["stage2"]["alpha"] = 1.0
    run = dataclasses.replace(run, info=dataclasses.replace(run.info, config=info))
    for decoder in ("attention", "rescore", "joint"):
        with pytest.raises(WSignError, match=r"never trained .* take 'prefix_beam'"):
            trained.choose(run, decoder)
    assert trained.choose(run, "prefix_beam").lm == "none"


def test_language_models_by_name(opened):
    root, run = opened
    assert trained.language_model(run, "none", root) is None
    fresh = trained.language_model(run, "2", root)
    kept = run.workdir / "lm_2.arpa"
    assert not kept.exists()
    trained.language_model(run, "2", root, refit=True)
    read = trained.language_model(run, str(kept), root)
    np.testing.assert_allclose(read.table, fresh.table, atol=1e-4)
    # What is kept goes before the data set's labels, which may be gone.
    again = trained.language_model(run, "2", root / "gone")
    np.testing.assert_array_equal(again.table, read.table)
    with pytest.raises(WSignError, match=r"train.labels: no \*.npy in it"):
        trained.language_model(run, "3", root / "gone")
    with pytest.raises(WSignError, match="a language model of order 0"):
        trained.language_model(run, "0", root)
    with pytest.raises(WSignError, match="²: no such file"):
        trained.language_model(run, "²", root)
    with pytest.raises(WSignError, match=r"nowhere\.arpa"):
        trained.language_model(run, str(root / "nowhere.arpa"), root)


def test_what_was_tuned_is_chosen_before_the_defaults(opened, capsys):
    root, run = opened
    split = trained.read_split(run, root, "val")
    assert trained.choose(run, "joint", "2") == Choice("joint", "2", 10, 0.5, 0.3, 0.0, 1.0)
    rows = [
        Choice("joint", "none", 10, 0.7, 0.0, 0.5, 1.5, wer=0.3),
        Choice("joint", "2", 10, 0.6, 0.2, 0.5, 1.4, wer=0.2),
        Choice("rescore", "none", 5, 0.8, 0.0, 0.0, 1.3, wer=0.4),
    ]
    trained.write_tuned(run, root, split, rows)
    assert trained.choose(run, "joint") == rows[1]
    assert trained.choose(run, "joint", "none") == rows[0]
    assert trained.choose(run, "rescore") == rows[2]
    assert trained.choose(run, "rescore", beam_size=7).wer is None
    assert trained.choose(run, "joint").weighed(bonus=2.0).bonus == 2.0
    better = dataclasses.replace(rows[0], ctc=0.9, wer=0.1)
    trained.write_tuned(run, root, split, [better])
    assert trained.read_tuned(run) == [rows[1], rows[2], better]
    capsys.readouterr()
    other = dataclasses.replace(run, checkpoints=(run.checkpoints[0].with_name("77"),))
    assert trained.choose(other, "joint") == better
    assert "was tuned for checkpoint 2, and this is 77" in capsys.readouterr().out
    trained.write_tuned(other, root, split, [rows[2]])
    assert trained.read_tuned(other) == [rows[2]]


def test_a_broken_tuning_file_is_named(opened):
    _, run = opened
    path = run.workdir / trained.TUNED
    for content in ("{", '{"choices": []}', '{"checkpoint": "2", "choices": [{"decoder": 1}]}'):
        path.write_text(content)
        with pytest.raises(WSignError, match=r"decoder.json: not "):
            trained.choose(run, "joint")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("decoder", "nope"), ("lm", 2), ("beam_size", 0), ("beam_size", "10"), ("ctc", 7.0),
        ("lm_weight", None), ("bonus", "1"), ("temperature", 0), ("wer", None), ("wer", "x"),
    ],
)  # fmt: skip
def test_a_wrong_field_of_a_tuning_file_is_named(opened, field, value):
    root, run = opened
    row = Choice("joint", "none", 10, 0.7, 0.0, 0.5, 1.5, wer=0.3)
    trained.write_tuned(run, root, trained.read_split(run, root, "val"), [row])
    path = run.workdir / trained.TUNED
    content = json.loads(path.read_text())
    content["choices"][0][field] = value
    path.write_text(json.dumps(content))
    with pytest.raises(WSignError, match=rf"decoder.json: not what .* \({field} is {value!r}\)"):
        trained.choose(run, "joint")
