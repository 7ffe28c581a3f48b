"""The inputs of a run, read and checked once before anything trains or is evaluated."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, pipeline, validate
from wsign_jax.data.buckets import BatchPlan, padding_efficiency
from wsign_jax.data.generated import synthetic
from wsign_jax.data.replay import mix_splits
from wsign_jax.data.vocab import Vocabulary, read_vocabulary, translate_labels
from wsign_jax.model import whisper_sign
from wsign_jax.model.whisper_sign import Params
from wsign_jax.runtime import multihost
from wsign_jax.train import config_schema, initial_weights, optimizer, sharding, stages
from wsign_jax.train.adaptation import replay_root, settle_adaptation
from wsign_jax.train.precision import resolve_precision, settle_precision
from wsign_jax.train.stages import label_parameters, learning_rates
from wsign_jax.train.state import (
    CreateState,
    TrainState,
    abstract_state,
    create_placed_state,
    create_state,
)
from wsign_jax.train.step import make_train_step

ACCELERATOR_BUCKETS = 4

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Network:
    """The model's structure for one vocabulary."""

    graph: nnx.GraphDef
    shapes: Params  # of jax.ShapeDtypeStruct, with their sharding
    mesh: Mesh


def make_network(config: ConfigDict, vocab_size: int) -> Network:
    """Builds the structure for `config.model` in the precision of `config.training`."""
    whisper_sign.check_length(config.model, config.data.max_seq_length)
    dtype = jnp.dtype(resolve_precision(config.training.precision))
    graph, shapes = whisper_sign.build_network(config.model, vocab_size, dtype)
    mesh = sharding.make_mesh()
    return Network(graph, sharding.place_params(shapes, config.training.sharding, mesh), mesh)


def data_root(config: ConfigDict, workdir: pathlib.Path, make: bool = True) -> pathlib.Path:
    """Returns the data set's folder; if `data.dir` is empty, the workdir's built-in signing.

    The built-in signing is made if it is missing and `make` is true.

    Raises:
        WSignError: the data set is missing, or the built-in signing there has other settings.
    """
    if config.data.dir:
        root = pathlib.Path(config.data.dir)
        if not root.is_dir():
            raise WSignError(
                f"{root}: no such folder; put a data set there, name one with "
                f"--config.data.dir=DIR, or make one: python tools/make_synthetic.py {root}"
            )
        return root
    root = workdir / "data"
    settings = synthetic.SigningSettings(**config.data.synthetic)
    about = root / "dataset.json"
    if make:
        with multihost.all_or_none():  # the others wait for the first
            if multihost.is_first() and not about.exists():
                print(f"making built-in signing in {root}", flush=True)
                synthetic.write_dataset(root, settings)
    if not about.exists():
        raise WSignError(f"{root}: no data set; name the one to use with --config.data.dir=DIR")
    made_with = files.read_json(about).get("settings")
    if isinstance(made_with, dict):
        made_with.setdefault("signers", 12)  # as it was before this was a setting
    if made_with != dataclasses.asdict(settings):
        raise WSignError(
            f"{root}: made with {made_with}, not with config.data.synthetic; use another --workdir"
        )
    return root


def read_checked_split(
    config: ConfigDict, root: pathlib.Path, name: str, vocabulary: Vocabulary | None = None
) -> layout.Split:
    """Reads and validates a split under the config's bounds.

    Its labels become ids of `vocabulary`, by the glosses' names; None leaves them as they are.
    """
    own = read_vocabulary(root, config.model.vocab_size)
    rules = validate.Rules(len(own), config.model.frontend.patch_size, config.data.max_seq_length)
    split = layout.read_split(root, name, rules, config.data.on_bad, config.data.aspect)
    labels = translate_labels(split.labels, own, vocabulary or own, str(root / name))
    return dataclasses.replace(split, labels=labels)


@dataclasses.dataclass(frozen=True)
class Annotations:
    """A split's optional annotations beside its labels; only evaluation reads them."""

    signers: dict[str, str]  # by id; empty if unknown
    segments: tuple[np.ndarray | None, ...]  # by example: (U, 2) starts and ends in seconds


