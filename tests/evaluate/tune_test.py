import dataclasses

import numpy as np

from wsign_jax.evaluate import decoder_settings, evaluate, trained_run, tune
from wsign_jax.evaluate.decoder_settings import DecoderSettings
from wsign_jax.report.sentences import Sentence


def test_tuning_looks_at_validation_alone_and_never_makes_it_worse(opened):
    root, run = opened
    split = trained_run.read_split(run, root, "val")
    starts = [
        decoder_settings.default_settings(run, name, "none", 3)
        for name in ("greedy", "prefix_beam")
    ]
    starts += [decoder_settings.default_settings(run, "rescore", "2", 3)]
    models = {name: trained_run.language_model(run, name, root) for name in ("none", "2")}
    said = []
    tuned, known = tune.tune(run, split, starts, models, lambda *result: said.append(result))
    assert [choice for choice, _ in said] == tuned
    assert [(c.decoder, c.lm, c.beam_size) for c in tuned] == [
        ("greedy", "none", 3), ("prefix_beam", "none", 3), ("rescore", "2", 3),
    ]  # fmt: skip
    attempts = ("1 settings", f"{len(tune.GRIDS['label_bonus'])} settings")
    assert all(effort.startswith(text) for (_, effort), text in zip(said, attempts, strict=False))
    for start, choice in zip(starts, tuned, strict=True):
        assert evaluate.evaluate_split(run, root, split, choice)[1]["wer"] == choice.wer
        assert choice.wer <= evaluate.evaluate_split(run, root, split, start)[1]["wer"]
        assert 0.1 <= choice.temperature <= 10
        # Too few glosses are right for a threshold, or some have been fitted.
        assert choice.unknown_below is None or known.own.seen.any()
    greedy = dataclasses.replace(tuned[0], unknown_below=-1.0)
    decoder_settings.write_tuned(run, root, split, [greedy], known=known)
    report = evaluate.evaluate_split(run, root, split, greedy)[1]
    shown = report["unknown_signs"]
    assert shown["threshold"] == -1.0 and shown["impostors"] > 0
    assert shown["known"] == report["ref_glosses"] - report["deletions"] - report["substitutions"]


def test_times_of_signs_come_from_right_glosses_with_true_times():
    spans = np.array([[1.0, 1.1], [2.0, 2.1], [3.0, 3.1]])
    # The second reference is missed, and the second hypothesis wrong: 1 and 4 are found, 0.5 s late.
    segments = np.array([[0.5, 1.2], [1.5, 1.6], [1.8, 1.9], [2.5, 3.4]])
    nothing = np.zeros(3)
    sentence = Sentence(
        "a", "", 4.0, (1, 2, 3, 4), (1, 5, 4), spans, nothing, segments, 60, 0, (), nothing
    )
    unknown_times = dataclasses.replace(sentence, segments=None)
    assert tune._sign_times([unknown_times]) is None
    times = tune._sign_times([unknown_times, sentence])
    np.testing.assert_allclose(times, (-0.5, 0.3))  # ends 0.2 and 0.4 s after


def test_of_equal_error_rates_the_middle_of_the_plain_is_taken():
    grid = np.full((6, 9), 0.3)
    grid[1:4, 3:8] = 0.2

    class Attempts:
        def wer(self, choice):
            values = [*tune.GRIDS["lm_weight"]], [*tune.GRIDS["label_bonus"]]
            return grid[values[0].index(choice.lm_weight), values[1].index(choice.label_bonus)]

    start = DecoderSettings(
        "prefix_beam", "2", 4, 0.5, tune.GRIDS["lm_weight"][1], tune.GRIDS["label_bonus"][2], 1.0
    )
    best = tune._best_of_grid(start, ["lm_weight", "label_bonus"], Attempts())
    assert (best.lm_weight, best.wer) == (tune.GRIDS["lm_weight"][2], 0.2)
    assert best.label_bonus in tune.GRIDS["label_bonus"][4:7]


def test_with_a_language_model_a_search_begins_also_where_it_ended_without_one():
    known = {(0.5, 0.0, 0.0): 0.08, (0.5, 0.0, 0.75): 0.05, (0.9, 0.3, 0.0): 0.06}

    class Attempts:
        def wer(self, choice):
            lm_weight = 0.0 if choice.lm == "none" else choice.lm_weight
            return known.get((choice.ctc_weight, lm_weight, choice.label_bonus), 0.1)

    alone, with_lm = (DecoderSettings("joint", lm, 4, 0.5, 0.3, 0.0, 1.0) for lm in ("none", "2"))
    stuck = tune._climb(with_lm, Attempts())
    assert (stuck.ctc_weight, stuck.wer) == (0.9, 0.06)
    best = tune._climb(alone, Attempts())
    assert (best.label_bonus, best.wer) == (0.75, 0.05)
    begins = tune._begins(with_lm, [best])
    found = tune._climb(begins[0], Attempts())
    assert (found.lm, found.lm_weight, found.label_bonus, found.wer) == ("2", 0.0, 0.75, 0.05)
    assert begins[1:] == [with_lm]  # which may be better, for all that
    # A search of another width, or of another kind, is another.
    for change in ({"beam_size": 5}, {"decoder": "rescore"}):
        other = dataclasses.replace(with_lm, **change)
        assert tune._begins(other, [best]) == [other]
