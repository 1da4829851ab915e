"""Pairs and pools of real processes under thousands of clients, longer than tests can take.

python -m tests.pools.run pair [--clients 2000] [--rounds 10] [--kinds stopped,killed,frozen]

A pair whose primary is stopped, killed and frozen, so many rounds of each, while every client follows every change.
Prints for each round the longest time between two changes that any client had, and how many clients restored their
session or had to log in. Ends with 1 if a client was left out of anything or got something twice, or if in an orderly
switchover a client had to wait for longer than a second.

python -m tests.pools.run pool [--clients 5000]

A pool behind HAProxy. All clients are at one member; two others start, and the one is killed. Prints how long it took
until all were served again, and what the others had to carry meanwhile. Ends with 1 if a client was left out of
anything or got something twice, or if a member went beyond one of its limits.
"""

# ruff: noqa: T201 - this is a command
from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from csproxy.daemon.process import event_loop, raise_descriptor_limit
from csproxy.transport.peers import MAX_UNREGISTERED
from tests.pools.balanced import MEMBERS, Pool, running_pool
from tests.pools.followers import Faults, Followers
from tests.pools.pairs import TROUBLES, running_pair

LONGEST_PAUSE_S: Final = 1.0
"""Of any client, in an orderly switchover."""
SPARE: Final = 600
"""Descriptors and connections beside those of clients."""


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.pools.run", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    pair = commands.add_parser("pair", help="a warm-standby pair whose primary is stopped, killed and frozen")
    pair.add_argument("--clients", type=int, default=2_000)
    pair.add_argument("--rounds", type=int, default=10, help="of each kind")
    pair.add_argument("--kinds", default=",".join(TROUBLES))
    pool = commands.add_parser("pool", help="a pool behind HAProxy, the member with all clients is killed")
    pool.add_argument("--clients", type=int, default=5_000)
    given = parser.parse_args(arguments)
    if given.what == "pair":
        work = partial(run_pair, given.clients, given.rounds, given.kinds.split(","))
    else:
        work = partial(run_pool, given.clients)
    return anyio.run(work, **event_loop())


async def run_pair(clients: int, rounds: int, kinds: Sequence[str]) -> int:
    """Make trouble for a pair; 1 if anybody noticed more than is allowed."""
    worst: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with running_pair(Path(folder)) as pair:
            crowd = Followers(pair.site.port, pair.endpoints, clients)

            async def trouble() -> None:
                for kind in kinds:
                    for number in range(1, rounds + 1):
                        name = await pair.until_linked()
                        before = crowd.counts()
                        crowd.begin_round()
                        await TROUBLES[kind](pair, name)
                        await crowd.served()
                        pauses = crowd.pauses_s()
                        now = crowd.counts() - before
                        half = pauses[len(pauses) // 2]
                        worst[kind] = max(worst.get(kind, 0.0), pauses[-1])
                        print(
                            f"{kind} {number}: pause median {half:.2f} s, longest {pauses[-1]:.2f} s; "
                            f"{now['restores']} restored, {now['registrations']} logged in; "
                            f"load {os.getloadavg()[0]:.1f}",
                            flush=True,
                        )

            await crowd.run(trouble)
    faults = crowd.faults()
    print(f"{clients} clients, {len(crowd.written)} changes: {faults}")
    print(", ".join(f"{kind}: longest pause {seconds:.2f} s" for kind, seconds in worst.items()))
    return 0 if faults == Faults() and worst.get("stopped", 0.0) <= LONGEST_PAUSE_S else 1


class Peaks:
    """The most that each member had to carry."""

    def __init__(self, pool: Pool, names: Sequence[str]) -> None:
        self.found = {name: dict.fromkeys(("clients", "unregistered", "descriptors", "MB"), 0) for name in names}
        self._pool = pool

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            for name in self.found:
                await anyio.to_thread.run_sync(self._look, name)
            await anyio.sleep(0.1)

    def _look(self, name: str) -> None:
        now = self._pool.status(name)
        if not now:
            return  # too busy to answer within two seconds: what it has then is seen by the next look
        seen = {
            "clients": now["clients"],
            "unregistered": now["queues"]["unregistered"],
            "descriptors": len(os.listdir(f"/proc/{now['process']['pid']}/fd")),
            "MB": now["process"]["rss_bytes"] // 1_000_000,
        }
        peak = self.found[name]
        peak.update({key: max(peak[key], value) for key, value in seen.items()})


async def run_pool(clients: int) -> int:
    """Kill the member that has all clients; 1 if anybody noticed more than is allowed."""
    descriptors = raise_descriptor_limit()
    if descriptors < 2 * clients + SPARE:
        raise SystemExit(
            f"HAProxy needs {2 * clients + SPARE} open files for {clients} clients; {descriptors} are allowed"
        )
    first, *others = MEMBERS[:3]
    with tempfile.TemporaryDirectory() as folder:
        async with running_pool(Path(folder), clients=clients + SPARE // 2, started=[first]) as pool:
            crowd = Followers(pool.site.port, [("127.0.0.1", pool.port)], clients, interval_s=0.5)
            peaks = Peaks(pool, others)
            served_s: list[float] = []

            async def trouble() -> None:
                for name in others:
                    await anyio.to_thread.run_sync(pool.start_member, name)
                await pool.until_balanced(MEMBERS[:3])
                print(f"{first} has {pool.status(first)['clients']} clients and is killed", flush=True)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(peaks.watch)
                    began_s = time.monotonic()
                    pool.members[first].process.kill()
                    await crowd.served()
                    tasks.cancel_scope.cancel()
                served_s.extend(sorted(each.followed_s - began_s for each in crowd.everybody))

            await crowd.run(trouble)
    faults = crowd.faults()
    half, most = served_s[clients // 2], served_s[clients * 99 // 100]
    print(f"served again: half after {half:.1f} s, 99 of 100 after {most:.1f} s, all after {served_s[-1]:.1f} s")
    limits = {"unregistered": MAX_UNREGISTERED, "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0]}
    for name, peak in peaks.found.items():
        print(f"{name} at most: " + ", ".join(f"{value} {key}" for key, value in peak.items()))
    print(f"limits of a member: {limits}")
    print(f"{clients} clients, {len(crowd.written)} changes, {crowd.counts()}: {faults}; load {os.getloadavg()[0]:.1f}")
    is_within = all(peak[key] <= limits[key] for peak in peaks.found.values() for key in limits)
    return 0 if faults == Faults() and is_within else 1


if __name__ == "__main__":
    sys.exit(main())
