"""python tools/describe.py --config=configs/stage2.py [--config.FIELD=VALUE ...]

Prints every parameter group of a config's model with shapes and counts, and what each stage trains.
Where `model.vocab_size` is 0, the size of the vocabulary comes from the data set's label_map.json.
"""

import math
import pathlib
import re
import sys

from wsign_jax import config as config_lib
from wsign_jax.data.vocab import read_vocabulary
from wsign_jax.errors import exit_on_user_error
from wsign_jax.main import parse
from wsign_jax.model import whisper_sign
from wsign_jax.train import stages


def main() -> None:
    """The command."""
    if "--help" in sys.argv:
        print(__doc__)
        return
    with exit_on_user_error():
        config, workdir = parse(sys.argv)
        config_lib.check(config)
        if config.data.dir or config.model.vocab_size:
            root = pathlib.Path(config.data.dir or workdir / "data")
            vocab_size = len(read_vocabulary(root, config.model.vocab_size))
        else:
            vocab_size = config.data.synthetic.glosses + 1
        _, shapes = whisper_sign.build(config.model, vocab_size)
        print(f"{config.model.size} model, {vocab_size} ids with the blank")
        total = 0
        group = ""
        for path, leaf in whisper_sign.parameter_paths(shapes).items():
            count = math.prod(leaf.shape)
            total += count
            head = re.match(r"[^/]+(/blocks/\d+)?", path)[0]
            if head != group:
                group = head
                members = whisper_sign.parameter_paths(shapes).items()
                size = sum(math.prod(x.shape) for p, x in members if p.startswith(group + "/"))
                print(f"{group:<50} {'':<14} {size:>12,}")
            print(f"  {path:<48} {'x'.join(map(str, leaf.shape)):<14} {count:>12,}")
        print(f"{'all':<50} {'':<14} {total:>12,}   {total * 4 / 1e6:.1f} MB in float32")
        for name in config.stages:
            labels = stages.label_parameters(shapes, config[name].rules, name)
            print(f"{name}\n{stages.training_table(shapes, labels)}")


if __name__ == "__main__":
    main()
