"""python tools/export.py --checkpoint=RUN --out=FILE [--license=TEXT] [--stream] [--replace]

Writes a trained run as one file that recognizes without the network's code. It holds parameters,
vocabulary, and a program for CPU, CUDA and TPU that takes the keypoints of any number and length of
recordings and decodes greedily, and one for a stream's next chunk, with the run's default window. Load
it with `wsign_jax.Recognizer.load(FILE)`, or give it to tools/predict.py or tools/live.py.

A FILE that ends in .onnx is written as ONNX: from keypoints to CTC logits, for recordings of up to
--frames. With --stream it is a stream's step instead: from a chunk's keypoints and a state to CTC log
posteriors and the next state. `wsign_jax/recognize/export_onnx.py` says how to call both. ONNX needs
pip install -e ".[onnx]".

FILE.md, written beside it, is a model card.
"""

import pathlib

from wsign_jax.common import files
from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import WSignError, exit_on_user_error
from wsign_jax.recognize import export, export_onnx, run_backend
from wsign_jax.report import card


def main() -> None:
    """Parses the flags and calls `export.export_run`."""
    parser = Parser(__doc__)
    parser.add_checkpoint()
    parser.add_out("a new file, for example asl.wsign", required=True)
    parser.add_argument("--data", help="the data set's folder, for the card (as in its config)")
    parser.add_argument("--license", default="", help="of the weights, for the card")
    parser.add_argument("--frames", type=int, default=0, help="of ONNX (data.max_seq_length)")
    parser.add_argument("--stream", action="store_true", help="with FILE.onnx: a stream's step")
    parser.add_argument("--replace", action="store_true", help="replace FILE and its card")
    with exit_on_user_error():
        flags = parser.parse_args()
        export.check_free(flags.out, flags.replace)
        if flags.data and not pathlib.Path(flags.data).is_dir():
            raise WSignError(f"--data={flags.data}: no such folder")
        is_onnx = flags.out.suffix == ".onnx"
        if flags.stream and (not is_onnx or flags.frames):
            raise WSignError(
                "--stream is for ONNX, and without --frames; name an --out that ends in .onnx (any "
                "other file streams without it)"
            )
        run = run_backend.RunBackend(flags.checkpoint, flags.data)
        files.check_apart(
            [flags.out, export.card_path(flags.out)], export.files_of_run(run.trained)
        )
        if is_onnx and (names := run.read_enrolled().names):
            left = f"note: {flags.out} is without the enrolled signs ({', '.join(names)})"
            print(f"{left}; only files whose names do not end in .onnx have them", flush=True)
        # A folder's name may hold bytes that are not text.
        text = card.model_card(export.card_fields(run.trained, flags.out.name, flags.license))
        content = text.encode(errors="replace")
        if flags.stream:
            export_onnx.export_onnx_stream(run.trained, flags.out)
        elif is_onnx:
            frames = flags.frames or run.trained.config.data.max_seq_length
            export_onnx.export_onnx(run.trained, flags.out, frames)
        else:
            export.export_run(run.trained, flags.out)
        files.write(export.card_path(flags.out), content)
        print(f"{flags.out}  {flags.out.stat().st_size / 1e6:.1f} MB")
        print(export.card_path(flags.out))


if __name__ == "__main__":
    main()
