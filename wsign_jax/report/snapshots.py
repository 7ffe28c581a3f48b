"""Pictures of a model as it learns, as PNGs for TensorBoard."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from wsign_jax.keypoints import draw, joints
from wsign_jax.report.pictures import figure_png, shade_colors, short_name

_TRUE = "#ff9d5c"  # outlines, bright on the dark of the heat map
_ACROSS = 10.0  # inches
_ROW = 0.24  # inches per row of a heat map
_MOMENTS = 8  # per strip
_BINS = 40  # per histogram


def draw_posteriors(
    values: np.ndarray,
    names: Sequence[str],
    reference: Sequence[int],
    segments: np.ndarray | None,
    seconds: float,
    title: str,
) -> bytes:
    """Returns a heat map of the CTC head's posteriors (patches, rows), with the true signs outlined.

    Rows have names. `reference` is the row of every gloss of the reference, and `segments` (ref, 2) has
    their true starts and ends in seconds, if known. The recording is `seconds` long.
    """
    figure, axes = _heat_map(values.T, names, seconds, title)
    if segments is not None:
        for row, (start, end) in zip(reference, segments, strict=True):
            place = Rectangle((start, row - 0.5), end - start, 1.0, fill=False, edgecolor=_TRUE)
            axes.add_patch(place)
    return figure_png(figure)


def draw_alignment(weights: np.ndarray, names: Sequence[str], seconds: float, title: str) -> bytes:
    """Returns a heat map of the attention decoder's weights (glosses, patches); each row is scaled."""
    relative = weights / np.maximum(weights.max(axis=1, keepdims=True), 1e-9)
    figure, _ = _heat_map(relative, names, seconds, title)
    return figure_png(figure)


def _heat_map(
    values: np.ndarray, names: Sequence[str], seconds: float, title: str
) -> tuple[Figure, Axes]:
    """Draws (rows, patches) from dark (0) to bright (1) over time, with the first row on top."""
    figure = Figure(figsize=(_ACROSS, 1.2 + _ROW * len(values)), layout="constrained")
    axes = figure.add_subplot()
    extent = (0.0, seconds, len(values) - 0.5, -0.5)
    axes.imshow(values, shade_colors(), aspect="auto", vmin=0, vmax=1, extent=extent)
    axes.set_yticks(range(len(names)), [short_name(name) for name in names], parse_math=False)
    axes.set_xlabel("seconds")
    axes.set_title(title, fontsize=10, loc="left", parse_math=False, wrap=True)
    return figure, axes


def draw_skeleton_strip(features: np.ndarray, title: str) -> bytes:
    """Returns a picture of moments of (T, 42, 7) raw features, evenly spread, side by side."""
    count = min(_MOMENTS, len(features))
    moments = ((np.arange(count) + 0.5) * len(features) / count).astype(int)
    shown = features[moments]
    seen = shown[..., joints.CONFIDENCE] > 0
    points = shown[seen][:, :2] if seen.any() else np.array([[0.0, 0.0], [1.0, 1.0]])
    low, high = points.min(axis=0) - 0.02, points.max(axis=0) + 0.02
    width, height = high - low
    tall = _ACROSS / len(moments) * height / width
    figure = Figure(figsize=(_ACROSS, min(max(tall, 1.0), 4.0) + 0.7), layout="constrained")
    axes = figure.add_subplot(facecolor="black")
    for number, frame in enumerate(shown):
        strokes = list(draw.strokes(frame))
        lines = [line - low + (number * width, 0.0) for _, line in strokes]
        colors = [tuple(part / 255 for part in color) for color, _ in strokes]
        axes.add_collection(LineCollection(lines, colors=colors, linewidths=1.2))
        if number:
            axes.axvline(number * width, color="0.4", linewidth=0.8)
    axes.set(xlim=(0, len(moments) * width), ylim=(height, 0), aspect="equal")
    middles = (np.arange(len(moments)) + 0.5) * width
    axes.set_xticks(middles, [f"{moment / joints.FPS:.2f} s" for moment in moments])
    axes.set_yticks([])
    axes.set_title(title, fontsize=10, loc="left", parse_math=False, wrap=True)
    return figure_png(figure)


def draw_lengths(frames: np.ndarray, buckets: Sequence[int], efficiency: float) -> bytes:
    """Returns a histogram of sequence lengths (n,), with the buckets that they are padded to."""
    figure = Figure(figsize=(_ACROSS, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(frames, bins=_BINS, range=(0, buckets[-1]))
    for bucket in buckets:
        axes.axvline(bucket, color="black", linestyle="--", linewidth=1)
    axes.set_xticks(buckets)
    axes.set_xlabel("frames; dashed: buckets, to which sequences are padded")
    axes.set_ylabel("sequences")
    axes.set_title(
        f"sequences: {len(frames)}; buckets: {len(buckets)}; padding efficiency {efficiency:.2f}",
        fontsize=10,
        loc="left",
    )
    return figure_png(figure)
