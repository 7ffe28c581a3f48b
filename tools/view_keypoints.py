"""python tools/view_keypoints.py FILE.npy --out=FILE [--video=FILE] [--fps=60]

Draws keypoints on the video that they were extracted from, or on black. The result is a video if --out
ends in .mp4, and a contact sheet of moments spread over it if --out ends in .png. The left hand is
orange, the right one blue.
"""

import pathlib

from wsign_jax.common import files
from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import WSignError, exit_on_user_error, printable
from wsign_jax.data import layout
from wsign_jax.keypoints import draw, extract, joints, video


def main() -> None:
    """Parses the flags and calls `draw`."""
    parser = Parser(__doc__)
    parser.add_argument("features", metavar="FILE.npy", type=pathlib.Path)
    parser.add_out(".mp4 or .png", required=True)
    parser.add_argument(
        "--video", metavar="FILE", type=pathlib.Path, help="or a folder of pictures"
    )
    parser.add_argument("--fps", type=float, default=joints.FPS, help="of the keypoints (60)")
    parser.add_argument(
        "--picture_fps",
        metavar="FPS",
        type=float,
        default=extract.PICTURE_FPS,
        help=f"of a folder of pictures ({extract.PICTURE_FPS:g})",
    )
    with exit_on_user_error():
        flags = parser.parse_args()
        writers = {".mp4": draw.write_video, ".png": write_sheet}
        if flags.out.suffix.lower() not in writers:
            raise WSignError(f"{flags.out}: --out must end in .mp4 or .png")
        files.check_apart([flags.out], filter(None, [flags.features, flags.video]))
        if not 1 <= flags.fps <= 1000:
            raise WSignError(f"--fps={flags.fps:g}: must be from 1 to 1000")
        features = layout.read_features(flags.features)
        if flags.video is None:
            pictures = draw.draw_on_black(features, flags.fps)
        else:
            source = video.read_pictures(flags.video, flags.picture_fps)
            pictures = draw.draw_on_pictures(features, source, flags.fps)
        writers[flags.out.suffix.lower()](flags.out, pictures)
        print(printable(f"wrote {flags.out}"))


def write_sheet(path: pathlib.Path, pictures: draw.Iterable[video.Picture]) -> None:
    """Writes a contact sheet."""
    draw.write_picture(path, draw.contact_sheet(pictures))


if __name__ == "__main__":
    main()
