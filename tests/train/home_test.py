import pytest

from wsign_jax.errors import WSignError
from wsign_jax.train import home


def test_looking_for_a_checkpoint_creates_nothing(tmp_path):
    assert not home.has_checkpoint(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_only_names_of_steps_are_checkpoints(tmp_path):
    for name in ("12", "007", "\u00b2", "3.orbax-checkpoint-tmp", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "13").write_text("a file")
    assert home.steps_in(tmp_path) == [12]
    assert home.steps_in(tmp_path / "nowhere") == []


def test_a_folder_in_which_nothing_came_about_goes(tmp_path):
    with home.claimed(tmp_path / "work"):
        pass
    assert not (tmp_path / "work").exists()
    with home.claimed(tmp_path / "work"):
        (tmp_path / "work" / "data").mkdir()
    assert (tmp_path / "work" / "data").exists()


def test_one_command_trains_in_a_folder(tmp_path):
    with (
        home.claimed(tmp_path),
        pytest.raises(WSignError, match="another command trains in it"),
        home.claimed(tmp_path),
    ):
        raise AssertionError("claimed twice")
    with home.claimed(tmp_path):
        pass
