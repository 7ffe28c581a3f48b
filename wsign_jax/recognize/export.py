"""Exports a run to a file that recognizes without the network's code; see `exported_file.py`."""

import contextlib
import importlib.metadata
import math
import pathlib
import platform
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.decode.decoders import GREEDY, Search
from wsign_jax.decode.joint import Weights
from wsign_jax.evaluate.decoder_settings import choose_settings, read_known
from wsign_jax.evaluate.trained_run import Trained
from wsign_jax.model import whisper_sign
from wsign_jax.model.chunk import Chunk
from wsign_jax.model.whisper_sign import Params
from wsign_jax.recognize import (
    enrollment,
    exported_file,
    exported_program,
    exported_stream,
    file_backend,
    run_backend,
)
from wsign_jax.recognize.backend import RecognizerSettings
from wsign_jax.recognize.exported_stream import StreamSizes
from wsign_jax.report import card
from wsign_jax.stream import run_stream
from wsign_jax.stream.options import stream_window

_UNREAD = "decoder/"  # parameters that greedy CTC decoding never reads
_CARD = ".md"


def check_free(path: pathlib.Path, replace: bool = False) -> None:
    """Refuses to overwrite a file or its card, unless `replace`; call it before anything is computed.

    Raises:
        IsADirectoryError: a folder has the name of the card.
        WSignError: the file or its card is there already or cannot be written, or `path` is a folder.
    """
    if path.is_dir():
        raise WSignError(f"{path}: is a folder; name a file, for example {path / 'model.wsign'}")
    for place in (path, card_path(path)):
        files.check_writable(place)
        if place.exists() and not replace:
            raise WSignError(f"{place}: is there already; name another --out, or give --replace")


def files_of_run(trained: Trained) -> list[pathlib.Path]:
    """The files of a run, which an export must not replace."""
    inside = (path for folder in trained.checkpoints for path in folder.rglob("*"))
    return [path for path in (*trained.workdir.glob("*"), *inside) if path.is_file()]


def card_path(path: pathlib.Path) -> pathlib.Path:
    """The path of an exported file's model card."""
    return path.with_name(path.name + _CARD)


def export_run(trained: Trained, path: pathlib.Path) -> None:
    """Writes a run, in float32, as one file; replaces what is there."""
    settings, sizes = run_backend.recognizer_settings(trained), stream_sizes(trained)
    greedy = choose_settings(trained, GREEDY)
    known = None if greedy.unknown_below is None else read_known(trained)
    parameters = {
        name: np.asarray(value)
        for name, value in whisper_sign.parameter_paths(trained.params).items()
        if not name.startswith(_UNREAD)
    }
    exported_file.write_exported(
        path,
        settings,
        trained.vocabulary,
        greedy.calibration,
        parameters,
        (serialize_program(trained, settings), serialize_stream(trained, settings, sizes)),
        sizes,
        {
            "checkpoint": trained.checkpoint_steps,
            "versions": package_versions(),
            "unknown_below": None if known is None else greedy.unknown_below,
        },
        enrollment.read(trained.workdir / enrollment.ENROLLED, trained.vocabulary),
        known,
    )


def serialize_program(trained: Trained, settings: RecognizerSettings) -> bytes:
    """Serializes the run's greedy decoding for every platform, batch size and number of patches.

    Raises:
        WSignError: this jax makes a program of it that `exported_file.read_exported` would refuse.
    """
    recognize = run_backend.make_recognize(trained.network.graph, Search(GREEDY))
    read, all_of = _parameters_read(trained)

    def step(
        parameters: dict[str, jax.Array],
        keypoints: jax.Array,
        hands: jax.Array,
        frames: jax.Array,
        no_hands: jax.Array,
        window: run_backend.AttentionWindow,
        tables: tuple[jax.Array, ...],
    ) -> tuple[jax.Array, ...]:
        found = recognize(
            all_of(parameters), keypoints, hands, frames, no_hands, window, Weights(), tables=tables
        )
        return file_backend.flatten(found)

    taken = file_backend.program_arguments(settings, read)
    return _serialize(step, taken, file_backend.program_results(len(trained.vocabulary)))


def serialize_stream(trained: Trained, settings: RecognizerSettings, sizes: StreamSizes) -> bytes:
    """Serializes the run's stream for every platform; see `serialize_program`."""
    read, all_of = _parameters_read(trained)
    stream = stream_step(trained)

    def step(
        parameters: dict[str, jax.Array], state: tuple[jax.Array, ...], chunk: tuple[Any, ...]
    ) -> tuple[jax.Array, ...]:
        return stream(all_of(parameters), state, chunk)

    taken = exported_stream.stream_arguments(settings, sizes, read)
    results = exported_stream.stream_results(settings, sizes, len(trained.vocabulary))
    return _serialize(step, taken, results)


