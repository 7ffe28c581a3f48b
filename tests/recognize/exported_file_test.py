"""An exported file: as the run, without the network's code; refused in one line where not whole."""

import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

from tests.conftest import random_features
from tests.helpers import foreign
from tests.helpers.changed import resigned, rewritten
from tests.helpers.processes import ROOT
from tools.benchmark import phoenix
from wsign_jax import Recognizer
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.decode import unknown
from wsign_jax.decode.calibration import NOT_CALIBRATED
from wsign_jax.decode.unknown import KnownSigns
from wsign_jax.recognize import export, exported_file, run_backend
from wsign_jax.report import card

# Batch sizes and longest lengths, of which one is no multiple of a patch.
SHAPES = ((1, 2), (3, 57), (5, 130))

WITHOUT_THE_MODEL = """
import sys
import numpy as np
from wsign_jax import Recognizer

batches, recognizer = np.load(sys.argv[2]), Recognizer.load(sys.argv[1])
found = {}
for n in range(len(batches) // 2):
    features, lengths = batches[f"features{n}"], batches[f"lengths{n}"]
    for row, logits in enumerate(recognizer.logits(features, lengths, chunk=4 * (n % 2))):
        found[f"logits{n}_{row}"] = logits
    for row, ids in enumerate(recognizer.decode(features, lengths)):
        found[f"ids{n}_{row}"] = ids
[transcript] = recognizer.transcribe(features[0, : lengths[0]])
found["text"], found["times"] = transcript.text, [gloss.start for gloss in transcript.glosses]
stream, glosses = recognizer.stream(), []
for begin in range(0, len(batches["signing"]), 37):
    glosses += stream.push(batches["signing"][begin : begin + 37]).stable
glosses += stream.finish().stable
found["streamed"] = [gloss.label for gloss in glosses]
found["numbers"] = [(gloss.start, gloss.end, gloss.confidence) for gloss in glosses]
np.savez(sys.argv[3], **found)
loaded = {name for name in sys.modules if name.startswith("wsign_jax.model.")}
assert loaded <= {"wsign_jax.model.positions", "wsign_jax.model.chunk"}
"""


