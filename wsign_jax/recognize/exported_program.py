"""Reads a program from a file, and refuses any that is not like those that this project exports.

A program of jax's own format may call any native function that jaxlib has registered. Here it may only
compute: every operation must be one that greedy decoding or a stream is made of. How long it runs and
how much memory it takes stays its maker's choice, since no check of loops, calls and shapes bounds
these. jaxlib's reader of programs is not made for hostile bytes either: some crash it.
"""

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.export
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import chlo, stablehlo

from wsign_jax.common.errors import WSignError

PLATFORMS = ("cpu", "cuda", "tpu")
_LARGEST = 64 * 2**20  # bytes; ours have about 80,000
# All operations that jax 0.7.2 to 0.10.2 make of greedy decoding, for all platforms; a stream needs no
# others.
_COMPUTING = """add and broadcast_in_dim case clamp compare composite concatenate constant convert
custom_call divide dot_general dynamic_broadcast_in_dim dynamic_gather dynamic_iota dynamic_reshape
dynamic_slice dynamic_update_slice exponential gather get_dimension_size iota log maximum minimum
multiply negate not or pad real_dynamic_slice reduce remainder reshape return rsqrt select sign slice
sort sqrt subtract transpose while"""
_OPERATIONS = {f"stablehlo.{name}" for name in _COMPUTING.split()} | {
    *("builtin.module", "func.call", "func.func", "func.return")
}
# The attributes of operations; others could name layouts, hosts, compilers' options or native code.
_ABOUT = """api_version arg_attrs broadcast_dimensions call_target_name callee compare_type
comparison_direction decomposition dimension dimension_numbers dimensions dot_dimension_numbers
edge_padding_high edge_padding_low error_message function_type has_side_effect indices_are_sorted
interior_padding iota_dimension is_stable jax.global_constant jax.result_info
jax.uses_shape_polymorphism limit_indices mhlo.attributes mhlo.num_partitions mhlo.num_replicas
mhlo.version name permutation res_attrs slice_sizes start_indices strides sym_name sym_visibility value
version"""
_ATTRIBUTES = frozenset(_ABOUT.split())
# The custom calls and composites: jax's check of shapes, and the error function.
_NAMED = {
    "stablehlo.custom_call": ("call_target_name", ("shape_assertion", "mhlo.erf")),
    "stablehlo.composite": ("name", ("chlo.erf",)),
}


def read_program(
    content: bytes, arguments: Sequence[Any], results: Sequence[jax.ShapeDtypeStruct]
) -> jax.export.Exported:
    """Reads a program that `jax.export` serialized, and checks its arguments and results by shape.

    Raises:
        WSignError: jax cannot read it, or it takes, returns or does something else.
    """
    if len(content) > _LARGEST:
        raise WSignError(f"{len(content):,} bytes are over {_LARGEST:,}")
    try:
        program = jax.export.deserialize(bytearray(content))
    except Exception as error:  # jax has no common exception for it
        raise WSignError(f"jax {jax.__version__} cannot read it: {short_reason(error)}") from None
    _check_terms(program)
    _check_shapes("takes", (tuple(arguments), {}), program.in_tree, program.in_avals)
    _check_shapes("returns", tuple(results), program.out_tree, program.out_avals)
    _check_operations(program.mlir_module_serialized)
    return program


def load_callable(
    path: pathlib.Path,
    content: bytes,
    jax_version: str | None,
    arguments: tuple[Any, ...],
    results: tuple[jax.ShapeDtypeStruct, ...],
    checked: Callable[..., Any],
) -> Callable[..., Any]:
    """Returns a program as a function, checked against the rest of the file.

    `path` and `jax_version` are of the file, for messages; `checked` gets the program's results and
    returns those of the function.

    Raises:
        WSignError: it is refused, as in `read_program`, or it is not for this machine. The function
            raises one if the program does not run.
    """
    try:
        program = read_program(content, arguments, results)
    except WSignError as error:
        raise WSignError(
            f"{path}: its program, which jax {jax_version} wrote, cannot be used "
            f"({error}); update jax and the project, or export it again with these"
        ) from None
    here = jax.export.default_export_platform()
    if here not in program.platforms:
        raise WSignError(
            f"{path}: made for {', '.join(program.platforms)}, and this is {here}; "
            "set JAX_PLATFORMS=cpu"
        )
    run = jax.jit(lambda *arrays: checked(*program.call(*arrays)))

    def call(*arrays: Any) -> Any:
        try:
            return run(*arrays)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" in str(error):
                raise
            reason = short_reason(error)
        except Exception as error:  # jax may raise anything at a program that another has written
            reason = short_reason(error)
        raise WSignError(f"{path}: its program does not run here ({reason}); export it again")

    return call


