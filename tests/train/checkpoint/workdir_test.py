import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.train.checkpoint import workdir


def test_looking_for_a_checkpoint_creates_nothing(tmp_path):
    assert not workdir.has_checkpoint(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_only_names_of_steps_are_checkpoints(tmp_path):
    for name in ("12", "007", "\u00b2", "3.orbax-checkpoint-tmp", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "13").write_text("a file")
    assert workdir.steps_in(tmp_path) == [12]
    assert workdir.steps_in(tmp_path / "nowhere") == []


def test_a_folder_in_which_nothing_came_about_goes(tmp_path):
    with workdir.claim_run_folder(tmp_path / "work"):
        pass
    assert not (tmp_path / "work").exists()
    with workdir.claim_run_folder(tmp_path / "work"):
        (tmp_path / "work" / "data").mkdir()
    assert (tmp_path / "work" / "data").exists()


def test_a_persons_own_empty_folder_stays_as_it_is(tmp_path):
    (tmp_path / "work").mkdir(mode=0o750)
    with workdir.claim_run_folder(tmp_path / "work"):
        pass
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o750


def test_a_link_to_nothing_is_no_folder(tmp_path):
    (tmp_path / "work").symlink_to(tmp_path / "gone")
    with (
        pytest.raises(WSignError, match="work: is a file or a link to nothing"),
        workdir.claim_run_folder(tmp_path / "work"),
    ):
        pass


def test_what_a_run_left_without_its_checkpoints_is_kept_under_other_names(tmp_path):
    assert workdir.keep_logs(tmp_path) == ""
    (tmp_path / "init.json").touch()  # empty
    for number in (1, 2):
        for name in ("metrics.jsonl", "report_test.json", "lm_2.arpa"):
            (tmp_path / name).write_text(f"run {number}")
        (tmp_path / "notes.json").write_text("mine")
        assert workdir.keep_logs(tmp_path) == (
            f"{tmp_path}: what an earlier run left without a checkpoint is kept as "
            f"lm_2.{number}.arpa, metrics.{number}.jsonl, report_test.{number}.json"
        )
    assert workdir.keep_logs(tmp_path) == ""
    assert (tmp_path / "metrics.1.jsonl").read_text() == "run 1"
    assert (tmp_path / "report_test.2.json").read_text() == "run 2"
    assert (tmp_path / "notes.json").exists() and (tmp_path / "init.json").exists()


def test_one_command_trains_in_a_folder(tmp_path):
    with (
        workdir.claim_run_folder(tmp_path),
        pytest.raises(WSignError, match="another command trains in it"),
        workdir.claim_run_folder(tmp_path),
    ):
        raise AssertionError("claimed twice")
    with workdir.claim_run_folder(tmp_path):
        pass
