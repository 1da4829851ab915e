"""Measuring servers side by side: each round all of them in turn, the others stopped meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from generator import Run, generate
from peers import Server
from processes import alone
from results import Result

__all__ = ["Bench", "Scale", "compared", "side_by_side"]


@dataclass(frozen=True)
class Scale:
    """How much is measured. ``seconds`` of each closed loop, ``repeat`` rounds of which the median counts."""

    persons: int = 100_000
    sites: int = 500
    seconds: float = 2.0
    repeat: int = 3
    few: int = 50
    many: int = 1_000
    burst: int = 100
    subscribers: int = 1_000
    crowd: int = 10_000
    paced: int = 50
    loaders: int = 10
    storm: int = 5_000
    beside_s: float = 4.0
    """How long others are observed while something happens."""
    large: int = 1_000_000
    """Objects of the second cold load; 0: there is none."""


QUICK = Scale(persons=20_000, sites=100, seconds=0.7, repeat=1, paced=20, large=0)
TINY = Scale(
    persons=300, sites=5, seconds=0.1, repeat=1, few=3, many=10, burst=10, subscribers=10, crowd=20, paced=5,
    loaders=2, storm=20, beside_s=1.0, large=0,
)  # fmt: skip


@dataclass
class Bench:
    """The scale, which works are wanted (none named: all), and details of what was measured."""

    scale: Scale
    wanted: frozenset[str] = frozenset()
    details: dict[str, Any] = field(default_factory=dict)

    def wants(self, *works: str) -> bool:
        """Whether one of these works is to be measured."""
        return not self.wanted or not self.wanted.isdisjoint(works)


def side_by_side(
    servers: Sequence[Server], measure: Callable[[Server], Run], key: str, *, repeat: int, count: str = ""
) -> dict[str, Run]:
    """The median run of each server by ``key``.

    With ``count``, a figure of the run, each run has ``per_cpu_s`` as well: how many of them for a second of the
    server's processor time, which does not depend on what else the machine does.
    """
    runs: dict[str, list[Run]] = {server.name: [] for server in servers}
    for _ in range(repeat):
        for server in servers:
            with alone(server.process, [other.process for other in servers]):
                before_s = server.process.processor_s()
                run = measure(server)
                spent_s = server.process.processor_s() - before_s
            if count:
                run["per_cpu_s"] = round(run[count] / max(spent_s, 0.01))
            runs[server.name].append(run)
    return {name: sorted(found, key=lambda run: run[key])[len(found) // 2] for name, found in runs.items()}


def compared(bench: Bench, work: str, unit: str, found: dict[str, Run], key: str) -> Iterator[Result]:
    """A result for each peer; one without a ratio if there is none."""
    bench.details[work] = found
    names = list(found)
    ours, peers = float(found[names[0]][key]), names[1:]
    if not peers:
        yield Result(work, ours, unit)
    for peer in peers:
        theirs = float(found[peer][key])
        yield Result(work, ours, unit, peer, theirs, round(ours / theirs, 3) if theirs else None)


def closed_loop(server: Server, request: str, *, connections: int, depth: int = 1, seconds: float) -> Run:
    """Requests as fast as answers come: ``depth`` under way on each of ``connections``."""
    return generate(
        "rr", server.port, "--conns", connections, "--depth", depth, "--secs", seconds, "--warm-ms", 300,
        *server.connect_words, *server.requests[request].words,
    )  # fmt: skip
