"""Clients that change a person all the time, and remember what was acknowledged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import anyio
import msgspec

from csproxy.core.model import CfgPerson
from csproxy.errors import ConnectionLostError, OutcomeUnknownError, RetryableError
from csproxy.transport.client import ConfigClient
from tests.daemon.servers import PASSWORD


class Writer:
    """One change every ``interval_s`` until ``is_over``; a change that fails ends the test."""

    def __init__(self, endpoints: Sequence[tuple[str, int]], dbid: int = 100, *, interval_s: float) -> None:
        self.written: list[int] = []
        """UENs of the changes that were acknowledged."""
        self.is_over = False
        self.dbid = dbid
        self.name = ""
        """What the person was called last."""
        self._endpoints = endpoints
        self._interval_s = interval_s

    async def run(self) -> None:
        """Write until it is over."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        async with ConfigClient(endpoints=self._endpoints, user="default", password=PASSWORD) as client:
            before = await client.get(CfgPerson, self.dbid)
            while not self.is_over:
                self.name = f"name {len(self.written)}"
                after = msgspec.structs.replace(before, firstName=self.name)
                self.written.append(await self.change(client, before, after))
                before = after
                due_s = max(due_s + self._interval_s, loop.time())
                await anyio.sleep(max(due_s - loop.time(), 0.0))

    async def change(self, client: ConfigClient, before: CfgPerson, after: CfgPerson) -> int:
        """Make the change; returns its UEN."""
        return (await client.update(before, after)).uen


class PersistentWriter(Writer):
    """What is refused for now, or has an unknown outcome, it sends again with the same key until it is answered."""

    def __init__(self, endpoints: Sequence[tuple[str, int]], dbid: int, *, interval_s: float) -> None:
        super().__init__(endpoints, dbid, interval_s=interval_s)
        self.refusals: Counter[str] = Counter()
        """Why changes had to be sent again."""

    async def change(self, client: ConfigClient, before: CfgPerson, after: CfgPerson) -> int:
        """See `Writer`."""
        key = f"{self.dbid} {self.name}"
        while True:
            try:
                return (await client.update(before, after, key=key)).uen
            except RetryableError as e:
                self.refusals["refused"] += 1
                await anyio.sleep(e.retry_after_s)
            except (OutcomeUnknownError, ConnectionLostError) as e:
                if f"repeat it with the same key ({key})" not in str(e):
                    raise
                self.refusals["unknown"] += 1
