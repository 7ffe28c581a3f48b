import io
import json

import matplotlib.image
import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.report import streaming
from wsign_jax.report.streaming import FULL, WindowRow

ROWS = [
    WindowRow(FULL, 0, 0.068, 7, 23, 5, 517, 2.43, 6.98, 0, None, None),
    WindowRow(1, 32, 0.116, 22, 30, 8, 517, -0.67, -0.22, 0, 0.04, (0.8, 7.6, 12.2)),
    WindowRow(8, 32, 0.085, 16, 22, 6, 517, -0.43, 0.09, 0, 0.012, (2.3, 7.1, 13.7)),
]


def test_the_table_is_markdown():
    assert streaming.streaming_table(ROWS).splitlines()[2:] == [
        "| full | - | 0.068 | 7 / 23 / 5 | 2.43 s | 6.98 s | - | - |",
        "| 1 | 32 | 0.116 | 22 / 30 / 8 | -0.67 s | -0.22 s | 0.040 | 0.8 / 7.6 / 12.2 |",
        "| 8 | 32 | 0.085 | 16 / 22 / 6 | -0.43 s | 0.09 s | 0.012 | 2.3 / 7.1 / 13.7 |",
    ]


def test_the_picture_has_a_line_for_every_left_context():
    def colors(rows):
        image = matplotlib.image.imread(io.BytesIO(streaming.streaming_picture(rows)), format="png")
        pixels = np.rint(255 * image[..., :3]).astype(int).reshape(-1, 3)
        return {tuple(pixel) for pixel in np.unique(pixels, axis=0).tolist()}

    vermilion, blue = (213, 94, 0), (0, 114, 178)
    assert vermilion in colors(ROWS) and blue not in colors(ROWS)
    another = WindowRow(8, 64, 0.09, 15, 23, 9, 517, -0.42, 0.10, 0, 0.010, (2.1, 7.3, 25.7))
    assert {vermilion, blue} <= colors([*ROWS, another])
    assert streaming.streaming_picture(ROWS) == streaming.streaming_picture(ROWS)


def test_a_report_is_written_once_and_never_over_another(tmp_path):
    folder = tmp_path / "new" / "report"
    streaming.write_streaming_report(folder, ROWS, {"split": "val"})
    assert sorted(path.name for path in folder.iterdir()) == sorted(streaming.NAMES)
    content = json.loads((folder / "streaming.json").read_text())
    assert content["split"] == "val" and content["windows"][2]["chunk_ms"] == [2.3, 7.1, 13.7]
    before = (folder / "streaming.md").read_bytes()
    with pytest.raises(WSignError, match="is there already; name another folder"):
        streaming.write_streaming_report(folder, ROWS[:1], {"split": "test"})
    assert (folder / "streaming.md").read_bytes() == before
    with pytest.raises(WSignError, match=r"streaming\.md: is a file; name a folder"):
        streaming.check_streaming_folder(folder / "streaming.md")
