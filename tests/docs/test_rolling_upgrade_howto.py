"""The steps of a rolling upgrade, carried out as they are written, while clients read and follow changes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskStatus

from csproxy.core.model import CfgPerson
from csproxy.transport.client import ConfigClient
from tests.daemon.servers import _ENVIRONMENT, PASSWORD, Running
from tests.pools.balanced import MEMBERS, Pool, running_pool
from tests.pools.followers import Faults, Followers
from tests.pools.pairs import NAMES, Pair, running_pair

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "rolling-upgrade.md").read_text("utf-8")
CLIENTS = 100
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
        self._stopped = ""

    @abstractmethod
    def start(self, name: str) -> None:
        """What `systemctl start` does: it returns when the server is ready or stands by."""

    @abstractmethod
    def translated(self, line: str) -> str:
        """The line with this site's names and addresses."""

    async def carry_out(self, commands: str) -> None:
        """Line by line; each must succeed."""
        for line in self.translated(commands).splitlines():
            await anyio.to_thread.run_sync(self._carry_out, line)

    def _carry_out(self, line: str) -> None:
        program, *words = shlex.split(line)
        if program == "systemctl":
            action, unit = words
            name = unit.removeprefix("csproxy-proxy@")
            if action == "stop":
                assert self.running[name].stop() == 0
                self._stopped = name
            else:
                assert (action, name) == ("start", self._stopped)
                self.start(name)
        elif program == "/opt/csproxy/bin/pip":
            assert words == ["install", "--upgrade", "csproxy[daemon,admin]"]
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
    crowd, readers = Followers(master_port, endpoints, CLIENTS, library=10), Readers(endpoints)
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
