"""A pair of masters as real processes: what dies, stops or is stopped, while a client writes and others watch."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from csproxy.core.keepalive import KeepAlive
from csproxy.core.model import CfgFlag, CfgObjectState, CfgPerson
from csproxy.errors import CsproxyError
from csproxy.transport.client import ConfigClient
from tests.daemon.master_pair import MASTERS, PROXY, MasterPair
from tests.daemon.servers import PASSWORD, Running, answer, tool
from tests.postgresql import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    """The servers are what is tested here: one event loop for the clients will do."""
    return "asyncio"


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> MasterPair:
    if request.param == "sqlite":
        return MasterPair(tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return MasterPair(tmp_path, server.tcp_url(server.new_database()))


@pytest.fixture
def running(pair: MasterPair) -> Iterator[tuple[Running, Running]]:
    with ExitStack() as stack:
        primary = stack.enter_context(pair.master("confserv"))
        backup = stack.enter_context(pair.master("confserv_backup", ready=False))
        stack.enter_context(pair.proxy())
        yield primary, backup


class Load:
    """A client that writes to whichever master serves, and one that watches at the proxy."""

    def __init__(self, pair: MasterPair) -> None:
        self.pair = pair
        self.acknowledged: dict[str, int] = {}
        self.unknown = 0
        self.seen: list[tuple[int, int]] = []
        self._is_over = False
        self._ended = anyio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            ready = anyio.Event()
            tasks.start_soon(self._watch, ready)
            await ready.wait()
            tasks.start_soon(self._write)
            yield
            tasks.cancel_scope.cancel()

    async def _write(self) -> None:
        ports = [self.pair.ports[name] for name in MASTERS]
        async with ConfigClient(
            endpoints=[("127.0.0.1", port) for port in ports],
            user="default",
            password=PASSWORD,
            attempt_timeout_s=1.0,
            request_timeout_s=5.0,
            keep_alive=KeepAlive(timeout_s=1.0),
        ) as client:
            number = 0
            while not self._is_over:
                number += 1
                name = f"p{number}"
                person = CfgPerson(
                    tenantDBID=1,
                    userName=name,
                    employeeID=name,
                    isAgent=CfgFlag.CFGFalse,
                    state=CfgObjectState.CFGEnabled,
                )
                try:
                    self.acknowledged[name] = (await client.create(person)).DBID
                except CsproxyError:
                    self.unknown += 1
                    await anyio.sleep(0.05)
        self._ended.set()

    async def _watch(self, ready: anyio.Event) -> None:
        async with (
            ConfigClient(port=self.pair.ports[PROXY], user="default", password=PASSWORD) as client,
            client.subscribe(CfgPerson) as changes,
        ):
            ready.set()
            async for change in changes:
                self.seen.append((change.position.uen, change.dbid))

    async def until(self, condition: Callable[[], bool], *, limit_s: float = 40.0) -> float:
        """Wait for what the servers do; returns how long it took."""
        began = time.monotonic()
        with anyio.fail_after(limit_s):
            while not condition():  # noqa: ASYNC110 - other processes tell nothing
                await anyio.sleep(0.02)
        return time.monotonic() - began

    async def more(self, count: int = 20) -> float:
        """Wait until so many further writes are acknowledged."""
        wanted = len(self.acknowledged) + count
        return await self.until(lambda: len(self.acknowledged) >= wanted)

    async def caught_up(self) -> None:
        """Write no more, and wait until the watcher has seen the last acknowledged write."""
        self._is_over = True
        await self._ended.wait()
        last = max(self.acknowledged.values())
        await self.until(lambda: any(dbid == last for _, dbid in self.seen))

    async def check(self) -> None:
        """Nothing acknowledged is lost, nothing is there twice, and the watcher saw exactly what there is."""
        await anyio.to_thread.run_sync(self._check)

    def _check(self) -> None:
        acknowledged = dict(self.acknowledged)
        stored = {each["userName"]: each["DBID"] for each in answer("read", "person", port=self.pair.ports[PROXY])}
        assert {name: stored.get(name) for name in acknowledged} == acknowledged
        changes = self.pair.changes()
        assert len({dbid for _, dbid in changes}) == len(changes)
        seen = self.seen[: len(changes)]
        assert seen == changes[: len(seen)]
        assert len(seen) >= len(acknowledged)


async def test_the_backup_takes_over_from_a_killed_primary(pair: MasterPair, running: tuple[Running, Running]) -> None:
    primary, backup = running
    load = Load(pair)
    async with load.running():
        await load.more()
        primary.kill()
        took_s = await load.more()
        assert took_s < 20
        with pair.master("confserv", ready=False):
            await load.more()
            backup.kill()  # and the other way round
            await load.more()
            await load.caught_up()
            await load.check()
    assert load.unknown >= 1


async def test_a_primary_that_was_stopped_and_goes_on_cannot_write(
    pair: MasterPair, running: tuple[Running, Running]
) -> None:
    primary, _ = running
    load = Load(pair)
    async with load.running():
        await load.more()
        if pair.url.startswith("sqlite"):
            await _stop_between_commits(pair, primary)
        else:
            primary.process.send_signal(signal.SIGSTOP)
        try:
            await load.more()
        finally:
            primary.process.send_signal(signal.SIGCONT)
        await anyio.to_thread.run_sync(lambda: primary.line(containing="standing by on"))
        await load.more()
        await load.caught_up()
        await load.check()
        refused = await anyio.to_thread.run_sync(lambda: tool("status", port=pair.ports["confserv"]))
        assert refused.returncode == 1
        assert "'confserv' is a backup" in refused.stderr
        assert "'confserv_backup' at 127.0.0.1" in refused.stderr


async def _stop_between_commits(pair: MasterPair, primary: Running) -> None:
    """SQLite's lock belongs to the process: who is stopped while it has it keeps everybody out."""
    import sqlite3

    path = pair.url.removeprefix("sqlite:///")
    while True:
        primary.process.send_signal(signal.SIGSTOP)
        try:
            with sqlite3.connect(path, timeout=0, isolation_level=None) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            primary.process.send_signal(signal.SIGCONT)
            await anyio.sleep(0.01)
        else:
            return
        finally:
            connection.close()


async def test_an_orderly_stop_hands_over_before_the_lease_runs_out(
    pair: MasterPair, running: tuple[Running, Running]
) -> None:
    primary, backup = running
    load = Load(pair)
    async with load.running():
        await load.more()
        assert await anyio.to_thread.run_sync(primary.stop) == 0
        await anyio.to_thread.run_sync(lambda: backup.line(containing="ready on"))
        await load.more()
        await load.caught_up()
        await load.check()
        status = await anyio.to_thread.run_sync(lambda: answer("status", port=pair.ports["confserv_backup"]))
        assert (status["role"], status["ready"], status["primary"]) == ("master", True, "confserv_backup")


def test_a_server_that_is_not_of_the_pair_is_refused(pair: MasterPair) -> None:
    with pair.master("confserv"):
        conf = pair.folder / "other.conf"
        conf.write_text(pair.conf("confserv").read_text().replace("[confserv]", "[stranger]"))
        done = subprocess.run(
            [sys.executable, "-m", "csproxy.daemon.confserv", "-c", str(conf), "-app", "stranger"],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 1
        assert f"in use by 'confserv' at 127.0.0.1:{pair.ports['confserv']}" in done.stderr
