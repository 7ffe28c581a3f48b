import pathlib

import pytest

from wsign_jax.decode.transcript import Gloss, Transcript, format_transcript

GLOSSES = [
    Gloss("HELLO", 0.0, 0.0667, 0.91),
    Gloss("A<B>&\uffff\n", 0.05, 0.06, 0.5),  # begins before HELLO ends
    Gloss("GRÜSSE", 3661.9996, 3663.5, 1.0),
]


@pytest.fixture
def read(tmp_path):
    """Reads what is written with somebody else's library."""
    elan = pytest.importorskip("pympi.Elan")

    def read(name, glosses):
        path = tmp_path / "a.eaf"
        text = format_transcript("eaf", str(name), Transcript(glosses, -1.5))
        path.write_text(text, encoding="utf-8")
        return elan.Eaf(str(path))

    return read


def test_glosses_are_read_back_with_times_and_confidences(read, tmp_path):
    eaf = read(tmp_path / "my video.mp4", GLOSSES)
    assert eaf.get_annotation_data_for_tier("glosses") == [
        (0, 50, "HELLO"), (50, 60, "A<B>&\ufffd\\u000a"), (3662000, 3663500, "GRÜSSE"),
    ]  # fmt: skip
    assert [entry[:3] for entry in eaf.get_ref_annotation_data_for_tier("confidence")] == [
        (0, 50, "0.910"), (50, 60, "0.500"), (3662000, 3663500, "1.000"),
    ]  # fmt: skip
    (media,) = eaf.get_linked_files()
    assert media["MEDIA_URL"] == (tmp_path / "my video.mp4").as_uri()
    assert media["MIME_TYPE"] == "video/mp4"


def test_a_recording_without_glosses_and_without_a_video(read):
    eaf = read(pathlib.Path("keypoints.npy"), [])
    assert {*eaf.get_tier_names()} == {"glosses", "confidence"} and not eaf.get_linked_files()
    assert eaf.get_annotation_data_for_tier("glosses") == []