def stream_sizes(trained: Trained) -> StreamSizes:
    """The sizes of a run's stream, with its default window."""
    model = run_stream.run_model(trained, *stream_window(trained, None, None))
    return StreamSizes(model.chunk, model.left_context, model.layers, model.taps)


def stream_step(trained: Trained) -> Callable[..., tuple[jax.Array, ...]]:
    """Makes a run's step of plain arrays; see `exported_stream`."""
    run = run_stream.make_step(trained.network.graph)
    start = whisper_sign.bind_params(trained.network.graph, trained.params).stream_start
    structure = jax.tree.structure(start(1, 1, 0))

    def step(
        params: Params, state: tuple[jax.Array, ...], chunk: tuple[Any, ...]
    ) -> tuple[jax.Array, ...]:
        given = Chunk(*chunk)
        given = given._replace(angles=given.angles or None)
        outputs, cache = run(params, jax.tree.unflatten(structure, state), given)
        return outputs.log_probs, *jax.tree.leaves(cache)

    return step


def _parameters_read(
    trained: Trained,
) -> tuple[dict[str, jax.ShapeDtypeStruct], Callable[[Mapping[str, jax.Array]], Params]]:
    """The parameters that a program takes, as shapes, and the function that makes all out of them."""
    shapes = whisper_sign.parameter_paths(trained.network.shapes)
    structure = jax.tree.structure(trained.network.shapes)
    read = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for name, leaf in shapes.items()
        if not name.startswith(_UNREAD)
    }

    def all_of(parameters: Mapping[str, jax.Array]) -> Params:
        # Parameters that are not read leave no trace in the program.
        leaves = [
            parameters[name] if name in parameters else jnp.zeros(leaf.shape, leaf.dtype)
            for name, leaf in shapes.items()
        ]
        return jax.tree.unflatten(structure, leaves)

    return read, all_of


def _serialize(
    step: Callable[..., tuple[jax.Array, ...]],
    taken: tuple[Any, ...],
    results: tuple[jax.ShapeDtypeStruct, ...],
) -> bytes:
    exporting = jax.export.export(jax.jit(step), platforms=exported_program.PLATFORMS)
    content = bytes(exporting(*taken).serialize())
    exported_program.read_program(content, taken, results)
    return content


def package_versions() -> dict[str, str]:
    """The versions of Python and the packages that make a file."""
    found = {}
    for name in ("wsign-jax", "jax", "flax", "numpy"):
        # The project itself may be used from its folder, uninstalled.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found | {"python": platform.python_version()}


def card_fields(trained: Trained, name: str, license: str) -> card.CardFields:
    """Collects what is known of a run, for its card.

    Raises:
        WSignError: a report in the run's folder is broken.
    """
    root = trained.data_root
    stages = trained.info.config["stages"][: trained.info.stage + 1]
    sizes = whisper_sign.parameter_paths(trained.network.shapes).values()
    count = sum(math.prod(leaf.shape) for leaf in sizes)
    about = root / "dataset.json"
    sentences = {split: layout.count(root, split) for split in layout.SPLITS}
    signers = {split: layout.read_groups(root, split, "signer") for split in layout.SPLITS}
    return card.CardFields(
        name=name,
        checkpoint=trained.checkpoint_steps,
        model=f"{trained.config.model.size}, {count:,} parameters",
        stages=stages,
        glosses=trained.vocabulary.names[1:],
        data=str(root),
        made=files.read_json(about) if about.exists() else {},
        sentences={split: number for split, number in sentences.items() if number},
        signers={split: sorted(set(of.values())) for split, of in signers.items() if of},
        reports=_reports(trained),
        license=license,
        versions=package_versions(),
    )


def _reports(trained: Trained) -> dict[str, card.SplitResult]:
    """The results in the run's folder that were measured with these weights, by split."""
    found = {}
    for split in layout.SPLITS:
        path = trained.workdir / f"report_{split}.json"
        if path.exists():
            report = files.read_json(path)
            try:
                # Runs are moved; their checkpoints' numbers stay.
                measured = report["settings"]["checkpoint"].split(", ")
                steps = ", ".join(pathlib.Path(path).name for path in measured)
                if steps == trained.checkpoint_steps:
                    found[split] = card.SplitResult.from_report(report)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                raise WSignError(
                    f"{path}: is not a report; move it away, or write it again with config.mode=evaluate"
                ) from None
    return found
