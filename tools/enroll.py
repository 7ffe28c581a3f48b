"""python tools/enroll.py --checkpoint=RUN --sign=NAME RECORDING [RECORDING ...] [--replace]

Adds a sign to a trained run by 1 to 20 recordings of it, without training: videos, folders of pictures,
.npy files of keypoints, or folders of these. Each shows the sign once. From then on tools/predict.py,
tools/live.py and `wsign_jax.Recognizer` tell the sign too, and tools/export.py takes it along. It is
kept in RUN/enrolled.npz.

    --list          prints the enrolled signs and how many recordings each has
    --forget=NAME   takes a sign back
"""

import argparse
import pathlib
import sys

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import WSignError, exit_on_user_error
from wsign_jax.keypoints import landmarker
from wsign_jax.recognize import transcribe_files
from wsign_jax.recognize.recognizer import Recognizer

_NOTE = (
    "note: in sentences it may take the place of trained signs; less often once tools/tune_decoder.py "
    "has tuned the run"
)


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = Parser(__doc__)
    flag = parser.add_argument
    flag("recordings", metavar="RECORDING", type=pathlib.Path, nargs="*", help="a file or folder")
    parser.add_checkpoint()
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--sign", metavar="NAME", help="the sign's gloss")
    asked.add_argument("--forget", metavar="NAME", help="take back this sign")
    asked.add_argument("--list", action="store_true", help="print the enrolled signs")
    flag("--replace", action="store_true", help="record a sign anew, or one that the model knows")
    flag("--model", type=pathlib.Path, help=f"a copy of {landmarker.MODEL_NAME}")
    flags = parser.parse_args()
    if flags.sign is None and (flags.recordings or flags.replace or flags.model):
        raise WSignError("recordings, --model and --replace go with --sign=NAME")
    if flags.sign is not None and not flags.recordings:
        raise WSignError("--sign: name the recordings of the sign, files or folders")
    return flags


def main() -> None:
    """Parses the flags and calls `Recognizer.enroll` or `Recognizer.forget`."""
    with exit_on_user_error():
        flags = parse()
        sources = transcribe_files.find_recordings(flags.recordings)
        recognizer = Recognizer.load(flags.checkpoint, flags.model)
        if flags.forget is not None:
            recognizer.forget(flags.forget)
        elif flags.sign is not None:
            recognizer.enroll(flags.sign, [source.path for source in sources], flags.replace)
            if not recognizer.tells_unknown:
                print(_NOTE, file=sys.stderr)
        for name, count in recognizer.enrolled.items():
            print(f"{name}\t{count}")


if __name__ == "__main__":
    main()
