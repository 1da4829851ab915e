"""What type checkers make of the public interface. Never run: mypy and pyright read it, and both must agree.

A wrong use carries ``type: ignore``: both checkers report an ignore that is not needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

from csproxy import (
    Action,
    ChangeStream,
    ClientState,
    ConfigClient,
    KeepAlive,
    NearCache,
    ObjectChange,
    Pools,
    Position,
    ReadResult,
    TlsSettings,
    sync,
)
from csproxy.core.model import CfgObject, CfgPerson, CfgSkill
from csproxy.core.model.base import CfgDelta


async def reads(client: ConfigClient) -> None:
    persons = await client.read(CfgPerson, is_agent=True)
    assert_type(persons, ReadResult[CfgPerson])
    assert_type(persons[0], CfgPerson)
    assert_type(persons[0].userName, str)
    assert_type(persons.position, Position)
    assert_type(persons.position.uen, int)
    assert_type(await client.get(CfgSkill, name="Spanish"), CfgSkill)
    assert_type(await client.count("person"), int)
    async with client.iterate(CfgSkill) as parts:
        async for part in parts:
            assert_type(part, ReadResult[CfgSkill])
    await client.read("person")  # type: ignore
    await client.read(CfgPerson, consistent="yes")  # type: ignore


async def writes(client: ConfigClient) -> None:
    made = await client.create(CfgSkill(name="Spanish", tenantDBID=1))
    assert_type(made, CfgSkill)
    assert_type(await client.update(made, made), Position)
    assert_type(await client.delete(made), Position)
    await client.update(made, CfgPerson())  # a common base: told when it runs
    await client.create("skill")  # type: ignore


async def changes(client: ConfigClient) -> None:
    async with client.subscribe(CfgPerson) as stream:
        assert_type(stream, ChangeStream)
        async for change in stream:
            assert_type(change, ObjectChange)
            assert_type(change.action, Action)
            assert_type(change.object, CfgObject | None)
            assert_type(change.delta, CfgDelta | None)
        assert_type(stream.transactions(), AsyncIterator[tuple[ObjectChange, ...]])
    async with client.read_and_subscribe(CfgSkill) as (skills, stream):
        assert_type(skills, ReadResult[CfgSkill])
        assert_type(stream, ChangeStream)


async def connections() -> None:
    async with ConfigClient("config", 2020, user="default", keep_alive=KeepAlive(timeout_s=5.0)) as client:
        assert_type(client, ConfigClient)
        assert_type(client.state, ClientState)
        assert_type(await client.wait_for(ClientState.CONNECTED), ClientState)
        async with NearCache(client, [CfgPerson]) as near:
            assert_type(near.select(CfgPerson, is_agent=True), list[CfgPerson])
    ConfigClient(endpoints=[("one", 2020), ("two", 2020)], tls=TlsSettings())
    ConfigClient(pools=Pools(preferred=[("one", 2020)], backup=[("two", 2020)]))
    ConfigClient("config", "2020")  # type: ignore
    ConfigClient("config", 2020, "default")  # type: ignore


def blocking() -> None:
    with sync.ConfigClient("config", 2020, user="default") as client:
        assert_type(client, sync.ConfigClient)
        persons = client.read(CfgPerson, is_agent=True)
        assert_type(persons, ReadResult[CfgPerson])
        assert_type(client.get(CfgSkill, 101), CfgSkill)
        assert_type(client.create(CfgSkill(name="Spanish")), CfgSkill)
        assert_type(client.count(CfgPerson), int)
        for part in client.iterate(CfgSkill):
            assert_type(part, ReadResult[CfgSkill])
        with client.subscribe("person", since=persons.position) as stream:
            assert_type(next(stream), ObjectChange)
            assert_type(stream.next_change(timeout_s=1.0), ObjectChange | None)
        with client.read_and_subscribe(CfgSkill) as (skills, stream):
            assert_type(skills, ReadResult[CfgSkill])
        client.read(CfgPerson, consistent="yes")  # type: ignore
        client.get(CfgSkill, "101")  # type: ignore
    sync.ConfigClient("config", "2020")  # type: ignore
    sync.ConfigClient("config", 2020, "default")  # type: ignore
