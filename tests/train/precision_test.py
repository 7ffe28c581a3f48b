import types

import pytest

from configs import base
from wsign_jax.train.precision import resolve_precision, settle_precision

CPU, TPU = ({"platform": name, "device_kind": name} for name in ("cpu", "tpu"))
A100, T4, P100, MI250 = (
    {"platform": "gpu", "device_kind": kind, "compute_capability": generation}
    for kind, generation in (("A100", "8.0"), ("T4", "7.5"), ("P100", "6.0"), ("MI250", "gfx90a"))
)


@pytest.mark.parametrize(
    ("device", "best"),
    [
        (CPU, "float32"),
        (TPU, "bfloat16"),
        (A100, "bfloat16"),
        (T4, "float16"),
        (P100, "float32"),
        (MI250, "bfloat16"),
    ],
)
def test_auto_is_what_the_device_is_fastest_in(device, best):
    device = types.SimpleNamespace(**device)
    assert resolve_precision("auto", device) == best
    assert resolve_precision("float16", device) == "float16"


@pytest.mark.parametrize(
    ("device", "given", "said"),
    [
        (T4, "auto", "precision: float16, chosen for T4\n"),
        (T4, "float32", "precision: float32\n"),
        (
            T4,
            "bfloat16",
            "precision: bfloat16\nwarning: T4 emulates bfloat16, which is slow; "
            "--config.training.precision=float16 is its own\n",
        ),
    ],
)
def test_what_is_settled_is_said_and_emulation_warned_of(capsys, device, given, said):
    config = base.get_config()
    config.training.precision = given
    settled = settle_precision(config, types.SimpleNamespace(**device))
    assert config.training.precision == given
    assert f"precision: {settled.training.precision}" in said
    assert capsys.readouterr().out == said
