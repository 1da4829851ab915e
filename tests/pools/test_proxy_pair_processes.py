"""A warm-standby pair of proxies as real processes, with clients that follow every change.

The primary is stopped, killed and frozen, again and again; whoever is primary then is the next victim.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.daemon.servers import Running, Site, answer, tool
from tests.pools.crowd import Crowd

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

CLIENTS = 300
ROUNDS = 2
NAMES = ("proxy1", "proxy2")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Pair:
    """Master and two proxies; the second is the backup of the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = Site(folder, proxies=NAMES)
        self.running: dict[str, Running] = {}

    def configure(self) -> None:
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
        # a pipe that nobody reads fills up
        self.running[name] = Running("confserv", *words, "-log-all", str(self.folder / f"{name}.log"), cwd=where)
        self.running[name].line(containing=f"as proxy {name}")

    def status(self, name: str) -> dict[str, Any]:
        """What a member says; one that serves nobody says it in its refusal."""
        done = tool("status", "--output", "json", port=self.site.proxy_ports[name])
        return {"role": "proxy"} if done.returncode == 0 else {"role": "none", "why": done.stderr}

    def primary(self) -> str | None:
        """The member that serves, if it is exactly one."""
        serving = [
            name
            for name, running in self.running.items()
            if running.process.poll() is None and self.status(name)["role"] == "proxy"
        ]
        return serving[0] if len(serving) == 1 else None

    async def until_primary(self, *, not_this: str = "") -> str:
        """Wait until exactly one member serves, another than ``not_this``."""
        with anyio.fail_after(60):
            while True:
                found = await anyio.to_thread.run_sync(self.primary)
                if found is not None and found != not_this:
                    return found
                await anyio.sleep(0.1)


@asynccontextmanager
async def running_pair(folder: Path) -> AsyncIterator[Pair]:
    pair = Pair(folder)
    with pair.site.master("-log-all", str(folder / "master.log")):
        await anyio.to_thread.run_sync(pair.configure)
        try:
            for name in NAMES:
                await anyio.to_thread.run_sync(pair.start, name)
            assert await pair.until_primary() == NAMES[0]
            yield pair
        finally:
            for member in pair.running.values():
                member.kill()


async def stopped(pair: Pair, name: str) -> None:
    assert await anyio.to_thread.run_sync(pair.running[name].stop) == 0
    await pair.until_primary()
    await anyio.to_thread.run_sync(pair.start, name)


async def killed(pair: Pair, name: str) -> None:
    await anyio.to_thread.run_sync(pair.running[name].kill)
    await pair.until_primary()
    await anyio.to_thread.run_sync(pair.start, name)


async def frozen(pair: Pair, name: str) -> None:
    """Longer than keep-alive waits: the other serves meanwhile, and one of the two afterwards."""
    process = pair.running[name].process
    process.send_signal(signal.SIGSTOP)
    (other,) = set(NAMES) - {name}
    log = pair.folder / f"{other}.log"
    deadline = time.monotonic() + 60
    served = log.read_text().count(f"'{other}' serves")
    while log.read_text().count(f"'{other}' serves") == served:
        assert time.monotonic() < deadline, "the other did not take over"
        await anyio.sleep(0.1)
    os.kill(process.pid, signal.SIGCONT)
    await pair.until_primary()


@pytest.mark.parametrize("trouble", [stopped, killed, frozen])
async def test_clients_of_a_pair_miss_nothing(tmp_path: Path, trouble: Callable[..., Any]) -> None:
    async with running_pair(tmp_path) as pair:
        endpoints = [("127.0.0.1", pair.site.proxy_ports[name]) for name in NAMES]
        crowd = Crowd(pair.site.port, endpoints, CLIENTS)

        async def rounds() -> None:
            for _ in range(ROUNDS):
                await trouble(pair, await pair.until_primary())
                await anyio.sleep(1.0)

        await crowd.run(rounds)
        assert crowd.wrong() == []
        assert len(crowd.written) > 10
