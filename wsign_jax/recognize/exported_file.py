"""Reads and writes exported models: one file that recognizes without the code of the network.

It is a ZIP archive of

    about.json                  format, settings, versions, digests of the other members
    label_map.json              the vocabulary
    parameters/<path>.npy       the weights that the program reads, float32
    program.bin                 `jax.export` for cpu, cuda and tpu: greedy CTC decoding of any batch size
                                and length (see `ExportedModel`)
    stream.bin                  `jax.export` likewise: a stream's step (see `exported_stream.py`)
    enrolled.npz                signs that were added to the run, if any (see `enrollment.py`)
    known_signs.npz             what tells unknown signs, if it was tuned (see `decode/unknown.py`)

A file's format is the lowest one that has all its members. It imports only `positions` and `chunk` of
`wsign_jax.model`, never the network.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import pathlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode import confidence, unknown
from wsign_jax.decode.calibration import LONGEST_SIGN, Calibration
from wsign_jax.decode.unknown import KnownSigns, UnknownRule
from wsign_jax.recognize import enrollment, exported_program, exported_stream
from wsign_jax.recognize.backend import RecognizerSettings
from wsign_jax.recognize.exported_stream import StreamSizes
from wsign_jax.recognize.file_backend import (
    ExportedModel,
    program_arguments,
    program_results,
    unflatten,
    within_bounds,
)

FORMAT = 5  # goes up with every change that older versions cannot read
_OLDEST = 2  # format that is read
_ABOUT, _LABEL_MAP, _PROGRAM = "about.json", "label_map.json", "program.bin"
_STREAM = "stream.bin"
_ENROLLED, _KNOWN = enrollment.ENROLLED, unknown.KNOWN_SIGNS
_SINCE = {_STREAM: 3, _ENROLLED: 4, _KNOWN: 5}  # the first formats with these members
_PARAMETERS = "parameters/"
_PARAMETER = re.compile(r"parameters(/\w+)+\.npy", re.ASCII)
_ENCRYPTED = 1  # of a member's flags


def write_exported(
    path: pathlib.Path,
    settings: RecognizerSettings,
    vocabulary: Vocabulary,
    calibration: Calibration,
    parameters: Mapping[str, np.ndarray],
    programs: tuple[bytes, bytes],
    sizes: StreamSizes,
    about: Mapping[str, Any],
    enrolled: enrollment.Enrolled | None = None,
    known: KnownSigns | None = None,
) -> None:
    """Writes an exported file, through a temporary name; `programs` are the offline and the stream's."""
    members = {_LABEL_MAP: json.dumps(dict(vocabulary.ids), indent=1, ensure_ascii=False).encode()}
    for name, array in parameters.items():
        memory = io.BytesIO()
        np.save(memory, array)
        members[f"{_PARAMETERS}{name}.npy"] = memory.getvalue()
    members[_PROGRAM], members[_STREAM] = programs
    if enrolled is not None and enrolled.names:
        members[_ENROLLED] = enrolled.to_bytes()
    if known is not None:
        members[_KNOWN] = unknown.to_bytes(known)
    content = {
        "format": max(_SINCE.get(name, _OLDEST) for name in members),
        **about,
        "settings": dataclasses.asdict(settings),
        "stream": dataclasses.asdict(sizes),
        **calibration._asdict(),
        "sha256": {name: hashlib.sha256(value).hexdigest() for name, value in members.items()},
    }
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(_ABOUT, json.dumps(content, indent=1, ensure_ascii=False))
        for name, value in members.items():
            archive.writestr(name, value)
    files.write(path, whole.getvalue())


def read_exported(path: pathlib.Path) -> ExportedModel:
    """Reads an exported file, and checks all of it before any of it runs.

    Its program may be anybody's: `exported_program.py` says what it can do and what it cannot.

    Raises:
        WSignError: it is not an exported file, a newer version wrote it, it was changed, or this jax
            cannot run it.
    """
    if path.suffix == ".onnx":
        raise WSignError(
            f"{path}: ONNX is for other runtimes; load the run, or export it under a name without .onnx"
        )
    about, members = _read_members(path)
    with _refused(path):
        settings = RecognizerSettings.from_json(
            files.field(about, "settings", _ABOUT, dict), f"settings in {_ABOUT}"
        )
        temperature = files.field(
            about, "temperature", _ABOUT, (int, float),
            lambda x: confidence.MIN_TEMPERATURE <= x <= confidence.MAX_TEMPERATURE,
            f"a number, {confidence.MIN_TEMPERATURE} to {confidence.MAX_TEMPERATURE}",
        )  # fmt: skip
        times = [_sign_time(about, name) for name in ("sign_start", "sign_end")]
        label_map = files.parse_json(members.pop(_LABEL_MAP), _LABEL_MAP)
        vocabulary = Vocabulary.from_mapping(label_map, _LABEL_MAP)
        program, stream = members.pop(_PROGRAM), members.pop(_STREAM, None)
        enrolled = enrollment.Enrolled(vocabulary)
        if (signs := members.pop(_ENROLLED, None)) is not None:
            enrolled = enrolled.from_bytes(signs, _ENROLLED)
        rule = None
        if (known := members.pop(_KNOWN, None)) is not None:
            below = files.field(about, "unknown_below", _ABOUT, (int, float), math.isfinite)
            rule = UnknownRule(unknown.from_bytes(known, len(vocabulary), _KNOWN).own, below)
        parameters = {_path_of(name): _parameter(name, x) for name, x in members.items()}
        shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in parameters.items()}
        sizes = None
        if stream is not None:
            found = files.field(about, "stream", _ABOUT, dict)
            sizes = StreamSizes.from_json(found, f"stream in {_ABOUT}")
            taken = exported_stream.stream_arguments(settings, sizes, shapes)
            given = exported_stream.stream_results(settings, sizes, len(vocabulary))
    jax_version = about["versions"].get("jax")
    call = exported_program.load_callable(
        path, program, jax_version,
        program_arguments(settings, shapes), program_results(len(vocabulary)),
        lambda *arrays: within_bounds(unflatten(arrays)),
    )  # fmt: skip
    step = None
    if stream is not None:
        step = exported_program.load_callable(
            path, stream, jax_version, taken, given, lambda *arrays: arrays
        )
    on_device = {name: jnp.asarray(array) for name, array in parameters.items()}
    return ExportedModel(
        settings,
        vocabulary,
        Calibration(float(temperature), *times),
        about,
        on_device,
        call,
        path,
        sizes,
        step,
        enrolled,
        rule,
    )


