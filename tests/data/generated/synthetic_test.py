"""The built-in signing: repeatable, sound as keypoints, true to its labels, worth learning."""

import dataclasses
import functools
import itertools
import json
import pathlib

import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, validate
from wsign_jax.data.generated import signing, synthetic
from wsign_jax.data.generated.synthetic import SigningSettings, make_noise, make_sentence
from wsign_jax.keypoints import joints

SETTINGS = SigningSettings()
PERFECT = SigningSettings(noise=0.0)


@functools.cache
def sentences(
    settings: SigningSettings, split: str, count: int
) -> list[synthetic.SyntheticSentence]:
    return [make_sentence(settings, split, index) for index in range(count)]


def same(a: synthetic.SyntheticSentence, b: synthetic.SyntheticSentence) -> bool:
    pairs = zip(dataclasses.astuple(a), dataclasses.astuple(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def signer_of(sentence: synthetic.SyntheticSentence) -> str:
    return sentence.id.rsplit("_", 1)[1]


# --------------------------------------------------------------------------------------- repeatable


@pytest.mark.parametrize("make", [make_sentence, make_noise])
def test_a_sentence_depends_on_seed_split_and_index_alone(make):
    forward = [make(SETTINGS, "val", index) for index in range(4)]
    signing.draw_lexicon.cache_clear()
    signing.draw_signer.cache_clear()
    for index in (2, 0, 3, 1):
        assert same(make(SETTINGS, "val", index), forward[index])
    larger = dataclasses.replace(SETTINGS, train=9, val=9, test=9)
    assert same(make(larger, "val", 1), forward[1]), "counts must not matter"
    reseeded = make(dataclasses.replace(SETTINGS, seed=1), "val", 1)
    for other in (forward[0], make(SETTINGS, "test", 1), reseeded):
        assert not np.array_equal(other.features, forward[1].features)


def test_a_larger_vocabulary_begins_with_the_smaller():
    small, large = signing.draw_lexicon(0, 24), signing.draw_lexicon(0, 400)
    assert large[:24] == small
    assert signing.draw_lexicon(1, 24) != small


def test_the_largest_vocabulary_has_no_two_signs_alike():
    signs = signing.draw_lexicon(0, synthetic.MAX_GLOSSES)
    assert len(set(signs)) == synthetic.MAX_GLOSSES
    signer = signing.draw_signer(0, "train", 0)
    drawn = np.zeros((len(signs), 12, 2, 21, 3))
    for sign, track in zip(signs, drawn, strict=True):
        poses = signing._act(sign, signer, 12)
        track[:, : poses.shape[1]] = signing._hands(poses, signer)
    flat = drawn.reshape(len(signs), -1)
    squares = np.sum(flat**2, 1)
    squared = squares[:, None] + squares - 2 * flat @ flat.T
    np.fill_diagonal(squared, np.inf)
    # Not only other names: the most similar pair is apart by 0.1 palm in the mean over all joints.
    assert np.sqrt(squared.min() / (12 * 42)) > 0.1


def test_nobody_signs_in_two_splits():
    signers = {"train": SETTINGS.signers, **signing.UNSEEN_SIGNERS}
    bodies = {
        (split, number): signing.draw_signer(0, split, number)
        for split, count in signers.items()
        for number in range(count)
    }
    assert len({body.palm for body in bodies.values()}) == len(bodies) == 12 + 3 + 4
    for split, count in signers.items():
        seen = {signer_of(sentence) for sentence in sentences(SETTINGS, split, 60)}
        assert seen == {f"{split[:2]}{number:02d}" for number in range(count)}
        left = [body.left_handed for (where, _), body in bodies.items() if where == split]
        assert any(left) and not all(left), "every split has left- and right-handed signers"


# ------------------------------------------------------------------------------- sound as keypoints


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_features_keep_the_data_contract(noise):
    absent_frames = 0
    for sentence in sentences(SigningSettings(noise=noise), "train", 30):
        features = sentence.features
        assert features.dtype == np.float32
        assert features.shape[1:] == (joints.NUM_JOINTS, joints.NUM_FEATURES)
        assert np.isfinite(features).all()
        confidence = features[..., joints.CONFIDENCE]
        assert ((confidence >= 0) & (confidence <= 1)).all()
        seen = joints.seen_hands(features)
        for side, hand in enumerate(joints.HANDS):
            absent = features[~seen[:, side], hand]
            assert not absent.any(), "an absent hand is all zeros"
            assert (confidence[seen[:, side], hand] > 0).all()
            absent_frames += len(absent)
        labels = sentence.labels
        assert labels.dtype == np.int32 and 3 <= len(labels) <= 8
        assert labels.min() >= 1 and labels.max() <= SETTINGS.glosses
        assert validate.patches_of(len(features), 4) >= validate.patches_needed(labels)
    assert absent_frames > 0


def test_bones_are_rigid_and_hands_have_the_size_of_hands():
    chains = [[joints.WRIST, *finger] for finger in joints.FINGERS]
    bones = np.array([pair for chain in chains for pair in itertools.pairwise(chain)])
    lengths: dict[str, list[np.ndarray]] = {}
    for sentence in sentences(PERFECT, "train", 30):
        seen = joints.seen_hands(sentence.features)
        for side, hand in enumerate(joints.HANDS):
            where = sentence.features[seen[:, side], hand, joints.POSITION].astype(float)
            length = np.linalg.norm(where[:, bones[:, 0]] - where[:, bones[:, 1]], axis=-1)
            lengths.setdefault(signer_of(sentence), []).append(length)
    for signer, several in lengths.items():
        together = np.concatenate(several)  # (frames, 20), both hands
        assert np.ptp(together, axis=0).max() < 1e-5, signer
        middle_finger = together[0, 8:12].sum()
        assert 0.09 < middle_finger < 0.25, f"{signer}: wrist to tip in image widths"
    assert len({round(float(several[0][0, 8]), 4) for several in lengths.values()}) == len(lengths)


def test_an_open_left_hand_has_its_thumb_where_thumbs_are():
    signer = signing.draw_signer(0, "train", 0)
    pose = signing._pose(signer, (0, 0), "up, palm out", "5")
    hand = signing._hands(np.tile(pose, (1, 2, 1)), signer)[0, 0]
    thumb, index, middle, _, little = (hand[finger[-1]] for finger in joints.FINGERS)
    assert thumb[0] < index[0] < middle[0] < little[0], "seen from the front, palm to the viewer"
    assert middle[1] < hand[joints.MIDDLE_KNUCKLE, 1] < hand[joints.WRIST, 1], "fingers point up"
    fist = signing._pose(signer, (0, 0), "up, palm out", "S")
    fist = signing._hands(np.tile(fist, (1, 2, 1)), signer)[0, 0]
    assert (fist[[6, 10, 14, 18], 2] < -0.1).all(), "fingers fold to the palm's side, to the camera"


def test_noise_is_that_of_a_tracker():
    dropped = {}
    for noise in (0.0, 1.0):
        settings = SigningSettings(noise=noise)
        seen = [joints.seen_hands(s.features) for s in sentences(settings, "train", 60)]
        runs = [run for track in seen for run in absent_runs(track)]
        dropped[noise] = sum(1 for run in runs if run <= 10) / len(seen)
    assert dropped[0.0] < 0.5 and 1 < dropped[1.0] < 8, "short gaps a sentence"
    jitter = []
    for noisy, clean in zip(
        sentences(SETTINGS, "train", 20), sentences(PERFECT, "train", 20), strict=True
    ):
        both = joints.seen_hands(noisy.features)[:, 1] & joints.seen_hands(clean.features)[:, 1]
        hand = clean.features[both, joints.RIGHT, joints.POSITION]
        off = noisy.features[both, joints.RIGHT, joints.POSITION] - hand
        size = np.linalg.norm(hand[:, joints.MIDDLE_KNUCKLE] - hand[:, joints.WRIST], axis=-1)
        jitter.append(off.std(axis=(0, 1)) / size.mean())
    off = np.mean(jitter, 0)
    assert (off > 0.003).all() and (off < 0.03).all(), "palms that x, y and z are off"


def absent_runs(seen: np.ndarray) -> list[int]:
    """Lengths of the gaps within the tracks (T, 2) of two hands."""
    runs = []
    for hand in seen.T:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], hand.astype(int), [0]])))
        runs += (edges[2::2] - edges[1:-1:2]).tolist()
    return runs


