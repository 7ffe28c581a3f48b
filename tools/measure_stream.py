"""python tools/measure_stream.py --checkpoint=RUN [--data=DIR] [--split=val] [--chunks=1,8,0]
    [--left_contexts=32,64] [--tracker] [--out=DIR]

Streams a split with every chunk size and left context. Prints for each the word error rate, how long
after a sign's true end (segments/) its gloss is final, and the time that computing takes.
With --out it also writes streaming.md (the table), streaming.json and wer_over_delay.png into a new
folder.
"""

import argparse

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.data.layout import SPLITS
from wsign_jax.evaluate import trained_run
from wsign_jax.recognize.run_backend import RunBackend
from wsign_jax.report import streaming
from wsign_jax.stream import measure
from wsign_jax.train.run import data_root


def patches(text: str) -> list[int]:
    """Returns [1, 8, 0] for '1,8,0'."""
    numbers = [int(number) if number.isdecimal() else -1 for number in text.split(",")]
    if min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not different numbers of patches, as 1,8,32")
    return numbers


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = Parser(__doc__)
    add = parser.add_argument
    parser.add_checkpoint()
    add("--data", default=None, help="a data set's folder (the one it was trained on)")
    add("--split", choices=SPLITS, default="val", help="of the data set (val)")
    add("--chunks", type=patches, default="0,1,2,4,8,16,32", help="0: full (0,1,2,4,8,16,32)")
    add("--left_contexts", type=patches, default="32", help="patches seen before the chunk (32)")
    add("--tracker", action="store_true", help="add the delay of a camera's tracker")
    parser.add_out("a new folder")
    return parser.parse_args()


def main() -> None:
    """Parses the flags and calls `measure.measure`."""
    with exit_on_user_error():
        flags = parse()
        if flags.out is not None:
            streaming.check_streaming_folder(flags.out)
        run = RunBackend(flags.checkpoint, flags.data).trained
        root = data_root(run.config, run.workdir, make=False)
        split = trained_run.read_split(run, root, flags.split)
        rows = []
        print(streaming.streaming_table([]), end="")
        for row in measure.measure(run, split, flags.chunks, flags.left_contexts, flags.tracker):
            rows.append(row)
            print(streaming.streaming_table([row]).splitlines()[-1], flush=True)
            if row.differing:
                print(f"WARNING: {row.differing} sentences differ from those decoded as a whole")
        settings = {
            "checkpoint": ", ".join(map(str, run.checkpoints)),
            "data": str(root),
            "split": split.name,
            "sentences": len(split),
            "tracker": flags.tracker,
        }
        if flags.out is not None:
            streaming.write_streaming_report(flags.out, rows, settings)
            print(flags.out / streaming.SUMMARY)


if __name__ == "__main__":
    main()
