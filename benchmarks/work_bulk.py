"""Reads of everything: by one client, by ten at once, and by clients that each see a part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comparing import Bench, compared, side_by_side
from generator import Run, generate, waiting
from peers import Server
from processes import alone
from results import Result

__all__ = ["measure_bulk", "read_everything"]

_IDLE_MS = 700
"""After so long without a byte the answer is complete."""


def read_everything(server: Server, *, clients: int) -> Run:
    """``clients`` read every object at once."""
    return generate(
        "bulk", server.port, "--conns", clients, "--idle-ms", _IDLE_MS, *server.connect_words,
        *server.requests["bulk"].words,
    )  # fmt: skip


def measure_bulk(bench: Bench, servers: Sequence[Server]) -> Iterator[Result]:
    """bulk, bulk-10, and what the ten cost others; bulk-permissions."""
    scale = bench.scale
    for work, clients in (("bulk", 1), ("bulk-10", scale.loaders)):
        if bench.wants(work):
            able = [server for server in servers if work == "bulk" or server.name != "etcd"]
            found = side_by_side(
                able,
                lambda server, clients=clients: read_everything(server, clients=clients),  # type: ignore[misc]
                "MBps",
                repeat=scale.repeat,
                count="bytes",
            )
            yield from compared(bench, work, "MB/s", found, "MBps")
    if bench.wants("bulk-10"):
        with alone(servers[0].process, [server.process for server in servers]):
            yield from _beside_others(bench, servers[0])
    if bench.wants("bulk-permissions"):
        able = [server for server in servers if "one site" in server.requests]
        found = side_by_side(able, lambda server: _by_site(bench, server), "per_s", repeat=scale.repeat, count="done")
        yield from compared(bench, "bulk-permissions", "reads/s", found, "per_s")


def _beside_others(bench: Bench, server: Server) -> Iterator[Result]:
    """Memory that ten loaders take, and what a client notices that reads an object every 2 ms meanwhile."""
    before = server.process.memory_bytes()
    server.process.forget_peak()
    words = [*server.connect_words, *server.requests["point"].words]
    paced = ["--conns", 1, "--depth", 4, "--interval-us", 2000, "--secs", bench.scale.beside_s, "--warm-ms", 200]
    with waiting("rr", server.port, *paced, *words) as reader:
        for _ in range(3):
            read_everything(server, clients=bench.scale.loaders)
        noticed = reader.result()
    bench.details["bulk-10-reader"] = noticed
    grown = max(0, server.process.memory_bytes("VmHWM") - before)
    yield Result("bulk-10-memory", round(grown / 1e6, 1), "MB for all loaders")
    yield Result("bulk-10-pause", noticed["max_us"] / 1000, "ms, longest read of another client")


def _by_site(bench: Bench, server: Server) -> Run:
    """A client for each site, each of which sees its own persons; 10 reads under way at any time."""
    sites = bench.scale.sites
    words = server.connect_words
    if "reader" in server.extra:
        words = [*words, "--hello", server.extra["reader"]]
    return generate(
        "rr", server.port, "--conns", sites, "--window", min(10, sites), "--depth", min(10, sites),
        "--secs", bench.scale.seconds, *words,
        *server.requests["one site"].words,
    )  # fmt: skip
