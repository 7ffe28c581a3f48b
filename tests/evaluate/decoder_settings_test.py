import dataclasses
import json

import numpy as np
import pytest

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.decode import unknown
from wsign_jax.decode.unknown import KnownSigns, UnknownRule
from wsign_jax.evaluate import decoder_settings, trained_run
from wsign_jax.evaluate.decoder_settings import DecoderSettings


def test_what_was_tuned_is_chosen_before_the_defaults(opened, capsys):
    root, run = opened
    split = trained_run.read_split(run, root, "val")
    assert decoder_settings.choose_settings(run, "joint", "2") == DecoderSettings(
        "joint", "2", 10, 0.5, 0.3, 0.0, 1.0
    )
    rows = [
        DecoderSettings("joint", "none", 10, 0.7, 0.0, 0.5, 1.5, wer=0.3),
        DecoderSettings("joint", "2", 10, 0.6, 0.2, 0.5, 1.4, wer=0.2),
        DecoderSettings("rescore", "none", 5, 0.8, 0.0, 0.0, 1.3, wer=0.4),
    ]
    decoder_settings.write_tuned(run, root, split, rows)
    assert decoder_settings.choose_settings(run, "joint") == rows[1]
    assert decoder_settings.choose_settings(run, "joint", "none") == rows[0]
    assert decoder_settings.choose_settings(run, "rescore") == rows[2]
    assert decoder_settings.choose_settings(run, "rescore", beam_size=7).wer is None
    assert (
        decoder_settings.choose_settings(run, "joint").with_weights(label_bonus=2.0).label_bonus
        == 2.0
    )
    better = dataclasses.replace(rows[0], ctc_weight=0.9, wer=0.1)
    decoder_settings.write_tuned(run, root, split, [better])
    assert decoder_settings.read_tuned(run) == [rows[1], rows[2], better]
    capsys.readouterr()
    other = trained_run.open_run(run.workdir, overrides={"eval.chunk": 4, "eval.left_context": 8})
    assert decoder_settings.choose_settings(other, "joint") == better
    assert (
        "tuned on checkpoint 2, full attention, and this is checkpoint 2, chunks of 4 patches, 8 behind"
    ) in capsys.readouterr().err
    decoder_settings.write_tuned(other, root, split, [rows[2]])
    assert decoder_settings.read_tuned(other) == [rows[2]]


def test_a_broken_tuning_file_is_named(opened):
    _, run = opened
    path = run.workdir / decoder_settings.TUNED
    for content in ("{", '{"decoders": []}', '{"tuned_on": "2", "decoders": [{"decoder": 1}]}'):
        path.write_text(content)
        with pytest.raises(WSignError, match=r"decoder.json: not "):
            decoder_settings.choose_settings(run, "joint")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("decoder", "nope"), ("lm", 2), ("beam_size", 0), ("beam_size", "10"), ("beam_size", 1001),
        ("ctc_weight", 7.0),
        ("lm_weight", None), ("label_bonus", "1"), ("temperature", 0), ("wer", None), ("wer", "x"),
        ("unknown_below", 1e10), ("sign_start", -61.0), ("sign_end", -0.1),
    ],
)  # fmt: skip
def test_a_wrong_field_of_a_tuning_file_is_named(opened, field, value):
    root, run = opened
    row = DecoderSettings("joint", "none", 10, 0.7, 0.0, 0.5, 1.5, 0.0, 0.4, wer=0.3)
    decoder_settings.write_tuned(run, root, trained_run.read_split(run, root, "val"), [row])
    path = run.workdir / decoder_settings.TUNED
    content = json.loads(path.read_text())
    content["decoders"][0][field] = value
    path.write_text(json.dumps(content))
    with pytest.raises(WSignError, match=rf"decoder.json: not what .* \({field} is {value!r}\)"):
        decoder_settings.choose_settings(run, "joint")


def test_a_beam_has_a_bound_wherever_it_comes_from(opened):
    for size in (-1, 1001, 10**9):
        with pytest.raises(WSignError, match=f"a beam of {size}; keep 1 to 1000 hypotheses"):
            decoder_settings.choose_settings(opened[1], "joint", beam_size=size)


