"""Composed sentences: repeatable, true to their clips and labels, with splits that share nothing."""

import dataclasses
import itertools

import numpy as np
import pytest

from tests.conftest import random_features
from tests.helpers import corpora
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, validate
from wsign_jax.data.corpora import prepare
from wsign_jax.data.corpora.records import Keypoints, Record
from wsign_jax.data.generated import compose
from wsign_jax.data.generated.compose import Composer, ComposeSettings
from wsign_jax.data.generated.sentences import UniformSentences
from wsign_jax.keypoints import joints

SETTINGS = ComposeSettings(train=6, val=3, test=3, seconds=(0.5, 1.0))


def clips_of(tmp_path, **options):
    corpus, ids = compose.read_clips(corpora.npz_clips(tmp_path / "clips", count=16), **options)
    return compose.with_splits(corpus.records, "", 0)[0], ids


def composer_of(tmp_path, settings=SETTINGS, sentences=None):
    return Composer(clips_of(tmp_path)[0], sentences or UniformSentences(), settings)


def still(split: str, gloss: str, place: float, frames: int = 20, signer: str = "") -> Record:
    """A clip of a right hand that rests at a place."""
    positions = np.full((frames, joints.NUM_JOINTS, 3), place)
    confidence = np.tile([0.0, 0.8], (frames, 1))
    keypoints = Keypoints(positions, confidence, np.arange(frames) / joints.FPS)
    id = f"{gloss}{place}"
    return Record(split, id, (gloss,), id, signer=signer, keypoints=lambda: keypoints)


# --------------------------------------------------------------------------------------- repeatable


def test_a_sentence_depends_on_seed_split_and_index_alone(tmp_path):
    composer = composer_of(tmp_path)
    forward = [composer.compose("val", index) for index in range(4)]
    again = composer_of(tmp_path / "again", dataclasses.replace(SETTINGS, train=1, val=9))
    for index in (2, 0, 3, 1):
        made = again.compose("val", index)
        assert made.clips == forward[index].clips and made.id == f"val_{index:05d}"
        np.testing.assert_array_equal(made.features, forward[index].features)
        np.testing.assert_array_equal(made.segments, forward[index].segments)
    reseeded = composer_of(tmp_path / "other", dataclasses.replace(SETTINGS, seed=1))
    for other in (forward[1], composer.compose("test", 0), reseeded.compose("val", 0)):
        assert other.clips != forward[0].clips


# ------------------------------------------------------------------------- true to clips and labels


def test_signs_are_their_clips_and_hands_move_smoothly_in_between(tmp_path):
    clips = [still("train", gloss, place) for gloss, place in (("a", 0.2), ("b", 0.6), ("c", 0.4))]
    settings = ComposeSettings(train=1, val=0, test=0, pace=(1.0, 1.0))
    composer = Composer(clips, UniformSentences(shortest=4, longest=8, repeat=0.0), settings)
    places = {"a": 0.2, "b": 0.6, "c": 0.4}
    for index in range(5):
        made = composer.compose("train", index)
        x = made.features[:, 30, 0].astype(float)
        spans = np.round(made.segments * joints.FPS).astype(int)
        assert (
            spans[0, 0] == 0 and spans[-1, 1] == len(x) and (spans[:, 1] - spans[:, 0] == 20).all()
        )
        for gloss, (start, end) in zip(made.glosses, spans, strict=True):
            np.testing.assert_allclose(x[start:end], places[gloss], atol=1e-6)
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert 6 <= start - end <= 18
            between = x[end - 1 : start + 1]
            steps = np.diff(between)
            assert (np.sign(steps) == np.sign(steps.sum())).all()
            # Slow at both ends, fast in the middle: the peak of the least jerk is 1.875 times the mean.
            if steps.any():
                assert abs(steps[0]) < 0.3 * abs(steps).max() > abs(steps[-1])
                assert 1.5 < abs(steps).max() / abs(steps).mean() < 1.9
        confidence = made.features[..., joints.CONFIDENCE]
        np.testing.assert_allclose(confidence[:, joints.RIGHT], 0.8, rtol=1e-6)
        assert not made.features[:, joints.LEFT].any()


def test_a_hand_that_one_of_two_signs_lacks_is_absent_in_between():
    both, right = np.ones((3, 2)), np.tile([0.0, 1.0], (3, 1))
    ones = np.ones((3, 42, 3))
    positions, confidence, spans = compose.join_signs(
        [(ones, both), (ones, right), (ones, both)], [2, 4]
    )
    np.testing.assert_array_equal(confidence[:, 0], [1, 1, 1] + [0] * 9 + [1, 1, 1])
    assert (confidence[:, 1] == 1).all()
    np.testing.assert_array_equal(spans, [[0, 3], [5, 8], [12, 15]])
    assert len(positions) == 15