def read_annotations(config: ConfigDict, split: layout.Split) -> Annotations:
    """Reads and validates the segments and the signers of a split.

    Raises:
        WSignError: some are bad; names all. If `data.on_bad` is 'skip', they are left out with a
            warning instead.
    """
    problems = []

    def or_else(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except (WSignError, OSError) as error:
            problems.append(str(error))
            return otherwise

    def segments(index: int) -> np.ndarray | None:
        return or_else(lambda: layout.read_segments(split, index), None)

    nobody: dict[str, str] = {}
    signers = or_else(lambda: layout.read_groups(split.root, split.name, "signer"), nobody)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        annotations = Annotations(signers, tuple(pool.map(segments, range(len(split)))))
    if problems and config.data.on_bad == "error":
        listing = "\n  ".join(sorted(problems))
        raise WSignError(
            f"{split.root / split.name}: {len(problems)} bad of its segments and signers; correct or "
            f"remove them, or leave them out with --config.data.on_bad=skip\n  {listing}"
        )
    for problem in sorted(problems):
        print(f"warning: left out {problem}", flush=True)
    return annotations


def check_rows(batch_size: int, field: str, devices: int, parts: int = 1) -> None:
    """Raises a `WSignError` unless a batch divides into `parts`, and each part over all devices.

    The message names the config's `field`.
    """
    if batch_size % (devices * parts):
        of_parts = f" x {parts} (config.training.accumulate)" if parts > 1 else ""
        raise WSignError(
            f"config.{field} is {batch_size}; it must be a multiple of {devices} (devices){of_parts}"
        )


def process_rows(batch_size: int, field: str, parts: int = 1) -> slice:
    """The rows of every global batch that this process reads; see `check_rows`."""
    check_rows(batch_size, field, jax.device_count(), parts)
    own = batch_size // jax.process_count()
    return slice(jax.process_index() * own, (jax.process_index() + 1) * own)


def max_buckets(config: ConfigDict) -> int:
    """Returns `data.max_buckets`; if that is 0, the number that suits the devices.

    An accelerator takes longer to compile a bucket's programs than it saves by less padding.
    """
    return config.data.max_buckets or (8 if jax.default_backend() == "cpu" else ACCELERATOR_BUCKETS)


def settle_buckets(config: ConfigDict, workdir: pathlib.Path) -> ConfigDict:
    """Returns the config with `data.max_buckets` resolved, or as the run's checkpoint has it.

    So a run that goes on has the same batches on devices of another kind.
    """
    config = config.copy_and_resolve_references()
    if not config.data.max_buckets and (saved := initial_weights.saved_config(config, workdir)):
        config.data.max_buckets = saved["data"]["max_buckets"]
    config.data.max_buckets = max_buckets(config)
    return config


def data_fingerprint(split: layout.Split) -> str:
    """A hash of a split's ids, lengths, labels and aspect, which decide a run's batches."""
    digest = hashlib.sha256("\n".join(split.ids).encode())
    digest.update(split.frames.tobytes() + str(split.aspect).encode())
    for labels in split.labels:
        digest.update(labels.tobytes() + b"|")
    return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage with everything that is decided before its first step."""

    number: int
    name: str
    config: ConfigDict
    labels: Params  # 'train' or 'freeze' for every parameter
    rates: Params  # its share of the learning rate
    plans: list[BatchPlan]  # in the order of its steps
    epoch_ends: frozenset[int]  # numbers of batches done at which to validate
    loader: pipeline.BatchLoader


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run's inputs."""

    config: ConfigDict
    workdir: pathlib.Path
    vocabulary: Vocabulary
    train: layout.Split
    val: layout.Split
    val_segments: tuple[np.ndarray | None, ...]  # of its examples
    network: Network
    stages: list[Stage]
    val_plans: list[BatchPlan]  # in the buckets of training
    val_loader: pipeline.BatchLoader
    guard_plans: list[BatchPlan]  # of the validation split of what is replayed
    guard_loader: pipeline.BatchLoader | None  # None if nothing is replayed

    @functools.cached_property
    def config_json(self) -> dict[str, Any]:
        """The config as a checkpoint holds it."""
        return config_schema.config_as_json(self.config)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the training split."""
        return data_fingerprint(self.train)

    @property
    def end(self) -> tuple[int, int]:
        """The last stage's number and how many batches it has."""
        return self.stages[-1].number, len(self.stages[-1].plans)


def plan_training(config: ConfigDict, split: layout.Split) -> pipeline.TrainPlan:
    """Plans the lengths of all stages' epochs together, and the buckets that serve them."""
    epochs = sum(config[name].epochs for name in config.stages)
    return pipeline.plan_training(
        split,
        config.data,
        config.model.frontend.patch_size,
        config.training.seed,
        epochs,
        max_buckets(config),
    )


def prepare_run(config: ConfigDict, workdir: pathlib.Path) -> Run:
    """Checks the config, reads and validates the data, and plans every batch of the run.

    Raises:
        WSignError: a config value out of range, bad data, or rules that do not fit the model.
    """
    config_schema.check_config(config)
    config, adapted = settle_adaptation(config, workdir)
    config = settle_precision(
        settle_buckets(initial_weights.settle_positions(config, workdir), workdir)
    )
    root = data_root(config, workdir)
    vocabulary = adapted.vocabulary if adapted else read_vocabulary(root, config.model.vocab_size)
    network = make_network(config, len(vocabulary))
    splits, annotations = _read_all(config, root, vocabulary)
    train, guard = _mix_replayed(config, root, splits["train"], vocabulary)
    plan = plan_training(config, train)
    stages = []
    epoch = 0
    for number, name in enumerate(config.stages):
        stages.append(_plan_stage(config, number, epoch, train, plan, network))
        epoch += config[name].epochs
    check_rows(config.eval.batch_size, "eval.batch_size", jax.device_count())  # for the report
    # Rows that fit into memory: a training step works through at least as many at once.
    rows = max(config[name].batch_size for name in config.stages) // config.training.accumulate
    val = splits["val"]
    max_labels = max(split.max_labels for split in (val, guard or val))  # programs serve both
    own = process_rows(rows, "training.accumulate")
    sizes = ", ".join(f"{len(split)} {name}" for name, split in splits.items())
    skipped = sum(split.skipped for split in splits.values())
    print(
        f"data: {root}: {sizes} sentences, {len(vocabulary) - 1} glosses"
        + (f", {skipped} bad examples left out" if skipped else "")
    )
    epoch_plans = plan.epoch(0, config[config.stages[0]].batch_size)
    efficiency = padding_efficiency(epoch_plans, plan.frames[0])
    buckets = ", ".join(map(str, plan.buckets))
    print(f"buckets: {buckets} frames, padding efficiency {efficiency:.2f}", flush=True)
    return Run(
        config=config,
        workdir=workdir,
        vocabulary=vocabulary,
        train=train,
        val=val,
        val_segments=annotations["val"].segments,
        network=network,
        stages=stages,
        val_plans=pipeline.plan_evaluation(val, plan.buckets, rows),
        val_loader=pipeline.BatchLoader(val, config.data, max_labels, rows=own),
        guard_plans=pipeline.plan_evaluation(guard, plan.buckets, rows) if guard else [],
        guard_loader=None
        if guard is None
        else pipeline.BatchLoader(guard, config.data, max_labels, rows=own),
    )


def _mix_replayed(
    config: ConfigDict, root: pathlib.Path, train: layout.Split, vocabulary: Vocabulary
) -> tuple[layout.Split, layout.Split | None]:
    """Mixes the training split of `data.replay` into that in `root`.

    Returns:
        The mixture, and the validation split of `data.replay`; or `train` and None without replay.
    """
    if (replay := replay_root(config, root)) is None:
        return train, None
    theirs = config.copy_and_resolve_references()
    theirs.data.aspect = 0.0  # of the person's data; this set's own is in its `dataset.json`
    other, guard = (read_checked_split(theirs, replay, n, vocabulary) for n in ("train", "val"))
    print(f"replay: {replay}: {len(other)} train, {len(guard)} val sentences")
    return mix_splits(train, other), guard


def _read_all(
    config: ConfigDict, root: pathlib.Path, vocabulary: Vocabulary
) -> tuple[dict[str, layout.Split], dict[str, Annotations]]:
    """Reads all splits that the run and its report need, and annotations of those to evaluate on."""
    splits, annotations, problems = {}, {}, []
    for name in dict.fromkeys(("train", "val", config.eval.split)):
        try:
            splits[name] = read_checked_split(config, root, name, vocabulary)
            if name in ("val", config.eval.split):
                annotations[name] = read_annotations(config, splits[name])
        except WSignError as error:  # a person wants to hear of all splits at once
            problems.append(str(error))
    if problems:
        raise WSignError("\n".join(problems))
    return splits, annotations


def check_same_run(run: Run) -> None:
    """Raises a `WSignError` in all processes if their configs or data sets differ."""
    settings = config_schema.config_as_json(run.config)
    del settings["data"]["dir"], settings["data"]["replay"]  # each process may have its own copies
    multihost.check_same(json.dumps(settings), "the configs")
    validation = [run.val] if run.guard_loader is None else [run.val, run.guard_loader.split]
    fingerprints = [run.fingerprint, *map(data_fingerprint, validation)]
    multihost.check_same(" ".join(fingerprints), "the data sets")


def _plan_stage(
    config: ConfigDict,
    number: int,
    first_epoch: int,
    split: layout.Split,
    plan: pipeline.TrainPlan,
    network: Network,
) -> Stage:
    """Plans a stage whose first epoch has the number `first_epoch` in the whole run."""
    name = config.stages[number]
    stage = config[name]
    plans: list[BatchPlan] = []
    ends = []
    for epoch in range(stage.epochs):
        plans += plan.epoch(first_epoch + epoch, stage.batch_size)
        if (epoch + 1) % config.eval.every_epochs == 0:
            ends.append(len(plans))
    plans = plans[: config.training.max_steps or None]
    rows = process_rows(stage.batch_size, f"{name}.batch_size", config.training.accumulate)
    return Stage(
        number=number,
        name=name,
        config=stage,
        labels=label_parameters(network.shapes, stage.rules, name),
        rates=learning_rates(network.shapes, stage.rules, name),
        plans=plans,
        epoch_ends=frozenset([*ends, len(plans)]),
        loader=pipeline.BatchLoader(split, config.data, split.max_labels, plan, rows),
    )


def begin_stage(run: Run, stage: Stage, params: Params, step: int) -> TrainState:
    """Makes the state with which a stage begins: its optimizer and moving average are fresh."""
    create = stage_state(run.config.training, stage.labels, step)
    return create_placed_state(create, params, run.network.shapes)


def stage_shapes(network: Network, training: ConfigDict, labels: Params) -> TrainState:
    """The shapes, dtypes and places of the states of a stage with these labels."""
    return abstract_state(stage_state(training, labels, step=0), network.shapes)


def stage_step(run: Run, stage: Stage) -> jax.stages.Wrapped:
    """Makes the stage's step, which leaves a state on the devices where `begin_stage` has put it."""
    shapes = stage_shapes(run.network, run.config.training, stage.labels)
    return make_train_step(
        run.network.graph,
        stage.labels,
        run.config.training,
        run.config.data.augment,
        hybrid=stage.config.alpha < 1,
        rates=stage.rates,
        shardings=jax.tree.map(lambda x: x.sharding, shapes),
    )


def stage_state(training: ConfigDict, labels: Params, step: int) -> CreateState:
    """Makes the function that creates the state of a stage from its weights."""
    scaled = resolve_precision(training.precision) == "float16"
    return functools.partial(
        create_state,
        tx=optimizer.make_optimizer(labels, stages.StepSettings(), training.grad_clip),
        step=step,
        ema=training.ema > 0,
        loss_scale=training.loss_scale if scaled else None,
    )
