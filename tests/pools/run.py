"""Pairs and pools of real processes under thousands of clients, longer than tests can take.

python -m tests.pools.run pair [--clients 2000] [--rounds 10] [--kinds stopped,killed,frozen]

A pair whose primary is stopped, killed and frozen, so many rounds of each, while every client follows every change.
Prints for each round the longest time between two changes that any client had, and how many clients restored their
session or had to log in. Ends with 1 if a client was left out of anything or got something twice, or if in an orderly
switchover a client had to wait for longer than a second.
"""

# ruff: noqa: T201 - this is a command
from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from csproxy.daemon.process import event_loop
from tests.pools.followers import Faults, Followers
from tests.pools.pairs import TROUBLES, running_pair

LONGEST_PAUSE_S: Final = 1.0
"""Of any client, in an orderly switchover."""


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.pools.run", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    pair = commands.add_parser("pair", help="a warm-standby pair whose primary is stopped, killed and frozen")
    pair.add_argument("--clients", type=int, default=2_000)
    pair.add_argument("--rounds", type=int, default=10, help="of each kind")
    pair.add_argument("--kinds", default=",".join(TROUBLES))
    given = parser.parse_args(arguments)
    return anyio.run(partial(run_pair, given.clients, given.rounds, given.kinds.split(",")), **event_loop())


async def run_pair(clients: int, rounds: int, kinds: list[str]) -> int:
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
                        done = f"{now['restores']} restored, {now['registrations']} logged in anew"
                        worst[kind] = max(worst.get(kind, 0.0), pauses[-1])
                        print(
                            f"{kind} {number}: pause median {pauses[len(pauses) // 2]:.2f} s, "
                            f"longest {pauses[-1]:.2f} s; {done}",
                            flush=True,
                        )

            await crowd.run(trouble)
    faults = crowd.faults()
    print(f"{clients} clients, {len(crowd.written)} changes: {faults}")
    print(", ".join(f"{kind}: longest pause {seconds:.2f} s" for kind, seconds in worst.items()))
    return 0 if faults == Faults() and worst.get("stopped", 0.0) <= LONGEST_PAUSE_S else 1


if __name__ == "__main__":
    sys.exit(main())
