"""A master whose database goes away and comes back: a real PostgreSQL server, and a file that cannot be written."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from csproxy.core.persistence import postgresql
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import ErrorCode, ServerError, StoreError
from csproxy.testing import FaultProxy
from csproxy.transport.database import DatabaseMaster
from tests.postgresql import PostgresServer, postgresql_server
from tests.transport.test_database import JANE, Sink, make, skill

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What is tested is the database: one event loop will do."""
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that these tests may stop."""
    with postgresql_server() as server:
        yield server


@pytest.fixture
def database(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration in a database; waits are short in these tests."""
    monkeypatch.setattr(postgresql, "SILENCE_S", 1.0)
    monkeypatch.setitem(postgresql._CONNECTION, "connect_timeout", 2)
    monkeypatch.setitem(postgresql._CONNECTION, "tcp_user_timeout", 1000)
    name = server.new_database()
    create_configuration(server.tcp_url(name), well_known_objects(), release="1")
    return name


@asynccontextmanager
async def running(url: str, **more: Any) -> AsyncIterator[tuple[DatabaseMaster, Sink]]:
    sink = Sink()
    async with make(url, sink, settle_s=1.0, reconnect_s=0.5, **more) as master:
        await master.write(skill("before"), JANE)
        yield master, sink


async def refused_at_once(master: DatabaseMaster) -> StoreError:
    """Write until the master knows that its database is away; it then says so without asking it."""
    with anyio.fail_after(30):
        while True:
            began = time.monotonic()
            try:
                await master.write(skill(f"lost {began}"), JANE)
            except (StoreError, ServerError) as e:
                if isinstance(e, StoreError) and "nothing can be written now" in str(e):
                    assert time.monotonic() - began < 0.5
                    return e


async def back(master: DatabaseMaster) -> None:
    """Write until it is accepted again."""
    with anyio.fail_after(30):
        while True:
            try:
                await master.write(skill(f"after {time.monotonic()}"), JANE)
            except (StoreError, ServerError):
                await anyio.sleep(0.05)
            else:
                return


async def test_a_server_that_crashes_and_starts_again(
    server: PostgresServer, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(server.tcp_url(database)) as (master, sink):
        await anyio.to_thread.run_sync(server.stop)
        try:
            assert (await refused_at_once(master)).code is ErrorCode.NO_DB_ACCESS
            assert sink.cache.count(13) == 1, "reads go on"
        finally:
            await anyio.to_thread.run_sync(server.start)
        await back(master)
        assert sink.position.uen == 2
    events = [(record.event, record.levelname) for record in caplog.records if hasattr(record, "event")]
    assert events == [(4504, "WARNING"), (4503, "WARNING")], "one line for the loss, one for the return"


async def test_a_server_process_that_does_not_answer(server: PostgresServer, database: str) -> None:
    async with running(server.tcp_url(database)) as (master, sink):
        frozen = server.backends(database)
        assert frozen
        with server.frozen([*frozen, server.postmaster]):
            assert (await refused_at_once(master)).code is ErrorCode.NO_DB_ACCESS
        await back(master)
        # what was under way when the server stopped is settled, one way or the other, and nothing is there twice
        assert [row[0] for row in server.execute(database, "SELECT uen FROM changes ORDER BY uen")] == list(
            range(1, sink.position.uen + 1)
        )


async def test_a_network_that_is_cut(server: PostgresServer, database: str) -> None:
    async with (
        FaultProxy("127.0.0.1", server.port) as between,
        running(server.tcp_url(database, port=between.port)) as (master, _),
    ):
        between.deafen()
        assert (await refused_at_once(master)).code is ErrorCode.NO_DB_ACCESS
        between.restore()
        await back(master)
        between.is_refusing = True
        between.cut()
        assert (await refused_at_once(master)).code is ErrorCode.NO_DB_ACCESS
        between.restore()
        await back(master)


async def test_a_lock_that_somebody_holds_bounds_a_write(
    server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setitem(postgresql._SESSION, "lock_timeout", 300)
    async with running(server.tcp_url(database)) as (master, sink):
        with psycopg.connect(server.tcp_url(database)) as other:
            other.execute("UPDATE counters SET value = value")
            with pytest.raises((StoreError, ServerError)):
                await master.write(skill("locked out"), JANE)
        await back(master)
        assert sink.position.uen == 2


async def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "config.db")
    create_configuration(url, well_known_objects(), release="1")
    async with running(url) as (master, sink):
        with sqlite3.connect(tmp_path / "config.db", isolation_level=None) as other:
            other.execute("CREATE TRIGGER full BEFORE INSERT ON changes BEGIN SELECT RAISE(FAIL, 'no room'); END")
            with pytest.raises(StoreError, match="no room") as caught:
                await master.write(skill("lost"), JANE)
            assert caught.value.code is ErrorCode.DB_ERROR
            other.execute("DROP TRIGGER full")
        other.close()
        await back(master)
        assert sink.position.uen == 2
