"""python tools/tune_decoder.py --checkpoint=RUN [--data=DIR] [--decoder=joint,rescore] [--lm=none,2] ...

Chooses decoders' weights and calibrates their confidences and times on the validation split; no other
split is used. Times need its segments/. Writes all that into the run's folder: decoder.json,
known_signs.npz, which tells unknown signs, and lm_<order>.arpa for a language model of the training
labels. tools/evaluate.py and --config.eval.decoder read them there.
"""

import argparse

from wsign_jax.common import files
from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import WSignError, exit_on_user_error
from wsign_jax.decode.decoders import DECODERS, GREEDY
from wsign_jax.decode.lm import lookup
from wsign_jax.evaluate import decoder_settings, trained_run, tune
from wsign_jax.evaluate.decoder_settings import DecoderSettings
from wsign_jax.evaluate.trained_run import NO_LM
from wsign_jax.train.run import data_root


def parse() -> argparse.Namespace:
    """Parses the flags."""
    parser = Parser(__doc__)
    add = parser.add_argument
    parser.add_checkpoint()
    add("--data", default=None, help="a data set's folder (the one it was trained on)")
    add("--decoder", default=",".join(DECODERS), help="one or more, with commas (all)")
    add("--lm", default="none,2", help="none, 1 to 9, FILE.arpa; one or more, with commas (none,2)")
    add("--beam_size", type=int, default=10, help="hypotheses kept (10)")
    add("--chunk", type=int, help="attention's chunk in patches, 0: full (the run's eval.chunk)")
    add("--left_context", type=int, help="patches seen before the chunk")
    return parser.parse_args()


def main() -> None:
    """Parses the flags and calls `tune.tune`."""
    with exit_on_user_error():
        flags = parse()
        decoders = flags.decoder.split(",")
        unknown = [name for name in decoders if name not in DECODERS]
        if unknown:
            raise WSignError(f"--decoder: no {unknown[0]!r}; there are {', '.join(DECODERS)}")
        typed = trained_run.config_overrides(flags.data, flags.chunk, flags.left_context)
        run = trained_run.open_run(flags.checkpoint, overrides=typed)
        if flags.decoder == ",".join(DECODERS) and not run.has_attention_decoder:
            decoders = [GREEDY, "prefix_beam"]
            print("its attention decoder was never trained: only greedy and prefix_beam are tuned")
        root = data_root(run.config, run.workdir, make=False)
        files.check_writable(run.workdir / decoder_settings.TUNED)
        split = trained_run.read_split(run, root, "val")
        names = flags.lm.split(",")
        # Written only at the end, so that decoder.json and the language models belong together.
        fitted = {name: trained_run.fit_lm(run, name, root) for name in names if name.isdecimal()}
        models = {NO_LM: None} | {
            name: lookup.prepare_lm(fitted[name])
            if name in fitted
            else trained_run.language_model(run, name, root)
            for name in names
        }
        starts = [
            decoder_settings.default_settings(run, decoder, name, flags.beam_size)
            for decoder in decoders
            for name in ([NO_LM] if decoder == GREEDY else sorted(names, key=NO_LM.__ne__))
        ]

        def show(settings: DecoderSettings, effort: str) -> None:
            shown = [f"{n} {getattr(settings, n):g}" for n in sorted(settings.weights_read)]
            print(
                f"{settings.decoder:12} lm {settings.lm:6} WER {settings.wer:.4f}  "
                f"{', '.join(shown):52} temperature {settings.temperature:.2f}  ({effort})",
                flush=True,
            )
            if settings.sign_start is not None:
                begin, end = settings.sign_start, settings.sign_end
                print(
                    f"{'':12} signs last from {begin:+.2f} s to {end:+.2f} s of CTC's first patch"
                )
            if settings.false_accepts is not None:
                print(
                    f"{'':12} unknown below {settings.unknown_below:.1f}: 5 % of right glosses, and "
                    f"{1 - settings.false_accepts:.0%} of signs whose gloss was held out"
                )

        tuned, known = tune.tune(run, split, starts, models, show)
        print(decoder_settings.write_tuned(run, root, split, tuned, fitted, known))


if __name__ == "__main__":
    main()
