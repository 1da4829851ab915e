"""Real processes under faults, while 200 clients read, subscribe and write: everything stays exact."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio.to_thread
import pytest

from csproxy.errors import ErrorCode
from tests.faults.crowd import APPLICATIONS, Crowd, judged, transcript_of
from tests.faults.servers import MASTERS, Servers, small_disk
from tests.postgresql import PostgresServer, postgresql_server
from tests.simulation.template import PROXIES

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]
PRIMARY, BACKUP = MASTERS
NO_DATABASE = (ErrorCode.NO_DB_ACCESS, ErrorCode.DB_ERROR)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def all_goes_well(servers: Servers, trouble: Callable[[Crowd], Awaitable[None]]) -> Crowd:
    """Nothing acknowledged is lost, and every client has seen exactly what there was."""
    crowd, violations = await judged(servers, trouble)
    assert violations == [], transcript_of(crowd, violations)
    return crowd


async def nobody_notices(servers: Servers, trouble: Callable[[Crowd], Awaitable[None]]) -> None:
    """The same, and who reads through the proxies meets no error."""
    crowd = await all_goes_well(servers, trouble)
    assert crowd.failed_reads == []


async def test_masters_are_killed_one_after_the_other(tmp_path: Path) -> None:
    """The primary, the backup that has taken over, and a backup that only follows."""
    servers = Servers(tmp_path, clients=APPLICATIONS)

    async def trouble(crowd: Crowd) -> None:
        servers.kill(PRIMARY)
        await servers.told(BACKUP, "ready on")
        await crowd.more_writes()
        await servers.run(PRIMARY, until="standing by on")
        servers.kill(BACKUP)
        await servers.told(PRIMARY, "ready on")
        await crowd.more_writes()
        await servers.run(BACKUP, until="standing by on")
        servers.kill(BACKUP)
        await crowd.more_writes()
        await servers.run(BACKUP, until="standing by on")

    await nobody_notices(servers, trouble)


async def test_masters_are_stopped_for_a_while_and_go_on(tmp_path: Path, postgres: PostgresServer) -> None:
    """A backup; then the primary, for longer than its lease: it cannot commit any more, and becomes the backup."""
    servers = Servers(tmp_path, clients=APPLICATIONS, postgres=postgres)

    async def trouble(crowd: Crowd) -> None:
        with servers.stopped(BACKUP):
            await crowd.more_writes()
        with servers.stopped(PRIMARY):
            await servers.told(BACKUP, "ready on")
            await crowd.more_writes()
        await servers.told(PRIMARY, "standing by on")
        await crowd.more_writes()

    await nobody_notices(servers, trouble)


async def test_proxies_are_killed_and_stopped_for_a_while(tmp_path: Path) -> None:
    servers = Servers(tmp_path, clients=APPLICATIONS)

    async def trouble(crowd: Crowd) -> None:
        for name in PROXIES:
            servers.kill(name)
            await crowd.more_writes()
            await servers.run(name)
        with servers.stopped(PROXIES[0]):
            await crowd.more_writes(60)

    await all_goes_well(servers, trouble)


async def test_the_network_is_cut_slow_deaf_and_closed(tmp_path: Path) -> None:
    servers = Servers(tmp_path, clients=APPLICATIONS)

    async def trouble(crowd: Crowd) -> None:
        for name in (*PROXIES, BACKUP, PRIMARY):
            door = servers.doors[name]
            door.cut()
            await anyio.sleep(0.5)
            door.delay(0.3)
            await anyio.sleep(0.5)
            door.half_close()
            door.deafen()
            await anyio.sleep(1.0)
            door.refuse()
            door.cut()
            await anyio.sleep(1.0)
            door.restore()

    await all_goes_well(servers, trouble)


async def test_disks_are_full_for_a_while(tmp_path: Path) -> None:
    """That of the proxies: they serve on. That of the masters: writes are refused, reads go on."""
    with small_disk(tmp_path / "masters") as masters, small_disk(tmp_path / "proxies") as proxies:
        servers = Servers(tmp_path, clients=APPLICATIONS, disks=(masters.folder, proxies.folder))

        async def trouble(crowd: Crowd) -> None:
            with proxies.full(*(servers.running[name] for name in PROXIES)):
                await crowd.more_writes()
                for name in PROXIES:
                    await crowd.until_status(name, lambda status: status["copy"]["failures"] > 0)
            for name in PROXIES:
                await crowd.until_status(name, lambda status: not status["copy"]["last_error"])
            with masters.full(*(servers.running[name] for name in MASTERS)):
                assert (await crowd.refusal()).code in NO_DATABASE

        await nobody_notices(servers, trouble)


async def test_the_database_is_stopped_and_the_primary_alone_loses_it(tmp_path: Path) -> None:
    """In good order, as by a crash, and by a network that is cut for the primary only: then the backup takes over."""
    with postgresql_server() as postgres:
        servers = Servers(tmp_path, clients=APPLICATIONS, postgres=postgres)

        async def trouble(crowd: Crowd) -> None:
            for mode in ("fast", "immediate"):
                await anyio.to_thread.run_sync(lambda mode=mode: postgres.stop(mode=mode))
                assert (await crowd.refusal()).code in NO_DATABASE
                await anyio.to_thread.run_sync(postgres.start)
                await crowd.more_writes()
            door = servers.database_doors[PRIMARY]
            door.refuse()
            door.cut()
            await servers.told(BACKUP, "ready on")
            await servers.told(PRIMARY, "standing by on")
            await crowd.more_writes()
            door.restore()

        await nobody_notices(servers, trouble)
