"""Imports go one way, as data flows: a room may import only from the rooms above it in this list."""

import ast
import pathlib

import wsign_jax

ROOT = pathlib.Path(wsign_jax.__file__).parent
JAX, VIDEO = {"jax", "flax", "optax"}, {"mediapipe", "av", "cv2"}
# What a room must not import besides.
ROOMS = {
    "common": JAX | VIDEO,
    "runtime": {"flax", "optax"} | VIDEO,
    "keypoints": JAX,
    "data": JAX | VIDEO,
    "model": VIDEO,
    "decode": VIDEO,
    "report": JAX | VIDEO,
    "train": VIDEO,
    "evaluate": VIDEO,
    "stream": VIDEO,
    "recognize": VIDEO,
    "web": VIDEO,
}
LOOSE = {"__init__.py", "main.py"}


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: pathlib.Path) -> str:
    """The folder directly below wsign_jax that a file belongs to; '' for what lies loose."""
    return path.relative_to(ROOT).parts[0] if path.parent != ROOT else ""


def test_every_module_has_a_room():
    assert {path.name for path in ROOT.glob("*.py")} == LOOSE
    assert {room(path) for path in ROOT.rglob("*.py")} <= {*ROOMS, ""}


def test_imports_go_one_way():
    rank = {name: number for number, name in enumerate(ROOMS)}
    backwards = []
    for path in ROOT.rglob("*.py"):
        own = {name.split(".")[1] for name in imports(path) if name.startswith("wsign_jax.")}
        if room(path):
            later = {name for name in own if rank.get(name, len(rank)) > rank[room(path)]}
            backwards += [f"{path.relative_to(ROOT)} imports {name}" for name in sorted(later)]
    assert not backwards


def test_no_room_imports_what_it_must_not():
    wrong = []
    for path in ROOT.rglob("*.py"):
        tops = {name.split(".")[0] for name in imports(path)}
        forbidden = ROOMS.get(room(path), JAX | VIDEO)  # importing wsign_jax stays light
        wrong += [f"{path.relative_to(ROOT)} imports {top}" for top in sorted(tops & forbidden)]
    assert not wrong
