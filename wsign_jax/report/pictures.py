"""Pictures of the report as data URIs, SVG for diagrams and PNG for heat maps.

Figures are made without pyplot, so no window system and no global state is touched. SVG text stays text
in the reader's fonts, and follows the reader's choice of light or dark. `snapshots.py` uses parts of it.
"""

import base64
import contextlib
import functools
import io
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MATRIX_GLOSSES = 16  # rows and columns of the confusion matrix
_INK = "#010203"  # stands in for the color of the reader's text
_HUE = "#d55e00"  # vermilion, which color-blind readers can tell from blue
_NAME_LENGTH = 16  # characters of a gloss name beside a diagram
_INK_STYLE = (
    "<style>svg{color:#1c1c1c}@media(prefers-color-scheme:dark){svg{color:#e8e8e8}}</style>"
)


def confusion_matrix(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Returns the data URI of a matrix of the most confused glosses; None if no gloss was confused."""
    figure = confusion_figure(rows)
    return None if figure is None else _svg(figure)


def confusion_figure(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Returns the figure of `confusion_matrix`."""
    pairs = sorted(
        (-count, row["gloss"], name)
        for row in rows
        for name, count in row["substituted_by"].items()
    )
    names = list(dict.fromkeys(name for _, *pair in pairs for name in pair))[:MATRIX_GLOSSES]
    if not names:
        return None
    by_name = {row["gloss"]: row for row in rows}
    size = len(names)
    counts = np.zeros((size + 1, size + 1), np.int64)  # last column deleted, last row inserted
    for i, name in enumerate(names):
        row = by_name[name]
        counts[i, :size] = [row["substituted_by"].get(other, 0) for other in names]
        counts[i, size] = row["deleted"]
        counts[size, i] = row["inserted"]
    correct = [by_name[name]["correct"] for name in names]
    side = 2.2 + 0.36 * (size + 1)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    _draw_matrix(axes, counts, correct, names)
    return figure


def _draw_matrix(
    axes: Axes, counts: np.ndarray, correct: Sequence[int], names: Sequence[str]
) -> None:
    size = len(counts)
    shades = np.ma.masked_equal(counts, 0) / max(counts.max(), 1)
    edges = np.arange(size + 1) - 0.5
    # At most 0.6 opaque, so that the number stays readable on a light and on a dark page.
    colors = matplotlib.colors.LinearSegmentedColormap.from_list("", [f"{_HUE}1a", f"{_HUE}99"])
    axes.pcolormesh(edges, edges, shades, cmap=colors, vmin=0, vmax=1, rasterized=False)
    for i, j in np.argwhere(counts):
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=9, color=_INK)
    for i, count in enumerate(correct):
        if count:
            axes.text(
                i, i, str(count), ha="center", va="center", fontsize=8, color=_INK, alpha=0.75
            )
    axes.axhline(size - 1.5, color=_INK, linewidth=0.8)
    axes.axvline(size - 1.5, color=_INK, linewidth=0.8)
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    short = [short_name(name) for name in names]
    axes.set_xticks(range(size), [*short, "deleted"], rotation=90, parse_math=False)
    axes.set_yticks(range(size), [*short, "inserted"], parse_math=False)
    axes.set_xlabel("came out as")
    axes.set_ylabel("was signed")
    axes.xaxis.set_label_position("top")
    axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=0)


def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> str:
    """Returns the data URI of accuracy against confidence; a dot's area shows its bin's count."""
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.add_subplot()
    filled = [row for row in bins if row["count"]]
    confidence = [row["confidence"] for row in filled]
    accuracy = [row["accuracy"] for row in filled]
    most = max((row["count"] for row in filled), default=1)
    area = [20 + 380 * row["count"] / most for row in filled]
    axes.plot([0, 1], [0, 1], linestyle="--", color=_INK, linewidth=1)
    axes.plot(confidence, accuracy, color=_HUE, linewidth=1)
    axes.scatter(confidence, accuracy, s=area, color=_HUE, alpha=0.6, linewidths=0, zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")
    return _svg(figure)


def rejection_diagram(rejection: Mapping[str, Any]) -> str:
    """Returns the data URI of false accepts against false rejects; a dot marks the threshold."""
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.add_subplot()
    shares = ("false_rejects", "false_accepts")
    axes.plot(*([row[name] for row in rejection["curve"]] for name in shares), color=_HUE)
    axes.scatter(rejection[shares[0]], rejection[shares[1]], color=_HUE, s=60, zorder=3)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xlabel("share of right glosses taken for unknown")
    axes.set_ylabel("share of impostors taken for known")
    return _svg(figure)


def heat_map(posteriors: np.ndarray) -> str:
    """Returns the data URI of a picture with a pixel for each of (rows, patches) probabilities."""
    memory = io.BytesIO()
    # A reader cannot tell more than 32 shades apart, and more would double the file.
    pixels = np.asarray(posteriors, np.float32)
    image.imsave(memory, pixels, format="png", cmap=shade_colors(), vmin=0, vmax=1)
    return _uri("image/png", memory.getvalue())


@functools.cache
def shade_colors() -> matplotlib.colors.Colormap:
    """Returns the colors of probabilities, from dark (0) to bright (1)."""
    return matplotlib.colormaps["viridis"].resampled(32)


def _svg(figure: Figure) -> str:
    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.tick_params(colors=_INK)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(_INK)
        for spine in axes.spines.values():
            spine.set_edgecolor(_INK)
    memory = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "wsign_jax"}
    with matplotlib.rc_context(settings), _any_glyph():
        figure.savefig(
            memory, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = memory.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    start = text.index(">") + 1
    return _uri("image/svg+xml", (text[:start] + _INK_STYLE + text[start:]).encode())


def figure_png(figure: Figure) -> bytes:
    """Returns a figure as PNG on white, with 100 pixels per inch."""
    memory = io.BytesIO()
    with _any_glyph():
        figure.savefig(memory, format="png", dpi=100, metadata={"Software": None})
    return memory.getvalue()


@contextlib.contextmanager
def _any_glyph() -> Iterator[None]:
    """Suppresses warnings about glyphs that matplotlib's own font lacks.

    In an SVG the reader's browser supplies them; a PNG shows a box.
    """
    with matplotlib.rc_context({"font.family": "sans-serif"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def without_control(text: str) -> str:
    """Replaces the control characters and halves of characters, which HTML and XML cannot hold."""
    return "".join("�" if unicodedata.category(char) in {"Cc", "Cs"} else char for char in text)


def short_name(name: str) -> str:
    """Shortens a name to fit beside a diagram, and replaces characters that XML cannot hold."""
    plain = without_control(name)
    return plain if len(plain) <= _NAME_LENGTH else plain[: _NAME_LENGTH - 1] + "…"


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
