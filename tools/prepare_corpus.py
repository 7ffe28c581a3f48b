"""python tools/prepare_corpus.py CORPUS --root=DIR [--out=data/processed] [--on_bad=skip] [...]

Makes a data set from a corpus as its publishers ship it. CORPUS is one of

    phoenix2014   RWTH-PHOENIX-2014, multisigner     --keep_broken
    phoenix2014t  RWTH-PHOENIX-2014T
    msasl         MS-ASL; <video id>.mp4 in --videos=DIR, --classes=100 for MS-ASL100
    lsa64         LSA64                              --val_signers=9 --test_signers=10
    folder        videos and a CSV with the header filename,glosses[,signer][,split]
                                                     --csv=FILE --fps=25 (of folders of pictures)
    mp_data       MP_Data/<sign>/<sequence>/<frame>.npy
                                                     --fps=30 --aspect=W/H --swap_hands
                                                     --session_size=30 --sessions=FILE
    npz           keypoints from elsewhere           --fps=30 --aspect=W/H --swap_hands

The module of that name in wsign_jax/data/corpora says which files are expected where. Videos are read
with MediaPipe, by --workers=N processes, with the model --model=FILE. If the corpus has no splits, they
are drawn by --seed, so that no session, or no signer, serves two splits if possible. The vocabulary is
that of --label_map=FILE, otherwise the sorted glosses.

Annotations and clips that cannot be used are named, one per line, and no data set is written; with
--on_bad=skip they are left out. A run that ends early goes on when it is started again. Existing files
are never overwritten.
"""

import argparse
import pathlib
from typing import Any

from wsign_jax.common.errors import WSignError, exit_on_user_error, parse_flags
from wsign_jax.data.corpora import prepare, records


def numbers(text: str) -> tuple[int, ...]:
    """Returns (9, 10) for '9,10'."""
    return tuple(int(number) for number in text.split(","))


# Flags for some corpora only: if typed, they are passed to the corpus's `read` under the same names.
OPTIONS: dict[str, dict[str, Any]] = {
    "keep_broken": {"action": "store_true"},
    "videos": {"type": pathlib.Path},
    "classes": {"type": int},
    "val_signers": {"type": numbers},
    "test_signers": {"type": numbers},
    "csv": {"type": pathlib.Path},
    "fps": {"type": float},
    "aspect": {"type": records.parse_aspect},
    "swap_hands": {"action": "store_true"},
    "session_size": {"type": int},
    "sessions": {"type": pathlib.Path},
}


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        usage=__doc__, add_help=False, allow_abbrev=False, exit_on_error=False
    )
    parser.add_argument("corpus", nargs="?", default="")
    parser.add_argument("--root", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("data/processed"))
    parser.add_argument("--on_bad", default="error")
    parser.add_argument("--label_map", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--model", type=pathlib.Path)
    for name, how in OPTIONS.items():
        parser.add_argument(f"--{name}", default=None, **how)
    return parse_flags(parser)


def main() -> None:
    """Reads the corpus and writes the data set."""
    with exit_on_user_error():
        flags = parse()
        if flags.help:
            print(__doc__)
            return
        if not flags.corpus or flags.root is None:
            raise WSignError("give a corpus and --root=DIR; see --help")
        options = {name: value for name in OPTIONS if (value := getattr(flags, name)) is not None}
        corpus = prepare.read(flags.corpus, flags.root, **options)
        print(f"{corpus.name}: {len(corpus.records)} annotations", flush=True)
        extraction = extraction_settings = None
        if any(record.source for record in corpus.records):
            # This loads MediaPipe, which a corpus of keypoints does not need.
            from wsign_jax.keypoints import extract  # noqa: PLC0415

            extraction, extraction_settings = extract, extract.ExtractionSettings(model=flags.model)
        settings = prepare.ImportSettings(
            flags.label_map, flags.on_bad, flags.seed, flags.workers, extraction_settings
        )
        prepare.write(corpus, flags.out, settings, extraction)
        print(f"wrote {flags.out}")


if __name__ == "__main__":
    main()
