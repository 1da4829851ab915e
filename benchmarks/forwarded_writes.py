"""Changes through a writable proxy against changes at the master itself: how many a second, and how long each takes.

    python benchmarks/forwarded_writes.py [ROUNDS]

Real processes on this machine: a master on SQLite (every commit is synced to the disk), a proxy, and the clients,
which take the processors away from both. Rounds of a second at the master and at the proxy follow one another; the
best of each is printed, so that other load on the machine counts as little as possible. No budget.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import NamedTuple

import anyio
from processes import free_port, running
from requests_csp import PASSWORD
from site_data import SiteSize, make_site
from work_writes import make_writable

from csproxy.core.model import CfgSkill
from csproxy.transport.client import ConfigClient

CLIENTS = 50
_names = count()


class Result(NamedTuple):
    """Changes per second, and times of one of them in milliseconds."""

    per_s: float
    median_ms: float
    p99_ms: float


def client_at(port: int) -> ConfigClient:
    return ConfigClient(port=port, user="default", password=PASSWORD)


async def write_on(client: ConfigClient, until_s: float, times: list[float]) -> None:
    """Change one object of its own, one change after the other."""
    name = f"skill {next(_names)}"
    before = await client.create(CfgSkill(tenantDBID=1, name=name))
    number = 0
    while time.perf_counter() < until_s:
        after = deepcopy(before)
        after.name = f"{name} {(number := number + 1)}"
        began = time.perf_counter()
        await client.update(before, after)
        times.append(time.perf_counter() - began)
        before = after


async def measure(port: int, *, clients: int, each: int, seconds: float) -> Result:
    """``clients`` connections, each with ``each`` changes under way."""
    times: list[float] = []
    async with AsyncExitStack() as stack:
        connected = [await stack.enter_async_context(client_at(port)) for _ in range(clients)]
        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for client in connected:
                for _ in range(each):
                    tasks.start_soon(write_on, client, began + seconds, times)
        took = time.perf_counter() - began
    ordered = sorted(times)
    return Result(len(times) / took, statistics.median(times) * 1000, ordered[len(ordered) * 99 // 100] * 1000)


async def compare(master: int, proxy: int, rounds: int) -> None:
    print(f"{'':34}{'changes/s':>16}{'median ms':>12}{'p99 ms':>12}")
    cases: Sequence[tuple[str, int, int]] = (
        ("1 client, one at a time", 1, 1),
        ("1 client, 50 under way", 1, CLIENTS),
        ("50 clients, one at a time each", CLIENTS, 1),
    )
    for title, clients, each in cases:
        found: dict[str, list[Result]] = {"master": [], "proxy": []}
        for _ in range(rounds):
            for where, port in (("master", master), ("proxy", proxy)):
                found[where].append(await measure(port, clients=clients, each=each, seconds=1.0))
        for where, results in found.items():
            best = [max(r.per_s for r in results), min(r.median_ms for r in results), min(r.p99_ms for r in results)]
            print(f"{title + ', ' + where:42}{best[0]:8.0f}{best[1]:12.2f}{best[2]:12.2f}", flush=True)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as name:
        site = make_site(Path(name) / "site", SiteSize(0, 1), master_port=free_port(), proxy_port=free_port())
        with (
            running(site.master, port=site.master_port, cwd=site.folder),
            running(site.proxy, port=site.proxy_port, cwd=site.folder),
        ):
            make_writable(site)
            anyio.run(compare, site.master_port, site.proxy_port, rounds)


if __name__ == "__main__":
    main()
