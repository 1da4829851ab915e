"""Measure csproxy, Redis and etcd with the same work, the same generator and the same machine, in one run.

    python benchmarks/run.py [--quick] [--works point-50,bulk,...] [--no-plot]

The measured server runs on core 0; the load generator (C, one thread) and the master behind the proxy on core 1.
Absolute figures move from machine to machine: a result is the ratio, of medians taken in turn, the servers that are
not being measured stopped. Prints a table with the targets, writes results/latest.json (docs/topics/performance.md
tells what is measured) and, if matplotlib is there (extra ``bench``), a plot into docs/images.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import requests_csp
from comparing import QUICK, TINY, Bench, Scale
from generator import build_generator
from peers import Server, csproxy_server, etcd_server, redis_server, versions
from processes import GENERATOR_CORE, LIKE_OTHERS, allow_many_sockets, free_port, running
from results import FOLDER, Result, show, write
from rich.console import Console
from site_data import Site, SiteSize, make_site
from work_bulk import measure_bulk
from work_fanout import measure_fanout
from work_loading import empty_start, measure_copy, measure_load, measure_others, objects_of
from work_memory import measure_memory
from work_reads import measure_reads
from work_storms import measure_storms
from work_tls import measure_tls
from work_writes import make_writable, measure_writes

SCALES = {"full": Scale(), "quick": QUICK, "tiny": TINY}
_COPY_S = 60
_COPY_AT_REST_S = 6


def measure(bench: Bench, peers: Iterable[str], folder: Path) -> Iterator[Result]:
    """All works that are wanted."""
    scale = bench.scale
    empty = _site(folder / "empty", 0, 1)
    empty_s, empty_bytes = min(empty_start(empty) for _ in range(scale.repeat))
    site = _site(folder / "site", scale.persons, scale.sites)
    yield from _serving(bench, site, set(peers), empty_s, empty_bytes)
    yield from _alone(bench, site, set(peers), empty_s)
    if scale.large and bench.wants("load-cold"):
        large = _site(folder / "large", scale.large, scale.sites)
        with (
            running(large.master, port=large.master_port, cwd=large.folder, core=GENERATOR_CORE),
            running(large.proxy, port=large.proxy_port, cwd=large.folder) as proxy,
        ):
            yield from measure_load(bench, f"load-cold-{scale.large}", large, proxy, empty_s)


def _site(folder: Path, persons: int, sites: int) -> Site:
    return make_site(folder, SiteSize(persons, sites), master_port=free_port(), proxy_port=free_port())


def _serving(bench: Bench, site: Site, peers: set[str], empty_s: float, empty_bytes: int) -> Iterator[Result]:
    """What a proxy does for clients."""
    with ExitStack() as stack:
        start = stack.enter_context
        start(running(site.master, port=site.master_port, cwd=site.folder, core=GENERATOR_CORE))
        proxy = start(running(site.proxy, port=site.proxy_port, cwd=site.folder))
        filled = proxy.memory_bytes() - empty_bytes
        ours = replace(csproxy_server(proxy, site, publish_port=site.master_port), filled_bytes=filled)
        if bench.wants("load-cold"):
            yield from measure_load(bench, "load-cold", site, proxy, empty_s)
        servers: list[Server] = [ours]
        if "redis" in peers:
            servers.append(start(redis_server(site.size)))
        if "etcd" in peers and bench.wants("point-50", "bulk", "fanout-burst-1000", "fanout-paced-1000"):
            servers.append(start(etcd_server(site.size)))
        yield from measure_memory(bench, servers, objects_of(site))
        yield from measure_reads(bench, servers)
        yield from measure_bulk(bench, servers)
        yield from measure_fanout(bench, servers)
        yield from measure_storms(bench, servers)
        if bench.wants("write-forward"):
            make_writable(site)
            durable = [start(redis_server(SiteSize(1000, 1), durable=True))] if "redis" in peers else []
            yield from measure_writes(bench, [ours, *durable, *servers[2:]])
        if bench.wants("load-copy"):
            _wait_for_copy(site)


def _wait_for_copy(site: Site) -> None:
    """Wait until the copy is at rest: a snapshot with all that was written, and nothing added for some seconds."""
    until_s = time.monotonic() + _COPY_S
    seen, since_s = None, time.monotonic()
    while time.monotonic() < until_s:
        copy = requests_csp.status(site.proxy_port)["copy"]
        now = copy["snapshots"], copy["journal_bytes"]
        if now != seen:
            seen, since_s = now, time.monotonic()
        elif copy["snapshots"] and time.monotonic() - since_s > _COPY_AT_REST_S:
            return
        time.sleep(0.5)


def _alone(bench: Bench, site: Site, peers: set[str], empty_s: float) -> Iterator[Result]:
    """A proxy without its master, then a master that takes TLS without a proxy."""
    if bench.wants("load-copy"):
        yield from measure_copy(bench, site, empty_s)
    if bench.wants("tls-point-50", "tls-bulk", "storm-restore", "memory-subscriber", "load-cold"):
        with ExitStack() as stack:
            master = stack.enter_context(running(site.master, port=site.master_port, cwd=site.folder))
            others: list[Server] = []
            if "redis" in peers and bench.wants("tls-point-50", "tls-bulk"):
                redis = stack.enter_context(redis_server(site.size, tls=site.folder))
                others.append(redis.over_tls(int(redis.extra["tls"].name)))
            yield from measure_tls(bench, csproxy_server(master, site), others)
            if bench.wants("load-cold"):
                yield from measure_others(bench, site, master)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short run of each work with 20,000 objects")
    parser.add_argument("--scale", choices=sorted(SCALES), default="full", help=argparse.SUPPRESS)
    parser.add_argument("--works", default="", help="only these works, separated by commas; nothing is written")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder for latest.json")
    parser.add_argument("--no-plot", action="store_true")
    parser.add_argument("--large", type=int, help="persons of the second cold load; 0: none")
    parser.add_argument("--alone", action="store_true", help="without peers")
    parser.add_argument("--like-others", action="store_true", help="do not go before other processes of the machine")
    given = parser.parse_args()
    scale = SCALES["quick" if given.quick else given.scale]
    if given.large is not None:
        scale = replace(scale, large=given.large)
    bench = Bench(scale, frozenset(filter(None, given.works.split(","))))
    found = versions()
    peers = [] if given.alone else [name for name, program in PROGRAMS.items() if shutil.which(program)]
    if not given.alone and len(peers) < len(PROGRAMS):
        print(f"not installed, and not measured: {', '.join(sorted(PROGRAMS.keys() - set(peers)))} (make bench does)")
    if given.like_others:
        os.environ[LIKE_OTHERS] = "1"
    build_generator()
    allow_many_sockets()
    results: list[Result] = []
    bench.details["load"] = {"before": _load()}
    with tempfile.TemporaryDirectory() as name:
        for result in measure(bench, peers, Path(name)):
            results.append(result)
            Console(stderr=True).print(f"{result.work:22} {result.value:>14,.1f} {result.unit}")
    bench.details["load"]["after"] = _load()
    show(results, f"csproxy with {scale.persons:,} persons, and its peers, same run")
    if not bench.wanted:
        write(results, found, bench.details, folder=given.results)
    if not bench.wanted and not given.no_plot:
        _plot(given.results)
    return 0


PROGRAMS = {"redis": "redis-server", "etcd": "etcd"}


def _load() -> str:
    return Path("/proc/loadavg").read_text().split()[0]


def _plot(results: Path) -> None:
    try:
        from plot import plot_results
    except ImportError:
        print("no plot: pip install 'csproxy[bench]' brings matplotlib")
        return
    for path in plot_results(results / "latest.json"):
        print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
