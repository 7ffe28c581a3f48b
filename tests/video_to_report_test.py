"""From a folder of videos to a report: extract, train, evaluate, with the real MediaPipe."""

import json

import numpy as np

from tests.helpers import videos
from tests.helpers.processes import start, succeed
from wsign_jax.data import layout
from wsign_jax.keypoints import extract


def test_videos_are_extracted_trained_on_and_evaluated(tmp_path):
    pictures, times = videos.pictures_of(videos.shared("videos/soup.mp4"))
    root = tmp_path / "processed"
    for split in layout.SPLITS:
        folder = tmp_path / "videos" / split
        folder.mkdir(parents=True)
        for number in range(2):
            part = slice(4 * number, 4 * number + 30)
            videos.write(folder / f"{split}{number}.mp4", pictures[part], np.array(times[:30]))
        reports = extract.extract_from_dataset(
            folder, root / split / "features", model=videos.model()
        )
        assert all(report.done for report in reports)
        (root / split / "labels").mkdir()
        for number, report in enumerate(reports):
            np.save(
                root / split / "labels" / f"{report.id}.npy", np.array([1 + number, 2], np.int32)
            )
    layout.write_label_map(root, {"<blank>": 0, "SOUP": 1, "EAT": 2})
    run = tmp_path / "run"
    flags = (f"--config.data.dir={root}", "--config.training.max_steps=2")
    succeed(start(run, *flags))
    report = json.loads((run / "report_test.json").read_text())
    assert report["wer"] >= 0.0 and (run / "metrics.jsonl").exists()
    (run / "report_test.json").unlink()
    succeed(start(run, *flags, "--config.mode=evaluate"))
    assert json.loads((run / "report_test.json").read_text())["wer"] == report["wer"]
