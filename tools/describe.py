"""python tools/describe.py --config=configs/stage2.py [--config.FIELD=VALUE ...]

Prints every parameter group of a config's model with shapes and counts, and what each stage trains.
Where `model.vocab_size` is 0, the size of the vocabulary comes from the data set's label_map.json.
"""

import itertools
import math
import pathlib
import re
import sys

from ml_collections import ConfigDict

from wsign_jax import config as config_lib
from wsign_jax.data.vocab import read_vocabulary
from wsign_jax.errors import exit_on_user_error
from wsign_jax.main import parse
from wsign_jax.model import whisper_sign
from wsign_jax.train import stages


def group_of(path: str) -> str:
    """'encoder/blocks/0' of 'encoder/blocks/0/mlp/up/kernel', 'frontend' of 'frontend/...'."""
    return re.match(r"[^/]+(/blocks/\d+)?", path)[0]


def describe(config: ConfigDict, vocab_size: int) -> None:
    """Prints the table."""
    _, shapes = whisper_sign.build(config.model, vocab_size)
    sizes = {path: leaf.shape for path, leaf in whisper_sign.parameter_paths(shapes).items()}
    print(f"{config.model.size} model, {vocab_size} ids with the blank")
    for group, members in itertools.groupby(sizes, group_of):
        paths = list(members)
        print(f"{group:<66}{sum(math.prod(sizes[path]) for path in paths):>12,}")
        for path in paths:
            shape = "x".join(map(str, sizes[path]))
            print(f"  {path:<50}{shape:<14}{math.prod(sizes[path]):>12,}")
    total = sum(map(math.prod, sizes.values()))
    print(f"{'all':<66}{total:>12,}  {total * 4 / 1e6:.1f} MB in float32")
    for name in config.stages:
        labels = stages.label_parameters(shapes, config[name].rules, name)
        print(f"{name}\n{stages.training_table(shapes, labels)}")


def main() -> None:
    """The command."""
    if "--help" in sys.argv:
        print(__doc__)
        return
    with exit_on_user_error():
        config, _ = parse(sys.argv)
        config_lib.check(config)
        vocab_size = config.model.vocab_size
        if not vocab_size and config.data.dir:
            vocab_size = len(read_vocabulary(pathlib.Path(config.data.dir)))
        describe(config, vocab_size or config.data.synthetic.glosses + 1)


if __name__ == "__main__":
    main()
