"""A warm-standby pair of proxies as real processes, and what happens to its primary."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from tests.daemon.servers import Running, Site, answer, tool
from tests.own_ports import free_ports
from tests.pools import members

NAMES: Final = ("proxy1", "proxy2")
WAIT_S: Final = 60.0


class Pair:
    """Master and two proxies; the second is the backup of the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = Site(folder, proxies=NAMES)
        self.running: dict[str, Running] = {}
        self.management = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))

    @property
    def endpoints(self) -> list[tuple[str, int]]:
        """Where clients find the members, the configured primary first."""
        return [("127.0.0.1", self.site.proxy_ports[name]) for name in NAMES]

    def configure(self) -> None:
        """Describe the pair at the master."""
        dbids = {}
        for name in NAMES:
            (application,) = answer("read", "application", f"name={name}", port=self.site.port)
            dbids[name] = application["DBID"]
            self._update(application["DBID"], "redundancyType=CFGHTWarmStanby")
        self._update(dbids[NAMES[0]], f"serverInfo.backupServerDBID={dbids[NAMES[1]]}")

    def _update(self, dbid: int, assignment: str) -> None:
        done = tool("update", "application", str(dbid), assignment, port=self.site.port)
        assert done.returncode == 0, done.stderr

    def start(self, name: str) -> None:
        """Start a member and wait until it takes part."""
        if name in self.running:
            self.running[name].kill()  # it has ended; its pipe is closed now
        where = self.folder / name
        where.mkdir(exist_ok=True)
        words = ("-host", "127.0.0.1", "-port", str(self.site.port), "-app", name)
        environment = members.environment(self.management[name])
        # a pipe that nobody reads fills up
        words += ("-log-all", str(self.folder / f"{name}.log"))
        self.running[name] = Running("confserv", *words, cwd=where, environment=environment)
        self.running[name].line(containing=f"as proxy {name}")

    def status(self, name: str) -> dict[str, Any]:
        """What a member says of the pair at its management port; nothing if it does not answer."""
        found: dict[str, Any] = members.status(self.management[name]).get("pair", {})
        return found

    def clients(self, name: str) -> int:
        """How many clients a member has; 0 if it does not answer."""
        found: int = members.status(self.management[name]).get("clients", 0)
        return found

    async def until(self, holds: Callable[[], bool], problem: str) -> None:
        """Wait until ``holds()``, which may block."""
        deadline = time.monotonic() + WAIT_S
        while not await anyio.to_thread.run_sync(holds):
            assert time.monotonic() < deadline, problem
            await anyio.sleep(0.1)

    async def until_primary(self, name: str) -> None:
        """Wait until this member serves."""
        await self.until(lambda: self.status(name).get("role") == "primary", f"{name} does not serve")

    async def until_linked(self) -> str:
        """Wait until one serves and the other stands by and knows of every session; returns the one that serves."""

        def primary() -> str:
            for name in NAMES:
                found = self.status(name)
                if (found.get("role"), found.get("other_role"), found.get("untold_sessions")) == (
                    "primary",
                    "standby",
                    0,
                ):
                    return name
            return ""

        await self.until(lambda: bool(primary()), "the two are not linked, or not one primary and one standby")
        return primary()


def other(name: str) -> str:
    """The other member."""
    (found,) = set(NAMES) - {name}
    return found


@asynccontextmanager
async def running_pair(folder: Path) -> AsyncIterator[Pair]:
    """A pair that has taken its roles."""
    pair = Pair(folder)
    with pair.site.master("-log-all", str(folder / "master.log")):
        await anyio.to_thread.run_sync(pair.configure)
        try:
            for name in NAMES:
                await anyio.to_thread.run_sync(pair.start, name)
            assert await pair.until_linked() == NAMES[0]
            yield pair
        finally:
            for member in pair.running.values():
                member.kill()


async def stopped(pair: Pair, name: str) -> None:
    """In an orderly way, and started again."""
    assert await anyio.to_thread.run_sync(pair.running[name].stop) == 0
    await pair.until_primary(other(name))
    await anyio.to_thread.run_sync(pair.start, name)


async def killed(pair: Pair, name: str) -> None:
    """Without a word, and started again."""
    await anyio.to_thread.run_sync(pair.running[name].kill)
    await pair.until_primary(other(name))
    await anyio.to_thread.run_sync(pair.start, name)


async def frozen(pair: Pair, name: str) -> None:
    """Until the other serves all its clients; one of the two does afterwards."""
    process = pair.running[name].process
    clients = pair.clients(name) - 1  # the other member may be one
    process.send_signal(signal.SIGSTOP)
    await pair.until_primary(other(name))
    await pair.until(lambda: pair.clients(other(name)) >= clients, f"not all clients of {name} have come to the other")
    os.kill(process.pid, signal.SIGCONT)


TROUBLES: Final[dict[str, Callable[[Pair, str], Awaitable[None]]]] = {
    "stopped": stopped,
    "killed": killed,
    "frozen": frozen,
}
