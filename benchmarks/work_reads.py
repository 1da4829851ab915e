"""Reads one at a time: a person by its number, by an indexed attribute, and by what it is related to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comparing import Bench, closed_loop, compared, side_by_side
from peers import Server
from results import Result

__all__ = ["measure_reads"]


def measure_reads(bench: Bench, servers: Sequence[Server]) -> Iterator[Result]:
    """point-1, point-50, point-1000, point-pipelined, filter-indexed, filter-relation."""
    scale = bench.scale
    for work, request, connections, depth in (
        ("point-1", "point", 1, 1),
        ("point-50", "point", scale.few, 1),
        ("point-1000", "point", scale.many, 1),
        ("point-pipelined", "point", scale.few, 16),
        ("filter-indexed", "indexed", scale.few, 1),
        ("filter-relation", "relation", scale.few, 1),
    ):
        if not bench.wants(work):
            continue
        able = [server for server in servers if request in server.requests]
        if work != "point-50":
            able = [server for server in able if server.name != "etcd"]
        found = side_by_side(
            able,
            lambda server, request=request, connections=connections, depth=depth: closed_loop(  # type: ignore[misc]
                server, request, connections=connections, depth=depth, seconds=scale.seconds
            ),
            "per_s",
            repeat=scale.repeat,
            count="done",
        )
        yield from compared(bench, work, "reads/s", found, "per_s")