# ------------------------------------------------------------------------------- true to the labels


def test_segments_are_in_order_and_inside_the_sentence():
    for sentence in sentences(SETTINGS, "train", 60):
        segments = sentence.segments
        assert segments.shape == (len(sentence.labels), 2) and segments.dtype == np.float64
        times = segments.ravel()
        assert times[0] > 0 and times[-1] < len(sentence.features) / joints.FPS
        assert (np.diff(times) > 0.1).all(), "signs and transitions take time"


def test_segments_are_where_the_signs_are():
    """Two performances of a gloss by one signer follow one path, and a shifted window does not."""
    shapes: dict[tuple[str, int], list[np.ndarray]] = {}
    for sentence in sentences(PERFECT, "train", 150):
        for label, segment in zip(sentence.labels.tolist(), sentence.segments, strict=True):
            gloss = signing.draw_lexicon(0, SETTINGS.glosses)[label - 1]
            if gloss.movement[0] not in ("line", "zigzag", "corner", "arc"):
                continue
            tracks = [dominant_wrist(sentence, segment + shift) for shift in (0.0, 0.3)]
            if tracks[0] is not None and tracks[1] is not None:
                shapes.setdefault((signer_of(sentence), label), []).append(np.stack(tracks))
    true, shifted = [], []
    for tracks in shapes.values():
        for first, second in itertools.pairwise(tracks):
            true.append(np.corrcoef(first[0], second[0])[0, 1])
            shifted.append(np.corrcoef(first[0], second[1])[0, 1])
    assert len(true) > 30
    assert np.median(true) > 0.97 and np.median(shifted) < 0.8


