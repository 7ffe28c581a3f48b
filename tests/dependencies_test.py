"""setup.cfg names what the code imports, extra by extra: on a fresh machine there is nothing else."""

import ast
import configparser
import importlib.metadata
import pathlib
import re
import sys

from tests.helpers.processes import ROOT

# Which extra a file may import beyond what is always installed; a folder stands for all in it.
EXTRAS = {
    "wsign_jax/data/corpora/parquet.py": "parquet",
    "wsign_jax/keypoints": "video",
    "wsign_jax/keypoints/pose_file.py": "pose",
    "wsign_jax/recognize/export_onnx.py": "onnx",
    "wsign_jax/train/initial_weights.py": "whisper",
    "wsign_jax/web": "web",
    "tools/benchmark/extract.py": "video",
}
# PyTorch is what the benchmark compares with, in an environment of its own.
TORCH = ("tools/benchmark/torch_peer.py", "tools/benchmark/torch_worker.py")
# Imports that no `import` shows: what a call needs beyond what its own package installs.
HIDDEN = {
    r"jax\.export|from jax import export": "flatbuffers",  # export(...).serialize() and deserialize
    r"\"av\"": "av",  # loaded by its name
    r"\"cv2\"": "mediapipe",  # likewise; MediaPipe brings it
}
# Imported by nothing here: what a person chooses by the machine, and what runs beside the code.
NOT_IMPORTED = {"cuda12", "tpu", "test"}
BESIDE = {"onnxruntime"}  # runs what `onnx` has exported

REQUIREMENTS = configparser.ConfigParser()
REQUIREMENTS.read(ROOT / "setup.cfg")
FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("wsign_jax", "tools", "configs")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
_DISTRIBUTIONS = importlib.metadata.packages_distributions()


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(extra: str | None = None) -> set[str]:
    """The distributions of install_requires, or of an extra."""
    section, option = ("options", "install_requires")
    if extra:
        section, option = ("options.extras_require", extra)
    lines = (line.strip() for line in REQUIREMENTS[section][option].splitlines())
    names = (re.match(r"[\w.-]+", line) for line in lines if not line.startswith("#"))
    return {normalized(name[0]) for name in names if name}


def needs(source: str) -> dict[str, set[str]]:
    """What a source imports of others, wherever in it: a module, and the distributions that have it."""
    tops = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            tops |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            tops.add((node.module or "").split(".")[0])
    own = {"wsign_jax", "tools", "tests", "configs", *sys.stdlib_module_names}
    found = {top: {normalized(d) for d in _DISTRIBUTIONS.get(top, [top])} for top in tops - own}
    hidden = {name for pattern, name in HIDDEN.items() if re.search(pattern, source)}
    return found | {name: {name} for name in hidden}


def undeclared(file: str, source: str) -> list[str]:
    """Modules that a file imports and that setup.cfg would not have installed for it."""
    allowed = declared()
    for place, extra in EXTRAS.items():
        if file == place or file.startswith(place + "/"):
            allowed |= declared(extra)
    return sorted(module for module, names in needs(source).items() if not names & allowed)


def test_everything_imported_is_declared():
    lacking = {
        file: undeclared(file, (ROOT / file).read_text(encoding="utf-8"))
        for file in FILES
        if file not in TORCH
    }
    assert not {file: modules for file, modules in lacking.items() if modules}


def test_everything_declared_is_imported():
    used: set[str] = set(BESIDE)
    for file in FILES:
        used = used.union(*needs((ROOT / file).read_text(encoding="utf-8")).values())
    for extra in [None, *set(REQUIREMENTS["options.extras_require"]) - NOT_IMPORTED]:
        assert declared(extra) <= used, f"{extra or 'install_requires'} names what nothing imports"


def test_files_that_may_import_extras_are_there():
    assert all((ROOT / pathlib.Path(place)).exists() for place in [*EXTRAS, *TORCH])
