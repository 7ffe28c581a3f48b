"""The dtype of the network's computation; parameters and their updates are float32 in any case."""

from typing import Any

import jax
from ml_collections import ConfigDict

AUTO = "auto"
PRECISIONS = (AUTO, "float32", "bfloat16", "float16")


def fast_precisions(device: Any) -> tuple[str, ...]:
    """The precisions that a `jax.Device` computes in without emulating them, the best one first."""
    if device.platform == "tpu":
        return ("bfloat16", "float32")
    if device.platform != "gpu":
        return ("float32",)
    generation = str(getattr(device, "compute_capability", "")).split(".")[0]
    if not generation.isdecimal() or int(generation) >= 8:  # AMD's have names such as gfx90a
        return ("bfloat16", "float16", "float32")
    return ("float16", "float32") if int(generation) == 7 else ("float32",)


def resolve_precision(precision: str, device: Any = None) -> str:
    """Returns a precision; if it is 'auto', the best one for a `jax.Device`, None for the first."""
    return fast_precisions(device or jax.devices()[0])[0] if precision == AUTO else precision


def settle_precision(config: ConfigDict, device: Any = None) -> ConfigDict:
    """Returns the config with its precision resolved; prints it, and warns if it is emulated."""
    device = device or jax.devices()[0]
    chosen, fast = config.training.precision, fast_precisions(device)
    settled = config.copy_and_resolve_references()
    settled.training.precision = resolve_precision(chosen, device)
    how = f", chosen for {device.device_kind}" if chosen == AUTO else ""
    print(f"precision: {settled.training.precision}{how}", flush=True)
    if settled.training.precision not in fast:
        print(
            f"warning: {device.device_kind} emulates {chosen}, which is slow; "
            f"--config.training.precision={fast[0]} is its own",
            flush=True,
        )
    return settled
