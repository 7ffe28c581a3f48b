"""The figures of a benchmark as a table in Markdown, with targets and the figures of another run."""

import operator
from collections.abc import Mapping
from typing import Any

Record = dict[str, Any]  # as tools.benchmark --out writes it

# The project's targets, on two CPU cores; other figures have none.
TARGETS: Mapping[str, tuple[str, float]] = {
    "padding_efficiency": (">=", 0.90),
    "shapes": ("<=", 8),
    "epoch_speedup_vs_pad1500": (">=", 3.5),
    "epoch_speedup_vs_random": (">=", 1.25),
    "peer_step_ratio": ("<=", 0.90),
    "peer_epoch_ratio": ("<=", 1 / 1.3),
    "step_matmul_share": (">=", 0.70),
    "input_wait_share": ("<=", 0.03),
    "input_rate_ratio": (">=", 20),
    "cold_start_seconds": ("<=", 20),
    "cached_start_seconds": ("<=", 8),
    "checkpoint_stall_share": ("<=", 0.02),
    "stream_base_p95_ms": ("<=", 15),
    "stream_tiny_p95_ms": ("<=", 4),
    "extract_share_of_bare_loop": (">=", 0.9),
}
_COMPARISONS = {"<=": operator.le, ">=": operator.ge}
_BUSY = "load"  # the one fact of the machine that changes all the time


def table(record: Record, earlier: Record | None = None) -> str:
    """Returns a table with one row per figure.

    Args:
        record: of a run.
        earlier: of another run, for two more columns: its figure, and this run's over it.
    """
    titles = ["figure", "value", "target", "met"] + (["earlier", "ratio"] if earlier else [])
    rows = [titles, ["---"] * len(titles)]
    for name, value in record["figures"].items():
        row = [name, f"{value:.4g}", *_target(name, value)]
        if earlier:
            before = earlier["figures"].get(name)
            row.append("" if before is None else f"{before:.4g}")
            row.append(f"{value / before:.3f}" if before else "")
        rows.append(row)
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def place(record: Record) -> str:
    """Describes the machine and the versions in one line."""
    machine, versions = record["machine"], record["versions"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; devices: "
        f"{machine['devices']}; load before: {machine['load']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
    )


def flags_of(record: Record) -> str:
    """The flags that parts were given, as tools.benchmark takes them; '' without any."""
    return " ".join(
        f"--{name}.{flag.removeprefix('--')}"
        for name, part in record["parts"].items()
        for flag in part["flags"]
    )


def differences(record: Record, earlier: Record) -> list[str]:
    """Lists what differs from an earlier run in machine, versions and flags.

    Flags are compared for the parts that both runs have. An entry is, for example, 'jax: 0.9 then, 0.10
    now'.
    """
    both = record["parts"].keys() & earlier["parts"].keys()
    then, now = (
        {**each["machine"], **each["versions"]}
        | {name: " ".join(each["parts"][name]["flags"]) or "none" for name in sorted(both)}
        for each in (earlier, record)
    )
    return [
        f"{name}: {then.get(name, 'none')} then, {now.get(name, 'none')} now"
        for name in dict.fromkeys([*then, *now])
        if name != _BUSY and then.get(name) != now.get(name)
    ]


def _target(name: str, value: float) -> tuple[str, str]:
    if name not in TARGETS:
        return "", ""
    comparison, bound = TARGETS[name]
    met = _COMPARISONS[comparison](value, bound)
    return f"{comparison} {bound:.4g}", "yes" if met else "NO"
