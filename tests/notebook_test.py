"""The notebook as a person runs it, on a CPU; and what of it is kept in git."""

import re
import shlex
import shutil
import subprocess

import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers import videos
from tests.helpers.processes import ROOT
from wsign_jax.keypoints import landmarker

NOTEBOOK = ROOT / "notebooks" / "train_colab.ipynb"
# The steps of the original's training guide, and what came to them, in its order.
STEPS = [
    "Settings", "The project", "Set-up and device check", "Drive, optional", "Smoke test",
    "Keypoints from videos", "Demo data", "Configuration", "Stage 1", "Stage 2", "Stage 3",
    "Evaluation on the test split", "TensorBoard", "After a disconnect",
    "Using the trained model", "Export", "In the browser",
]  # fmt: skip


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, 4)


def with_settings(notebook, **settings):
    """The notebook with other values in its parameter cell."""
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    for name, value in settings.items():
        cell.source, count = re.subn(
            rf"^{name} = .*(?=  # @param)", f"{name} = {value!r}", cell.source, flags=re.MULTILINE
        )
        assert count == 1, name
    return notebook


def execute(notebook):
    """Runs it where it lies; what its cells printed and showed, by the first words of their titles."""
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()
    shown = {}
    for title, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code":
            shown[title_of(title)] = "".join(
                output.get("text", "") + output.get("data", {}).get("text/html", "")
                for output in cell.outputs
            )
    return shown


def title_of(cell):
    """'Stage 1' of '## 9. Stage 1: the frontend ...'."""
    return re.fullmatch(r"## \d+\. (.*?): .*", cell.source)[1]


def test_a_line_above_every_cell_says_what_it_is_for_in_the_order_of_the_guide(notebook):
    nbformat.validate(notebook)
    introduction, *cells = notebook.cells
    assert introduction.source.startswith("# ")
    titles, codes = cells[::2], cells[1::2]
    assert {cell.cell_type for cell in titles} == {"markdown"}
    assert {cell.cell_type for cell in codes} == {"code"} and len(titles) == len(codes)
    assert [title_of(cell) for cell in titles] == STEPS
    assert [int(cell.source.split()[1].rstrip(".")) for cell in titles] == [*range(1, 18)]


def test_outputs_are_not_kept(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, title_of(cell)


def names_of(cell):
    """What a cell has defined once it was run, in the folder that the test is in."""
    names = {name: "" for name in ("PROJECT", "DATA", "VIDEOS", "MIRROR")}
    exec(compile(cell.source, "cell", "exec"), names)
    return names


@pytest.fixture
def project_cell(notebook, monkeypatch):
    """The cell that fetches the project, which changes the folder and the path."""
    monkeypatch.chdir(NOTEBOOK.parent)
    monkeypatch.syspath_prepend("")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    return names_of(next(cell for cell in notebook.cells if "def fetch" in cell.source))


def test_a_command_that_fails_stops_the_notebook(project_cell, capfd):
    assert project_cell["ROOT"] == ROOT
    assert project_cell["run"]("echo a; echo b >&2") == "a\nb\n"
    with pytest.raises(RuntimeError, match="exit status 3 of: exit 3"):
        project_cell["run"]("exit 3")


def test_the_project_comes_from_git_a_folder_or_a_zip(project_cell, tmp_path):
    folder = tmp_path / "source"
    (folder / "runs").mkdir(parents=True)
    (folder / "setup.cfg").write_text("")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "source")
    for command in ("init -q", "add setup.cfg", "-c user.name=a -c user.email=a@b commit -qm a"):
        subprocess.run(["git", "-C", str(folder), *command.split()], check=True)
    fetch = project_cell["fetch"]
    assert fetch(f"file://{folder}", tmp_path / "cloned") == tmp_path / "cloned"
    assert fetch(str(folder), tmp_path / "copied") == tmp_path / "copied"
    assert not (tmp_path / "copied" / "runs").exists()
    assert fetch(f"{tmp_path}/packed.zip", tmp_path / "out") == tmp_path / "out" / "source"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(AssertionError, match="holds no WhisperSign project"):
        fetch(str(empty), tmp_path / "nothing")


