"""python -m tools.benchmark.compile [--devices=T4,A100,v5e --size=base --rows=16 --frames=480]
    [--json=FILE]

Compiles a training step (stage 2, with a moving average) for accelerators that are not there, on this
CPU, and counts in the programs that their compilers make:

    launches           kernels: fusions, library calls and copies; those in a loop by its turns
    products           of matrices, in all and in float32
    arguments, temporary  memory in megabytes, as planned
    megacycles         of a TPU, as its compiler estimates them
    seconds            of the processor to compile, without trying out kernels
    bound_ms           that a step takes at least: the largest of its matrix products at the
                       device's peak, its memory at the device's bandwidth, each byte once, and, on a
                       GPU, 3 microseconds for each launch; all three are printed

A T4 computes in float16, the others in bfloat16. For each maker a plugin of JAX is needed (a gigabyte);
if it is missing, a line says how to install it.
"""

import argparse
import importlib.util
import os
import time
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

from configs import base
from tools.benchmark import figures, training
from tools.benchmark.launches import count
from wsign_jax.common.errors import WSignError
from wsign_jax.train import config_schema, sharding, state
from wsign_jax.train.run import Network, make_network

_INSTALL = {
    "cuda": (
        "jax_plugins.xla_cuda12",
        f"pip install --no-deps jax-cuda12-plugin=={jax.__version__} "
        f"jax-cuda12-pjrt=={jax.__version__} nvidia-cuda-nvcc-cu12",
    ),
    "tpu": ("libtpu", "pip install libtpu"),
}
_GPU_OPTIONS = {
    "xla_gpu_autotune_level": 0,
    "xla_gpu_enable_triton_gemm": False,
}  # no GPU to try on
# Otherwise it looks for the TPU that it runs on.
_TPU_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
# XLA's GpuTargetConfigProto as text; numbers are those of NVIDIA's data sheets and programming guide.
_GPU = """
gpu_device_info {{
  cuda_compute_capability {{ major: {major} minor: {minor} }} core_count: {cores} fpus_per_core: 64
  clock_rate_ghz: {clock} memory_bandwidth: {bandwidth} device_memory_size: {memory}
  l2_cache_size: {cache}
  shared_memory_per_core: {shared} shared_memory_per_block: 49152 shared_memory_per_block_optin: {block}
  threads_per_core_limit: {threads} threads_per_block_limit: 1024 threads_per_warp: 32
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
}}
platform_name: "CUDA" device_description_str: "{name}"
dnn_version_info {{ major: 9 minor: 8 patch: 0 }} runtime_version {{ major: 12 minor: 9 patch: 0 }}
"""
# fmt: off
_GPUS = {
    "T4": {
        "name": "Tesla T4", "major": 7, "minor": 5, "cores": 40, "clock": 1.59, "bandwidth": 320 * 10**9,
        "memory": 15 << 30, "cache": 4 << 20, "shared": 65536, "block": 65536, "threads": 1024,
    },
    "A100": {
        "name": "NVIDIA A100-SXM4-40GB", "major": 8, "minor": 0, "cores": 108, "clock": 1.41,
        "bandwidth": 1555 * 10**9, "memory": 39 << 30, "cache": 40 << 20, "shared": 167936,
        "block": 166912, "threads": 2048,
    },
}
# fmt: on
DEVICES = (*_GPUS, "v5e")
# Operations a second in 16 bits and bytes a second, as the makers say.
_PEAKS = {"T4": (65e12, 320e9), "A100": (312e12, 1555e9), "v5e": (197e12, 819e9)}
_LAUNCH = 3e-6  # seconds
PRECISION = {"T4": "float16", "A100": "bfloat16", "v5e": "bfloat16"}


def absent_device(name: str) -> Any:
    """Returns a device to compile for, one of `DEVICES`.

    Raises:
        WSignError: the plugin that compiles for it is not installed.
    """
    package, command = _INSTALL["cuda" if name in _GPUS else "tpu"]
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:  # of the package above it
        found = None
    if found is None:
        raise WSignError(f"{name}: no compiler for it; install one: {command}")
    if name in _GPUS:
        shape = {"target_config": _GPU.format(**_GPUS[name]), "topology": "1x1x1"}
        return topologies.get_topology_desc(platform="cuda", **shape).devices[0]
    os.environ.update(_TPU_ALONE)
    shape = {"topology_name": "v5e:1x1", "chips_per_host_bounds": (1, 1, 1)}
    return topologies.get_topology_desc(platform="tpu", **shape).devices[0]


