"""Signs that a person adds by a few recordings: told offline, live and in a file; refused if bad."""

import dataclasses
import hashlib
import io
import shutil

import jax
import numpy as np
import pytest

from tests.helpers import foreign
from tests.helpers.signs import as_frames, mirrored, pause, rest, sign
from wsign_jax import Recognizer
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode import unknown
from wsign_jax.decode.transcript import UNKNOWN
from wsign_jax.decode.unknown import KnownSigns
from wsign_jax.evaluate.decoder_settings import DecoderSettings
from wsign_jax.recognize import enrollment
from wsign_jax.recognize.enrollment import ENROLLED, Enrolled


@pytest.fixture
def run(talkative_run, tmp_path):
    """A copy of a run that says many glosses, for this test alone."""
    return shutil.copytree(talkative_run, tmp_path / "run")


def recordings(seed, *frames):
    """A sign, recorded a few times with something before and after it."""
    return [
        np.concatenate([pause(20), rest(sign(seed)[:1], 40), x, rest(x, 40)])
        for x in (sign(seed, n, noise=0.1) for n in frames or (60, 66, 72))
    ]


def labels(glosses):
    return [gloss.label for gloss in glosses]


def test_enrolled_signs_are_told_and_forgotten_and_a_stream_is_the_twin(run):
    recognizer = Recognizer.load(run)
    sentence = np.concatenate(
        [sign(9, 90), sign(1, 55), sign(8, 80), mirrored(sign(2, 70)), pause(99)]
    )
    window = {"chunk": 4, "left_context": 8}
    [before] = recognizer.transcribe(sentence, **window)
    recognizer.enroll("MINE", recordings(1))
    recognizer.enroll("g1", recordings(2), replace=True)  # a way of signing what it knows
    assert recognizer.enrolled == {"MINE": 3, "G1": 3}

    again = Recognizer.load(run)
    [found] = again.transcribe(sentence, **window)
    places = {"MINE": (90, 145), "G1": (225, 295)}
    for name, place in places.items():
        near = [x for x in found.glosses if x.label == name and abs(x.start * 60 - place[0]) < 20]
        assert len(near) == 1 and abs(near[0].end * 60 - place[1]) < 20, name
    outside = [x for x in before.glosses if (x.start + x.end) * 30 < 80]
    assert outside and found.glosses[: len(outside)] == outside  # the others stay as they were
    starts = [gloss.start for gloss in found.glosses]
    assert starts == sorted(starts) and len(found.glosses) < len(before.glosses) + 2

    for size in (13, 500):
        stream, glosses = again.stream(**window), []
        for begin in range(0, len(sentence), size):
            glosses += stream.push(sentence[begin : begin + size]).stable
        glosses += stream.finish().stable
        assert labels(glosses) == labels(found.glosses)
        np.testing.assert_allclose(
            [(x.start, x.end, x.confidence) for x in glosses],
            [(x.start, x.end, x.confidence) for x in found.glosses],
            atol=1e-4,
        )
    with pytest.raises(WSignError, match="closes no sentences; leave endpoint_seconds out"):
        again.stream(endpoint_seconds=1.0)

    again.forget("MINE")
    again.forget("G1")
    assert not again.enrolled and not Recognizer.load(run).enrolled
    assert again.transcribe(sentence, **window) == [before]


