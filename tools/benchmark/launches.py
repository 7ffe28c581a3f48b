"""Counts the kernels that an optimized program of XLA starts, from its text."""

import dataclasses
import re
from collections import Counter


@dataclasses.dataclass
class Counts:
    """The kernels of a compiled program, and what is in them."""

    launches: Counter[str] = dataclasses.field(default_factory=Counter)  # by HLO's operation
    products: Counter[str] = dataclasses.field(default_factory=Counter)  # by the operands' dtype
    cycles: int = 0  # as a TPU's compiler estimates them

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.launches + other.launches,
            self.products + other.products,
            self.cycles + other.cycles,
        )


# Operations of HLO that start no kernel; the end of a copy is none either.
_FREE = re.compile(
    "parameter|constant|tuple|get-tuple-element|bitcast|after-all|opt-barrier|while|call|conditional"
    "|partition-id|.*-done"
)
_PRODUCT = re.compile(r'^(dot|convolution)$|custom_call_target="__cu(blas|dnn)')
_CALLED = re.compile(r"(?:body|calls|to_apply|branch_computations)=\{?(%[\w.-]+(?:, %[\w.-]+)*)")


def count(text: str) -> Counts:
    """Counts what an optimized program launches; `text` is from `jax.stages.Compiled.as_text`."""
    computations: dict[str, list[str]] = {}
    entry, lines = "", list[str]()
    for line in text.splitlines():
        if header := re.match(r"(ENTRY )?%?([\w.-]+) .*\{$", line):
            lines = computations[header[2]] = []
            entry = header[2] if header[1] else entry
        elif line.startswith("  "):
            lines.append(line)
    counts = Counts()
    _visit(computations, entry, 1, counts, launched=True)
    return counts


def _visit(
    computations: dict[str, list[str]], name: str, times: int, counts: Counts, *, launched: bool
) -> None:
    """Counts a computation that runs so many times; in a fusion nothing is launched by itself."""
    types: dict[str, str] = {}
    for line in computations[name]:
        result, _, value = line.strip().removeprefix("ROOT ").partition(" = ")
        found = re.search(r" ([a-z][\w-]*)\(([^)]*)\)", value)  # a layout's letters are capital
        if found is None:
            continue
        types[result] = value.removeprefix("(").partition("[")[0]
        operation, operands = found[1], re.findall(r"%[\w.-]+", found[2])
        if _PRODUCT.search(operation) or _PRODUCT.search(value):
            counts.products[" x ".join(sorted({types[x] for x in operands[:2]}))] += times
        if operation in ("while", "call", "conditional", "fusion"):
            turns = times * _turns(computations, value) if operation == "while" else times
            for called in re.findall(r"%([\w.-]+)", " ".join(_CALLED.findall(value))):
                inner = launched and operation != "fusion"
                _visit(computations, called, turns, counts, launched=inner)
        if launched and not _FREE.fullmatch(operation):
            counts.launches[operation] += times
            cycles = re.search(r'"estimated_cycles":"(\d+)"', value)
            counts.cycles += times * int(cycles[1]) if cycles else 0


def _turns(computations: dict[str, list[str]], loop: str) -> int:
    """The turns of a loop, which a GPU's compiler notes; a TPU's leaves them in the condition."""
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop):
        return int(known[1])
    condition = re.search(r"condition=%([\w.-]+)", loop)
    lines = "\n".join(computations[condition[1]]) if condition else ""
    bound = re.search(r"s32\[\]\S* constant\((\d+)\)", lines)
    return int(bound[1]) if bound else 1