def compile_for(name: str, lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compiles what was lowered with shardings on `absent_device(name)`."""
    options: Any = _GPU_OPTIONS if name in _GPUS else None
    return lowered.compile(compiler_options=options)


def trace_step(config: ConfigDict, rows: int, frames: int, device: Any) -> jax.stages.Traced:
    """Traces a training step for a device that need not be there."""
    network = make_network(config, training.VOCAB_SIZE)
    mesh = Mesh(np.array([device]), ("data",))
    shapes = sharding.place_params(network.shapes, config.training.sharding, mesh)
    asked = training.Training(config, Network(network.graph, shapes, mesh))
    batch = state.batch_shapes(rows, frames, training.MAX_GLOSSES, mesh, config.data.augment.speed)
    platform = "tpu" if device.platform == "tpu" else "gpu"
    with mock.patch.object(jax, "default_backend", lambda: platform):  # as if it were here
        return asked.step().trace(asked.shapes(), batch, asked.settings)


def measure(devices: list[str], size: str, rows: int, frames: int) -> figures.Figures:
    """Compiles the step for each device for which there is a compiler.

    Raises:
        WSignError: there is none for any.
    """
    found, missing = figures.Figures(), []
    for name in devices:
        try:
            device = absent_device(name)
        except WSignError as error:
            missing.append(str(error))
            continue
        config = base.get_config()
        config.model.size, config.training.ema = size, 0.999
        config.training.precision = PRECISION[name]
        config_schema.check_config(config)
        traced = trace_step(config, rows, frames, device)
        lowered = traced.lower()
        began = time.process_time()
        program = compile_for(name, lowered)
        described = _described(program) | {"seconds": time.process_time() - began}
        described["bound_ms"] = _bound(
            name, training.operations(traced.jaxpr), program, described["launches"]
        )
        found |= {f"compile_{name}_{what}": value for what, value in described.items()}
    if not found:
        raise WSignError("; ".join(missing))
    for line in missing:
        print(line)
    return found


def _described(program: jax.stages.Compiled) -> figures.Figures:
    """The figures of a step, by their names without the device."""
    counts, memory = count(program.as_text()), program.memory_analysis()
    found = {
        "launches": counts.launches.total(),
        "products": counts.products.total(),
        "float32_products": counts.products["f32"],
        "arguments_mb": memory.argument_size_in_bytes / 1e6,
        "temporary_mb": memory.temp_size_in_bytes / 1e6,
    }
    return found | ({"megacycles": counts.cycles / 1e6} if counts.cycles else {})


def _bound(name: str, operations: float, program: jax.stages.Compiled, launches: float) -> float:
    """Prints and returns the milliseconds that a step takes at least: arithmetic, not a measurement."""
    peak, bandwidth = _PEAKS[name]
    memory = program.memory_analysis()
    sizes = memory.argument_size_in_bytes, memory.temp_size_in_bytes, memory.output_size_in_bytes
    parts = {
        "operations": operations / peak,
        "bytes": sum(sizes) / bandwidth,
        "launches": launches * _LAUNCH if name in _GPUS else 0.0,
    }
    said = ", ".join(f"{part} {1000 * seconds:.2f} ms" for part, seconds in parts.items())
    bound = 1000 * max(parts.values())
    print(f"{name}: {said}: a step takes at least {bound:.2f} ms", flush=True)
    return bound


def _devices(text: str) -> list[str]:
    for name in (names := text.split(",")):
        if name not in DEVICES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(DEVICES)}")
    return names


def main() -> None:
    """Parses the flags."""
    jax.config.update("jax_platforms", "cpu")  # a plugin without its device complains
    parser = figures.parser(__doc__)
    parser.add_argument("--devices", type=_devices, default=list(DEVICES), help="(all)")
    parser.add_argument("--size", type=figures.size, default="base", help="of the model (base)")
    figures.add_counts(parser, rows=(16, "of a batch"), frames=(480, "of a row"))
    figures.run(parser, measure)


if __name__ == "__main__":
    main()
