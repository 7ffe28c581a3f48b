"""Strictness for every test, and small data sets and configs to test with."""

import contextlib
import os
import pathlib
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterator

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from tests.helpers import whispers
from tests.helpers.small import small_config
from wsign_jax.data import layout
from wsign_jax.decode import unknown
from wsign_jax.evaluate import decoder_settings
from wsign_jax.evaluate.trained_run import Trained, open_run
from wsign_jax.keypoints import joints
from wsign_jax.model import whisper_sign
from wsign_jax.train import config_schema, loop
from wsign_jax.train.checkpoint import store
from wsign_jax.train.state import create_state

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# What one test has compiled no other compiles again, in whatever worker or process of its own it runs.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # before there are workers, which inherit it
    _COMPILED = tempfile.TemporaryDirectory(prefix="wsign_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
# Compiling is most of what tests take; this saves 15 %. Processes that tests start read the variable.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
jax.config.update("jax_disable_most_optimizations", True)


_HERE = pathlib.Path(__file__).parent
# What lies below training and takes seconds: nothing that compiles for minutes or runs MediaPipe.
_QUICK = (
    "data",
    "decode/align_test.py",
    "decode/lm/arpa_test.py",
    "decode/confidence_test.py",
    "decode/lm/lookup_test.py",
    "decode/lm/ngrams_test.py",
    "keypoints/joints_test.py",
    "keypoints/resample_test.py",
    "keypoints/track_test.py",
    "layering_test.py",
    "report/metrics_test.py",
    "model",
    "train/ctc_test.py",
    "train/lowering_test.py",
)


# What takes minutes begins first, or one worker would do it alone at the end.
_LONG = (
    "train/resume_test.py",
    "runtime/multihost_test.py",
    "train/loop_test.py",
    "train/step_test.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what is quick, and puts what takes long first."""
    items.sort(key=lambda item: all(item.path != _HERE / place for place in _LONG))
    for item in items:
        if any(item.path.is_relative_to(_HERE / place) for place in _QUICK):
            item.add_marker("quick")


def random_features(rng: np.random.Generator, frames: int) -> np.ndarray:
    """(T, 42, 7) plausible keypoints: a left hand that comes and goes, a right hand that stays."""
    shape = rng.normal(0, 0.05, size=(joints.NUM_JOINTS, 3))
    path = np.cumsum(rng.normal(0, 0.01, size=(frames, 1, 3)), axis=0)
    positions = 0.5 + shape + path + rng.normal(0, 0.002, size=(frames, joints.NUM_JOINTS, 3))
    confidence = np.full((frames, 2), 0.9)
    start = frames // 3
    confidence[start : start + frames // 4, 0] = 0.0
    return joints.features_from_positions(positions, confidence)


def write_random_split(
    root: pathlib.Path, split: str, count: int, glosses: int = 5, frames: tuple[int, int] = (40, 90)
) -> None:
    """Examples `<split>_00`, ... of random keypoints with one to four labels."""
    rng = np.random.default_rng([count, glosses, layout.SPLITS.index(split)])
    for number in range(count):
        layout.write_example(
            root,
            split,
            f"{split}_{number:02}",
            random_features(rng, int(rng.integers(*frames))),
            rng.integers(1, glosses + 1, size=rng.integers(1, 5)),
        )


@contextlib.contextmanager
def promoting() -> Iterator[None]:
    """For what runs optax's Adam or low precision: they promote dtypes on their own.

    In all threads: training compiles on one of its own.
    """
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    try:
        yield
    finally:
        jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def standard_promotion() -> Iterator[None]:
    """`promoting` for a whole test."""
    with promoting():
        yield


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> pathlib.Path:
    """A data set of 12, 5 and 5 random examples and 5 glosses."""
    root = tmp_path / "processed"
    for split, count in (("train", 12), ("val", 5), ("test", 5)):
        write_random_split(root, split, count)
    layout.write_label_map(root, {"<blank>": 0} | {f"G{id}": id for id in range(1, 6)})
    return root


def config_of(root: pathlib.Path) -> ConfigDict:
    """A config that trains a few steps on a data set."""
    config = small_config()
    config.data.dir = str(root)
    config.data.max_buckets = 1
    config.stage2.epochs = 1
    return config


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    """A data set, and a run that was trained on it for a few steps with `config_of` it."""
    base = tmp_path_factory.mktemp("run")
    root = base / "processed"
    for split, count in (("train", 8), ("val", 5), ("test", 6)):
        write_random_split(root, split, count)
    layout.write_label_map(root, {"<blank>": 0} | {f"G{id}": id for id in range(1, 6)})
    with promoting():
        loop.train(config_of(root), base / "work")
    return root, base / "work"


@pytest.fixture(scope="session")
def talkative_run(
    trained_run: tuple[pathlib.Path, pathlib.Path], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A run like `trained_run`, of the same data, whose CTC head says many glosses instead of none."""
    run = open_run(trained_run[1])
    head = run.params["ctc_head"]
    kernel = np.random.default_rng(0).normal(0, 0.3, head["kernel"].shape).astype(np.float32)
    params = {**run.params, "ctc_head": {**head, "kernel": jnp.asarray(kernel)}}
    saved = store.Checkpoints(tmp_path_factory.mktemp("talkative"), keep=1)
    saved.save(create_state(params, optax.sgd(0.0), 1, ema=False, loss_scale=None), run.info)
    saved.close()
    return saved.workdir


@pytest.fixture
def opened(
    trained_run: tuple[pathlib.Path, pathlib.Path],
) -> tuple[pathlib.Path, Trained]:
    """That data set and that run, opened, without anything that a test before has tuned."""
    root, workdir = trained_run
    tuned = decoder_settings.TUNED, unknown.KNOWN_SIGNS
    for path in (*(workdir / name for name in tuned), *workdir.glob("*.arpa")):
        path.unlink(missing_ok=True)
    return root, open_run(workdir)


@pytest.fixture
def fixture_size(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a size of the model that the weights in `whispers.FIXTURE` fit."""
    monkeypatch.setitem(whisper_sign.SIZES, "fixture", whispers.SIZE)
    monkeypatch.setitem(config_schema._CHECKS, "model.size", config_schema._one_of("fixture"))
    return "fixture"


@pytest.fixture
def config() -> ConfigDict:
    """A config so small that a step compiles in seconds: one stage, one encoder layer."""
    return small_config()


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs a tool with flags -> its exit status, and what it printed."""

    def run(tool: str, *flags: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [tool, *map(str, flags)])
        capsys.readouterr()
        status = 0
        try:
            runpy.run_path(str(_HERE.parent / "tools" / tool), run_name="__main__")
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run