def test_durations_are_drawn_from_the_clips_or_as_told(tmp_path):
    clips = [still("train", "a", 0.2, frames=31)]

    def durations(**changes):
        settings = ComposeSettings(train=1, val=0, test=0, **changes)
        composer = Composer(clips, UniformSentences(), settings)
        made = [composer.compose("train", index) for index in range(20)]
        spans = np.concatenate([sentence.segments for sentence in made])
        gaps = [s.segments[1:, 0] - s.segments[:-1, 1] for s in made]
        return spans[:, 1] - spans[:, 0], np.concatenate(gaps)

    signs, gaps = durations()
    assert 24 / 60 <= signs.min() < 0.43 and 0.6 < signs.max() <= 40 / 60
    assert 0.1 - 1e-9 <= gaps.min() < 0.12 and 0.28 < gaps.max() <= 0.3 + 1e-9
    signs, gaps = durations(seconds=(0.6, 1.3), transition=(0.4, 0.4))
    assert 0.6 - 1e-9 <= signs.min() < 0.7 and 1.2 < signs.max() <= 1.3 + 1e-9
    np.testing.assert_allclose(gaps, 0.4)


def test_frames_without_a_hand_are_cut_off_and_a_clip_without_any_is_never_taken():
    full = still("train", "a", 0.3, frames=30)
    keypoints = full.keypoints()
    keypoints.confidence[:5] = 0.0
    keypoints.confidence[25:] = 0.0
    empty = still("train", "a", 0.7)
    empty.keypoints().confidence[1:] = 0.0
    settings = ComposeSettings(train=1, val=0, test=0, pace=(1.0, 1.0))
    made = Composer([full, empty], UniformSentences(), settings).compose("train", 0)
    assert set(made.clips) == {full.id}
    lengths = np.round((made.segments[:, 1] - made.segments[:, 0]) * joints.FPS)
    assert (lengths == 20).all()
    with pytest.raises(WSignError, match=r"a0\.7: neither this nor any like it shows a hand"):
        Composer([empty], UniformSentences(), settings).compose("train", 0)


# ------------------------------------------------------------------------------------------- splits


def test_no_clip_and_no_session_serves_two_splits_and_nobody_shares_a_sentence(tmp_path):
    clips, _ = clips_of(tmp_path)
    known = {clip.id: clip for clip in clips}
    composer = Composer(clips, UniformSentences(), SETTINGS)
    used = {}
    for split in layout.SPLITS:
        made = [composer.compose(split, index) for index in range(30)]
        for sentence in made:
            chosen = [known[id] for id in sentence.clips]
            assert {clip.signer for clip in chosen} == {sentence.signer}
            assert tuple(clip.glosses[0] for clip in chosen) == sentence.glosses
        used[split] = {id for sentence in made for id in sentence.clips}
    for first, second in itertools.combinations(layout.SPLITS, 2):
        assert not used[first] & used[second]
        sessions = [{known[id].session for id in used[split]} for split in (first, second)]
        assert not sessions[0] & sessions[1]


def test_splits_can_be_by_signer_or_as_given():
    clips = [
        still(split, "a", place, signer=signer)
        for split, place, signer in (("train", 0.1, "x"), ("val", 0.2, "y"), ("test", 0.3, "z"))
        for _ in range(3)
    ]
    assert compose.with_splits(clips, "", 0) == (clips, {})
    assert compose.with_splits(clips, "given", 0) == (clips, {})
    by_signer, shared = compose.with_splits(clips, "signer", 5)
    assert not shared and len({(clip.signer, clip.split) for clip in by_signer}) == 3
    undecided = [dataclasses.replace(clip, split="", signer="x") for clip in clips]
    cut, shared = compose.with_splits(undecided, "", 0)
    assert shared == {"all": ["a"]} and {clip.split for clip in cut} == set(layout.SPLITS)
    with pytest.raises(WSignError, match=r"--split_by=given: clips have no splits"):
        compose.with_splits(undecided, "given", 0)
    with pytest.raises(WSignError, match=r"--split_by=day: write signer, session or clip"):
        compose.with_splits(clips, "day", 0)


def test_a_sentence_that_fills_the_memory_is_not_made():
    clips = [still("train", "a", 0.2, frames=90 * joints.FPS)]
    settings = ComposeSettings(train=1, val=0, test=0, pace=(100.0, 100.0))
    with pytest.raises(
        WSignError, match=r"a0\.2: lasts 8998\.33 s, and the most is 3600; give the"
    ):
        Composer(clips, UniformSentences(), settings).compose("train", 0)
    settings = ComposeSettings(train=1, val=0, test=0, transition=(100.0, 100.0))
    clips = [still("train", "a", 0.2)]
    with pytest.raises(
        WSignError, match=r"a sentence of 50 glosses lasts over 3600 s; give shorter"
    ):
        Composer(clips, UniformSentences(50, 50), settings).compose("train", 0)


def test_a_split_without_clips_or_without_a_signer_for_any_sentence_is_an_error(tmp_path):
    train = [still("train", "a", 0.1)]
    with pytest.raises(WSignError, match="no clips for val; write --val=0"):
        Composer(train, UniformSentences(), SETTINGS)

    class Impossible:
        def draw(self, rng, available):
            return None

    composer = Composer(train, Impossible(), dataclasses.replace(SETTINGS, val=0, test=0))
    with pytest.raises(WSignError, match="no signer of train has clips of all glosses of any"):
        composer.compose("train", 0)


