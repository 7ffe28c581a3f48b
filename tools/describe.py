"""python tools/describe.py --config=configs/stage2.py [--memory] [--config.FIELD=VALUE ...]

Prints every parameter group of a config's model with shapes and counts, and what each stage trains.
If `model.vocab_size` is 0, the size of the vocabulary comes from the data set's label_map.json.

--memory instead compiles each stage's step for this machine's devices and its longest bucket, and prints
the memory that the compiler plans for it on each device. That is what the data set's own buckets need;
without a data set, what data.max_seq_length needs. If it is too much, --config.training.accumulate=N and
--config.training.remat=True need less. (On a CPU, XLA undoes the latter.)
"""

import itertools
import math
import pathlib
import sys

import jax
from ml_collections import ConfigDict

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.data.buckets import MULTIPLE
from wsign_jax.data.vocab import read_vocabulary
from wsign_jax.main import parse
from wsign_jax.model import whisper_sign
from wsign_jax.train import config_schema, stages
from wsign_jax.train.precision import settle_precision
from wsign_jax.train.run import (
    check_rows,
    make_network,
    plan_training,
    read_checked_split,
    stage_shapes,
)
from wsign_jax.train.state import batch_shapes
from wsign_jax.train.step import make_train_step

_GLOSSES = 32  # in the longest sentence, if there is no data set to count them in


def describe(config: ConfigDict, vocab_size: int) -> None:
    """Prints the table of parameters, and of what each stage trains."""
    _, shapes = whisper_sign.build_network(config.model, vocab_size)
    sizes = {}
    for path, leaf in whisper_sign.parameter_paths(shapes).items():
        layers = f"/blocks/0-{leaf.shape[0] - 1}/"  # a rule names them one by one
        sizes[path.replace("/blocks/", layers)] = leaf.shape
    print(f"{config.model.size} model, {vocab_size} ids with the blank")
    for group, members in itertools.groupby(sizes, whisper_sign.group_of):
        paths = list(members)
        print(f"{group:<66}{sum(math.prod(sizes[path]) for path in paths):>12,}")
        for path in paths:
            shape = "x".join(map(str, sizes[path]))
            print(f"  {path:<50}{shape:<14}{math.prod(sizes[path]):>12,}")
    total = sum(map(math.prod, sizes.values()))
    print(f"{'all':<66}{total:>12,}  {total * 4 / 1e6:.1f} MB in float32")
    for name in config.stages:
        labels = stages.label_parameters(shapes, config[name].rules, name)
        rates = stages.learning_rates(shapes, config[name].rules, name)
        print(f"{name}\n{stages.training_table(shapes, labels, rates)}")


def longest_batch(config: ConfigDict, root: pathlib.Path) -> tuple[int, int]:
    """Returns the frames and the glosses that the longest batches of training are padded to."""
    if root.is_dir():
        split = read_checked_split(config, root, "train")
        return plan_training(config, split).buckets[-1], split.max_labels
    longest = -(-config.data.max_seq_length // MULTIPLE) * MULTIPLE
    print(f"no data set in {root}: {longest} frames and {_GLOSSES} glosses a sentence are assumed")
    return longest, _GLOSSES


def describe_memory(config: ConfigDict, vocab_size: int, frames: int, glosses: int) -> None:
    """Compiles the stages' steps, and prints the memory that the compiler plans for each."""
    config = settle_precision(config)
    network, training = make_network(config, vocab_size), config.training
    augment = config.data.augment
    for name in config.stages:
        stage = config[name]
        rows, hybrid = stage.batch_size, stage.alpha < 1
        check_rows(rows, f"{name}.batch_size", jax.device_count(), training.accumulate)
        labels = stages.label_parameters(network.shapes, stage.rules, name)
        state = stage_shapes(network, training, labels)
        shardings = jax.tree.map(lambda x: x.sharding, state)
        step = make_train_step(
            network.graph, labels, training, augment, hybrid=hybrid, shardings=shardings
        )
        batch = batch_shapes(rows, frames, glosses, network.mesh, augment.speed)
        planned = step.lower(state, batch, stages.StepSettings()).compile().memory_analysis()
        sizes = {
            "arguments": planned.argument_size_in_bytes,
            "temporaries": planned.temp_size_in_bytes,
            "output": planned.output_size_in_bytes,
            "of it in the arguments' place": planned.alias_size_in_bytes,
        }
        figures = ", ".join(f"{part} {size / 1e6:.1f}" for part, size in sizes.items())
        device = jax.devices()[0].device_kind
        print(f"{name}: {rows} x {frames} frames, MB on each {device}: {figures}", flush=True)


def main() -> None:
    """Parses the flags, and prints the tables or the memory."""
    with exit_on_user_error():
        parser = Parser(__doc__)
        parser.add_argument("--memory", action="store_true", help="what the longest batches need")
        own, rest = parser.parse_known_args(sys.argv)
        config, workdir = parse(rest)
        config_schema.check_config(config)
        root = pathlib.Path(config.data.dir) if config.data.dir else workdir / "data"
        vocab_size = config.model.vocab_size
        if not vocab_size and config.data.dir:
            vocab_size = len(read_vocabulary(root))
        vocab_size = vocab_size or config.data.synthetic.glosses + 1
        if own.memory:
            frames, glosses = longest_batch(config, root)
            describe_memory(config, vocab_size, frames, glosses)
        else:
            describe(config, vocab_size)


if __name__ == "__main__":
    main()