BAD = {
    "no hand": ([pause(90)], "recording 0: no hand is seen in it"),
    "two signs": (
        [np.concatenate([sign(1), pause(80), sign(2)])],
        "recording 0: has 2 signs, at 0.0 s, 2.4 s; cut it",
    ),
    "half a second": ([sign(1), sign(1, 30)], "recording 1: the sign in it takes 0.5 s; give one"),
    "long": ([sign(1, 400)], "the sign in it takes 6.7 s; give one sign, of 0.6 to 6 s"),
    "odd": ([sign(1), sign(2), sign(1, 70)], "recording 1: does not resemble the other recordings"),
    "mixed": ([sign(1), sign(2)], "'NEW': its recordings do not resemble each other"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_recordings_are_one_line_and_change_nothing(kind):
    given, message = BAD[kind]
    names = [f"recording {number}" for number in range(len(given))]
    with pytest.raises(WSignError, match=message) as error:
        Enrolled(Vocabulary(("<blank>", "A"))).with_sign("NEW", [*map(as_frames, given)], names)
    assert "\n" not in str(error.value)


def test_names_that_are_taken_and_signs_that_look_alike(run):
    recognizer = Recognizer.load(run)
    recognizer.enroll("MINE", recordings(1))
    kept = (run / ENROLLED).read_bytes()
    for name, seed, message in (
        ("g1", 2, "'g1': the model knows 'G1'; to add .*replace=True"),
        ("<unknown>", 2, "'<unknown>' cannot be a sign's name; choose another"),
        ("a" * 201, 2, "a sign's name of over 200 letters"),
        ("MINE", 2, "'MINE' is enrolled already; to record it anew, give --replace"),
        ("a\nb", 2, "has a line break"),
        (7, 2, "name is 7; give text"),
        # Three recordings of each, the same ones: all six are nearer to the other sign.
        ("YOURS", 1, "'YOURS' and 'MINE' cannot be told apart: 6 of 6 recordings are nearer"),
    ):
        with pytest.raises(WSignError, match=message):
            recognizer.enroll(name, recordings(seed))
    for count in (0, 21):
        with pytest.raises(WSignError, match=f"{count} recordings; give 1 to 20"):
            recognizer.enroll("NEW", [None] * count)  # before they are read
    with pytest.raises(WSignError, match="'YOURS' is not enrolled; there is 'MINE'"):
        recognizer.forget("YOURS")
    assert (run / ENROLLED).read_bytes() == kept and recognizer.enrolled == {"MINE": 3}
    other = Recognizer.load(run)
    recognizer.enroll("MINE", recordings(2)[0], replace=True)
    other.enroll("THIRD", recordings(3))  # it was loaded before, and forgets nothing
    assert other.enrolled == Recognizer.load(run).enrolled == {"MINE": 1, "THIRD": 3}


def test_what_lies_still_before_and_after_is_cut_off():
    # 20 frames without a hand, 40 at rest, 60 of the sign, 40 at rest; 6 stay on either side.
    [recording] = recordings(1, 60)
    begin, end = enrollment.find_sign(as_frames(recording), "x")
    assert abs(begin - 54) < 3 and abs(end - 126) < 3
    held = rest(sign(1), 50)  # a hand shape alone
    assert enrollment.find_sign(as_frames(held), "x") == (0, 50)


def test_an_exported_file_has_what_was_enrolled_and_never_changes(tmp_path):
    signs = Enrolled(foreign.VOCABULARY).with_sign("MINE", [as_frames(sign(1))], "a")
    path = tmp_path / "model.wsign"
    program = bytes(foreign.exported_of(foreign.silent).serialize())
    foreign.write(path, program, enrolled=signs)
    recognizer = Recognizer.load(path)
    assert recognizer.enrolled == {"MINE": 1}
    [found] = recognizer.transcribe(np.concatenate([pause(30), sign(1, 70), pause(30)]))
    assert labels(found.glosses) == ["MINE"]
    for change in (lambda: recognizer.forget("MINE"), lambda: recognizer.enroll("A2", sign(2))):
        with pytest.raises(WSignError, match="an exported file never changes; enroll or forget in"):
            change()
    assert recognizer.enrolled == {"MINE": 1}
    with pytest.raises(WSignError, match="no threshold for unknown signs; run tools/tune_decoder"):
        recognizer.transcribe(sign(1), unknown="mark")


def test_unfamiliar_signs_are_marked_or_dropped_as_in_a_stream(run):
    recognizer, sentence = Recognizer.load(run), sign(9, 200)
    window = {"chunk": 4, "left_context": 8}
    [before] = recognizer.transcribe(sentence, **window)
    # As tuned; any vectors would do.
    rng, size = np.random.default_rng(0), len(recognizer.vocabulary)
    vectors, ids = rng.normal(-3, 1, (90, size)), np.arange(90) % size
    known = KnownSigns(*[unknown.fit_familiarity(vectors, ids, size)] * 2)
    [logits] = recognizer.logits(sentence[None], np.array([len(sentence)]), **window)
    log_probs = np.asarray(jax.nn.log_softmax(logits))
    patches = np.array([(gloss.start, gloss.end) for gloss in before.glosses]) * 60
    starts, ends = np.round(patches / recognizer.settings.patch_size).astype(int).T
    found = [recognizer.vocabulary.ids[gloss.label] for gloss in before.glosses]
    scores = known.own.scores(unknown.span_vectors(log_probs, starts, ends), np.array(found))
    below = float(np.mean(np.sort(scores)[2:4]))
    opened = recognizer._backend.trained
    row = DecoderSettings("greedy", "none", 10, wer=0.5, unknown_below=below, false_accepts=0.5)
    content = {"tuned_on": f"checkpoint {opened.checkpoint_steps}, full attention"}
    content["known_signs"] = hashlib.sha256(unknown.to_bytes(known)).hexdigest()
    (run / unknown.KNOWN_SIGNS).write_bytes(unknown.to_bytes(known))
    files.write_json(run / "decoder.json", content | {"decoders": [dataclasses.asdict(row)]})
    recognizer = Recognizer.load(run)
    expected = [
        x if score > below else dataclasses.replace(x, label=UNKNOWN)
        for x, score in zip(before.glosses, scores, strict=True)
    ]
    for mode, glosses in (
        ("off", before.glosses),
        ("mark", expected),
        ("drop", [x for x in expected if x.label != UNKNOWN]),
    ):
        [found] = recognizer.transcribe(sentence, **window, unknown=mode)
        assert found.glosses == glosses
        stream = recognizer.stream(**window, unknown=mode)
        streamed = [*stream.push(sentence).stable, *stream.finish().stable]
        assert labels(streamed) == labels(glosses)
    assert labels(expected).count(UNKNOWN) == 3 < len(expected)
    # An enrolled sign stands back where a gloss near it is familiar, and comes where all are unknown.
    recognizer.enroll("MINE", sentence[20:80])
    [found] = recognizer.transcribe(sentence, **window)
    assert found.glosses == before.glosses
    row = dataclasses.replace(row, unknown_below=1e9)
    files.write_json(run / "decoder.json", content | {"decoders": [dataclasses.asdict(row)]})
    recognizer = Recognizer.load(run)
    [found] = recognizer.transcribe(sentence, **window)
    stream = recognizer.stream(**window)
    streamed = [*stream.push(sentence).stable, *stream.finish().stable]
    assert labels(streamed) == labels(found.glosses) and labels(streamed).count("MINE") == 1
    with pytest.raises(WSignError, match="unknown is 'maybe'; give off, mark, drop"):
        recognizer.transcribe(sentence, unknown="maybe")


def changed(content, **arrays):
    with np.load(io.BytesIO(content)) as old:
        memory = io.BytesIO()
        np.savez(memory, **{**old, **arrays})
    return memory.getvalue()


def test_a_file_that_is_damaged_or_of_another_model_is_refused():
    known = Enrolled(Vocabulary(("<blank>", "A")))
    signs = known.with_sign("MINE", [*map(as_frames, recordings(1))], "abc")
    content = signs.to_bytes()
    read = known.from_bytes(content, "x")
    np.testing.assert_array_equal(read.prototypes().vectors, signs.prototypes().vectors)
    assert read.counts() == {"MINE": 3} and known.from_bytes(known.to_bytes(), "x").names == ()
    pickled = changed(content, names=np.array([{"a": 1}], object))
    vectors = signs.prototypes().vectors
    for wrong, message in (
        (content[:-9], "x: damaged"),
        (b"", "x: damaged"),
        (pickled, "x: damaged"),
        (changed(content, format=9), "x: a newer version of this project wrote it"),
        (changed(content, names=np.array(["A", "B"])), "its arrays do not fit"),
        (changed(content, vectors=vectors * np.nan), "its arrays do not fit"),
        (changed(content, frames=np.array([60, 60, 10**9])), "its arrays do not fit"),
    ):
        with pytest.raises(WSignError, match=message) as error:
            known.from_bytes(wrong, "x")
        assert "\n" not in str(error.value)
    with pytest.raises(WSignError, match="x: was enrolled for another model, of other glosses"):
        Enrolled(Vocabulary(("<blank>", "B"))).from_bytes(content, "x")


def test_the_odd_recording_is_far_below_the_others_mean():
    # Cosines to the first three: 0.3 each. Theirs are 0.6 for one sign and 0.8 for the other.
    def vectors(among, apart):
        cosines = np.full((4, 4), among) + (1 - among) * np.eye(4)
        cosines[3, :3] = cosines[:3, 3] = apart
        return np.linalg.cholesky(cosines)

    enrollment._check_alike("A", vectors(0.6, 0.3), "abcd")
    with pytest.raises(
        WSignError, match=r"d: does not .* \(mean cosine 0.30, and theirs is 0.80\)"
    ):
        enrollment._check_alike("A", vectors(0.8, 0.3), "abcd")
