"""Loading: a proxy from its master, and from its copy on disk; what other clients of the master notice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import requests_csp
from comparing import Bench
from generator import generate, waiting
from peers import csproxy_server
from processes import GENERATOR_CORE, Process, running
from results import Result
from site_data import Site

__all__ = ["empty_start", "measure_copy", "measure_load", "objects_of"]


def empty_start(site: Site) -> tuple[float, int]:
    """Seconds and bytes of a proxy's process that has nothing to load: what is not counted for objects."""
    with (
        running(site.master, port=site.master_port, cwd=site.folder, core=GENERATOR_CORE),
        running(site.proxy, port=site.proxy_port, cwd=site.folder) as proxy,
    ):
        return proxy.ready_s, proxy.memory_bytes()


def objects_of(site: Site) -> int:
    """Objects that a proxy of the site loads, those of every new configuration not counted."""
    return site.size.persons + site.size.groups + 4 * site.size.sites


def measure_load(bench: Bench, work: str, site: Site, proxy: Process, empty_s: float) -> Iterator[Result]:
    """load-cold: how fast the running ``proxy`` has loaded ``site``."""
    seconds = max(proxy.ready_s - empty_s, 1e-6)
    bench.details[work] = {"ready_s": proxy.ready_s, "empty_s": empty_s}
    yield Result(work, round(objects_of(site) / seconds), "objects/s")


def measure_others(bench: Bench, site: Site, master: Process) -> Iterator[Result]:
    """load-others: p99 of another client's reads at the master while a proxy loads, beside the idle master."""
    server = csproxy_server(master, site)
    words = [*server.connect_words, *server.requests["point"].words]
    paced = ["--conns", 5, "--depth", 16, "--interval-us", 1000, "--warm-ms", 200]
    idle = generate("rr", master.port, *paced, "--secs", bench.scale.beside_s / 2, *words)
    for copy in site.folder.glob("CSProxy_1.*"):
        copy.unlink()
    with waiting("rr", master.port, *paced, "--secs", bench.scale.beside_s, *words) as reader:
        time.sleep(0.8)
        with running(site.proxy, port=site.proxy_port, cwd=site.folder, core=GENERATOR_CORE):
            loaded = reader.result()
    bench.details["load-others"] = {"idle": idle, "loading": loaded}
    theirs = idle["p99_us"] / 1000
    ours = loaded["p99_us"] / 1000
    yield Result("load-others", ours, "ms, p99", "idle", theirs, round(ours / theirs, 3))


def measure_copy(bench: Bench, site: Site, empty_s: float) -> Iterator[Result]:
    """load-copy: a proxy that starts without its master, from the copy that an earlier one has left."""
    copy: Path = site.folder / "CSProxy_1.snapshot"
    if not copy.exists():
        raise SystemExit(f"there is no {copy}: the proxy has not written its copy")
    with running(site.proxy, port=site.proxy_port, cwd=site.folder) as proxy:
        source = requests_csp.status(proxy.port)["data"]["source"]
        bench.details["load-copy"] = {"ready_s": proxy.ready_s, "empty_s": empty_s, "source": source}
        seconds = max(proxy.ready_s - empty_s, 1e-6)
        yield Result("load-copy", round(objects_of(site) / seconds), "objects/s")