@pytest.fixture(scope="module")
def file(talkative_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.wsign"
    export.export_run(run_backend.RunBackend(talkative_run).trained, path)
    return path


def test_the_same_answers_in_a_process_without_the_model(file, talkative_run, tmp_path):
    rng = np.random.default_rng(0)
    batches = {}
    for n, (rows, longest) in enumerate(SHAPES):
        lengths = np.append(longest, rng.integers(2, longest + 1, size=rows - 1))
        features = np.zeros((rows, longest, 42, 7), np.float32)
        for row, length in enumerate(lengths):
            features[row, :length] = random_features(rng, length)
        batches |= {f"features{n}": features, f"lengths{n}": lengths}
    # Built-in signing, and a pause in which the stream falls asleep.
    signing = [phoenix.signing(400), np.zeros((1500, 42, 7), np.float32), phoenix.signing(301)]
    signing = np.concatenate(signing)
    np.savez(tmp_path / "batches.npz", **batches, signing=signing)
    command = [sys.executable, "-c", WITHOUT_THE_MODEL, file, "batches.npz", "found.npz"]
    command[3:] = [str(file), *(str(tmp_path / name) for name in command[4:])]
    subprocess.run(command, check=True, cwd=ROOT)

    found, recognizer = np.load(tmp_path / "found.npz"), Recognizer.load(talkative_run)
    for n, (rows, _) in enumerate(SHAPES):
        features, lengths = batches[f"features{n}"], batches[f"lengths{n}"]
        logits = recognizer.logits(features, lengths, chunk=4 * (n % 2))
        ids = recognizer.decode(features, lengths)
        for row in range(rows):
            theirs, ours = found[f"logits{n}_{row}"], logits[row]
            assert theirs.shape == ours.shape
            assert np.abs(theirs - ours).max() <= 1e-5 * np.abs(ours).max()
            assert found[f"ids{n}_{row}"].tolist() == ids[row]
    assert any(ids)
    [transcript] = recognizer.transcribe(features[0, : lengths[0]])
    assert found["text"] == transcript.text
    np.testing.assert_allclose(found["times"], [gloss.start for gloss in transcript.glosses])
    stream = recognizer.stream()
    glosses = [*stream.push(signing).stable, *stream.finish().stable]
    assert found["streamed"].tolist() == [gloss.label for gloss in glosses] != []
    numbers = [(gloss.start, gloss.end, gloss.confidence) for gloss in glosses]
    np.testing.assert_allclose(found["numbers"], numbers, atol=1e-5)


def test_it_has_the_platforms_and_what_surrounds_the_program(file, talkative_run):
    for name in ("program.bin", "stream.bin"):
        program = jax.export.deserialize(bytearray(zipfile.ZipFile(file).read(name)))
        assert set(program.platforms) == {"cpu", "cuda", "tpu"}
    read, run = exported_file.read_exported(file), run_backend.RunBackend(talkative_run)
    assert read.vocabulary == run.vocabulary and read.settings == run.settings
    assert json.loads(zipfile.ZipFile(file).read("label_map.json"))["<blank>"] == 0
    assert read.about["versions"]["jax"] == jax.__version__
    assert not any(name.startswith("decoder/") for name in read.parameters)


def test_other_decoders_windows_and_sentence_ends_need_the_run(file):
    recognizer = Recognizer.load(file)
    features = random_features(np.random.default_rng(0), 20)
    with pytest.raises(WSignError, match="decodes with 'greedy' alone; load the run itself"):
        recognizer.transcribe(features, decoder="joint")
    own = recognizer.stream()
    for options, message in (
        ({"decoder": "prefix_beam"}, "decodes with 'greedy' alone; load the run itself"),
        (
            {"chunk": own.chunk + 1},
            rf"wsign: streams with chunk={own.chunk} and left_context=\d+ alone",
        ),
        ({"left_context": "x"}, "left_context is 'x'"),
        (
            {"endpoint_seconds": 1.0},
            "closes no sentences; leave endpoint_seconds out, or load the run",
        ),
    ):
        with pytest.raises(WSignError, match=message):
            recognizer.stream(**options)
    same = recognizer.stream(own.chunk, own.left_context)
    assert (same.chunk, same.left_context, same.delay) == (own.chunk, own.left_context, own.delay)


def test_a_stream_compiles_only_when_it_begins(file, caplog):
    stream = Recognizer.load(file).stream()
    with jax.log_compiles():
        stream.push(random_features(np.random.default_rng(0), 4 * stream.chunk * 3 + 1))
    assert stream.spent.chunks == 3
    assert "Compiling" not in caplog.text


def test_a_file_of_before_transcribes_and_says_how_to_stream(small, tmp_path):
    def before(content):
        about = json.loads(content) | {"format": 2}
        del about["stream"], about["sha256"]["stream.bin"]
        return json.dumps(about)

    changes = {"about.json": before, "stream.bin": lambda _: None}
    recognizer = Recognizer.load(rewritten(small, tmp_path / "old.wsign", changes))
    [nothing] = recognizer.transcribe(random_features(np.random.default_rng(0), 20))
    assert not nothing.glosses
    with pytest.raises(WSignError, match=r"old\.wsign: an older version .*; export the run again"):
        recognizer.stream()


def about_with(**fields):
    return lambda content: json.dumps(json.loads(content) | fields)


def test_a_cut_off_file_and_a_foreign_program_are_refused_in_one_line(file, tmp_path):
    (tmp_path / "cut").write_bytes(file.read_bytes()[:50_000])
    with pytest.raises(WSignError, match=r"not a file that tools/export\.py wrote, or damaged"):
        exported_file.read_exported(tmp_path / "cut")
    good, memory = exported_file.read_exported(file), io.BytesIO()
    np.save(memory, np.zeros(3))
    exported_file.write_exported(
        tmp_path / "foreign", good.settings, good.vocabulary, NOT_CALIBRATED, {},
        (memory.getvalue(), b""), good.stream_sizes, {"versions": {"jax": "99.0"}},
    )  # fmt: skip
    with pytest.raises(
        WSignError, match=r"its program, which jax 99.0 wrote, .* \(jax .* cannot read it"
    ):
        exported_file.read_exported(tmp_path / "foreign")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file whose program is no network, which reads in no time."""
    path = tmp_path_factory.mktemp("small") / "small.wsign"
    foreign.write(path, bytes(foreign.exported_of(foreign.silent).serialize()))
    return path


def with_settings(**fields):
    return lambda content: json.dumps(
        json.loads(content) | {"settings": json.loads(content)["settings"] | fields}
    )


def with_sizes(**fields):
    return lambda content: json.dumps(
        json.loads(content) | {"stream": json.loads(content)["stream"] | fields}
    )


def saved_as(array):
    memory = io.BytesIO()
    np.save(memory, array)
    return lambda _: memory.getvalue()


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        ("label_map.json", lambda x: x.replace(b"A", b"C"), "was changed after the export; export it"),
        ("about.json", about_with(format=6), r"newer version .*format 6; this one reads up to 5\)"),
        ("about.json", about_with(format=1), r"older version .*format 1\), .*; export the run again"),
        ("about.json", about_with(settings={"beam": 3}), r"not a file that tools/export\.py wrote"),
        ("about.json", lambda _: None, r"not a file that tools/export\.py wrote"),
        ("program.bin", lambda _: None, r"not a file that tools/export\.py wrote"),
    ],
)  # fmt: skip
def test_a_changed_file_is_refused_in_one_line(small, tmp_path, member, change, message):
    with pytest.raises(WSignError, match=message) as error:
        exported_file.read_exported(rewritten(small, tmp_path / "changed", {member: change}))
    assert "\n" not in str(error.value)


ARRAY = "parameters/a/b.npy"


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        ("about.json", lambda _: b"[" * 100_000, "about.json: nested too deep"),
        ("about.json", about_with(settings=[]), r"'settings' is \[\]; it must be an object"),
        ("about.json", about_with(temperature=0), "'temperature' is 0; it must be a number, 0.1"),
        ("about.json", about_with(temperature=float("nan")), "'temperature' is nan"),
        ("about.json", about_with(sign_end="1"), "'sign_end' is '1'; it must be a number, -60 to 60"),
        ("about.json", about_with(format="1"), "'format' is '1'"),
        ("about.json", about_with(versions=["jax"]), "'versions' is .*; it must be an object"),
        ("about.json", about_with(versions={"jax": "1\n2"}), "jax '1.n2' has a line break"),
        ("about.json", about_with(sha256={}), "is not both in it and in sha256"),
        ("about.json", with_settings(patch_size=0), "'patch_size' is 0; .* whole number, 1 to 1000"),
        ("about.json", with_settings(patch_size="4"), "'patch_size' is '4'"),
        ("about.json", with_settings(patch_size=8), r"takes float32\[b, 4\*n, 42, 3\] where .*8\*n"),
        ("about.json", with_settings(look_ahead=10**9), "'look_ahead' is 1000000000"),
        ("about.json", with_settings(width=16), r"takes float32\[n, 8\] where .* is float32\[n, 16"),
        ("about.json", with_settings(head_width=0), "'head_width' is 0"),
        ("about.json", with_settings(aspect=float("inf")), "'aspect' is inf"),
        ("about.json", with_settings(positions="nope"), "'positions' is 'nope'; it must be one of"),
        ("about.json", with_settings(chunk=-5), "'chunk' is -5"),
        ("about.json", with_settings(tea=1), "'tea' is not one of its fields"),
        ("about.json", about_with(format=2), "format 2 in about.json does not go with 'stream.bin'"),
        ("about.json", about_with(stream=3), "'stream' is 3; it must be an object"),
        ("about.json", with_sizes(chunk=0), "'chunk' is 0; it must be a whole number, 1 to 6000"),
        ("about.json", with_sizes(tea=1), "stream in about.json: 'tea' is not one of its fields"),
        ("about.json", with_sizes(taps=3), r"takes float32\[1, 1, 8\] where .* is float32\[1, 2, 8\]"),
        ("about.json", with_sizes(layers=1000, left_context=6000, taps=10**3), "takes float32"),
        ("about.json", about_with(format=4), "format 4 in about.json does not go with 'enrolled.npz'"),
        ("about.json", about_with(format=5), "format 5 in about.json does not go with 'known_"),
        ("stream.bin", lambda _: None, "format 3 in about.json does not go with 'stream.bin'"),
        ("stream.bin", lambda x: x[:500], "jax .* cannot read it"),
        ("label_map.json", lambda _: b'{"<blank>": 0, "A": 1}', "float32.b, n, 3. where .0. is .*2"),
        ("label_map.json", lambda _: b'{"A": 0}', 'id 0 belongs to "<blank>"'),
        ("program.bin", lambda x: x[:500], "jax .* cannot read it"),
        (ARRAY, lambda _: b"garbage", "magic string"),
        (ARRAY, lambda x: x[:-1], "'parameters/a/b.npy' is float32.3. in 139 bytes"),
        (ARRAY, saved_as(np.array([1, "x", None], object)), "is object.3."),
        (ARRAY, saved_as(np.array(["x"])), "is <U1.1."),
        (ARRAY, saved_as(np.zeros(3)), "is float64.3."),
        (ARRAY, saved_as(np.float32([1, np.nan, 2])), "has NaN or infinity"),
        (ARRAY, saved_as(np.zeros(4, np.float32)), r"takes float32\[3\] where .* is float32\[4\]"),
        (ARRAY, lambda _: None, "'parameters/a/b.npy' is not both in it and in sha256"),
    ],
)  # fmt: skip
def test_a_file_that_was_made_to_mislead_is_refused_in_one_line(
    small, tmp_path, member, change, message
):
    with pytest.raises(WSignError, match=message) as error:
        exported_file.read_exported(resigned(small, tmp_path / "made", {member: change}))
    assert str(error.value).startswith(f"{tmp_path / 'made'}: ") and "\n" not in str(error.value)
    assert str(error.value).endswith(("export it again", "export it again with these"))


def test_it_tells_unknown_signs_if_the_run_did(small, tmp_path):
    assert exported_file.read_exported(small).unknown is None
    size = len(foreign.VOCABULARY)
    known = KnownSigns(*[unknown.fit_familiarity(np.eye(size), np.arange(size), size)] * 2)
    program = bytes(foreign.exported_of(foreign.silent).serialize())
    foreign.write(tmp_path / "new", program, known=known)
    rule = exported_file.read_exported(tmp_path / "new").unknown
    np.testing.assert_array_equal(rule.familiarity.within, known.own.within)
    assert rule.below == -7.5
    nothing = about_with(unknown_below=None)
    made = resigned(tmp_path / "new", tmp_path / "made", {"about.json": nothing})
    with pytest.raises(WSignError, match="'unknown_below' is None"):
        exported_file.read_exported(made)


def test_an_archive_that_is_larger_inside_than_outside_is_refused(small, tmp_path):
    content = {
        name: zipfile.ZipFile(small).read(name) for name in zipfile.ZipFile(small).namelist()
    }
    bombs = {
        "compressed": ("compressed or encrypted", content, zipfile.ZIP_DEFLATED),
        "stranger": ("'../a', which is not part", content | {"../a": b""}, zipfile.ZIP_STORED),
    }
    for name, (message, members, kind) in bombs.items():
        with zipfile.ZipFile(tmp_path / name, "w", kind) as archive:
            for member, value in members.items():
                archive.writestr(member, value)
        with pytest.raises(WSignError, match=message):
            exported_file.read_exported(tmp_path / name)
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "twice", "w") as archive:
        for member in (*content, "label_map.json"):
            archive.writestr(member, content[member])
    with pytest.raises(WSignError, match="has a member twice"):
        exported_file.read_exported(tmp_path / "twice")
    raw = bytearray(small.read_bytes())
    for field in (20, 24):  # of the directory's first entry: its size, compressed and not
        raw[(at := raw.index(b"PK\x01\x02") + field) : at + 4] = (2**31).to_bytes(4, "little")
    (tmp_path / "large").write_bytes(raw)
    with pytest.raises(WSignError, match="its members are larger than the file"):
        exported_file.read_exported(tmp_path / "large")


def test_what_a_program_finds_stays_within_the_vocabulary_and_the_recording(tmp_path):
    def beyond(*arrays):
        logits, patches, labels, lengths, scores, starts, *others = foreign.silent(*arrays)
        counts = (patches + 9, labels + 7, lengths + 99, scores, starts - 3, starts + 99)
        return logits, *counts, *others[1:]

    foreign.write(tmp_path / "beyond", bytes(foreign.exported_of(beyond).serialize()))
    features = random_features(np.random.default_rng(0), 30)
    [transcript] = Recognizer.load(tmp_path / "beyond").transcribe(features)
    assert {gloss.label for gloss in transcript.glosses} == {"B"}
    assert all(0 <= gloss.start <= gloss.end <= 32 / 60 for gloss in transcript.glosses)


MUTATE = """
import pathlib, random, sys, zipfile
from tests.helpers.changed import MUTATIONS, resigned
import numpy as np
from wsign_jax import Recognizer
from wsign_jax.common.errors import WSignError

file, place, rng = *map(pathlib.Path, sys.argv[1:3]), random.Random(int(sys.argv[3]))
names, raw, read = zipfile.ZipFile(file).namelist(), file.read_bytes(), 0
for number in range(200):
    mutate = rng.choice(MUTATIONS)
    if number % 4:  # a member, under a digest of its own; else the archive
        resigned(file, place, {rng.choice(names): lambda content: mutate(rng, content)})
    else:
        place.write_bytes(mutate(rng, raw))
    try:
        recognizer = Recognizer.load(place)
        recognizer.transcribe(np.zeros((30, 42, 7), np.float32))
        recognizer.stream().push(np.zeros((30, 42, 7), np.float32))
        read += 1
    except WSignError as error:
        assert "\\n" not in str(error)
print(read)
"""


def test_whatever_is_in_a_file_is_read_or_refused(small, tmp_path):
    """200 changes, most of them signed anew, in a process of their own: C++ reads the programs."""
    command = [sys.executable, "-c", MUTATE, str(small), str(tmp_path / "mutated"), "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("note: sinusoidal") for line in done.stderr.splitlines())
    assert 0 < int(done.stdout) < 100


def test_nothing_is_overwritten_unasked(tmp_path):
    export.check_free(tmp_path / "new.wsign")
    (tmp_path / "old.wsign.md").touch()
    with pytest.raises(WSignError, match=r"old.wsign.md: is there already"):
        export.check_free(tmp_path / "old.wsign")
    export.check_free(tmp_path / "old.wsign", replace=True)
    (tmp_path / "card.md").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "is a folder; name a file"),
        (pathlib.Path("/"), "is a folder; name a file"),
        (tmp_path / "card", r"card\.md"),
        (tmp_path / "pipe", "is a device or a pipe"),
    ):
        with pytest.raises((OSError, WSignError), match=message):
            export.check_free(path, replace=True)


def test_the_card_says_what_is_known_of_the_run(trained_run, talkative_run):
    root, _ = trained_run
    run = run_backend.RunBackend(talkative_run).trained
    layout.write_groups(root, "test", "signer", {"test_00": "ANN", "test_01": "BEN"})
    name = run.checkpoints[0].name
    settings = {
        "checkpoint": f"elsewhere/{name}",
        "decoder": "greedy",
        "chunk": 0,
        "left_context": 0,
    }
    report = {"settings": settings, "wer": 0.5, "wer_interval": [0.25, 0.75], "sentences": 6}
    files.write_json(talkative_run / "report_test.json", report)
    files.write_json(talkative_run / "report_val.json", {"settings": {"checkpoint": "x/77"}})
    try:
        fields = export.card_fields(run, "model.wsign", "MIT")
    finally:
        (root / "test" / "signers.csv").unlink()
        for split in ("test", "val"):
            (talkative_run / f"report_{split}.json").unlink()
    assert fields.sentences == {"train": 8, "val": 5, "test": 6}
    assert fields.signers == {"test": ["ANN", "BEN"]}
    assert (
        fields.reports == {"test": card.SplitResult(0.5, (0.25, 0.75), 6, "greedy", 0, 0)}
        and fields.license == "MIT"
    )
    assert list(fields.glosses) == ["G1", "G2", "G3", "G4", "G5"]
    assert fields.stages == ["stage2"] and fields.versions["jax"] == jax.__version__
