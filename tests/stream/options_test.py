import numpy as np
import pytest

from tests.helpers.streams import model
from wsign_jax.common.errors import WSignError
from wsign_jax.stream.run_stream import stream_run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk": 0}, "full attention, which needs the whole recording"),
        ({"left_context": -1}, "left_context is -1"),
        ({"left_context": 10**6}, "over 6000 patches together"),
        ({"chunk": 1.5}, "chunk is 1.5; give patches, a whole number from 0 up"),
        ({"chunk": "8"}, "chunk is '8'; give patches"),
        ({"left_context": np.zeros((5, 4))}, "left_context is array.*; give patches"),
        ({"decoder": "joint"}, "decoder 'joint' cannot stream; take 'greedy' or 'prefix_beam'"),
        ({"decoder": ["greedy"]}, r"decoder is \['greedy'\]; give a name, for example 'greedy'"),
        ({"endpoint_seconds": -1.0}, "endpoint_seconds is -1.0"),
        ({"endpoint_seconds": float("nan")}, "endpoint_seconds is nan"),
        ({"endpoint_seconds": "1"}, "endpoint_seconds is '1'; give seconds, 0 for never"),
    ],
)
def test_what_cannot_be_is_named(options, message):
    with pytest.raises(WSignError, match=message) as error:
        stream_run(model("rotary"), **options)
    assert "\n" not in str(error.value)


def test_look_ahead_adds_to_the_delay():
    stream = stream_run(model("look-ahead"), chunk=3, left_context=0)
    assert stream.delay == pytest.approx(((3 + 2) * 4 + 1) / 60)


def test_windows_that_were_not_trained_are_warned_of(capsys):
    stream = stream_run(model("rotary"))
    assert (stream.chunk, stream.left_context) == (8, 16)
    assert capsys.readouterr().err == ""
    stream = stream_run(model("rotary"), chunk=np.int64(2), left_context=np.uint8(6))
    assert (type(stream.chunk), type(stream.left_context)) == (int, int)
    err = capsys.readouterr().err
    assert "not trained with a chunk of 2 patches but with 1, 3, 8" in err and "left" not in err
