"""The steps of a rolling upgrade, carried out as they are written, while clients read, follow and make changes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio.abc import TaskStatus

from csproxy.core.model import CfgPerson
from csproxy.transport.client import ConfigClient
from tests.daemon.master_pair import MASTERS, PROXY, MasterPair
from tests.daemon.servers import _ENVIRONMENT, PASSWORD, Running, answer
from tests.pools.balanced import MEMBERS, Pool, running_pool
from tests.pools.followers import Faults, Followers
from tests.pools.pairs import NAMES, Pair, running_pair
from tests.pools.writers import PersistentWriter
from tests.postgresql import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

PROJECT = Path(__file__).parents[2]
HOWTO = (PROJECT / "docs" / "howto" / "rolling-upgrade.md").read_text("utf-8")
CLIENTS = 100
CONF = "/etc/csproxy/confserv.conf"
BLOCK = re.compile(r"(?:^    .*\n)+", re.MULTILINE)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def blocks(heading: str) -> list[str]:
    """The commands under a heading, block by block."""
    section = HOWTO.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [textwrap.dedent(found) for found in BLOCK.findall(section)]


class Machine(ABC):
    """Carries out commands of the page; remembers the releases that were put in place."""

    def __init__(self, running: dict[str, Running]) -> None:
        self.running = running
        self.upgraded: list[str] = []
        self.meanwhile: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint
        """What must come to its end while a server is down."""
        self._stopped = ""

    @abstractmethod
    def start(self, name: str) -> None:
        """What `systemctl start` does: it returns when the server is ready or stands by."""

    @abstractmethod
    def translated(self, line: str) -> str:
        """The line with this site's names and addresses."""

    def server(self, unit: str) -> str:
        """The server of a systemd unit."""
        return unit.removeprefix("csproxy-proxy@")

    async def carry_out(self, commands: str) -> None:
        """Line by line; each must succeed."""
        for line in self.translated(commands).splitlines():
            await anyio.to_thread.run_sync(self._carry_out, line)
            if line.startswith("/opt/csproxy/bin/pip"):
                await self.meanwhile()

    def _carry_out(self, line: str) -> None:
        program, *words = shlex.split(line)
        if program == "systemctl":
            action, unit = words
            name = self.server(unit)
            if action == "stop":
                assert self.running[name].stop() == 0
                self._stopped = name
            else:
                assert (action, name) == ("start", self._stopped)
                self.start(name)
        elif program == "/opt/csproxy/bin/pip":
            assert words == ["install", "--upgrade", "csproxy-NEW-py3-none-any.whl[daemon,admin]"]
            assert self.running[self._stopped].process.returncode == 0
            self.upgraded.append(self._stopped)
        else:
            tool = f'csproxy() {{ "{sys.executable}" -m csproxy.daemon.tool "$@"; }}\n'
            subprocess.run(
                ["bash", "-e", "-c", tool + line],
                env=_ENVIRONMENT | {"CSPROXY_PASSWORD": PASSWORD},
                check=True,
                timeout=60,
            )


class PairMachine(Machine):
    def __init__(self, pair: Pair) -> None:
        super().__init__(pair.running)
        self._pair = pair

    def start(self, name: str) -> None:
        self._pair.start(name)

    def translated(self, line: str) -> str:
        for number, name in enumerate(NAMES, 1):
            line = line.replace(f"CSProxy_{number}", name)
            line = line.replace(f"127.0.0.1:909{number}", f"127.0.0.1:{self._pair.management[name]}")
        return line


class PoolMachine(Machine):
    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.members)
        self._pool = pool
        self.member = ""

    def start(self, name: str) -> None:
        self._pool.start_member(name)

    def translated(self, line: str) -> str:
        line = line.replace("CSProxy_1", self.member)
        return line.replace("--host balancer.example.com --port 2020", f"--port {self._pool.port}")


class MastersMachine(Machine):
    """Two machines, each with a master whose unit is called confserv."""

    def __init__(self, pair: MasterPair, folder: Path) -> None:
        super().__init__({})
        self.here = ""
        """The master of the machine on which commands are carried out."""
        self._pair = pair
        self._folder = folder

    def server(self, unit: str) -> str:
        assert unit == "confserv"
        return self.here

    def start(self, name: str) -> None:
        if name in self.running:
            self.running[name].kill()  # it has ended; its pipe is closed now
        program, *words = shlex.split(exec_start(name))
        assert program == "/opt/csproxy/bin/confserv"
        words[words.index(CONF)] = str(self._pair.conf(name))
        log = ("-log-all", str(self._folder / f"{name}.log"))  # a pipe that nobody reads fills up
        self.running[name] = running = Running("confserv", *words, *log)
        # systemctl returns at the line that is the first of these two
        assert " on 127.0.0.1:" in running.line(containing=" as master ")

    def translated(self, line: str) -> str:
        return line.replace("--host confserv2.example.com --port 2020", f"--port {self._pair.ports['confserv_backup']}")


def exec_start(name: str) -> str:
    """How the unit of one of the two masters starts it: that of the package, with the page's drop-in for the backup."""
    unit, drop_in = PROJECT / "packaging" / "systemd" / "confserv.service", PROJECT / "docs" / "howto" / "systemd.md"
    path = unit if name == MASTERS[0] else drop_in
    (found,) = re.findall(r"^ *ExecStart=(/.*)$", path.read_text("utf-8"), re.MULTILINE)
    return str(found)


