"""An exported model: one file that recognises without the code of the network.

It is a ZIP archive of

    about.json                  format, settings, versions, digests of the other members
    label_map.json              the vocabulary
    parameters/<path>.npy       what the program reads of the weights, float32
    program.bin                 `jax.export` for cpu, cuda and tpu: greedy CTC decoding of any batch size
                                and length (see `Exported`)

This module never imports `wsign_jax.model`.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import numpy as np

from wsign_jax import disk, positions
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.align import Alignment
from wsign_jax.decode.beam import Beams
from wsign_jax.errors import WSignError
from wsign_jax.recognition import Program, Recognised, Settings

FORMAT = 1  # raised with every change that this version could not read
DECODER = "greedy"
_ABOUT, _LABEL_MAP, _PROGRAM = "about.json", "label_map.json", "program.bin"
_PARAMETERS = "parameters/"


@dataclasses.dataclass(frozen=True)
class Exported:
    """A model out of a file; a `Backend`.

    Its program takes the parameters by their paths, (B, T, 42, 7) float32 normalised features with T a
    multiple of the patch size, (B,) int32 frames, (B, N) bool silence, the window as two () int32, and
    the tables of positions; it returns the leaves of a `Recognised`.
    """

    settings: Settings
    vocabulary: Vocabulary
    temperature: float
    about: Mapping[str, Any]  # the content of about.json
    parameters: dict[str, jax.Array]
    call: Callable[..., tuple[jax.Array, ...]]

    def program(self, decoder: str, chunk: int, left_context: int) -> Program:
        """See `Backend`; there is only greedy decoding."""
        if decoder != DECODER:
            raise WSignError(
                f"an exported file decodes with {DECODER!r} alone; load the run itself for {decoder!r}"
            )
        window = np.int32(chunk), np.int32(left_context)

        def run(features: np.ndarray, frames: np.ndarray, silence: np.ndarray) -> Recognised:
            s = self.settings
            patches = features.shape[1] // s.patch_size
            tables = positions.tables(s.positions, patches, s.width, s.head_width)
            return unflatten(self.call(self.parameters, features, frames, silence, window, tables))

        return Program(run, chunk, self.temperature)


def flatten(found: Recognised) -> tuple[jax.Array, ...]:
    """The arrays of a `Recognised`, which is what can be exported."""
    return (found.logits, found.patches, *found.beams, *found.alignment)


def unflatten(arrays: tuple[jax.Array, ...]) -> Recognised:
    """The inverse of `flatten`."""
    logits, patches, *rest = arrays
    of_beams = len(Beams._fields)
    return Recognised(logits, patches, Beams(*rest[:of_beams]), Alignment(*rest[of_beams:]))


def write(
    path: pathlib.Path,
    settings: Settings,
    vocabulary: Vocabulary,
    temperature: float,
    parameters: Mapping[str, np.ndarray],
    program: bytes,
    about: Mapping[str, Any],
) -> None:
    """Writes a file, through a temporary name.

    Args:
        path: replaced where it is there.
        settings: of the model.
        vocabulary: of the model.
        temperature: of the confidences.
        parameters: by their paths.
        program: serialised.
        about: what else about.json says.
    """
    members = {_LABEL_MAP: json.dumps(dict(vocabulary.ids), indent=1, ensure_ascii=False).encode()}
    for name, array in parameters.items():
        memory = io.BytesIO()
        np.save(memory, array)
        members[f"{_PARAMETERS}{name}.npy"] = memory.getvalue()
    members[_PROGRAM] = program
    content = {
        "format": FORMAT,
        **about,
        "settings": dataclasses.asdict(settings),
        "temperature": temperature,
        "sha256": {name: hashlib.sha256(value).hexdigest() for name, value in members.items()},
    }
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(_ABOUT, json.dumps(content, indent=1, ensure_ascii=False))
        for name, value in members.items():
            archive.writestr(name, value)
    disk.write(path, whole.getvalue())


def read(path: pathlib.Path) -> Exported:
    """Reads a file that `write` wrote.

    Raises:
        WSignError: it is none, or of a newer version, was changed, or this jax cannot run it.
    """
    if path.suffix == ".onnx":
        raise WSignError(
            f"{path}: ONNX is for other runtimes; load the run, or export it under a name without .onnx"
        )
    about, members = _read_members(path)
    try:
        settings = Settings(**about["settings"])
        vocabulary = Vocabulary.from_mapping(
            json.loads(members[_LABEL_MAP]), f"{path}: {_LABEL_MAP}"
        )
        temperature = float(about["temperature"])
        program = members.pop(_PROGRAM)
    except (KeyError, TypeError, ValueError) as error:
        raise WSignError(f"{path}: {_no_export(error)}") from None
    parameters = {
        name.removeprefix(_PARAMETERS).removesuffix(".npy"): jax.numpy.asarray(
            np.load(io.BytesIO(value))
        )
        for name, value in members.items()
        if name.startswith(_PARAMETERS)
    }
    call = jax.jit(_deserialize(path, program, about).call)
    return Exported(settings, vocabulary, temperature, about, parameters, call)


def _read_members(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The content of about.json, and the other members, all as they were written."""
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(_ABOUT))
            if about["format"] > FORMAT:
                raise WSignError(
                    f"{path}: written by a newer version of this project (format {about['format']}; "
                    f"this one reads up to {FORMAT}); update the project"
                )
            members = {name: archive.read(name) for name in about["sha256"]}
    except WSignError:
        raise
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise WSignError(f"{path}: {_no_export(error)}") from None
    for name, value in members.items():
        if hashlib.sha256(value).hexdigest() != about["sha256"][name]:
            raise WSignError(f"{path}: {name} in it was changed after the export; export it again")
    return about, members


def _no_export(error: Exception) -> str:
    return f"not a file that tools/export.py wrote, or damaged ({error}); export it again"


def _deserialize(
    path: pathlib.Path, program: bytes, about: Mapping[str, Any]
) -> jax.export.Exported:
    try:
        exported = jax.export.deserialize(bytearray(program))
    except Exception as error:  # jax has no common exception for it
        raise WSignError(
            f"{path}: jax {jax.__version__} cannot read its program, which jax "
            f"{about.get('versions', {}).get('jax')} wrote ({str(error).splitlines()[0]}); update "
            "jax, or export it again with this one"
        ) from None
    here = jax.export.default_export_platform()
    if here not in exported.platforms:
        raise WSignError(
            f"{path}: made for {', '.join(exported.platforms)}, and this is {here}; "
            "set JAX_PLATFORMS=cpu"
        )
    return exported