# ------------------------------------------------------------------------------------------ sources


def test_a_prepared_data_set_of_single_signs_is_a_source(tmp_path):
    corpus = prepare.read_corpus("lsa64", corpora.lsa64(tmp_path / "lsa"))
    prepare.write_dataset(
        corpus, tmp_path / "signs", prepare.ImportSettings(), corpora.FakeExtraction()
    )
    features = random_features(np.random.default_rng(0), 50)
    layout.write_example(tmp_path / "signs", "train", "two", features, np.array([1, 2]))
    corpus, ids = compose.read_clips(tmp_path / "signs")
    assert corpus.notes == ("left out 1 examples with more than one sign",)
    assert ids == {"<blank>": 0, "001": 1, "064": 2} and len(corpus.records) == 6
    clips, shared = compose.with_splits(corpus.records, "", 0)
    assert {(clip.split, clip.signer) for clip in clips} == {
        ("train", "001"), ("val", "009"), ("test", "010")
    } and not shared  # fmt: skip
    settings = ComposeSettings(train=1, val=1, test=1, pace=(1.0, 1.0))
    made = Composer(clips, UniformSentences(), settings).compose("val", 0)
    start, end = np.round(made.segments[1] * joints.FPS).astype(int)
    source = np.load(tmp_path / "signs" / "val" / "features" / f"{made.clips[1]}.npy")
    np.testing.assert_allclose(
        made.features[start:end, :, :3], source[: end - start, :, :3], atol=1e-6
    )
    with pytest.raises(WSignError, match="--fps is not an option of a data set"):
        compose.read_clips(tmp_path / "signs", fps=30.0)


def test_bad_sources_are_named(tmp_path):
    with pytest.raises(WSignError, match=r"x: no such folder; name the clips' with --source=DIR"):
        compose.read_clips(tmp_path / "x")
    with pytest.raises(WSignError, match=r"no <sign>/<sequence>/<frame>\.npy in it"):
        compose.read_clips(tmp_path)
    root = corpora.npz_clips(tmp_path / "clips", count=2)
    np.savez(root / "bad.npz", x=np.zeros(3))
    np.savez(root / "long.npz", keypoints=np.ones((1, 5, 42, 3)), glosses=np.array(["hello tea"]))
    mapping = corpora.write(tmp_path / "map.json", '{"<blank>": 0, "hello": 1, "tea": 2}')
    with pytest.raises(WSignError, match="clips: 4 bad clips") as error:
        compose.read_clips(root, mapping)
    message = str(error.value)
    assert "bad.npz: no array 'keypoints'" in message
    assert "please.npz: clip 0: gloss 'please' is not in the vocabulary" in message
    assert "long.npz: clip 0: 2 glosses; a clip has one sign" in message
    empty = tmp_path / "empty"
    layout.write_label_map(empty, {"<blank>": 0, "A": 1})
    with pytest.raises(WSignError, match="empty: no example of a single sign in it"):
        compose.read_clips(empty)


# ------------------------------------------------------------------------------------------ writing


def test_a_written_data_set_passes_the_loaders_rules(tmp_path):
    clips, ids = clips_of(tmp_path)
    lines = []
    composer = Composer(clips, UniformSentences(), SETTINGS)
    out = tmp_path / "processed"
    compose.write_dataset(out, composer, ids, SETTINGS, {"source": "here"}, lines.append)
    assert lines[0].startswith("train: 6 sentences of ") and len(lines) == 3
    assert files.read_json(out / "label_map.json") == ids
    about = files.read_json(out / "dataset.json")
    assert about["source"] == "here" and about["settings"]["seconds"] == [0.5, 1.0]
    for name in layout.SPLITS:
        split = layout.read_split(out, name, validate.Rules(len(ids), 4, 1500))
        signers = layout.read_groups(split.root, split.name, "signer")
        assert len(split) == getattr(SETTINGS, name)
        for index, id in enumerate(split.ids):
            made = composer.compose(name, index)
            assert (id, signers[id]) == (made.id, made.signer)
            assert split.labels[index].tolist() == [ids[gloss] for gloss in made.glosses]
            np.testing.assert_array_equal(split.features(index), made.features)
            assert np.abs(layout.read_segments(split, index) - made.segments).max() < 1e-3
    with pytest.raises(WSignError, match="processed: already holds something"):
        compose.write_dataset(out, composer, ids, SETTINGS, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": -1}, "--train=-1: give 0 or more"),
        ({"seed": -1}, "--seed=-1: give 0 or more"),
        ({"pace": (0.0, 1.0)}, "--pace=0.0:1.0: give two numbers over 0 and up to 100, the l"),
        ({"pace": (1e5, 1e5)}, "--pace=100000.0:100000.0: give two numbers over 0"),
        ({"seconds": (2.0, 1.0)}, "--seconds=2.0:1.0"),
        ({"transition": (0.1, float("inf"))}, "--transition=0.1:inf"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(WSignError, match=message):
        ComposeSettings(**change)
