"""What TLS costs: the same server and port without and with it, TLS 1.3 and an ECDSA certificate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comparing import Bench, closed_loop, compared, side_by_side
from generator import Run
from peers import Server
from results import Result
from work_bulk import read_everything
from work_memory import subscriber_bytes
from work_storms import restore_all

__all__ = ["measure_tls"]


def measure_tls(bench: Bench, server: Server, peers: Sequence[Server]) -> Iterator[Result]:
    """tls-point-50 and tls-bulk, also against peers with TLS; sessions that come back, memory of a subscriber."""
    scale = bench.scale
    tls = server.over_tls()
    if bench.wants("memory-subscriber"):
        yield Result("memory-subscriber-tls", round(subscriber_bytes(tls, scale.crowd // 4)), "bytes")
    for work, unit, key in (("tls-point-50", "reads/s", "per_s"), ("tls-bulk", "MB/s", "MBps")):
        if not bench.wants(work):
            continue

        def measure(each: Server, work: str = work) -> Run:
            if work == "tls-bulk":
                return read_everything(each, clients=1)
            return closed_loop(each, "point", connections=scale.few, seconds=scale.seconds)

        found = side_by_side(
            [tls, server, *peers], measure, key, repeat=scale.repeat, count="bytes" if work == "tls-bulk" else "done"
        )
        named = {{"csproxy TLS": "csproxy", "csproxy": "plain"}.get(name, name): run for name, run in found.items()}
        yield from compared(bench, work, unit, named, key)
    if bench.wants("storm-restore"):
        run = restore_all(tls, scale.storm)
        bench.details["storm-restore-tls"] = run
        yield Result("storm-restore-tls", run["per_s"], "sessions/s")
