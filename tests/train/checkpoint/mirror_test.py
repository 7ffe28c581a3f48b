import os
import pathlib
import shutil
import time

import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.train.checkpoint.mirror import Mirror


def make_home(workdir, *steps):
    """A workdir with checkpoints that are folders of one file, and logs."""
    for step in steps:
        folder = workdir / "checkpoints" / str(step)
        folder.mkdir(parents=True)
        (folder / "params").write_text(f"weights of {step}")
    (workdir / "tensorboard").mkdir(exist_ok=True)
    (workdir / "tensorboard" / "events.out").write_text("curves")
    (workdir / "metrics.jsonl").write_text(f"{steps}\n")


def steps(root):
    return sorted(int(path.name) for path in (root / "checkpoints").iterdir())


def unfinished(root):
    return list((root / ".wsign_mirror").iterdir())


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def places(tmp_path):
    make_home(tmp_path / "home", 1, 2)
    return tmp_path / "home", tmp_path / "mirror"


def update(root, home, warnings):
    mirror = Mirror(root, home, warnings.append)
    mirror.note_steps(mirror.steps)
    mirror.update()
    mirror.close()


def test_it_becomes_like_home_and_is_pruned_like_home(places, warnings):
    home, root = places
    update(root, home, warnings)
    assert steps(root) == [1, 2]
    assert (root / "checkpoints" / "2" / "params").read_text() == "weights of 2"
    assert (root / "metrics.jsonl").read_text() == (home / "metrics.jsonl").read_text()
    assert (root / "tensorboard" / "events.out").read_text() == "curves"
    shutil.rmtree(home / "checkpoints" / "1")
    make_home(home, 3)
    update(root, home, warnings)
    assert steps(root) == [2, 3]
    assert not warnings
    there = {"checkpoints", "metrics.jsonl", "tensorboard", ".wsign_mirror"}
    assert {path.name for path in root.iterdir()} == there and not unfinished(root)


def test_an_empty_home_is_filled_from_it(places, tmp_path, warnings):
    home, root = places
    update(root, home, warnings)
    fresh = tmp_path / "fresh" / "work"
    mirror = Mirror(root, fresh, warnings.append)
    assert mirror.steps == [1, 2]
    mirror.note_steps([1, 2])
    assert mirror.has(2) and not mirror.has(3)
    mirror.bring_home()
    assert steps(fresh) == [1, 2]
    assert (fresh / "metrics.jsonl").exists() and (fresh / "tensorboard" / "events.out").exists()
    assert not list(fresh.glob(".*"))


def test_what_a_killed_copy_left_is_not_seen_and_goes(places, warnings):
    home, root = places
    (root / ".wsign_mirror" / "3" / "half").mkdir(parents=True)
    (root / ".wsign_mirror" / "leaving_7" / "half").mkdir(parents=True)
    (root / ".wsign_mirror" / "log").touch()
    mirror = Mirror(root, home, warnings.append)
    assert mirror.steps == []
    mirror.update()
    mirror.close()
    assert steps(root) == [1, 2] and not unfinished(root)


def test_a_checkpoint_appears_only_when_it_is_whole(places, warnings, monkeypatch):
    home, root = places
    rename = pathlib.Path.rename
    seen = []

    def watched(path, target):
        if target.parent.name == "checkpoints":
            seen.append((target.exists(), (path / "params").read_text()))
        return rename(path, target)

    monkeypatch.setattr(pathlib.Path, "rename", watched)
    update(root, home, warnings)
    assert seen == [(False, "weights of 2"), (False, "weights of 1")], "the newest first"


def test_a_mirror_that_is_not_there_is_a_warning(places, tmp_path, warnings):
    home, _ = places
    root = tmp_path / "drive" / "not" / "mounted"
    update(root, home, warnings)
    (warning,) = warnings
    assert warning.startswith(
        f"warning: config.checkpoint.mirror: {root}: No such file or directory"
    )
    assert not (tmp_path / "drive").exists(), "a Drive that is not mounted was made up"


