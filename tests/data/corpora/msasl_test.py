import json

import pytest

from tests.helpers import corpora
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import msasl, prepare


def test_annotations_are_read_as_published(tmp_path):
    corpus = prepare.read_corpus("msasl", corpora.msasl(tmp_path))
    assert [(r.split, r.id, r.glosses) for r in corpus.records] == [
        ("train", "train_00000_aB-3_x", ("hello",)),
        ("train", "train_00001_aB-3_x", ("thank-you",)),
        ("val", "val_00000_cD4", ("thank-you",)),
        ("test", "test_00000_eF5", ("nice",)),
    ]
    second = corpus.records[1]
    assert (second.start_s, second.end_s, second.box) == (4.0, 5.5, (0.1, 0.2, 0.9, 0.8))
    assert second.signer == "16" and second.source == tmp_path / "videos" / "aB-3_x.mp4"
    assert corpus.glosses == ("hello", "thank-you", "nice") and not corpus.problems


def test_the_first_classes_make_a_smaller_corpus(tmp_path):
    corpus = msasl.read(corpora.msasl(tmp_path), classes=2)
    assert len(corpus.records) == 3 and corpus.glosses == ("hello", "thank-you")
    with pytest.raises(WSignError, match=r"--classes=0: give 1 to 1000"):
        msasl.read(tmp_path, classes=0)


def test_videos_may_lie_elsewhere(tmp_path):
    corpora.msasl(tmp_path / "json")
    (tmp_path / "json" / "videos").rename(tmp_path / "held")
    assert len(msasl.read(tmp_path / "json", videos=tmp_path / "held").records) == 4
    problems = msasl.read(tmp_path / "json").problems
    assert len(problems) == 4
    assert problems[0].endswith(f"item 0: {tmp_path}/json/aB-3_x.mp4 is missing")


BROKEN = {
    "label": ({"label": "x"}, "label is 'x'"),
    "url": ({"url": "https://example.org"}, "no video id in url"),
    "box": ({"box": [0.1, 0.2]}, "not enough values"),
    "corner": ({"box": [0.1, 0.2, float("nan"), 1]}, "box is"),
    "huge": ({"box": [0.1, 0.2, 0.9, 10**4000]}, "too large to convert to float"),
    "time": ({"end_time": 0.5}, "start_time 1.0 and end_time 0.5"),
    "endless": ({"end_time": float("inf")}, "end_time inf"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_item_is_named_and_spoils_no_other(tmp_path, case):
    change, message = BROKEN[case]
    root = corpora.msasl(tmp_path)
    items = [corpora.msasl_item(0, "cD4") | change, corpora.msasl_item(0, "cD4")]
    (root / "MSASL_val.json").write_text(json.dumps(items))
    corpus = msasl.read(root)
    assert len(corpus.records) == 4
    (problem,) = corpus.problems
    assert "MSASL_val.json: item 0: broken (" in problem and message in problem


def test_a_broken_file_is_named(tmp_path):
    root = corpora.msasl(tmp_path)
    (root / "MSASL_val.json").write_text("[{")
    with pytest.raises(WSignError, match=r"MSASL_val\.json: not valid JSON .*; write it again"):
        msasl.read(root)
    for content in ("[" * 100_000, "[" + "9" * 5000 + "]"):
        (root / "MSASL_val.json").write_text(content)
        with pytest.raises(WSignError, match=r"MSASL_val\.json: n(ested too deep|ot valid JSON)"):
            msasl.read(root)
    (root / "MSASL_val.json").write_text("{}")
    with pytest.raises(WSignError, match=r"MSASL_val\.json: must be a list"):
        msasl.read(root)
    (root / "MSASL_classes.json").unlink()
    with pytest.raises(WSignError, match=r"MSASL_classes\.json: no such file"):
        msasl.read(root)
