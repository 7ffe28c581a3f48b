"""python -m tools.benchmark.recognize [--checkpoint=RUN] [--size=base] [--frames=600] [--rounds=21]

Measures the recognizer in a fresh process, on keypoints of --frames frames. Without --checkpoint it
takes a run of fresh weights of --size:

    first     seconds from the process's first line, imports included, to the first transcript
    second    seconds of a further call, against the bare model: the same keypoints, not padded, through
              features, encoder and CTC head in one compiled program

The ratio is the median of rounds in which the two take turns, so that other load on the machine affects
both.
"""

import time

_BEGAN = time.perf_counter()

import pathlib  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402

import numpy as np  # noqa: E402

from tools.benchmark import figures, phoenix  # noqa: E402
from tools.benchmark.figures import Figures  # noqa: E402
from wsign_jax.common.errors import exit_on_user_error  # noqa: E402
from wsign_jax.keypoints import joints  # noqa: E402


def make_run(workdir: pathlib.Path, size: str) -> None:
    """Saves a run of fresh weights and 41 glosses."""
    import optax  # noqa: PLC0415

    from configs import base  # noqa: PLC0415
    from wsign_jax.evaluate import trained_run  # noqa: PLC0415
    from wsign_jax.train import config_schema  # noqa: PLC0415
    from wsign_jax.train.checkpoint import store  # noqa: PLC0415
    from wsign_jax.train.state import create_state  # noqa: PLC0415

    config = base.get_config()
    config.model.size, config.model.positions = size, "rotary"
    config_schema.check_config(config)
    run = trained_run.make_untrained(config, vocab_size=42)
    saved = store.Checkpoints(workdir, keep=1)
    saved.save(create_state(run.params, optax.sgd(0.0), 1, ema=False, loss_scale=None), run.info)
    saved.close()


def measure(checkpoint: pathlib.Path, frames: int, rounds: int) -> Figures:
    """Prints and returns the figures of a run, in a process that has done nothing before."""
    from wsign_jax.recognize.recognizer import Recognizer  # noqa: PLC0415

    recording = phoenix.signing(frames)
    recognizer = Recognizer.load(checkpoint)
    loaded = time.perf_counter() - _BEGAN
    recognizer.transcribe(recording)
    first, processor = time.perf_counter() - _BEGAN, time.process_time()

    import jax  # noqa: PLC0415

    from wsign_jax.model import whisper_sign  # noqa: PLC0415
    from wsign_jax.recognize import run_backend  # noqa: PLC0415

    run = run_backend.RunBackend(checkpoint).trained
    positions, hands = (array[None] for array in joints.positions_and_confidence(recording))
    lengths = np.array([frames], np.int32)

    @jax.jit
    def bare(
        params: whisper_sign.Params, positions: jax.Array, hands: jax.Array, lengths: jax.Array
    ) -> jax.Array:
        model = whisper_sign.bind_params(run.network.graph, params)
        features = model.features(positions, hands, lengths)
        return model.ctc_logits(model.encode(features, lengths)[0])

    sides: list[tuple[float, float]] = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        jax.block_until_ready(bare(run.params, positions, hands, lengths))
        middle = time.perf_counter()
        recognizer.transcribe(recording)
        sides.append((middle - begin, time.perf_counter() - middle))
    alone, whole = (statistics.median(side) for side in zip(*sides[1:], strict=True))
    ratio = statistics.median(b / a for a, b in sides[1:])
    print(f"loaded after {loaded:.1f} s, first transcript after {first:.1f} s", end="")
    print(f" ({processor:.1f} s of the processor)")
    print(
        f"{frames} frames: bare model {1000 * alone:.1f} ms, transcribe {1000 * whole:.1f} ms, "
        f"ratio {ratio:.2f}"
    )
    return {
        "recognize_loaded_seconds": loaded,
        "recognize_first_seconds": first,
        "recognize_vs_bare_ratio": ratio,
    }


def main() -> None:
    """Parses the flags; makes a run if none is named."""
    parser = figures.parser(__doc__)
    parser.add_argument(
        "--checkpoint", type=figures.existing, help="a run's folder (a fresh model)"
    )
    parser.add_argument(
        "--size",
        type=figures.size,
        default="base",
        help="of a fresh model, where there is no --checkpoint (base)",
    )
    figures.add_counts(
        parser, frames=(600, "of a recording"), rounds=(21, "calls; the median counts")
    )
    flags = figures.parse(parser)
    with exit_on_user_error(), tempfile.TemporaryDirectory() as folder:
        if flags.checkpoint is not None:
            figures.write(flags.json, measure(flags.checkpoint, flags.frames, flags.rounds))
            return
        make_run(pathlib.Path(folder), flags.size)
        own = [f"--checkpoint={folder}", f"--frames={flags.frames}", f"--rounds={flags.rounds}"]
        own += [] if flags.json is None else [f"--json={flags.json}"]
        command = [sys.executable, "-m", "tools.benchmark.recognize", *own]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
