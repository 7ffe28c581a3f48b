"""python tools/live.py --checkpoint=RUN --source=0|VIDEO|FILE.npy [--chunk=8] [--simulate] [--show] ...

Recognizes signing live from a camera (its number, device or address), or from a file. A file is read as
fast as possible; with --simulate at a camera's pace, and pictures that come too fast for the machine are
dropped. Prints each gloss once it will not change any more; on a terminal, the line below shows glosses
that may still change. At the end it prints what delays a gloss, and how many pictures were dropped.

Ctrl-C finishes the sentence. Exit status: 0 at the end of a file or after Ctrl-C, 1 if the camera is
gone, 2 if there is something to fix.
"""

import argparse
import contextlib
import pathlib
import sys

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.decode.decoders import GREEDY
from wsign_jax.keypoints import landmarker
from wsign_jax.recognize.recognizer import Recognizer
from wsign_jax.stream import live


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = Parser(__doc__)
    path = pathlib.Path
    add = parser.add_argument
    parser.add_checkpoint("a run's folder (its best), a checkpoint's, or a file of tools/export.py")
    add("--source", default="0", help="a camera, a video, or a .npy of keypoints at 60 Hz (0)")
    add("--simulate", action="store_true", help="give a file as a camera would")
    add("--chunk", type=int, help="patches recognized at a time (8, or as the run was trained)")
    add("--left_context", type=int, help="patches seen before the chunk (32, or as trained)")
    add("--decoder", default=GREEDY, help=f"{GREEDY} or prefix_beam ({GREEDY})")
    add(
        "--endpoint_seconds",
        type=float,
        default=0.0,
        help="hands at rest or out of sight for so long end a sentence; 0: never (0)",
    )
    add(
        "--json",
        action="store_true",
        help="one event a line, as wsign_jax/stream/printing.py has them",
    )
    parser.add_unknown()
    add("--show", action="store_true", help="a window with the hands and glosses; q closes it")
    add("--model", type=path, help=f"a copy of {landmarker.MODEL_NAME}")
    return parser.parse_args()


def main() -> None:
    """Parses the flags and calls `live.recognize_live`."""
    with exit_on_user_error():
        flags = parse()
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for glosses
            recognizer = Recognizer.load(flags.checkpoint)
            source = live.open_source(flags.source, flags.simulate, recognizer.settings.aspect)
            stream = recognizer.stream(
                flags.chunk,
                flags.left_context,
                flags.decoder,
                flags.endpoint_seconds,
                flags.unknown,
            )
        end = live.recognize_live(
            stream, source, model=flags.model, json=flags.json, show=flags.show
        )
        sys.exit(1 if end is live.SessionEnd.GONE else 0)


if __name__ == "__main__":
    main()
