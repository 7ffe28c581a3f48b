"""A program that somebody else may have written: only one that computes is read."""

import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.foreign import RESULTS, SETTINGS, TAKEN, exported_of, silent
from wsign_jax.common.errors import WSignError
from wsign_jax.recognize import exported_program, file_backend

_UNCHECKED = [
    jax.export.DisabledSafetyCheck.custom_call(name)
    for name in ("xla_ffi_python_cpu_callback", "cu_lu_pivots_to_permutation", "Qr")
]


def read(program):
    return exported_program.read_program(bytes(program.serialize()), TAKEN, RESULTS)


def test_one_that_computes_is_read():
    assert read(exported_of(silent)).platforms == exported_program.PLATFORMS


def calling(target):
    def run(*arrays):
        logits, *others = silent(*arrays)
        extra = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct((), np.float32))(jnp.float32(1))
        return logits + extra, *others

    return run


def with_random_bits(*arrays):
    logits, *others = silent(*arrays)
    _, bits = jax.lax.rng_bit_generator(jnp.zeros(4, jnp.uint32), ())
    return logits + bits.astype(np.float32), *others


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (calling("xla_ffi_python_cpu_callback"), "calls 'xla_ffi_python_cpu_callback', which is native"),
        (calling("cu_lu_pivots_to_permutation"), "calls 'cu_lu_pivots_to_permutation'"),
        (with_random_bits, "operation 'stablehlo.rng_bit_generator', which decoding does not need"),
        (lambda *a: silent(*a)[1:], "returns 8 arrays; 9 of certain names are right"),
        (lambda *a: (silent(*a)[0][:, :, :2], *silent(*a)[1:]), r"returns float32\[b, n, 2\] where"),
        (lambda *a: (*silent(*a)[:8], jnp.int32(a[3])), r"int32\[b\] where \[8\] is float32\[b\]"),
    ],
)  # fmt: skip
def test_one_that_does_more_or_returns_other_things_is_refused(function, message):
    program = exported_of(function, disabled_checks=_UNCHECKED)
    with pytest.raises(WSignError, match=message) as error:
        read(dataclasses.replace(program, disabled_safety_checks=()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fun_name": "a\nb"}, "its name is not one"),
        ({"nr_devices": 2}, "its number of devices is not one"),
        ({"platforms": ("cpu", "moon")}, "its platforms is not one"),
        ({"disabled_safety_checks": _UNCHECKED}, "a safety check that it turns off is not one"),
        ({"calling_convention_version": 5}, "its calling convention is not one"),
        ({"uses_global_constants": False}, "its shapes that are not refined is not one"),
        ({"mlir_module_serialized": b"no module"}, "its operations cannot be read"),
    ],
)
def test_terms_other_than_ours_are_refused(changes, message):
    with pytest.raises(WSignError, match=message):
        read(dataclasses.replace(exported_of(silent), **changes))


def test_it_takes_the_parameters_that_lie_beside_it():
    content = bytes(exported_of(silent).serialize())
    for shapes, message in (
        ({}, "it takes 8 arrays; 7 of certain names"),
        ({"a/b": (4,)}, r"takes float32\[3\] where \[0\]\[0\]\['a/b'\] is float32\[4\]"),
        ({"a/c": (3,)}, "8 of certain names are right"),
    ):
        named = {k: jax.ShapeDtypeStruct(shape, np.float32) for k, shape in shapes.items()}
        with pytest.raises(WSignError, match=message):
            exported_program.read_program(
                content, file_backend.program_arguments(SETTINGS, named), RESULTS
            )
