"""Thousands of clients that follow changes while servers come and go; each must receive every change once, in order."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import anyio
import msgspec

from csproxy.core.model import CfgPerson
from csproxy.transport.client import ConfigClient
from tests.daemon.servers import PASSWORD

SETTLE_S = 90.0


class Crowd:
    """Clients that follow persons, and one that changes a person at the master."""

    def __init__(self, master_port: int, endpoints: Sequence[tuple[str, int]], size: int) -> None:
        self.master_port = master_port
        self.endpoints = endpoints
        self.size = size
        self.written: list[int] = []
        self.first: dict[int, int] = {}
        self.seen: dict[int, list[int]] = {}
        self._is_over = False

    async def run(self, trouble: Callable[[], Awaitable[None]]) -> None:
        """Everybody follows, then trouble is made, then everybody must have everything."""
        async with anyio.create_task_group() as tasks:
            at_once = anyio.Semaphore(50)
            for number in range(self.size):
                tasks.start_soon(self._follow, number, at_once)
            await self._until(lambda: len(self.seen) == self.size, "not everybody is connected")
            tasks.start_soon(self._write)
            await self._until(lambda: len(self.written) > 5, "nothing was written")
            await trouble()
            self._is_over = True
            head = self.written[-1]
            await self._until(
                lambda: all(seen and seen[-1] == head for seen in self.seen.values()), "somebody lacks the last change"
            )
            tasks.cancel_scope.cancel()

    async def _follow(self, number: int, at_once: anyio.Semaphore) -> None:
        await at_once.acquire()
        client = ConfigClient(endpoints=self.endpoints, user="default", password=PASSWORD, connect_wait_s=60.0)
        async with client, client.subscribe(CfgPerson) as changes:
            at_once.release()
            self.first[number] = changes.position.uen
            seen = self.seen[number] = []
            async for change in changes:
                seen.append(change.position.uen)  # noqa: PERF401 - others look at it meanwhile

    async def _write(self) -> None:
        async with ConfigClient("127.0.0.1", self.master_port, user="default", password=PASSWORD) as client:
            before = await client.get(CfgPerson, 100)
            while not self._is_over:
                after = msgspec.structs.replace(before, firstName=f"name {len(self.written)}")
                self.written.append((await client.update(before, after)).uen)
                before = after
                await anyio.sleep(0.2)

    async def _until(self, holds: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + SETTLE_S
        while not holds():
            assert time.monotonic() < deadline, problem
            await anyio.sleep(0.1)

    def wrong(self) -> list[str]:
        """Clients that did not receive exactly what was written after they began."""
        problems = []
        for number, seen in self.seen.items():
            due = [uen for uen in self.written if uen > self.first[number]]
            if seen != due:
                problems.append(f"client {number} lacks {set(due) - set(seen)}, has {set(seen) - set(due)} too many")
        return problems
