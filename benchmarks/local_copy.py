"""The local copy of 100,000 persons: how fast it is written and read, and what writing costs the event loop.

    python benchmarks/local_copy.py [PERSONS]

Budgets: at least 150,000 objects per second from the files to a replica that serves (the best of three),
and no step of the event loop above 5 ms while a snapshot is written. Exit status 1 if a budget is missed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import anyio
from cache_memory import PERSON, parts

from csproxy.core.changes import Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.replica import Replica
from csproxy.transport.local_copy import CopyLimits, LocalCopy
from csproxy.transport.wire.notifications import encode_notification

LEAST_OBJECTS_PER_S = 150_000
LONGEST_STEP_S = 0.005


class Sink(Replica):
    """A replica without clients, as a sink."""

    def __init__(self) -> None:
        super().__init__(encode=encode_notification, clock=time.monotonic)

    def set_epochs(self, epochs: list[Epoch]) -> None:
        self.epochs = list(epochs)


def copy_of(sink: Sink, folder: Path, limits: CopyLimits | None = None) -> LocalCopy:
    return LocalCopy(
        sink,  # type: ignore[arg-type]
        sink,
        folder,
        "bench",
        is_current=lambda: True,
        random_bytes=os.urandom,
        limits=limits,
    )


async def write(folder: Path, count: int) -> tuple[float, float, int]:
    """Seconds for a snapshot, the longest step of the event loop meanwhile, and its bytes."""
    sink = Sink()
    builder = CacheBuilder()
    for objects in parts(count):
        builder.add(PERSON, objects, [200 + number % 40 for number in range(len(objects))])
    sink.replace(builder, Position(1, 1), [Epoch(1, 1)])
    copy = copy_of(sink, folder, CopyLimits(interval_s=0.1))
    longest = 0.0
    async with copy:
        began = last = time.perf_counter()
        while not copy.statistics().snapshots:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        return last - began, longest, copy.statistics().snapshot_bytes


async def read(folder: Path) -> tuple[float, int]:
    """Seconds from files to a replica, and its objects."""
    sink = Sink()
    copy = copy_of(sink, folder)
    began = time.perf_counter()
    is_loaded = await copy.load()
    spent = time.perf_counter() - began
    assert is_loaded
    async with copy:  # gives the files free again
        return spent, sum(sink.cache.counts().values())


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name:
        spent, longest, size = anyio.run(write, Path(name), count)
        print(f"snapshot of {count} objects, {size / 1e6:.1f} MB, written in {spent:.2f} s at a bounded rate")
        print(f"longest step of the event loop meanwhile: {longest * 1000:.1f} ms")
        seconds, objects = min(anyio.run(read, Path(name)) for _ in range(3))
    print(f"loaded in {seconds:.2f} s: {objects / seconds:,.0f} objects/s")
    return 0 if objects / seconds >= LEAST_OBJECTS_PER_S and longest <= LONGEST_STEP_S else 1


if __name__ == "__main__":
    sys.exit(main())