def dominant_wrist(sentence: synthetic.SyntheticSentence, segment: np.ndarray) -> np.ndarray | None:
    """(24,) x and y of the dominant wrist at 12 moments of a segment, centered; None if absent."""
    left_handed = int(signer_of(sentence)[2:]) % 4 == 2
    wrist = joints.WRISTS[0 if left_handed else 1]
    frames = np.linspace(*(segment * joints.FPS), 12).round().astype(int)
    if frames[-1] >= len(sentence.features) or not sentence.features[frames, wrist, 6].all():
        return None
    track = sentence.features[frames, wrist, :2].astype(float)
    return (track - track.mean(0)).ravel()


def test_glosses_are_repeated_now_and_then():
    repeats = sum(
        int((s.labels[1:] == s.labels[:-1]).sum()) for s in sentences(SETTINGS, "train", 150)
    )
    assert 20 < repeats < 200
    used = np.concatenate([sentence.labels for sentence in sentences(SETTINGS, "train", 150)])
    assert set(used) == set(range(1, SETTINGS.glosses + 1))


# ------------------------------------------------------------------------------------------ writing


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("glosses", 0),
        ("glosses", 1296),
        ("train", 0),
        ("val", -1),
        ("test", 2.5),
        ("seed", -1),
        ("noise", -0.1),
        ("noise", float("nan")),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(WSignError, match=rf"synthetic {field}=.*: give ") as caught:
        SigningSettings(**{field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("random", [False, True])
def test_a_written_data_set_passes_the_loaders_rules(tmp_path, random):
    root = tmp_path / "processed"
    root.mkdir()
    killed = tmp_path / ".processed.synthetic-partial" / "train"
    killed.mkdir(parents=True)
    (killed / "left over").touch()
    settings = SigningSettings(glosses=5, train=4, val=3, test=2)
    lines: list[str] = []
    synthetic.write_dataset(root, settings, random=random, progress=lines.append)
    assert lines == ["train: 4 written", "val: 3 written", "test: 2 written"]
    assert [path.name for path in tmp_path.iterdir()] == ["processed"]
    assert not (root / "train" / "left over").exists()
    assert json.loads((root / "label_map.json").read_text()) == synthetic.label_map(settings)
    about = json.loads((root / "dataset.json").read_text())
    assert about["settings"] == dataclasses.asdict(settings) and about["random"] is random
    assert "aspect" not in about, "positions are in image widths as they are"
    rules = validate.Rules(vocab_size=6, patch_size=4, max_seq_length=1500)
    make = make_noise if random else make_sentence
    for name in layout.SPLITS:
        split = layout.read_split(root, name, rules)
        assert len(split) == getattr(settings, name)
        for index, id in enumerate(split.ids):
            made = make(settings, name, index)
            assert id == made.id
            assert np.array_equal(split.features(index), made.features)
            assert np.array_equal(split.labels[index], made.labels)
            signers = layout.read_groups(split.root, split.name, "signer")
            assert signers.get(id) == (None if random else signer_of(made)), "nobody signs noise"
            segments = layout.read_segments(split, index)
            if random:
                assert segments is None, "noise has no true segments"
            else:
                assert np.abs(segments - made.segments).max() < 1e-3


def test_an_existing_data_set_is_left_alone(tmp_path: pathlib.Path):
    mine = tmp_path / "processed" / "train" / "features" / "mine.npy"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(WSignError, match=r"processed: already holds .*; remove it, or name"):
        synthetic.write_dataset(tmp_path / "processed", SigningSettings(train=1, val=1, test=1))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"
