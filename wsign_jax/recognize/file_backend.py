"""An exported model as a `Backend`; `exported_file.py` reads and writes it."""

import dataclasses
import numbers
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.align import Alignment, check_decoder_name
from wsign_jax.decode.calibration import Calibration
from wsign_jax.decode.prefix_beam import Beams
from wsign_jax.decode.streaming import GreedyStreamDecoder
from wsign_jax.decode.unknown import UnknownRule
from wsign_jax.keypoints import joints
from wsign_jax.model import positions
from wsign_jax.model.chunk import Chunk
from wsign_jax.recognize import enrollment, exported_stream
from wsign_jax.recognize.backend import Program, RecognizedBatch, RecognizerSettings
from wsign_jax.recognize.exported_stream import StreamSizes
from wsign_jax.stream.chunks import ChunkOutputs, StreamModel
from wsign_jax.stream.stream import Stream

DECODER = "greedy"


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A model from a file; a `Backend`.

    Its program takes the parameters by their paths, (B, T, 42, 3) float32 positions as on disk with T a
    multiple of the patch size, (B, T, 2) float32 confidences of the hands, (B,) int32 frames, (B, N)
    bool no_hands, the window as two () int32, and the tables of positions; it returns the leaves of a
    `RecognizedBatch` (see `program_arguments`).
    """

    settings: RecognizerSettings
    vocabulary: Vocabulary
    calibration: Calibration
    about: Mapping[str, Any]  # the content of about.json
    parameters: dict[str, jax.Array]
    call: Callable[..., RecognizedBatch]
    path: pathlib.Path
    stream_sizes: StreamSizes | None = None  # None: a file of before, which does not stream
    stream_call: Callable[..., tuple[jax.Array, ...]] | None = None
    enrolled: enrollment.Enrolled | None = None
    unknown: UnknownRule | None = None

    def read_enrolled(self) -> enrollment.Enrolled:
        """Returns the signs that were added to the run before its export; see `Backend`."""
        return self.enrolled or enrollment.Enrolled(self.vocabulary)

    def change_enrolled(
        self, change: Callable[[enrollment.Enrolled], enrollment.Enrolled]
    ) -> enrollment.Enrolled:
        """Refuses to change the file; see `Backend`."""
        raise WSignError(
            f"{self.path}: an exported file never changes; enroll or forget in the run itself, and "
            "export it again"
        )

    def program(self, decoder: str, chunk: int, left_context: int) -> Program:
        """Returns the program for greedy decoding, the only one; see `Backend`."""
        _check_decoder(decoder)
        window = np.int32(chunk), np.int32(left_context)

        def run(
            keypoints: np.ndarray, hands: np.ndarray, frames: np.ndarray, no_hands: np.ndarray
        ) -> RecognizedBatch:
            s = self.settings
            patches = keypoints.shape[1] // s.patch_size
            tables = positions.position_tables(s.positions, patches, s.width, s.head_width)
            return self.call(self.parameters, keypoints, hands, frames, no_hands, window, tables)

        return Program(run, chunk, self.calibration, self.unknown)

    def stream(
        self, chunk: int | None, left_context: int | None, decoder: str, endpoint_seconds: float
    ) -> Stream:
        """Begins a stream, greedy and with the file's own window; see `Backend`."""
        s, sizes, step = self.settings, self.stream_sizes, self.stream_call
        if sizes is None or step is None:
            raise WSignError(
                f"{self.path}: an older version of this project wrote it, and it does not stream; "
                "export the run again"
            )
        check_decoder_name(decoder)
        _check_decoder(decoder)
        if not isinstance(endpoint_seconds, numbers.Real) or endpoint_seconds != 0:
            raise WSignError(
                "an exported file closes no sentences; leave endpoint_seconds out, or load the run "
                "itself"
            )
        window = positions.check_window(chunk, left_context)
        own = sizes.chunk, sizes.left_context
        if any(asked not in (None, size) for asked, size in zip(window, own, strict=True)):
            raise WSignError(
                f"{self.path}: streams with chunk={own[0]} and left_context={own[1]} alone; leave them "
                "out, or load the run itself for others"
            )

        def encode(state: Any, chunk: Chunk) -> tuple[ChunkOutputs, Any]:
            log_probs, *state = step(self.parameters, state, exported_stream.plain(chunk))
            return ChunkOutputs(None, None, log_probs), tuple(state)

        zeros = tuple(np.zeros(x.shape, x.dtype) for x in exported_stream.state_shapes(s, sizes))
        model = StreamModel(
            vocabulary=self.vocabulary,
            **{
                name: getattr(s, name)
                for name in ("patch_size", "look_ahead", "positions", "head_width")
            },
            **dataclasses.asdict(sizes),
            calibration=self.calibration,
            # Placed as a step's result is; otherwise the step would compile again.
            cache=jax.device_put(zeros, jax.local_devices()[0]),
            step=encode,
        )
        return Stream(model, GreedyStreamDecoder())


