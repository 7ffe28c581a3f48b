"""python tools/prepare_corpus.py CORPUS --root=DIR [--out=data/processed] [--on_bad=skip] [...]

Makes a data set from a folder of clips, or from a corpus as its publishers ship it. CORPUS is one of

    phoenix2014   RWTH-PHOENIX-2014, multisigner     --keep_broken
    phoenix2014t  RWTH-PHOENIX-2014T
    msasl         MS-ASL; <video id>.mp4 in --videos=DIR, --classes=100 for MS-ASL100
    lsa64         LSA64; signers 009 and 010 are held out
    folder        <sign>/<n>.mp4, or a CSV with the header filename,glosses[,signer][,split];
                  also pictures, .pose, .npy         --csv=FILE --fps=25 --aspect=W/H --swap_hands
    asl_signs     Kaggle's ASL Signs                 --fps=30 --aspect=W/H
    asl_fingerspelling   Kaggle's ASL Fingerspelling --fps=30 --aspect=W/H
    isharah       Isharah of MSLR                    --annotations=DIR --fps=30
    mp_data       MP_Data/<sign>/<sequence>/<frame>.npy
                                                     --fps=30 --aspect=W/H --swap_hands --sessions=FILE
    npz           keypoints from elsewhere           --fps=30 --aspect=W/H --swap_hands
    auto          looks at the folder, says which of these it is, and goes on

The module of that name in wsign_jax/data/corpora says which files are expected where. Videos are read
with MediaPipe. Folders of people, sessions or splits may lie above the signs, and --root may be given
several times. Without splits, no signer serves two if three are known; otherwise no session does;
otherwise the last clips of each sign are held out. --test_signers=anna,ben holds these people out.

Clips that cannot be used are left out and named; if they are more than 5 % of a sign's, no data set is
written, unless --on_bad=skip. A run that ends early goes on when it is started again. Existing files are
never overwritten.
"""

import argparse
import pathlib
from typing import Any

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.data.corpora import prepare, records
from wsign_jax.data.corpora.assign_splits import SplitSettings


def names(text: str) -> tuple[str, ...]:
    """Returns ('anna', 'ben') for 'anna,ben'."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


# Flags for some corpora only: if typed, they are passed to the corpus's `read` under the same names.
OPTIONS: dict[str, dict[str, Any]] = {
    "keep_broken": {"action": "store_true"},
    "videos": {"type": pathlib.Path},
    "classes": {"type": int},
    "csv": {"type": pathlib.Path},
    "annotations": {"type": pathlib.Path},
    "fps": {"type": float},
    "aspect": {"type": records.parse_aspect},
    "swap_hands": {"action": "store_true"},
    "sessions": {"type": pathlib.Path},
}


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = Parser(__doc__)
    parser.set_defaults(out=pathlib.Path("data/processed"))
    parser.add_out("a new folder (data/processed)")
    add, path = parser.add_argument, pathlib.Path
    add("corpus", metavar="CORPUS", help="one of the above")
    add(
        "--root", metavar="DIR", type=path, required=True, action="append",
        help="the corpus's folder; several become one data set",
    )  # fmt: skip
    unusable = (
        "leaves out up to 5 %% of a sign's clips if they cannot be used; skip: any; error: none"
    )
    add("--on_bad", default="few", metavar="few", help=unusable)
    add("--leave_out", metavar="SIGN,...", type=names, default=(), help="signs to leave out")
    add("--label_map", metavar="FILE", type=path, help="the vocabulary (the sorted glosses)")
    add("--split_by", metavar="UNIT", default="", help="signer, session or clip: draws splits anew")
    for split in ("val", "test"):
        who = f"people whose clips are {split}'s"
        add(f"--{split}_signers", metavar="NAME,...", type=names, default=(), help=who)
    add("--seed", metavar="N", type=int, default=0, help="draws splits if the corpus has none (0)")
    parser.add_video_options()
    for name, how in OPTIONS.items():
        add(f"--{name}", default=None, **how)
    return parser.parse_args()


def main() -> None:
    """Reads the corpus and writes the data set."""
    with exit_on_user_error():
        flags = parse()
        options = {name: value for name in OPTIONS if (value := getattr(flags, name)) is not None}
        splits = SplitSettings(flags.split_by, flags.val_signers, flags.test_signers, flags.seed)
        corpus = prepare.read_corpus(
            flags.corpus, *flags.root, leave_out=flags.leave_out, **options
        )
        signs = {gloss for record in corpus.records for gloss in record.glosses}
        print(f"{corpus.name}: {len(corpus.records):,} clips, {len(signs):,} glosses", flush=True)
        module = extraction = None
        if any(record.source for record in corpus.records):
            # This loads MediaPipe, which a corpus of keypoints does not need.
            from wsign_jax.keypoints import extract  # noqa: PLC0415

            module, extraction = extract, extract.ExtractionSettings(model=flags.model)
        settings = prepare.ImportSettings(
            flags.label_map, flags.on_bad, splits, flags.workers, extraction
        )
        prepare.write_dataset(corpus, flags.out, settings, module)
        print(f"wrote {flags.out}")


if __name__ == "__main__":
    main()
