"""python -m tools.benchmark.decode [--batch=16 --patches=180 --glosses=1295 --beam_size=10]

Compares decoding times with greedy decoding's, on posteriors of PHOENIX-2014's size. Each repeat times
all decoders in turn, so that other load on the machine affects all of them. Ratios are of medians.
"""

import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tools.benchmark import figures
from tools.benchmark.figures import Figures
from wsign_jax.decode.greedy import ctc_greedy
from wsign_jax.decode.lm import lookup, ngrams
from wsign_jax.decode.prefix_beam import ctc_prefix_beam_search


def posteriors(
    rng: np.random.Generator, batch: int, patches: int, vocab_size: int
) -> tuple[jax.Array, jax.Array]:
    """Makes log posteriors (B, N, V), mostly blank with a peak every 15 patches, and lengths (B,)."""
    logits = rng.normal(0, 1, size=(batch, patches, vocab_size))
    logits[..., 0] += 8
    for row in logits:
        for patch in range(int(rng.integers(4, 12)), patches, int(rng.integers(10, 20))):
            glosses = rng.integers(1, vocab_size, size=3)
            row[patch : patch + 2, glosses] += rng.uniform(7, 10, size=3)
    lengths = rng.integers(patches // 2, patches + 1, size=batch)
    log_probs = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32))
    return log_probs, jnp.asarray(lengths, jnp.int32)


def medians(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each run, after a first call that compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            if repeat:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure(batch: int, patches: int, glosses: int, beam_size: int, repeats: int) -> Figures:
    """Prints a row for every decoder; returns the ratios."""
    rng = np.random.default_rng(0)
    vocab_size = glosses + 1
    log_probs, lengths = posteriors(rng, batch, patches, vocab_size)
    sentences = [rng.integers(1, vocab_size, size=12).tolist() for _ in range(5000)]
    beam = jax.jit(ctc_prefix_beam_search, static_argnums=(2, 3))
    search = functools.partial(beam, log_probs, lengths, beam_size, 64)
    greedy = jax.jit(ctc_greedy)
    runs: dict[str, Callable[[], object]] = {
        "greedy": lambda: greedy(log_probs, lengths),
        "beam": search,
    }
    for order, name in ((2, "beam_bigram"), (3, "beam_trigram")):
        model = lookup.prepare_lm(ngrams.estimate_ngrams(sentences, order, vocab_size))
        runs[name] = functools.partial(search, model, 0.3, 0.5)
    found = medians(runs, repeats)
    ratios = {name: seconds / found["greedy"] for name, seconds in found.items()}
    print(f"{batch} sentences of {patches} patches, {vocab_size} ids, jax {jax.__version__}")
    for name, seconds in found.items():
        print(f"{name:16}{1000 * seconds:8.1f} ms{ratios[name]:8.1f} times greedy")
    return {f"{name}_vs_greedy_ratio": ratio for name, ratio in ratios.items() if name != "greedy"}


def main() -> None:
    """Parses the flags."""
    parser = figures.parser(__doc__)
    figures.add_counts(
        parser,
        batch=(16, "sentences decoded together"),
        patches=(180, "of a sentence"),
        glosses=(1295, "of the vocabulary"),
        beam_size=(10, "hypotheses kept"),
        repeats=(21, "turns whose median counts"),
    )
    flags = vars(figures.parse(parser))
    figures.write(flags.pop("json"), measure(**flags))


if __name__ == "__main__":
    main()
