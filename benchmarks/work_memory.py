"""Memory: of an object with all its indexes, and of a subscriber that waits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from comparing import Bench
from generator import waiting
from peers import Server
from processes import alone
from results import Result
from work_fanout import all_there

__all__ = ["measure_memory", "subscriber_bytes"]


def measure_memory(bench: Bench, servers: Sequence[Server], objects: int) -> Iterator[Result]:
    """memory-object, memory-subscriber. csproxy holds so many ``objects``, groups and lists included, Redis persons."""
    persons = bench.scale.persons
    peers = [server for server in servers[1:] if server.name == "redis"]
    if bench.wants("memory-object"):
        ours = servers[0].filled_bytes / objects
        yield from _beside("memory-object", ours, "bytes", [(each.name, each.filled_bytes / persons) for each in peers])
    if bench.wants("memory-subscriber"):
        clients = bench.scale.crowd
        found = []
        for each in (servers[0], *peers):
            with alone(each.process, [other.process for other in servers]):
                found.append((each.name, subscriber_bytes(each, clients)))
        (_, ours), *found = found
        yield from _beside("memory-subscriber", ours, "bytes", found)


def _beside(work: str, ours: float, unit: str, peers: Sequence[tuple[str, float]]) -> Iterator[Result]:
    if not peers:
        yield Result(work, round(ours), unit)
    for name, theirs in peers:
        yield Result(work, round(ours), unit, name, round(theirs), round(ours / theirs, 3) if theirs else None)


def subscriber_bytes(server: Server, clients: int) -> float:
    """What a server grows by for each idle subscriber, without what the kernel holds."""
    _with_subscribers(server, max(1, clients // 100))  # what the first ones of their kind bring is not theirs
    before = server.process.memory_bytes()
    return (_with_subscribers(server, clients) - before) / clients


def _with_subscribers(server: Server, clients: int) -> int:
    """The server's memory while ``clients`` are subscribed."""
    assert server.subscribe is not None
    words = ["--proto", server.proto, *server.words, "--hello", server.subscribe, "--secs", 60]
    with waiting("idle", server.port, "--conns", clients, *words, until=all_there(server, clients)):
        time.sleep(0.5)
        found = server.process.memory_bytes()
    time.sleep(0.5 + clients / 10_000)
    return found