def short_reason(error: Exception) -> str:
    """Describes an error of jax in one printable line, whatever a file has put into it."""
    first = (str(error).splitlines() or [""])[0][:200]
    return "".join(c if c.isprintable() else "?" for c in f"{type(error).__name__}: {first}")


def _check_terms(program: jax.export.Exported) -> None:
    """Checks the terms under which jax would run a program."""
    versions = range(
        jax.export.minimum_supported_calling_convention_version,
        jax.export.maximum_supported_calling_convention_version + 1,
    )
    terms = {
        "its name": program.fun_name.isidentifier(),
        "its number of devices": program.nr_devices == 1,
        "its platforms": set(program.platforms) <= set(PLATFORMS),
        "its effects": not program.ordered_effects and not program.unordered_effects,
        "a safety check that it turns off": not program.disabled_safety_checks,
        "its calling convention": program.calling_convention_version in versions,
        "its shapes that are not refined": program.uses_global_constants,
        "its shardings": not any((*program.in_shardings_hlo, *program.out_shardings_hlo)),
    }
    for what, holds in terms.items():
        if not holds:
            raise WSignError(f"{what} is not one that this project exports")


def _check_shapes(does: str, ours: Any, tree: Any, avals: Sequence[Any]) -> None:
    """Checks a tree of shapes, which may have symbols in them, against the expected one."""
    leaves = jax.tree.leaves_with_path(ours)
    if tree.num_leaves == len(avals) and tree == jax.tree.structure(ours):
        for (path, wanted), found in zip(leaves, avals, strict=True):
            if _described(found) != _described(wanted):
                raise WSignError(
                    f"it {does} {_described(found)} where {jax.tree_util.keystr(path)} is "
                    f"{_described(wanted)}"
                )
        return
    raise WSignError(f"it {does} {len(avals)} arrays; {len(leaves)} of certain names are right")


def _described(array: Any) -> str:
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"


def _check_operations(content: bytes) -> None:
    """Checks all operations of a serialized module, the way jax will read it."""
    context = ir.Context()
    for dialect in (stablehlo, chlo):
        dialect.register_dialect(context)
    context.attach_diagnostic_handler(lambda _: True)  # MLIR would print them
    try:
        with context:
            module = stablehlo.deserialize_portable_artifact(context, content)
            for operation in _operations(module.operation):
                _check_operation(operation)
    except WSignError:
        raise
    except Exception as error:  # MLIR has several, and jaxlib's version decides
        raise WSignError(f"its operations cannot be read: {short_reason(error)}") from None


def _operations(operation: ir.Operation) -> Iterator[ir.Operation]:
    """Yields an operation and all within it."""
    waiting = [operation]
    while waiting:
        operation = waiting.pop()
        yield operation
        waiting += [
            inner.operation
            for region in operation.regions
            for block in region.blocks
            for inner in block.operations
        ]


def _check_operation(operation: ir.Operation) -> None:
    if operation.name not in _OPERATIONS:
        raise WSignError(f"it has the operation {operation.name!r}, which decoding does not need")
    if operation.name in _NAMED:
        field, allowed = _NAMED[operation.name]
        name = ir.StringAttr(operation.attributes[field]).value
        if name not in allowed:
            raise WSignError(f"it calls {name[:100]!r}, which is native code outside of it")
    attributes = _attributes(operation.attributes)
    for name in attributes.keys() & {"arg_attrs", "res_attrs"}:
        for inner in ir.ArrayAttr(attributes[name]):
            _attributes(ir.DictAttr(inner))
    values: list[ir.Value] = [*operation.results]
    values += [
        value for region in operation.regions for block in region for value in block.arguments
    ]
    for value in values:
        # An encoding could give bounds to lengths that are not known before it runs.
        if not isinstance(value.type, ir.RankedTensorType) or value.type.encoding is not None:
            raise WSignError(f"{operation.name!r} has a value that is not a plain array")


def _attributes(attributes: Any) -> Mapping[str, ir.Attribute]:
    """Returns attributes by their names, which must all be known."""
    # Older versions iterate over pairs, newer ones over names.
    names = [each if isinstance(each, str) else each.name for each in attributes]
    for name in names:
        if name not in _ATTRIBUTES:
            raise WSignError(
                f"an operation has the attribute {name!r}, which decoding does not need"
            )
    return {name: attributes[name] for name in names}