class Readers:
    """Clients that read all the time; a read that fails ends the test."""

    def __init__(self, endpoints: Sequence[tuple[str, int]]) -> None:
        self._endpoints = endpoints
        self.reads = 0

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        async with ConfigClient(endpoints=self._endpoints, user="default", password=PASSWORD) as client:
            task_status.started()
            while True:
                assert (await client.get(CfgPerson, 100)).DBID == 100
                self.reads += 1
                await anyio.sleep(0.01)


async def upgrade(
    machine: Machine, master_port: int, endpoints: Sequence[tuple[str, int]], steps: Iterator[Any]
) -> None:
    """Carry out the steps, clients beside them; nobody may notice."""
    await upgrade_under(Followers(master_port, endpoints, CLIENTS, library=10), machine, endpoints, steps)


async def upgrade_under(
    crowd: Followers, machine: Machine, endpoints: Sequence[tuple[str, int]], steps: Iterator[Any]
) -> None:
    """Carry out the steps while the crowd follows and changes are made, also while a server is down."""
    readers = Readers(endpoints)
    machine.meanwhile = crowd.served
    before = {name: running.process.pid for name, running in machine.running.items()}

    async def trouble() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                await tasks.start(readers.run)
            for commands in steps:
                reads = readers.reads
                await machine.carry_out(commands)
                await crowd.served()
                await crowd.until(lambda reads=reads: readers.reads > reads, "nobody reads")
            tasks.cancel_scope.cancel()

    await crowd.run(trouble)
    assert crowd.faults() == Faults()
    assert sorted(machine.upgraded) == sorted(before)
    assert not before.items() & {name: running.process.pid for name, running in machine.running.items()}.items()


async def test_a_pair_is_upgraded_as_the_page_says(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        machine = PairMachine(pair)
        await upgrade(machine, pair.site.port, pair.endpoints, iter(blocks("A pair of proxies")))
        assert machine.upgraded == ["proxy2", "proxy1"]
        assert await pair.until_linked() == "proxy2"


async def test_a_pool_is_upgraded_as_the_page_says(tmp_path: Path) -> None:
    async with running_pool(tmp_path, clients=CLIENTS + 100) as pool:
        machine = PoolMachine(pool)
        (commands,) = blocks("A pool")

        def each_member() -> Iterator[str]:
            for machine.member in MEMBERS[:3]:
                yield commands

        await upgrade(machine, pool.site.port, [("127.0.0.1", pool.port)], each_member())


@asynccontextmanager
async def running_masters(folder: Path, database: str) -> AsyncIterator[tuple[MastersMachine, MasterPair]]:
    """A pair of masters, and a writable proxy that follows it."""
    pair = await anyio.to_thread.run_sync(MasterPair, folder, database)
    machine = MastersMachine(pair, folder)
    try:
        for name in MASTERS:
            await anyio.to_thread.run_sync(machine.start, name)
        with await anyio.to_thread.run_sync(pair.proxy, "-log-all", str(folder / "proxy.log")):
            yield machine, pair
    finally:
        for running in machine.running.values():
            running.kill()


def prepare(port: int) -> int:
    """Let the proxy forward changes, as many as come; returns the DBID of one more person."""
    (proxy,) = answer("read", "application", f"name={PROXY}", port=port)
    options = ("options.csproxy.proxy-writable=true", "options.csproxy.proxy-write-rate=0")
    answer("update", "application", str(proxy["DBID"]), *options, port=port)
    person = {"tenantDBID": 1, "userName": "second", "employeeID": "second", "isAgent": 1, "state": 1}
    return int(answer("create", "person", port=port, stdin=json.dumps(person))["dbid"])


async def test_a_pair_of_masters_is_upgraded_as_the_page_says(tmp_path: Path, postgres: PostgresServer) -> None:
    database = postgres.tcp_url(postgres.new_database())
    async with running_masters(tmp_path, database) as (machine, pair):
        second = await anyio.to_thread.run_sync(prepare, pair.ports[MASTERS[0]])
        masters, proxy = ([("127.0.0.1", pair.ports[name]) for name in names] for names in (MASTERS, [PROXY]))
        crowd = Followers(pair.ports[MASTERS[0]], proxy, CLIENTS, library=10)
        at_proxy, at_masters = crowd.everybody, Followers(0, masters, 10, library=10).everybody
        crowd.everybody = [*at_proxy, *at_masters]
        writers = [PersistentWriter(where, dbid, interval_s=0.02) for where, dbid in ((masters, 100), (proxy, second))]
        crowd.writers = list(writers)
        tell, on_the_backup, on_the_primary = blocks("A pair of masters")

        def each_machine() -> Iterator[str]:
            yield tell
            machine.here = "confserv_backup"
            yield on_the_backup
            assert not any(writer.refusals for writer in writers), "nobody has noticed anything"
            machine.here = "confserv"
            yield on_the_primary

        await upgrade_under(crowd, machine, proxy, each_machine())
        assert machine.upgraded == ["confserv_backup", "confserv"]
        assert all((each.registrations, each.restores) == (1, 0) for each in at_proxy), "a client of the proxy was away"
        assert all(each.registrations + each.restores >= 2 for each in at_masters), "somebody has not gone to the other"
        persons = await anyio.to_thread.run_sync(lambda: answer("read", "person", port=pair.ports[PROXY]))
        assert {each["DBID"]: each["firstName"] for each in persons} == {each.dbid: each.name for each in writers}
        changed = [uen for uen, _ in await anyio.to_thread.run_sync(pair.changes)]
        assert changed[2:] == crowd.written, "the first two are those that prepared it"