def test_run_again_the_project_is_looked_for_where_it_was(
    notebook, project_cell, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (cell,) = (cell for cell in notebook.cells if "def fetch" in cell.source)
    first = project_cell["HERE"]
    exec(compile(cell.source, "cell", "exec"), project_cell)
    assert project_cell["HERE"] == first == NOTEBOOK.parent


def test_paths_with_blanks_reach_the_commands_whole(notebook):
    commands = []
    names = {"PYTHON": "python", "SMALL": False, "DATA": "my drive/data"}
    names |= {"RUNS": "my runs", "MIRROR": "my drive/kept"}
    names |= {"quote": shlex.quote, "run": commands.append}
    (cell,) = (cell for cell in notebook.cells if "def train" in cell.source)
    exec(compile(cell.source, "cell", "exec"), names)
    words = shlex.split(names["train"]("stage1"))
    assert {"--workdir=my runs/stage1", "--config.data.dir=my drive/data"} <= set(words)
    assert "--config.checkpoint.mirror=my drive/kept/stage1" in words
    assert "--config.data.dir=my drive/data" in shlex.split(*commands)


@pytest.mark.notebook
def test_from_the_first_cell_to_the_exported_model(notebook, tmp_path):
    drive = tmp_path / "my drive"  # folders of a Drive have blanks in their names
    settings = {name: str(drive / name.lower()) for name in ("DATA", "RUNS", "MIRROR")}
    shown = execute(with_settings(notebook, SMALL=True, **settings))
    assert " x cpu (cpu)" in shown["Set-up and device check"]
    smoke = re.findall(r"^ *[\d.]+ s   (\w+) ", shown["Smoke test"], re.MULTILINE)
    parts = "data model stage1 stage2 stage3 save restore decode evaluate"
    assert smoke == parts.split()
    assert "\ndevices: cpu " in shown["Smoke test"]
    assert "16 sentences" in shown["Demo data"]
    for stage in ("Stage 1", "Stage 2", "Stage 3"):
        assert "test: WER " in shown[stage]
    assert "starting from the weights of " in shown["Stage 3"]
    assert shown["Evaluation on the test split"].count("<iframe srcdoc=") == 1
    assert shown["After a disconnect"].count("nothing to train") == 3
    assert "ids: [" in shown["Using the trained model"]
    assert "the same glosses" in shown["Export"]
    assert "/runs/stage3' --port=8000" in shown["In the browser"]
    mirror = drive / "mirror"
    assert (mirror / "model.wsign").exists() and (mirror / "stage3" / "checkpoints").is_dir()


@pytest.mark.notebook
def test_a_data_set_of_videos(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = landmarker.cache_folder() / landmarker.MODEL_NAME
    model.parent.mkdir(parents=True)
    shutil.copy(videos.model(), model)
    mine = tmp_path / "videos"
    mine.mkdir()
    rows = ["filename,glosses,split"]
    for split in ("train", "val", "test"):
        shutil.copy(videos.shared("videos/soup.mp4"), mine / f"{split}.mp4")
        rows.append(f"{split}.mp4,SOUP,{split}")
    (mine / "signs.csv").write_text("\n".join(rows))
    settings = {"DATA": str(tmp_path / "data"), "RUNS": str(tmp_path), "VIDEOS": str(mine)}
    with_settings(notebook, **settings)
    wanted = ("Settings", "The project", "Keypoints from videos", "Demo data")
    introduction, *cells = notebook.cells
    pairs = zip(cells[::2], cells[1::2], strict=True)
    kept = [cell for title, code in pairs if title_of(title) in wanted for cell in (title, code)]
    notebook.cells = [introduction, *kept]
    shown = execute(notebook)
    assert shown["Demo data"] == "train 1 sentences\nval 1 sentences\ntest 1 sentences\n"
    assert (tmp_path / "train.png").exists()
