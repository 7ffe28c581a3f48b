"""Finds what the page needs of others: MediaPipe's and ONNX Runtime's packages, and the hand landmarker.

The packages come from npm by name, version and integrity hash, once, and are kept in the cache as npm
packs them. tasks-vision is the newest version that sends no reports of its use anywhere: 1.0 and later
post to Google.
"""

import base64
import hashlib
import os
import pathlib
import shutil
import tarfile
from collections.abc import Mapping
from typing import NamedTuple

from wsign_jax.common import download, files
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import landmarker

LICENSES = "LICENSES.txt"
_REGISTRY = "https://registry.npmjs.org"
_COPY = "--assets=DIR"


class NpmPackage(NamedTuple):
    """A package, and the files of it that the page needs."""

    name: str
    version: str
    integrity: str  # as npm's registry gives it
    files: tuple[str, ...]
    license: str

    @property
    def packed(self) -> str:
        """The name that `npm pack` gives its file."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def url(self) -> str:
        """The address in the registry."""
        short = self.name.rpartition("/")[2]
        return f"{_registry()}/{self.name}/-/{short}-{self.version}.tgz"


TASKS_VISION = NpmPackage(
    "@mediapipe/tasks-vision",
    "0.10.35",
    "sha512-HOvadwVRE6JC+45nyYhmnywnr5h/J8KZvOeUNVOG9q/0875pZgItznFB9bRTvLc264YSJqiZ1NsIpCStJw/egg==",
    (
        "vision_bundle.mjs",
        "wasm/vision_wasm_module_internal.js",
        "wasm/vision_wasm_module_internal.wasm",
    ),
    "Apache-2.0",
)
ONNX_RUNTIME = NpmPackage(
    "onnxruntime-web",
    "1.30.0",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"),
    "MIT",
)


def write_assets(folder: pathlib.Path, assets: pathlib.Path | None = None) -> None:
    """Writes into a folder, made if missing, the files that the page needs, and their licenses.

    They lie side by side under their own names. `assets` is a folder with copies, for a machine without
    a network: the packages as `npm pack` writes them, and hand_landmarker.task.

    Raises:
        WSignError: something is missing and cannot be downloaded, or is not the published file.
        OSError: the folder cannot be written.
    """
    for package in (TASKS_VISION, ONNX_RUNTIME):
        for path, content in read_package(package, assets).items():
            files.write(folder / pathlib.PurePosixPath(path).name, content)
    given = None if assets is None else assets / landmarker.MODEL_NAME
    model = landmarker.find_model(given, _COPY)
    shutil.copyfile(model, folder / landmarker.MODEL_NAME)
    files.write(folder / LICENSES, _licenses().encode())


def read_package(package: NpmPackage, assets: pathlib.Path | None = None) -> Mapping[str, bytes]:
    """Returns the needed files of a package, by their paths in it; raises as `write_assets` does."""
    if assets is not None:
        packed = assets / package.packed
        _check(packed, package, f"put {package.url} there")
    else:
        packed = landmarker.cache_folder() / package.packed
        if packed.exists():
            _check(packed, package, "delete it")
        else:
            fix = f"put {package.url} at {packed}, or name a copy with {_COPY}"
            download.download(
                package.url,
                packed,
                lambda path: _check(path, package, fix),
                f"package {package.name}",
                _COPY,
            )
    found = {}
    with tarfile.open(packed) as archive:
        for name in package.files:
            member = archive.extractfile(f"package/{name}")
            assert member is not None  # the hash is that of a package in which it is a file
            found[name] = member.read()
    return found


def _check(path: pathlib.Path, package: NpmPackage, fix: str) -> None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha512").digest()
    except OSError as error:
        raise WSignError(f"{path}: cannot be read ({error.strerror}); {fix}") from None
    if "sha512-" + base64.b64encode(digest).decode() != package.integrity:
        raise WSignError(f"{path}: is not {package.name} {package.version}, or is damaged; {fix}")


def _registry() -> str:
    """Returns the registry that npm is set to, by the environment or ~/.npmrc; by default npm's own."""
    if given := os.environ.get("npm_config_registry"):  # noqa: SIM112 - npm's name
        return given.rstrip("/")
    try:
        lines = (pathlib.Path.home() / ".npmrc").read_text(encoding="utf-8").splitlines()
    except (OSError, RuntimeError, ValueError):
        lines = []
    for line in lines:
        name, _, value = line.partition("=")
        if name.strip() == "registry" and value.strip():
            return value.strip().strip("\"'").rstrip("/")
    return _REGISTRY


def _licenses() -> str:
    """Returns the notice for a site: neither package brings a file of its own."""
    heads = [
        f"{package.name} {package.version}: {package.license}, https://www.npmjs.com/package/{package.name}"
        for package in (TASKS_VISION, ONNX_RUNTIME)
    ]
    heads.append(f"{landmarker.MODEL_NAME} ({landmarker.MODEL_VERSION}): Apache-2.0, Google")
    texts = pathlib.Path(__file__).with_name("licenses")
    bodies = [path.read_text(encoding="utf-8") for path in sorted(texts.iterdir())]
    return "\n\n".join(["\n".join(heads), *bodies])