def test_what_a_decoder_does_not_read_is_refused(opened):
    root, run = opened
    with pytest.raises(WSignError, match="decoder 'greedy' reads no language model"):
        decoder_settings.choose_settings(run, "greedy", "2")
    beam = decoder_settings.choose_settings(run, "prefix_beam")
    for weight, message in (
        ({"ctc_weight": 0.5}, "decoder 'prefix_beam' reads no ctc_weight"),
        ({"lm_weight": 0.5}, "decoder 'prefix_beam' with lm 'none' reads no lm_weight"),
        ({"label_bonus": 101}, "label_bonus is 101; it must be from -100 to 100"),
    ):
        with pytest.raises(WSignError, match=message):
            beam.with_weights(**weight)
    greedy = DecoderSettings("greedy", "none", 10, 0.5, 0.3, 0.0, 1.5, wer=0.3)
    split = trained_run.read_split(run, root, "val")
    decoder_settings.write_tuned(run, root, split, [greedy])
    assert decoder_settings.choose_settings(run, "greedy", beam_size=4).temperature == 1.5


def test_weights_go_with_the_language_model_they_were_tuned_with(opened, capsys):
    root, run = opened
    split = trained_run.read_split(run, root, "val")
    joint, rescore = (
        DecoderSettings(name, "2", 10, 0.6, 0.2, 0.5, 1.4, wer=0.2) for name in ("joint", "rescore")
    )
    fitted = {"2": trained_run.fit_lm(run, "2", root)}
    decoder_settings.write_tuned(run, root, split, [joint], fitted)
    decoder_settings.write_tuned(run, root, split, [rescore], fitted)
    assert decoder_settings.read_tuned(run) == [joint, rescore]
    # The one that a tuning on other data fits.
    decoder_settings.write_tuned(
        run, root, split, [rescore], {"2": trained_run.fit_lm(run, "3", root)}
    )
    assert decoder_settings.read_tuned(run) == [rescore]
    assert "joint was tuned with another language model 2" in capsys.readouterr().out


def test_thresholds_go_with_the_known_signs_they_were_tuned_with(opened, monkeypatch):
    root, run = opened
    split, size = trained_run.read_split(run, root, "val"), len(run.vocabulary)
    first, second = (
        KnownSigns(*[unknown.fit_familiarity(np.eye(size)[:n], np.arange(n), size)] * 2)
        for n in (2, 3)
    )
    greedy, joint = (
        DecoderSettings(name, "none", 10, wer=0.2, unknown_below=-3.0, false_accepts=0.1)
        for name in ("greedy", "joint")
    )
    assert decoder_settings.unknown_rule(run, greedy) is None
    decoder_settings.write_tuned(run, root, split, [greedy], known=first)
    decoder_settings.write_tuned(run, root, split, [joint], known=first)
    assert decoder_settings.read_tuned(run) == [greedy, joint]
    rule = decoder_settings.unknown_rule(run, greedy)
    np.testing.assert_array_equal(rule.familiarity.means, first.own.means)
    assert isinstance(rule, UnknownRule) and rule.below == -3.0
    decoder_settings.write_tuned(run, root, split, [joint], known=second)
    other = dataclasses.replace(greedy, unknown_below=None, false_accepts=None)
    assert decoder_settings.read_tuned(run) == [other, joint]
    assert decoder_settings.unknown_rule(run, other) is None
    (run.workdir / unknown.KNOWN_SIGNS).write_bytes(unknown.to_bytes(first))
    with pytest.raises(WSignError, match=r"known_signs.npz: is not the one that decoder.json was"):
        decoder_settings.unknown_rule(run, joint)

    # Killed before the second of the two files, it leaves a run that tells no unknown signs, and works.
    write_json, calls = files.write_json, []

    def write_once(*arguments):
        if calls:
            raise KeyboardInterrupt
        calls.append(write_json(*arguments))

    monkeypatch.setattr(files, "write_json", write_once)
    with pytest.raises(KeyboardInterrupt):
        decoder_settings.write_tuned(run, root, split, [greedy], known=first)
    for name in ("greedy", "joint"):
        assert (
            decoder_settings.unknown_rule(run, decoder_settings.choose_settings(run, name)) is None
        )
