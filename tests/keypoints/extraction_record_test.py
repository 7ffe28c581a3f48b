import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import extraction_record, quality
from wsign_jax.keypoints.quality import ClipReport


def test_two_extractions_do_not_share_a_table(tmp_path):
    path = tmp_path / "quality.csv"
    with (
        extraction_record.Reports(path, set()),
        pytest.raises(WSignError, match=r"quality.csv: another extraction is at work on it"),
        extraction_record.Reports(path, set()),
    ):
        pass


def test_rows_are_on_the_disk_at_once_and_survive_a_torn_one(tmp_path):
    path = tmp_path / "quality.csv"
    with extraction_record.Reports(path, set()) as reports:
        reports.add(ClipReport("b", "b.mp4", 3))
        reports.add(ClipReport("a", "a.mp4", problem="is empty"))
        assert [clip.id for clip in quality.read_quality(path)] == ["b", "a"]
    with path.open("a") as file:
        file.write("c,c.m")  # killed while it wrote
    with extraction_record.Reports(path, {"a"}) as reports:  # which is done again
        assert quality.read_quality(path) == [ClipReport("b", "b.mp4", 3)]
        reports.add(ClipReport("a", "a.mp4", 5))
    assert [clip.frames for clip in quality.read_quality(path)] == [5, 3]


def test_a_row_is_found_where_the_video_or_the_shard_is_another(tmp_path):
    other = tmp_path / "quality-1of2.csv"
    other.write_text(quality.table_of_clips([ClipReport("b", "old/b.mp4", 7)]))
    with extraction_record.Reports(tmp_path / "quality.csv", set()) as reports:
        reports.add(ClipReport("a", "old/a.mp4", 5))
        assert reports.find("a", "new/a.mp4", tmp_path / "a.npy").frames == 5
        assert reports.find("b", "new/b.mp4", tmp_path / "b.npy").frames == 7


def test_names_that_are_not_utf8_are_written_out_and_found_again(tmp_path):
    path, bad = tmp_path / "quality.csv", "caf\udce9"
    for _ in range(2):
        with extraction_record.Reports(path, {bad}) as reports:
            reports.add(ClipReport(bad, f"{bad}.mp4", problem=f"{bad}.mp4: is empty"))
            found = reports.find(bad, f"{bad}.mp4", tmp_path / "none.npy")
        assert found == ClipReport(
            r"caf\udce9", r"caf\udce9.mp4", problem=r"caf\udce9.mp4: is empty"
        )
        assert quality.read_quality(path) == [found]


@pytest.mark.parametrize("text", ["my own table\n", "my own table, one line", "id,sourc\n"])
def test_a_table_that_cannot_be_read_is_left_as_it_is(tmp_path, text):
    path = tmp_path / "quality.csv"
    path.write_text(text)
    for _ in range(2):  # the lock is let go
        with (
            pytest.raises(WSignError, match=r"quality.csv: is not a table of this extraction"),
            extraction_record.Reports(path, set()),
        ):
            pass
    assert path.read_text() == text
