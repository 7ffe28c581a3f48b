"""python tools/predict.py --checkpoint=RUN [--format=text] [--out=FILE] INPUT [INPUT ...]

Transcribes videos, folders of pictures, .npy files of keypoints, and whole folders of these.

    text, jsonl, csv    everything in one file, or on the terminal; in csv, text that begins with = + - @
                        gets a ' before it, because spreadsheets would compute it
    srt, vtt            subtitles, one file per recording, in the folder --out; for a single recording
                        also on the terminal. Each gloss is shown for a second, or until the next.
    eaf                 for ELAN, likewise: a tier of glosses, and one of their confidences
    pose                the recordings' keypoints, likewise but never on the terminal; needs
                        pip install -e ".[pose]"

Exit status: 0 if every recording was transcribed, 1 if some failed (stderr names each), 2 if all failed.
"""

import pathlib
import sys

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.decode import transcript
from wsign_jax.recognize import transcribe_files
from wsign_jax.recognize.recognizer import Recognizer


def main() -> None:
    """Parses the flags and calls the functions of `transcribe_files`."""
    parser = Parser(__doc__)
    path, flag = pathlib.Path, parser.add_argument
    flag("inputs", metavar="INPUT", type=path, nargs="+", help="a file, or a folder")
    parser.add_checkpoint("a run's folder (its best), a checkpoint's, or a file of tools/export.py")
    flag("--format", choices=transcribe_files.FORMATS, default=transcript.TEXT, help="text")
    parser.add_out("a new file, or a folder (the terminal)")
    flag("--replace", action="store_true", help="replace what is there")
    flag("--decoder", default="greedy", help="greedy, prefix_beam, attention, rescore, joint")
    flag("--chunk", type=int, help="attention's chunk in patches, 0: full (the run's eval.chunk)")
    flag("--left_context", type=int, help="patches seen before the chunk")
    parser.add_unknown()
    parser.add_video_options()
    with exit_on_user_error():
        flags = parser.parse_args()
        sources = transcribe_files.find_recordings(flags.inputs)
        read = [path for path in (flags.checkpoint, flags.model) if path is not None]
        transcribe_files.check_free(sources, flags.format, flags.out, flags.replace, read)
        options = transcribe_files.DecodingOptions(
            flags.decoder, flags.chunk, flags.left_context, flags.unknown
        )
        recognizer = Recognizer.load(flags.checkpoint)
        outcomes = transcribe_files.transcribe_files(
            recognizer, sources, options, flags.model, flags.workers
        )
        failed = transcribe_files.write_transcripts(
            outcomes, flags.format, flags.out, flags.replace
        )
        if failed:
            sys.exit(2 if failed == len(sources) else 1)


if __name__ == "__main__":
    main()
