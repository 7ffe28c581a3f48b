"""python tools/extract_keypoints.py --videos=DIR --out=DIR [--workers=N] [--shard=i/n] ...

Writes the hand keypoints of every video in a folder and its subfolders as <out>/<id>.npy. The id of
hello/1.mp4 is hello_1; a folder of pictures counts as one video. Beside <out> it writes dataset.json
(how it was made) and quality.csv (the outcome of each video). The same command goes on where it ended.

Exit status: 0 if every video was extracted, 1 if some failed (quality.csv says why), 2 if none could be.
"""

import argparse
import pathlib
import re
import sys

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.keypoints import extract, quality


def shard(text: str) -> tuple[int, int]:
    """Returns (2, 4) for '2/4'."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    part = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part[0] <= part[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not i/n with i from 1 to n, for example 1/4")
    return part


def main() -> None:
    """Parses the flags and calls `extract.extract_from_dataset`."""
    usual = extract.ExtractionSettings()
    parser = Parser(__doc__)
    folder, flag = pathlib.Path, parser.add_argument
    flag("--videos", metavar="DIR", type=folder, required=True, help="searched with sub-folders")
    parser.add_out("a folder; gets <id>.npy", required=True)
    flag("--fps", type=float, default=usual.fps, help="of the keypoints; training needs 60")
    parser.add_video_options()
    flag("--shard", metavar="i/n", type=shard, default=(1, 1), help="the i-th of n parts only")
    flag(
        "--resume", action=argparse.BooleanOptionalAction, default=True, help="go on where it ended"
    )
    flag("--smooth", action="store_true", help="smooth with a One-Euro filter")
    flag(
        "--min_confidence",
        metavar="X",
        type=float,
        default=usual.min_confidence,
        help=f"MediaPipe's thresholds ({usual.min_confidence})",
    )
    flag(
        "--picture_fps",
        metavar="FPS",
        type=float,
        default=extract.PICTURE_FPS,
        help=f"of folders of pictures ({extract.PICTURE_FPS:g})",
    )
    with exit_on_user_error():
        flags = vars(parser.parse_args())
        videos, out = flags.pop("videos"), flags.pop("out")
        reports = extract.extract_from_dataset(videos, out, flags.pop("fps"), **flags)
        print(quality.summarize_clips(reports))
        if not all(report.done for report in reports):
            sys.exit(1)


if __name__ == "__main__":
    main()
