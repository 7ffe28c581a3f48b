"""python tools/compose_sentences.py --source=DIR --out=DIR [--train=800 --val=100 --test=100] [...]

Composes sentences from clips of single signs, and writes them as a data set to a new or an empty folder.

    --source=DIR         a data set of single signs (tools/prepare_corpus.py makes one of LSA64, MS-ASL
                         or your own videos), a folder of <gloss>.npz, or MP_Data
    --seed=0             the same seed makes the same sentences
    --grammar=FILE.py    sentences by the function sentence(rng, glosses) of a file, which is run; see
                         tools/asl_sentences.py
    --text=FILE --order=3   sentences like those of a text with one per line: n-grams of that order
    --uniform=0.5        share of uniformly drawn sentences, with a grammar or a text
    --shortest=3 --longest=8 --repeat=0.1
                         glosses of uniformly drawn sentences, and how often one comes twice in a row
    --pace=0.8:1.25      a sign lasts as long as its clip times this; or
    --seconds=0.6:1.3    as long as this, for clips without true times
    --transition=0.1:0.3 seconds between two signs
    --split_by=session   or signer, or given: the source's own; given if it has all three splits
    --label_map=FILE     a vocabulary to use; otherwise the sorted glosses from 1
    --fps=30 --aspect=W/H --swap_hands --session_size=30 --sessions=FILE
                         for .npz files and MP_Data, as in tools/prepare_corpus.py

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

from wsign_jax.common.errors import WSignError, exit_on_user_error, parse_flags
from wsign_jax.data.corpora import records
from wsign_jax.data.generated import compose
from wsign_jax.data.generated.sentences import Mixture, NGrams, Sentences, Uniform, Written

SOURCE_OPTIONS = ("fps", "aspect", "swap_hands", "session_size", "sessions")
SENTENCE_OPTIONS = ("grammar", "text", "order", "uniform", "shortest", "longest", "repeat")


def span(text: str) -> tuple[float, float]:
    """Returns (0.6, 1.3) for '0.6:1.3'."""
    low, _, high = text.partition(":")
    return float(low), float(high or low)


def parse() -> argparse.Namespace:
    """Parses the command line."""
    usual = compose.Settings()
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("source", "out", "grammar", "text", "label_map", "sessions"):
        parser.add_argument(f"--{name}", type=pathlib.Path)
    for name in ("train", "val", "test", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(usual, name))
    for name in ("pace", "seconds", "transition"):
        parser.add_argument(f"--{name}", type=span, default=getattr(usual, name))
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--uniform", type=float)
    parser.add_argument("--shortest", type=int, default=3)
    parser.add_argument("--longest", type=int, default=8)
    parser.add_argument("--repeat", type=float, default=0.1)
    parser.add_argument("--split_by", default="")
    parser.add_argument("--fps", type=float)
    parser.add_argument("--aspect", type=records.parse_aspect)
    parser.add_argument("--swap_hands", action="store_true", default=None)
    parser.add_argument("--session_size", type=int)
    return parse_flags(parser)


def sentences(flags: argparse.Namespace, glosses: list[str]) -> Sentences:
    """Makes the sentences to draw from, as the flags say."""
    uniform = Uniform(flags.shortest, flags.longest, flags.repeat)
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
        drawn = Written(flags.grammar, glosses)
    else:
        drawn = NGrams.read(flags.text, glosses, flags.order)
    return Mixture(drawn, uniform, flags.uniform) if flags.uniform else drawn


def main() -> None:
    """Reads the clips and writes the sentences."""
    with exit_on_user_error():
        flags = parse()
        if flags.help:
            print(__doc__)
            return
        if flags.source is None or flags.out is None:
            raise WSignError("give --source=DIR and --out=DIR; see --help")
        fields = [field.name for field in dataclasses.fields(compose.Settings)]
        settings = compose.Settings(**{name: getattr(flags, name) for name in fields})
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
