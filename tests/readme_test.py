"""The pages: tools take every command on them, what they name is there, and a newcomer's way is gone."""

import argparse
import configparser
import operator
import os
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.helpers import videos
from tests.helpers.processes import ROOT
from wsign_jax import main
from wsign_jax.keypoints import landmarker
from wsign_jax.runtime import multihost

PAGES = [
    path
    # tests/tools/benchmark_test.py is for the benchmark's page, whose commands are not argparse's.
    for place in ("*.md", "configs/*.md", "tools/*.md", "wsign_jax/**/*.md")
    for path in sorted(ROOT.glob(place))
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
_WORDS = ("python ", "python3 ", "pip ", "bash ", "pre-commit ", "ruff ", "pytest", "tensorboard ")


def commands(text):
    """What a person would type, in the order of the text: lines of code blocks, and code in a line."""
    found = []
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = line != "```" and not line.startswith("```python")
        elif fenced or re.match(r" {4}", line):
            # A table of files may hold a command that belongs to one of them.
            found += [line.strip()] if line.strip().startswith(_WORDS) else []
        found += [code for code in re.findall(r"`([^`]+)`", line) if code.startswith(_WORDS)]
    parts = [part.strip() for line in found for part in line.partition("  #")[0].split("&&")]
    return list(dict.fromkeys(part for part in parts if part.startswith(_WORDS)))


def section(title):
    """The text under a heading."""
    return re.search(rf"^## {title}\n(.*?)(?=^## )", README, re.DOTALL | re.MULTILINE)[1]


COMMANDS = commands(ALL)
TOOLS = [command for command in COMMANDS if re.match(r"python (tools/|-m wsign_jax)", command)]


class Parsed(Exception):
    """The tool has understood its command line, and would now begin."""


def parse_only(monkeypatch, argv):
    """Runs a tool up to where its command line is parsed."""
    parse = argparse.ArgumentParser.parse_known_args

    def parsed(self, *arguments, **options):
        _, rest = parse(self, *arguments, **options)
        rest = [flag for flag in rest if flag != sys.argv[0]]
        # tools/describe.py passes on what is of the config.
        if rest and not all(flag.startswith("--config") for flag in rest):
            raise AssertionError(f"{argv}: {rest} is unknown")
        if rest:
            main.parse([argv[0], *rest])
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parsed)
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(Parsed):
        runpy.run_path(str(ROOT / argv[0]), run_name="__main__")


def test_there_are_commands_of_every_kind():
    tools = {shlex.split(command)[1] for command in TOOLS}
    assert len(tools) >= 12 and len(TOOLS) >= 25
    for name in ("prepare_corpus", "evaluate", "predict", "export", "smoke_test", "describe"):
        assert f"tools/{name}.py" in tools


@pytest.mark.parametrize("command", TOOLS)
def test_the_tool_takes_the_command(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    _, *argv = shlex.split(command)
    if argv[0] == "-m":
        assert argv[1] == "wsign_jax.main"
        _, rest = multihost.parse_cluster(
            ["main", *(flag.replace("HOST:PORT", "a:1") for flag in argv[2:])]
        )
        main.parse(rest)
    elif argv[1:] == ["--help"]:
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit, match="0"):
            runpy.run_path(argv[0], run_name="__main__")
        assert "python tools/" in capsys.readouterr().out
    else:
        parse_only(monkeypatch, argv)


def test_fields_of_the_config_are_there():
    fields = re.findall(r"`--config\.([^`]+)`", ALL)
    assert len(fields) > 10
    for text in fields:
        (field,) = shlex.split(text)
        config, _ = main.parse(["main", f"--config={ROOT}/configs/base.py"])
        name, _, value = field.partition("=")
        operator.attrgetter(name)(config)
        if value:
            main.parse(["main", f"--config={ROOT}/configs/base.py", f"--config.{field}"])


def test_extras_that_are_to_be_installed_are_declared():
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg")
    asked = re.findall(r"pip install -e \"?\.\[(\w+)\]", ALL)
    assert {"test", "video"} <= {*asked} <= {*declared["options.extras_require"]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    places = (page.parent, ROOT, ROOT / "wsign_jax")
    named = re.findall(r"`((?:[\w-]+/)*[\w-]+\.(?:py|ipynb|md|sh))`", text)
    named += re.findall(r"(?<![\w/])((?:configs|tools|tests|notebooks)/[\w/.]+\.\w+)", text)
    assert [n for n in dict.fromkeys(named) if not any((at / n).exists() for at in places)] == []
    linked = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in linked if not (page.parent / link).exists()] == []
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        assert (page.parent / picture).stat().st_size < 150_000


def test_the_readme_is_two_screens():
    assert len(README.splitlines()) <= 140


def test_python_on_the_pages_is_python():
    blocks = re.findall(r"```python\n(.*?)```", ALL, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        compile(block, "README.md", "exec")


SIGNS = [f"{sign}/{number}.mp4" for sign in ("hello", "soup") for number in range(1, 5)]
# So few steps of so small a model teach nothing; they only show that the way leads to its end.
SMALL = (
    " --config.training.max_steps=1 --config.model.encoder.num_layers=1 --config.data.max_buckets=1"
)


@pytest.mark.slow
def test_a_newcomers_way_from_videos_to_glosses(tmp_path):
    """Everything in an empty folder but the installation, which .ci/run has done by the README."""
    project = tmp_path / "project"
    for name in ("wsign_jax", "configs", "tools"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SIGNS:
        (project / "my_videos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(videos.shared("videos/soup.mp4"), project / "my_videos" / name)
    environment = os.environ | {
        "PYTHONPATH": str(project),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
    }
    kept = tmp_path / "cache" / landmarker.cache_folder().name / landmarker.MODEL_NAME
    kept.parent.mkdir(parents=True)  # the download, which needs a network
    shutil.copy(videos.model(), kept)

    def typed(command):
        line = command.replace("python ", f"{shlex.quote(sys.executable)} ", 1)
        done = subprocess.run(
            line + (SMALL if "wsign_jax.main" in command else ""),
            shell=True, cwd=project, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    # What installs is done; a camera and videos of another sign are not there.
    beside = re.compile(r"smoke|venv|live\.py|enroll\.py|pip install -e \.$")
    steps = [c for c in commands(section("Train on your own signs")) if not beside.search(c)]
    install, prepare, train, tune, evaluate, predict = steps
    assert install == 'pip install -e ".[video]"'
    said = typed(prepare)
    assert "8 files like hello/1.mp4" in said and "wrote data/processed" in said
    assert "test: top-1 accuracy " in typed(train)  # single signs
    typed(tune)
    assert (project / "runs/asl/decoder.json").is_file()
    assert typed(evaluate).splitlines()[-1].endswith("report.html")
    transcripts = typed(predict)
    assert all(name in transcripts for name in SIGNS)

    (extract,) = (line for line in COMMANDS if "extract_keypoints.py" in line)
    (view,) = (line for line in COMMANDS if "view_keypoints.py" in line and "--video" in line)
    typed(extract)
    assert typed(view) == "wrote hello.mp4\n"
    shutil.copy(project / "keypoints/features/hello_1.npy", project / "sentence.npy")
    (snippet,) = re.findall(r"```python\n(from wsign_jax import.*?)```", README, re.DOTALL)
    pathlib.Path(project / "snippet.py").write_text(snippet)
    typed("python snippet.py")
