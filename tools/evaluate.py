"""python tools/evaluate.py --checkpoint=RUN [--data=DIR] [--split=test] [--decoder=joint] [--lm=2]
    [--out=DIR] [--against=DIR] ...

Decodes a split with a trained run and writes a report into a new folder: report.html to look at,
report.json with every figure, hypotheses.jsonl, ref.trn and hyp.trn for sclite, and hyp.ctm for
PHOENIX's scorers.

Weights that are not given are those that tools/tune_decoder.py chose for this decoder, language model
and beam size, otherwise defaults.
"""

import argparse
import pathlib

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.data.layout import SPLITS
from wsign_jax.decode.decoders import DECODERS
from wsign_jax.decode.joint import Weights
from wsign_jax.evaluate import decoder_settings, evaluate, trained_run
from wsign_jax.report import compare, write
from wsign_jax.train.run import data_root


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = Parser(__doc__)
    path = pathlib.Path
    add = parser.add_argument
    parser.add_checkpoint()
    add("--data", default=None, help="a data set's folder (the one it was trained on)")
    add("--split", choices=SPLITS, default="test", help="of the data set (test)")
    add("--decoder", choices=DECODERS, default="greedy", help="greedy")
    add(
        "--lm",
        default="",
        help="none, 1 to 9: of the training labels, FILE.arpa (as tuned, or none)",
    )
    add("--beam_size", type=int, default=0, help="hypotheses kept (as tuned, or 10)")
    add("--ctc_weight", type=float, help="CTC's share in rescore and joint, 0 to 1")
    add("--lm_weight", type=float, help="the language model's weight, at least 0")
    add("--label_bonus", type=float, help="for every gloss")
    add("--chunk", type=int, help="attention's chunk in patches, 0: full (the run's eval.chunk)")
    add("--left_context", type=int, help="patches seen before the chunk")
    parser.add_out("a new folder (RUN/evaluation/SPLIT_DECODER...)")
    add("--replace", action="store_true", help="replace the report in --out")
    add("--against", type=path, help="an earlier report on the same sentences, to compare with")
    return parser.parse_args()


def main() -> None:
    """Parses the flags and calls `evaluate.evaluate_split`."""
    with exit_on_user_error():
        flags = parse()
        typed = trained_run.config_overrides(flags.data, flags.chunk, flags.left_context)
        run = trained_run.open_run(flags.checkpoint, overrides=typed)
        settings = decoder_settings.choose_settings(run, flags.decoder, flags.lm, flags.beam_size)
        weights = {name: getattr(flags, name) for name in Weights._fields}
        settings = settings.with_weights(**weights)
        parts = flags.split, settings.decoder, pathlib.Path(settings.lm).stem
        name = "_".join(filter(None, parts))
        out = flags.out or run.workdir / "evaluation" / name
        write.check_report_folder(out, flags.replace)
        earlier = None if flags.against is None else compare.read_report(flags.against)
        root = data_root(run.config, run.workdir, make=False)
        split = trained_run.read_split(run, root, flags.split)
        sentences, report = evaluate.evaluate_split(run, root, split, settings)
        if earlier is not None:
            report["against"] = compare.compare_reports(
                sentences, run.vocabulary, earlier, flags.against
            )
        evaluate.print_examples(sentences, run.vocabulary)
        evaluate.print_summary(report)
        write.write_report(out, sentences, run.vocabulary, report, replace=flags.replace)
        print(out / "report.html")


if __name__ == "__main__":
    main()
