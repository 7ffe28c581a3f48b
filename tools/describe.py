"""python tools/describe.py --config=configs/stage2.py [--memory] [--config.FIELD=VALUE ...]

Prints every parameter group of a config's model with shapes and counts, and what each stage trains.
If `model.vocab_size` is 0, the size of the vocabulary comes from the data set's label_map.json.

--memory instead prints the memory that training needs on each device, bucket by bucket, and what to
change if that is too much. --gigabytes=16 is the memory of a device, --devices=N the number of devices
(as many as here). The buckets are the data set's own; without one, lengths up to data.max_seq_length.

The estimate is for a training step; validation needs less. The only reference available was the memory
that XLA plans for a step on CPU: gradients and temporary buffers by `memory_analysis`, jax 0.10.2 (jax
0.7.2 plans differently). The same parts of the estimate, divided by XLA's figure, which does not include
batches:

    tiny, 16 x 1504 frames, float32 / bfloat16                         1.06 / 0.90
    base, 16 x 768, float32 / bfloat16 / float16                       1.37 / 1.20 / 0.92

In low precision, XLA on CPU keeps float32 copies for its matrix products; an accelerator need not. On
CPU, XLA also undoes rematerialization, which then saves no memory. tools/benchmark/step.py leaves out
the passes that undo it, and shows how much it saves then.
"""

import argparse
import itertools
import math
import pathlib
import sys

import jax
from ml_collections import ConfigDict

from wsign_jax.common.errors import WSignError, exit_on_user_error, known_flags
from wsign_jax.data.buckets import MULTIPLE
from wsign_jax.data.vocab import read_vocabulary
from wsign_jax.main import parse
from wsign_jax.model import whisper_sign
from wsign_jax.train import config_schema, memory, stages
from wsign_jax.train.run import plan_training, read_checked_split

_GLOSSES = 32  # in the longest sentence, if there is no data set to count them in


def describe(config: ConfigDict, vocab_size: int) -> None:
    """Prints the table of parameters, and of what each stage trains."""
    _, shapes = whisper_sign.build(config.model, vocab_size)
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


def buckets(config: ConfigDict, root: pathlib.Path, vocab_size: int) -> tuple[list[int], int]:
    """Returns the padded lengths of training, and the number of glosses of its longest sentence."""
    if root.is_dir():
        split = read_checked_split(config, root, "train", vocab_size)
        return list(plan_training(config, split).buckets), split.max_labels
    print(f"no data set in {root}: lengths and {_GLOSSES} glosses a sentence are assumed")
    longest = -(-config.data.max_seq_length // MULTIPLE)
    count = min(config.data.max_buckets, longest)
    return [-(-longest * (n + 1) // count) * MULTIPLE for n in range(count)], _GLOSSES


def own_flags(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parses the flags of this tool; returns them and the rest."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--gigabytes", type=float, default=16.0)
    parser.add_argument("--devices", type=int, default=jax.device_count())
    own, rest = known_flags(parser, argv)
    if not own.gigabytes > 0 or own.devices < 1:
        raise WSignError("in the command line: --gigabytes must be over 0, --devices at least 1")
    return own, rest


def main() -> None:
    """Parses the flags, and prints the tables or the memory."""
    if "--help" in sys.argv:
        print(__doc__)
        return
    with exit_on_user_error():
        own, rest = own_flags(sys.argv)
        config, workdir = parse(rest)
        config_schema.check(config)
        root = pathlib.Path(config.data.dir) if config.data.dir else workdir / "data"
        vocab_size = config.model.vocab_size
        if not vocab_size and config.data.dir:
            vocab_size = len(read_vocabulary(root))
        vocab_size = vocab_size or config.data.synthetic.glosses + 1
        if own.memory:
            lengths, glosses = buckets(config, root, vocab_size)
            estimator = memory.Estimator(config, vocab_size, glosses, own.devices)
            print(memory.report(estimator, lengths, own.gigabytes))
        else:
            describe(config, vocab_size)


if __name__ == "__main__":
    main()