def test_a_full_mirror_is_a_warning_and_keeps_what_it_has(places, warnings, monkeypatch):
    home, root = places
    update(root, home, warnings)
    make_home(home, 3)

    def full(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    update(root, home, warnings)
    (warning,) = warnings
    assert "No space left on device" in warning and "training goes on" in warning
    assert steps(root) == [1, 2]
    assert [path.name for path in unfinished(root)] in ([], ["log"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_mirror_is_a_warning(places, warnings):
    home, root = places
    root.mkdir(mode=0o500)
    update(root, home, warnings)
    assert "Permission denied" in warnings[0]


def test_home_may_delete_a_checkpoint_while_it_is_copied(places, warnings, monkeypatch):
    home, root = places
    copyfile = shutil.copyfile

    def deleting(source, target):
        if pathlib.Path(source).read_text() == "weights of 1":
            shutil.rmtree(home / "checkpoints" / "1")
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", deleting)
    update(root, home, warnings)
    assert steps(root) == [2] and not warnings


def test_checkpoints_of_another_run_that_appear_later_are_left_alone(places, warnings, tmp_path):
    home, root = places
    mirror = Mirror(root, home, warnings.append)
    assert mirror.steps == []  # not mounted yet
    make_home(root, 1, 500)
    mirror.update()
    mirror.close()
    assert "holds checkpoints that were not there before; start the command again" in warnings[0]
    assert steps(root) == [1, 500]


def test_what_cannot_be_read_is_left_alone(places, warnings):
    home, root = places
    make_home(root, 5)
    mirror = Mirror(root, home, warnings.append)
    mirror.note_steps([], strange=[5])
    mirror.update()
    mirror.close()
    assert steps(root) == [1, 2, 5]
    # Whose log it was nobody can tell.
    [kept] = warnings
    assert "metrics.1.jsonl" in kept and (root / "metrics.1.jsonl").read_text() == "(5,)\n"


def test_logs_come_home_only_where_home_is_behind(places, warnings):
    home, root = places
    update(root, home, warnings)
    shutil.rmtree(home / "checkpoints" / "1")
    (home / "metrics.jsonl").write_text("newer")
    mirror = Mirror(root, home, warnings.append)
    mirror.note_steps([1, 2])
    mirror.bring_home()
    assert steps(home) == [1, 2] and (home / "metrics.jsonl").read_text() == "newer"


def test_the_workdir_is_no_mirror(tmp_path):
    with pytest.raises(WSignError, match=r"config.checkpoint.mirror is the workdir itself"):
        Mirror(tmp_path / "a" / ".." / "work", tmp_path / "work", print)


def test_a_folder_of_somebody_else_is_no_mirror(places, warnings, tmp_path):
    home, root = places
    late = Mirror(root, home, warnings.append)  # not mounted yet
    for name in ("metrics.jsonl", ".arriving/f", ".leaving_mine/f"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
    before = sorted(root.rglob("*"))
    with pytest.raises(
        WSignError, match=r"mirror has something in it and is not a mirror of a run"
    ):
        Mirror(root, home, warnings.append)
    late.update()
    late.close()
    assert "is not a mirror of a run; name a new folder" in warnings[0]
    assert sorted(root.rglob("*")) == before and (root / "metrics.jsonl").read_text() == "mine"
    with pytest.raises(WSignError, match=r"metrics.jsonl is a file; name a folder"):
        Mirror(root / "metrics.jsonl", home, warnings.append)


def test_nothing_is_removed_behind_a_link(places, warnings, tmp_path):
    home, root = places
    update(root, home, warnings)
    (root / ".wsign_mirror").rmdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (root / ".wsign_mirror").symlink_to(tmp_path / "mine")
    update(root, home, warnings)
    assert ".wsign_mirror: is a link" in warnings[0] and (tmp_path / "mine" / "file").exists()


def test_an_earlier_runs_log_in_a_mirror_without_its_checkpoints_is_kept(places, warnings):
    home, root = places
    update(root, home, warnings)
    shutil.rmtree(root / "checkpoints")
    (root / "metrics.jsonl").write_text("of the run before")
    update(root, home, warnings)
    assert (root / "metrics.1.jsonl").read_text() == "of the run before"
    assert (root / "metrics.jsonl").read_text() == (home / "metrics.jsonl").read_text()
    assert "metrics.1.jsonl" in warnings[0] and steps(root) == [1, 2]


def test_a_log_at_home_without_checkpoints_is_kept_when_others_come(places, warnings, tmp_path):
    home, root = places
    update(root, home, warnings)
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.jsonl").write_text("of another run")
    mirror = Mirror(root, other, warnings.append)
    mirror.note_steps([1, 2])
    mirror.bring_home()
    assert (other / "metrics.1.jsonl").read_text() == "of another run" and steps(other) == [1, 2]


def make_programs(folder, age=60.0, **sizes):
    """Compiled programs as JAX keeps them, written `age` seconds ago."""
    folder.mkdir(exist_ok=True)
    for name, size in sizes.items():
        (folder / f"{name}-cache").write_bytes(name[:1].encode() * size)
        os.utime(folder / f"{name}-cache", times=(time.time() - age,) * 2)


def programs_in(folder):
    return {path.name.removesuffix("-cache"): path.stat().st_size for path in folder.iterdir()}


def test_the_programs_of_a_run_outlive_its_machine(places, tmp_path, warnings):
    home, root = places
    here, there = tmp_path / "cache", tmp_path / "new" / "cache"
    make_programs(here, of_another_run=5)
    mirror = Mirror(root, home, warnings.append, here)
    mirror.bring_programs()
    make_programs(here, step=7, update=9)
    make_programs(here, age=0, half_written=1)
    mirror.update()
    mirror.close()
    assert programs_in(root / "compilation_cache") == {"step": 7, "update": 9}
    assert not unfinished(root) and steps(root) == [1, 2]
    mirror = Mirror(root, home, warnings.append, there)
    mirror.bring_programs()
    assert programs_in(there) == {"step": 7, "update": 9} and not warnings
    assert (there / "step-cache").read_bytes() == b"s" * 7


def test_a_mirror_holds_so_many_programs_and_no_more(places, tmp_path, warnings, monkeypatch):
    home, root = places
    monkeypatch.setattr("wsign_jax.train.checkpoint.mirror._PROGRAMS_BYTES", 10)
    mirror = Mirror(root, home, warnings.append, tmp_path / "cache")
    make_programs(tmp_path / "cache", a=6, b=6, c=4)
    mirror.update()
    mirror.close()
    assert programs_in(root / "compilation_cache") == {"a": 6, "c": 4} and not warnings
