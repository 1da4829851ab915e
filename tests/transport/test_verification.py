"""Verify: a proxy compares with its master, a master with its database."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.abc
import msgspec
import pytest
from sqlalchemy import create_engine, text

from csproxy.core.changes import Action
from csproxy.core.model import SCHEMA, CfgPerson
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.database_check import DatabaseVerifier
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.verification import Verified
from tests.transport.test_message_set import Site, master_site, proxy_of, refused, url
from tests.transport.upstream.upstream_world import make_change

pytestmark = pytest.mark.anyio

PERSON = 3
__all__ = ["url"]


async def verify(site: Site, host: str = "master") -> dict[str, str]:
    """The types that are not equal, by name."""
    async with site.client(host) as client:
        connection = await client.connection()
        frame = await connection.request(MessageId.VERIFY)
        verified = decode_payload(Verified, frame.payload)
        assert frame.uen == site.server.position.uen
        assert {item.type for item in verified.types} >= {PERSON, 9, 22}
        assert all(item.objects == site.server.cache.count(item.type) for item in verified.types)
        return {SCHEMA.types[item.type].name: item.state for item in verified.types if item.state != "equal"}


async def test_a_master_compares_with_its_database(url: str) -> None:
    async with master_site(url) as site:
        site.server.verifier = verifier = DatabaseVerifier(site.database, site.server)
        assert await verify(site) == {}
        async with site.client() as client:
            jane = await client.get(CfgPerson, 101)
            await client.update(jane, msgspec.structs.replace(jane, firstName="Jane"))
        assert await verify(site) == {}
        assert repr(verifier).startswith("<DatabaseVerifier of <DatabaseMaster")


async def test_a_row_that_was_changed_beside_the_master_is_found(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with master_site(url) as site:
        site.server.verifier = DatabaseVerifier(site.database, site.server)
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("delete from objects where type = 3 and dbid = 101"))
        engine.dispose()
        assert await verify(site) == {"CfgPerson": "different"}
        assert "differs from the database at UEN 0 in CfgPerson" in caplog.text


async def test_an_object_that_went_wrong_in_memory_is_found(url: str) -> None:
    async with master_site(url) as site:
        site.server.verifier = DatabaseVerifier(site.database, site.server)
        site.server.cache.digest(PERSON)
        site.server.cache._tables[PERSON].segments()[0].objects[0] = b"\x81\xa4DBID\x64"
        assert await verify(site) == {"CfgPerson": "different"}


async def test_writes_go_on_while_rows_are_read(url: str) -> None:
    async with master_site(url) as site:
        site.server.verifier = DatabaseVerifier(site.database, site.server)
        async with site.client() as client, anyio.create_task_group() as tasks:
            connection = await client.connection()
            states: list[Any] = []

            async def compare() -> None:
                for _ in range(10):
                    frame = await connection.request(MessageId.VERIFY)
                    states.extend(item.state for item in decode_payload(Verified, frame.payload).types)

            tasks.start_soon(compare)
            async with site.client() as writer:
                for n in range(30):
                    await writer.create(CfgPerson(tenantDBID=1, userName=f"u{n}", employeeID=f"e{n}", password="x"))
        assert set(states) == {"equal"}


async def test_a_comparison_that_takes_too_long_is_refused_for_now(url: str) -> None:
    async with master_site(url) as site, anyio.create_task_group() as tasks:
        free = anyio.Event()

        async def write(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with site.database.standing_still():
                task_status.started()
                await free.wait()

        await tasks.start(write)
        with pytest.raises(ServerError, match=r"took longer than 0.01 s") as caught:
            await DatabaseVerifier(site.database, site.server).ask(timeout_s=0.01)
        assert caught.value.retry_after_s > 0
        free.set()


async def test_a_proxy_compares_with_its_master_and_heals(url: str) -> None:
    async with master_site(url) as site, proxy_of(site) as source:
        proxy: Any = source._sink
        proxy.verifier = source.digests
        assert await verify(site, "proxy") == {}
        proxy.cache.apply(
            [make_change(Action.CREATED, PERSON, {"DBID": 900, "userName": "ghost"}, proxy.position, last=True)]
        )
        assert await verify(site, "proxy") == {"CfgPerson": "healed"}
        assert await verify(site, "proxy") == {}


async def test_a_server_whose_data_comes_from_nowhere_says_so(url: str) -> None:
    async with master_site(url) as site, refused(ErrorCode.ACCESS_DENIED, "could be compared"):
        await verify(site)
