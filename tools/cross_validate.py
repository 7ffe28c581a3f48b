"""python tools/cross_validate.py --config=configs/asl.py --config.data.dir=DIR --out=DIR
    [--folds=signer] [--splits=train,val] [--against=DIR] [--replace] [--config.FIELD=VALUE ...]

Trains a config once for each signer, session or random part of a data set, without that part, and tests
on it. So a recipe is chosen by how it does on people that it has not seen. Test examples stay out unless
--splits names test, so that they can still be the last judge.

Prints the error rate of each fold, their mean and their spread, and writes a report on all examples.
--against=DIR, another recipe's --out, adds the difference and its 95 % interval. The same command goes
on where it ended.
"""

import pathlib
import sys

from wsign_jax import main as training
from wsign_jax.common import files
from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import WSignError, exit_on_user_error
from wsign_jax.data import folds, layout
from wsign_jax.report import compare, write
from wsign_jax.runtime import process


def main() -> None:
    """Parses the flags and calls `cross_validate.train_folds`."""
    parser = Parser(__doc__)
    parser.add_out("a folder for the folds' runs and the report", required=True)
    parser.add_argument("--folds", default="signer", help="signer, session or a number (signer)")
    parser.add_argument("--splits", default="train,val", help="that are folded (train,val)")
    parser.add_argument("--against", type=pathlib.Path, help="another recipe's --out")
    parser.add_argument("--replace", action="store_true", help="replace the report in --out")
    with exit_on_user_error():
        flags, rest = parser.parse_known_args()
        if any(flag.partition("=")[0] in ("--workdir", "-workdir") for flag in rest):
            raise WSignError("--workdir: the folds' runs go into --out; leave it out")
        config, _ = training.parse([sys.argv[0], *rest])
        if config.restart or config.mode != "train":
            raise WSignError("config.restart and config.mode are not for folds; leave them out")
        if not config.data.dir:
            raise WSignError("config.data.dir is empty; name the data set, --config.data.dir=DIR")
        splits = flags.splits.split(",")
        if unknown := sorted(set(splits) - set(layout.SPLITS)):
            raise WSignError(f"--splits={flags.splits}: {unknown[0]!r} is not train, val or test")
        write.check_report_folder(flags.out, flags.replace)
        earlier = None
        if flags.against is not None:
            earlier = compare.read_report(flags.against), flags.against
        root = pathlib.Path(config.data.dir)
        examples = folds.read_examples(root, splits, flags.folds, config.training.seed)
        # Imported here, so that a mistake is reported at once.
        from wsign_jax.evaluate import cross_validate  # noqa: PLC0415

        process.keep_compiled_programs()
        files.make_folder(flags.out)
        found = cross_validate.train_folds(config, root, folds.make_folds(examples), flags.out)
        if found is None:
            print("stopped; the same command goes on")
            return
        settings = {
            "checkpoint": str(flags.out),
            "data": str(root),
            "split": f"folds by {flags.folds} of {flags.splits}",
            "decoder": config.eval.decoder,
        }
        sentences, report = cross_validate.summarize_folds(*found, settings, earlier)
        cross_validate.print_folds(report)
        write.write_report(flags.out, sentences, found[1], report, replace=flags.replace)
        print(flags.out / "report.html")


if __name__ == "__main__":
    main()
