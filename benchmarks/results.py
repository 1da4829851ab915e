"""Results: their form, the targets, the table on the terminal and the file."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["COLUMNS", "FOLDER", "TARGETS", "Result", "Target", "cells_of", "machine", "show", "write"]

FOLDER = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Result:
    """One line of the table: ours, theirs, and ours divided by theirs (None without a peer)."""

    work: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Target:
    """A bound of the ratio to a peer, or, without a peer, of the value."""

    work: str
    bound: float
    peer: str = ""
    at_most: bool = False

    def is_met(self, result: Result) -> bool:
        """Whether the result keeps it."""
        figure = result.ratio if self.peer else result.value
        assert figure is not None
        return figure <= self.bound if self.at_most else figure >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{sign} {self.bound:g} x {self.peer}" if self.peer else f"{sign} {self.bound:,g}"


TARGETS: Sequence[Target] = (
    Target("point-50", 0.8, "redis"),
    Target("point-50", 8, "etcd"),
    Target("point-1000", 0.8, "redis"),
    Target("point-pipelined", 0.5, "redis"),
    Target("bulk", 3, "redis"),
    Target("bulk", 8, "etcd"),
    Target("bulk-10-memory", 32, at_most=True),
    Target("bulk-10-pause", 10, at_most=True),
    Target("fanout-burst-1000", 1.2, "redis"),
    Target("fanout-burst-1000", 4, "etcd"),
    Target("fanout-paced-1000", 1.1, "redis", at_most=True),
    Target("fanout-last-10000", 250, at_most=True),
    Target("fanout-reader-p99", 2, at_most=True),
    Target("fanout-reader-worst", 70, at_most=True),
    Target("fanout-stalled", 2, "nobody stalled", at_most=True),
    Target("storm-register", 0.5, "redis"),
    Target("storm-restore", 5000, ""),
    Target("storm-restore-tls", 833, ""),
    Target("memory-object", 1100, at_most=True),
    Target("memory-subscriber", 5000, at_most=True),
    Target("memory-subscriber-tls", 25000, at_most=True),
    Target("load-cold", 200_000),
    Target("load-cold-1000000", 200_000),
    Target("load-copy", 150_000),
    Target("load-others", 2, "idle", at_most=True),
    Target("tls-point-50", 0.6, "plain"),
    Target("tls-bulk", 700),
)


def target_of(result: Result) -> Target | None:
    """The target for a result, if there is one."""
    for target in TARGETS:
        if target.work == result.work and target.peer in ("", result.peer):
            return target
    return None


COLUMNS = ("work", "csproxy", "unit", "peer", "of the peer", "ratio", "target", "met")


def show(results: Sequence[Result], title: str) -> None:
    """Print the table."""
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("csproxy", "of the peer", "ratio") else "left")
    for result in results:
        *cells, met = cells_of(result)
        table.add_row(*cells, "[bold]NO[/bold]" if met == "no" else met)
    Console(width=140).print(table)


def cells_of(result: Result) -> list[str]:
    """The texts of a result under `COLUMNS`."""
    target = target_of(result)
    return [
        result.work,
        _number(result.value),
        result.unit,
        result.peer,
        "" if result.peer_value is None else _number(result.peer_value),
        "" if result.ratio is None else f"{result.ratio:.2f}",
        "" if target is None else str(target),
        "" if target is None else "yes" if target.is_met(result) else "no",
    ]


def _number(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def write(
    results: Sequence[Result], versions: Mapping[str, str], details: Mapping[str, Any], *, folder: Path = FOLDER
) -> None:
    """Write latest.json, and beside it what else was measured: percentiles, processor time, load of the machine."""
    folder.mkdir(exist_ok=True)
    document = {
        "machine": machine(),
        "versions": {"python": platform.python_version(), **versions},
        "results": [asdict(result) for result in results],
    }
    (folder / "latest.json").write_text(json.dumps(document, indent=2) + "\n")
    (folder / "details.json").write_text(json.dumps(details, indent=2, sort_keys=True) + "\n")


def machine() -> dict[str, Any]:
    """Processor, number of cores, and system."""
    return {"cpu": _cpus()[0], "cores": len(_cpus()), "system": platform.platform()}


def _cpus() -> list[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.startswith("model name")] or ["unknown"]
