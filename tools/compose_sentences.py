"""python tools/compose_sentences.py --source=DIR --out=DIR [--train=800 --val=100 --test=100] [...]

Composes sentences from clips of single signs, and writes them as a data set to a new or an empty folder.

No clip serves two splits, and no session does if that is possible; the glosses for which it is not
possible are named.

The composed ASL set of the README is made of the clips of github.com/traduttore/traduttore-model (MIT),
two folders in the layout of MP_Data. In a clone of it, give its letters other names than its words, ask
git who recorded which clip when, and compose:

    (echo sign,sequence,session,signer
     git log --diff-filter=A --name-only --format=@%h,%an -- MP_Data LETTER_Data | awk -F/ '
         /^@/ {made = substr($0, 2)}
         NF == 4 {print ($1 == "LETTER_Data" ? "fs-" : "") $2 "," $3 "," made}' |
         sort -u -t, -k1,2) > sessions.csv
    for letter in LETTER_Data/[a-z]; do mv "$letter" "MP_Data/fs-${letter##*/}"; done
    python tools/compose_sentences.py --source=MP_Data --sessions=sessions.csv --out=data/processed \\
        --grammar=tools/asl_sentences.py --seconds=0.6:1.3
"""

import argparse
import dataclasses
import pathlib

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import WSignError, exit_on_user_error
from wsign_jax.data import layout
from wsign_jax.data.corpora import records
from wsign_jax.data.generated import compose
from wsign_jax.data.generated.sentences import (
    MixedSentences,
    Sentences,
    TextSentences,
    UniformSentences,
    WrittenSentences,
)

SOURCE_OPTIONS = ("fps", "aspect", "swap_hands", "sessions")
SENTENCE_OPTIONS = ("grammar", "text", "order", "uniform", "shortest", "longest", "repeat")


def span(text: str) -> tuple[float, float]:
    """Returns (0.6, 1.3) for '0.6:1.3'."""
    low, _, high = text.partition(":")
    return float(low), float(high or low)


def parse() -> argparse.Namespace:
    """Parses the command line."""
    usual = compose.ComposeSettings()
    parser = Parser(__doc__)
    add, path = parser.add_argument, pathlib.Path
    source = (
        "a data set of single signs (of tools/prepare_corpus.py), <gloss>.npz files, or MP_Data"
    )
    add("--source", metavar="DIR", type=path, required=True, help=source)
    parser.add_out("a new or an empty folder", required=True)
    for name in layout.SPLITS:
        value = getattr(usual, name)
        add(f"--{name}", metavar="N", type=int, default=value, help=f"sentences ({value})")
    add("--seed", metavar="N", type=int, default=usual.seed, help="makes the same sentences (0)")
    add(
        "--grammar", metavar="FILE.py", type=path,
        help="sentences by its function sentence(rng, glosses), as in tools/asl_sentences.py",
    )  # fmt: skip
    add("--text", metavar="FILE", type=path, help="sentences like those of a text, one a line")
    add("--order", metavar="N", type=int, default=3, help="of the text's n-grams (3)")
    add("--uniform", metavar="SHARE", type=float, help="share of uniform ones beside these (0)")
    add("--shortest", metavar="N", type=int, default=3, help="glosses of a uniform sentence (3)")
    add("--longest", metavar="N", type=int, default=8, help="glosses of a uniform sentence (8)")
    add(
        "--repeat", metavar="SHARE", type=float, default=0.1, help="how often one comes twice (0.1)"
    )
    spans = (
        ("pace", "a sign lasts as long as its clip times this (0.8:1.25)"),
        ("seconds", "or as long as this, for clips without true times"),
        ("transition", "seconds between two signs (0.1:0.3)"),
    )
    for name, what in spans:
        value = getattr(usual, name)
        add(f"--{name}", metavar="LOW:HIGH", type=span, default=value, help=what)
    given = "signer, session, clip or given, the source's own (given if it has all three splits)"
    add("--split_by", metavar="KIND", default="", help=given)
    add("--label_map", metavar="FILE", type=path, help="the vocabulary (the sorted glosses)")
    for_clips = "of .npz files and MP_Data, as in tools/prepare_corpus.py"
    add("--fps", type=float, help=for_clips)
    add("--aspect", metavar="W/H", type=records.parse_aspect, help=for_clips)
    add("--swap_hands", action="store_true", default=None, help=for_clips)
    add("--sessions", metavar="FILE", type=path, help=for_clips)
    return parser.parse_args()


def sentences(flags: argparse.Namespace, glosses: list[str]) -> Sentences:
    """Makes the sentences to draw from, as the flags say."""
    uniform = UniformSentences(flags.shortest, flags.longest, flags.repeat)
    if flags.grammar and flags.text:
        raise WSignError("--grammar and --text: give one of them")
    if flags.grammar is None and flags.text is None:
        if flags.uniform is not None:
            raise WSignError(
                "--uniform is for a grammar or a text; all sentences are uniform without"
            )
        return uniform
    drawn: Sentences
    if flags.grammar:
        drawn = WrittenSentences(flags.grammar, glosses)
    else:
        drawn = TextSentences.read(flags.text, glosses, flags.order)
    return MixedSentences(drawn, uniform, flags.uniform) if flags.uniform else drawn


def main() -> None:
    """Reads the clips and writes the sentences."""
    with exit_on_user_error():
        flags = parse()
        fields = [field.name for field in dataclasses.fields(compose.ComposeSettings)]
        settings = compose.ComposeSettings(**{name: getattr(flags, name) for name in fields})
        options = {n: value for n in SOURCE_OPTIONS if (value := getattr(flags, n)) is not None}
        corpus, ids = compose.read_clips(flags.source, flags.label_map, **options)
        glosses = sorted({clip.glosses[0] for clip in corpus.records})
        drawn = sentences(flags, glosses)
        clips, shared = compose.with_splits(corpus.records, flags.split_by, settings.seed)
        for note in corpus.notes:
            print(note)
        print(f"{len(clips)} clips of {len(glosses)} glosses", flush=True)
        for kind, names in shared.items():
            print(f"recorded in too few sessions, which serve {kind}: {', '.join(names)}")
        about = {
            "source": str(flags.source),
            "options": {name: str(value) for name, value in options.items()},
            "sentences": {name: str(getattr(flags, name)) for name in SENTENCE_OPTIONS},
            "recorded_together": shared,
        }
        composer = compose.Composer(clips, drawn, settings)
        compose.write_dataset(flags.out, composer, ids, settings, about)
        print(f"wrote {flags.out}")


if __name__ == "__main__":
    main()
