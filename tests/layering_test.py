"""Imports go one way, as data flows: each package may import only from those before it."""

import ast
import pathlib

import wsign_jax

ROOT = pathlib.Path(wsign_jax.__file__).parent
# Packages and modules of one layer; a layer sees itself and the layers above it in this list.
LAYERS = [
    {"errors", "disk", "progress"},
    {"hosts", "compiled", "heap"},
    {"keypoints"},
    {"data"},
    {"positions", "silence"},
    {"model"},
    {"decode", "metrics"},
    {"transcript"},
    {"formats"},
    {"recognition"},
    {"programs"},
    {"exported"},
    {"report"},
    {"config"},
    {"train"},
    {"trained"},
    {"choices"},
    {"running"},
    {"evaluate"},
    {"tune"},
    {"chunks"},
    {"endpoint"},
    {"stream"},
    {"export", "export_onnx"},
    {"recognizer"},
    {"predict"},
    {"events", "measure"},
    {"live"},
    {"main"},
]
FORBIDDEN = {
    "keypoints": {"jax", "flax", "optax"},
    "data": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "model": {"mediapipe", "av", "cv2"},
    "decode": {"mediapipe", "av", "cv2"},
    "silence": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "positions": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "errors": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "disk": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "progress": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "hosts": {"flax", "optax", "mediapipe", "av", "cv2"},
    "compiled": {"flax", "optax", "mediapipe", "av", "cv2"},
    "heap": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "config": {"mediapipe", "av", "cv2"},
    "metrics": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "formats": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "transcript": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "recognition": {"flax", "optax", "mediapipe", "av", "cv2"},
    "programs": {"flax", "optax", "mediapipe", "av", "cv2"},
    "exported": {"flax", "optax", "mediapipe", "av", "cv2"},
    "report": {"jax", "flax", "optax", "mediapipe", "av", "cv2"},
    "train": {"mediapipe", "av", "cv2"},
    "trained": {"mediapipe", "av", "cv2"},
    "choices": {"mediapipe", "av", "cv2"},
    "evaluate": {"mediapipe", "av", "cv2"},
    "tune": {"mediapipe", "av", "cv2"},
    "running": {"mediapipe", "av", "cv2"},
    "export": {"mediapipe", "av", "cv2"},
    "export_onnx": {"mediapipe", "av", "cv2"},
    "recognizer": {"mediapipe", "av", "cv2"},
    "predict": {"mediapipe", "av", "cv2"},
    "chunks": {"mediapipe", "av", "cv2"},
    "endpoint": {"mediapipe", "av", "cv2"},
    "stream": {"mediapipe", "av", "cv2"},
    "events": {"mediapipe", "av", "cv2"},
    "measure": {"mediapipe", "av", "cv2"},
    "live": {"mediapipe", "av", "cv2"},
    "main": {"mediapipe", "av", "cv2"},
}


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def unit(path: pathlib.Path) -> str:
    """The package or module directly below wsign_jax that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_module_has_a_layer():
    known = set().union(*LAYERS) | {"__init__"}
    assert {unit(path) for path in ROOT.rglob("*.py")} <= known


def test_imports_go_one_way():
    rank = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    backwards = []
    for path in ROOT.rglob("*.py"):
        for name in imports(path):
            parts = name.split(".")
            own = parts[0] == "wsign_jax" and len(parts) > 1 and unit(path) in rank
            if own and rank[parts[1]] > rank[unit(path)]:
                backwards.append(f"{path.name} imports {name}")
    assert not backwards


def test_no_layer_imports_what_it_must_not():
    wrong = []
    for path in ROOT.rglob("*.py"):
        tops = {name.split(".")[0] for name in imports(path)}
        wrong += [f"{path.name}: {top}" for top in tops & FORBIDDEN.get(unit(path), set())]
    assert not wrong
