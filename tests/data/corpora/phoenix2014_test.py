import re

import pytest

from configs import phoenix2014 as config
from tests.helpers import corpora
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import phoenix2014, prepare
from wsign_jax.data.corpora.phoenix2014 import normalize_glosses

CLEAN_UPS = {
    # The published examples.
    "DABEI __PU__ cl-KOMMEN __OFF__": "DABEI KOMMEN __OFF__",
    "JETZT KOMMEN-PLUSPLUS TIEF T V U __PU__": "JETZT KOMMEN TIEF T+V+U",
    "TAG E R BERG IX NEUN GRAD FLUSS SECHSZEHN GRAD": (
        "TAG E+R BERG IX NEUN GRAD FLUSS SECHSZEHN GRAD"
    ),
    "WESTRAUM REGEN REGEN REGEN": "WEST REGEN",
    "FLUSS __LEFTHAND__ K MUENCHEN ZU": "FLUSS K MUENCHEN ZU",
    "OST loc-REGION IX SONNE HABEN2 __OFF__": "OST REGION IX SONNE HABEN __OFF__",
    "__ON__ WIND ZEIGEN __OFF__": "__ON__ WIND ZEIGEN-BILDSCHIRM __OFF__",
    "__ON__ SONNTAG AUCH WIE-IMMER WIE-IMMER __OFF__": (
        "__ON__ SONNTAG AUCH WIE-IMMER WIE-IMMER __OFF__"
    ),
    "LOCH __LEFTHAND__ LOCH": "LOCH LOCH",
    # One of every other rule.
    "": "",
    "__PU__ __EMOTION__": "",
    "qu-WAS poss-MEIN lh-HAND S0NNE": "WAS MEIN HAND SONNE",
    "WIND ZEIGEN": "WIND ZEIGEN-BILDSCHIRM",
    "WIE AUSSEHEN WIE WIE AUSSEHEN": "WIE-AUSSEHEN WIE WIE-AUSSEHEN",
    "A B C D E F": "A+B+C+D+E+F",
    "SCH A NN A T": "SCH+A+NN+A+T",
    "NN SCH BERG": "NN SCH BERG",
    "A __PU__ B": "A B",
    "NORDRAUM RAUM": "NORD RAUM",
    "MORGEN MORGEN-PLUSPLUS": "MORGEN",
    " ".join(["REGEN"] * 16): "REGEN",
    " ".join(["REGEN"] * 17): "REGEN REGEN",
    "negalp-KEIN negalp-KEIN": "negalp-KEIN negalp-KEIN",
}


@pytest.mark.parametrize("text", CLEAN_UPS)
def test_glosses_are_cleaned_up_as_the_published_scorer_does(text):
    assert " ".join(normalize_glosses(text)) == CLEAN_UPS[text]


def test_the_release_is_read_as_published(tmp_path):
    inner = corpora.phoenix2014(tmp_path)
    for root in (tmp_path, inner):
        corpus = prepare.read_corpus("phoenix2014", root)
        assert [(r.split, r.signer, r.glosses) for r in corpus.records] == [
            ("train", "Signer04", ("loc-WEST", "WARM", "loc-WEST", "BLEIBEN")),
            ("val", "Signer08", ("WARM", "REGEN")),
            ("test", "Signer01", ("REGEN", "REGEN", "__OFF__")),
        ]
        record = corpus.records[0]
        assert record.id == "01April_2010_Thursday_heute_default-2" and record.fps == 25.0
        assert record.source.is_dir() and record.source.name == "1"
        assert not corpus.problems


def test_the_broken_sentence_is_left_out_and_said_so_and_its_glosses_still_count(tmp_path):
    corpora.phoenix2014(tmp_path)
    corpus = prepare.read_corpus("phoenix2014", tmp_path)
    assert corpus.notes == (
        f"left out {phoenix2014.BROKEN}, known to be broken; --keep_broken keeps it",
    )
    names = ["BLEIBEN", "BROKEN-ONE", "REGEN", "WARM", "__OFF__", "__ON__", "loc-WEST"]
    expected = {"<blank>": 0} | {name: id for id, name in enumerate(names, start=1)}
    assert prepare.label_map(corpus, None) == expected
    kept = prepare.read_corpus("phoenix2014", tmp_path, keep_broken=True)
    assert phoenix2014.BROKEN in {record.id for record in kept.records} and not kept.notes


def test_rows_that_cannot_be_used_are_named_with_file_and_line(tmp_path):
    root = corpora.phoenix2014(tmp_path)
    table = root / "annotations" / "manual" / "dev.corpus.csv"
    with table.open("a") as file:
        file.write("too|few\n")
        file.write("gone-1|gone-1/1/*.png|Signer01|REGEN\n")
        file.write("mute-1|mute-1/1/*.png|Signer01|\n")
        file.write("empty-1|empty-1/1/*.png|Signer01|REGEN\n")
    (root / "features" / "fullFrame-210x260px" / "dev" / "empty-1" / "1").mkdir(parents=True)
    problems = prepare.read_corpus("phoenix2014", tmp_path).problems
    assert [re.sub(r"^.*/manual/", "", problem) for problem in problems] == [
        "dev.corpus.csv:3: 2 fields, but the header has 4",
        "dev.corpus.csv:5: no glosses",
        f"dev.corpus.csv:4: {root}/features/fullFrame-210x260px/dev/gone-1/1 is missing",
        f"dev.corpus.csv:6: {root}/features/fullFrame-210x260px/dev/empty-1/1 has no pictures in it",
    ]


def test_a_missing_or_other_file_is_named(tmp_path):
    with pytest.raises(WSignError, match=r"nowhere: no such folder; name the corpus's with --root"):
        phoenix2014.read(tmp_path / "nowhere")
    with pytest.raises(WSignError, match=r"no annotations/manual/train\.corpus\.csv in it"):
        phoenix2014.read(tmp_path)
    root = corpora.phoenix2014(tmp_path)
    (root / "annotations" / "manual" / "dev.corpus.csv").write_text("id|folder|signer\n")
    with pytest.raises(WSignError, match=r"dev\.corpus\.csv:1: the header is .* must have annot"):
        phoenix2014.read(tmp_path)
    (root / "annotations" / "manual" / "test.corpus.csv").unlink()
    (root / "annotations" / "manual" / "dev.corpus.csv").unlink()
    with pytest.raises(WSignError, match=r"dev\.corpus\.csv: no such file"):
        phoenix2014.read(tmp_path)


def test_1295_glosses_and_the_blank_make_the_vocabulary_that_the_config_asks_for(tmp_path):
    root = corpora.phoenix2014(tmp_path)
    manual = root / "annotations" / "manual"
    names = [f"GLOSS-{number}" for number in range(1295)]
    for split, part in (("train", names[:1231]), ("dev", names[1100:1270]), ("test", names[1270:])):
        table = (manual / f"{split}.corpus.csv").read_text().splitlines()
        row = table[-1].rsplit("|", 1)[0]
        (manual / f"{split}.corpus.csv").write_text(f"{table[0]}\n{row}|{' '.join(part)}\n")
    ids = prepare.label_map(prepare.read_corpus("phoenix2014", tmp_path), None)
    assert len(ids) == 1296 == config.get_config().model.vocab_size
    assert sorted(ids, key=ids.__getitem__) == ["<blank>", *sorted(names)]