def _sign_time(about: Mapping[str, Any], name: str) -> float | None:
    """Returns a field of a `Calibration`, which files of before do not have."""
    if about.get(name) is None:
        return None
    return files.field(
        about, name, _ABOUT, (int, float),
        lambda x: abs(x) <= LONGEST_SIGN, f"a number, {-LONGEST_SIGN:g} to {LONGEST_SIGN:g}",
    )  # fmt: skip


@contextlib.contextmanager
def _refused(path: pathlib.Path) -> Iterator[None]:
    """Turns any error inside a file into one line that names the file and the fix."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # zipfile and numpy raise almost anything at a damaged file
        reason = error if isinstance(error, WSignError) else exported_program.short_reason(error)
        raise WSignError(
            f"{path}: not a file that tools/export.py wrote, or damaged ({reason}); export it again"
        ) from None


def _read_members(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Returns the content of about.json, and the other members; all must be as they were written."""
    with path.open("rb") as file, _refused(path), zipfile.ZipFile(file) as archive:
        names = _check_directory(archive, os.fstat(file.fileno()).st_size)
        about = files.parse_json(archive.read(_ABOUT), _ABOUT)
        format_ = files.field(about, "format", _ABOUT, int, lambda x: x > 0)
        readable = _OLDEST <= format_ <= FORMAT
        members = {name: archive.read(name) for name in names if readable}
    if format_ > FORMAT:
        raise WSignError(
            f"{path}: written by a newer version of this project (format {format_}; this one reads "
            f"up to {FORMAT}); update the project"
        )
    if format_ < _OLDEST:
        raise WSignError(
            f"{path}: written by an older version of this project (format {format_}), for keypoints "
            "that are normalized; export the run again"
        )
    with _refused(path):
        for name, first in _SINCE.items():
            is_needed = first == format_ or (name == _STREAM and first < format_)
            if first > format_ if name in members else is_needed:
                raise WSignError(f"format {format_} in {_ABOUT} does not go with {name!r}")
        versions = files.field(about, "versions", _ABOUT, dict)
        for name in versions:
            files.check_line(files.field(versions, name, f"versions in {_ABOUT}", str), name)
        digests = files.field(about, "sha256", _ABOUT, dict)
        if digests.keys() != members.keys():
            [name, *_] = sorted(digests.keys() ^ members.keys())
            raise WSignError(f"{name!r} is not both in it and in sha256 in {_ABOUT}")
    for name, value in members.items():
        if hashlib.sha256(value).hexdigest() != digests[name]:
            raise WSignError(f"{path}: {name} in it was changed after the export; export it again")
    return about, members


def _check_directory(archive: zipfile.ZipFile, size: int) -> list[str]:
    """Checks an archive's directory, so that reading all of it takes no more than the file's size.

    Returns:
        The names of its members, without about.json.
    """
    members = archive.infolist()
    names = [member.filename for member in members]
    for member in members:
        name = member.filename
        known = _ABOUT, _LABEL_MAP, _PROGRAM, _STREAM, _ENROLLED, _KNOWN
        if name not in known and not _PARAMETER.fullmatch(name):
            raise WSignError(f"it has {name[:100]!r}, which is not part of an export")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
            raise WSignError(f"{name!r} in it is compressed or encrypted")
    if len({*names}) < len(names):
        raise WSignError("it has a member twice")
    if sum(member.file_size for member in members) > size:
        raise WSignError("its members are larger than the file")
    for name in (_ABOUT, _LABEL_MAP, _PROGRAM):
        if name not in names:
            raise WSignError(f"there is no {name!r} in it")
    return [name for name in names if name != _ABOUT]


def _path_of(member: str) -> str:
    return member.removeprefix(_PARAMETERS).removesuffix(".npy")


def _parameter(member: str, content: bytes) -> np.ndarray:
    """Reads an array that `np.save` wrote."""
    memory = io.BytesIO(content)
    if np.lib.format.read_magic(memory) != (1, 0):
        raise WSignError(f"{member!r} is not an array of this format")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(memory)
    if dtype != np.float32 or math.prod(shape) * 4 != len(content) - memory.tell():
        raise WSignError(f"{member!r} is {dtype}{list(shape)} in {len(content)} bytes")
    array = np.frombuffer(content, np.float32, offset=memory.tell())
    if not np.isfinite(array).all():
        raise WSignError(f"{member!r} has NaN or infinity in it")
    return array.reshape(shape, order="F" if is_fortran else "C")
