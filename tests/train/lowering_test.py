"""Every program as it is lowered for an accelerator: that takes no accelerator, and not its compiler."""

import functools
import math
import re
from unittest import mock

import jax
import numpy as np
import pytest

from tests.conftest import small_config
from wsign_jax.decode.decoders import Search
from wsign_jax.decode.joint import Weights
from wsign_jax.evaluate.trained_run import make_untrained
from wsign_jax.recognize import run_backend
from wsign_jax.stream import chunks, run_stream
from wsign_jax.train import stages, validation
from wsign_jax.train.run import stage_shapes
from wsign_jax.train.state import batch_shapes
from wsign_jax.train.step import make_train_step

V = 37  # like no other dimension
ROWS, FRAMES, PATCHES, CHUNK = 2, 48, 12, 2
ITEM = {"f32": 4, "i32": 4, "ui32": 4, "bf16": 2, "i1": 1}  # bytes


def shape(*sizes, dtype=np.int32):
    return jax.ShapeDtypeStruct(sizes, dtype)


@functools.cache
def programs():
    """{name: (function, arguments, loops)} of what runs on accelerators, in bfloat16.

    Loops are those of CTC and greedy decoding, and one over each stack of layers, and one back.
    """
    config = small_config()
    config.training.precision, config.training.ema = "bfloat16", 0.999
    trained = make_untrained(config, V)
    graph, settings = trained.network.graph, stages.StepSettings()
    labels = stages.label_parameters(trained.params, config.stage2.rules, "stage2")
    whole = stage_shapes(trained.network, config.training, labels)
    batch = batch_shapes(ROWS, FRAMES, 3, trained.network.mesh)
    train = make_train_step(graph, labels, config.training, config.data.augment, hybrid=True)
    keypoints = (
        shape(ROWS, FRAMES, 42, 3, dtype=np.float32),
        shape(ROWS, FRAMES, 2, dtype=np.float32),
    )
    recognize = jax.jit(run_backend.make_recognize(graph, Search()))
    no_hands, weights = shape(ROWS, PATCHES, dtype=bool), jax.tree.map(np.float32, Weights())
    window = np.int32(0), np.int32(0)
    stream = chunks.init_stream(model := run_stream.run_model(trained, CHUNK, 4), _NoDecoder())
    chunk = chunks.next_chunk(model, stream)
    return {
        "training": (train, (whole, batch, settings), 5),
        "validation": (
            validation.make_eval_step(trained.network, config),
            (whole.params, batch, settings),
            3,
        ),
        "recognizer": (
            recognize,
            (whole.params, *keypoints, shape(ROWS), no_hands, window, weights),
            3,
        ),
        "stream": (run_stream.make_step(graph), (whole.params, stream.cache, chunk), 1),
    }


class _NoDecoder:
    def start(self):
        return None


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("name", ["training", "validation", "recognizer", "stream"])
def test_what_an_accelerator_runs(name, platform):
    function, arguments, loops = programs()[name]
    with mock.patch.object(jax, "default_backend", lambda: "tpu"):  # as if it were here
        text = function.trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.while") <= loops, "each turn of a loop starts kernels"
    assert "callback" not in text, "a device would wait for Python"
    for operands in re.findall(r"stablehlo\.dot_general.* : \((.*?)\) ->", text):
        # In 16 bits, but for those that end in the vocabulary's logits.
        sizes, dtypes = re.findall(r"\d+(?=x)", operands), re.findall(r"x(\w+)>", operands)
        assert "f32" not in dtypes or str(V) in sizes, operands
    for sizes, dtype in re.findall(r'dense<["[].*> : tensor<((?:\d+x)*)(\w+)>', text):
        assert math.prod(map(int, sizes.split("x")[:-1])) * ITEM[dtype] < 2**20