def _check_decoder(decoder: str) -> None:
    if decoder != DECODER:
        raise WSignError(
            f"an exported file decodes with {DECODER!r} alone; load the run itself for {decoder!r}"
        )


def flatten(found: RecognizedBatch) -> tuple[jax.Array, ...]:
    """The arrays of a `RecognizedBatch`, since only arrays can be exported."""
    return (found.logits, found.patches, *found.beams, *found.alignment)


def unflatten(arrays: tuple[jax.Array, ...]) -> RecognizedBatch:
    """The inverse of `flatten`."""
    logits, patches, *rest = arrays
    of_beams = len(Beams._fields)
    return RecognizedBatch(logits, patches, Beams(*rest[:of_beams]), Alignment(*rest[of_beams:]))


def program_arguments(
    settings: RecognizerSettings, shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[Any, ...]:
    """The arguments of a program, as shapes; see `ExportedModel`.

    The symbols b and n stand for B and for the number of patches.
    """
    batch, patches = jax.export.symbolic_shape("b, n")
    tables = positions.position_tables(settings.positions, 1, settings.width, settings.head_width)
    shape, whole_number = jax.ShapeDtypeStruct, jax.ShapeDtypeStruct((), np.int32)
    return (
        dict(shapes),
        shape((batch, settings.patch_size * patches, joints.NUM_JOINTS, 3), np.float32),
        shape((batch, settings.patch_size * patches, len(joints.HANDS)), np.float32),
        shape((batch,), np.int32),
        shape((batch, patches), np.bool_),
        (whole_number, whole_number),
        tuple(shape((patches, table.shape[1]), np.float32) for table in tables),
    )


def program_results(vocab_size: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The results of a program, as shapes; see `flatten` and `program_arguments`."""
    batch, patches = jax.export.symbolic_shape("b, n")

    def shape(kind: type, *axes: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch, *axes), kind)

    return (
        shape(np.float32, patches, vocab_size),  # logits
        shape(np.int32),  # patches
        *(shape(np.int32, 1, patches), shape(np.int32, 1), shape(np.float32, 1)),  # beams
        *(shape(np.int32, patches), shape(np.int32, patches)),  # alignment
        *(shape(np.float32, patches), shape(np.float32)),
    )


def within_bounds(found: RecognizedBatch) -> RecognizedBatch:
    """Keeps what a program has found within the vocabulary and the patches."""
    _, patches, vocab_size = found.logits.shape
    beams, alignment = found.beams, found.alignment
    return RecognizedBatch(
        found.logits,
        jnp.clip(found.patches, 0, patches),
        beams._replace(
            labels=jnp.clip(beams.labels, 0, vocab_size - 1),
            label_lengths=jnp.clip(beams.label_lengths, 0, patches),
        ),
        alignment._replace(
            starts=jnp.clip(alignment.starts, 0, patches),
            ends=jnp.clip(alignment.ends, 0, patches),
        ),
    )
