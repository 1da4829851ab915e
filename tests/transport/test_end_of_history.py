"""A proxy goes over to another history (a master restored from a backup) under clients that are connected."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from csproxy.core.changes import Action, Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA, CfgAppType, CfgSkill
from csproxy.core.model.delta import encode_object
from csproxy.errors import ConnectionLostError, HistoryExpiredError, ServerError, TimedOutError
from csproxy.testing import MemoryListener, MemoryNetwork, Simulation, run_simulated
from csproxy.transport.client import ConfigClient
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from tests.transport.manual import application, change
from tests.transport.test_server_time import OneUser

SKILL, APPLICATION = 13, 9
OLD, SECOND, RESTORED = 11, 22, 33
HISTORY = [Epoch(OLD, 1), Epoch(RESTORED, 3)]


class Proxy:
    """A server that is given data by hand."""

    def __init__(self, network: MemoryNetwork, server: ConfigurationServer) -> None:
        self.network = network
        self.server = server
        self.listener: MemoryListener

    def replace(self, names: list[str], position: Position, epochs: list[Epoch]) -> None:
        builder = CacheBuilder(None if self.server.position == (0, 0) else self.server.cache)
        desk = application(300, "desk", CfgAppType.CFGSCE)
        builder.add(APPLICATION, [encode_object(SCHEMA.types[APPLICATION], desk)], [0])
        skills = [_skill(dbid, name) for dbid, name in enumerate(names, 1)]
        builder.add(SKILL, [encode_object(SCHEMA.types[SKILL], skill) for skill in skills], [0] * len(names))
        self.server.replace(builder, position, epochs)

    def create(self, dbid: int, name: str, position: Position) -> None:
        made = change(Action.CREATED, SKILL, _skill(dbid, name), position.uen, epoch=position.epoch)
        self.server.publish([made])

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ConfigClient]:
        connector = self.network.connector("desk")
        async with ConfigClient(
            "server", 2020, application="desk", user="ada", password="right", connector=connector
        ) as client:
            yield client


def _skill(dbid: int, name: str) -> dict[str, object]:
    return {"DBID": dbid, "tenantDBID": 1, "state": 1, "name": name}


def simulate(scenario: Callable[[Proxy], Awaitable[None]]) -> None:
    async def run(simulation: Simulation) -> None:
        network = MemoryNetwork(rng=simulation.rng)
        async with network, make_proxy(simulation, network, "server") as proxy:
            await scenario(proxy)

    run_simulated(run, seed=1, time_limit_s=600)


@asynccontextmanager
async def make_proxy(simulation: Simulation, network: MemoryNetwork, host: str) -> AsyncIterator[Proxy]:
    server = ConfigurationServer(
        role="proxy",
        name="server",
        authenticator=OneUser(),
        writer=ReadOnlyWriter("read-only"),
        random=lambda: 0.5,
        random_bytes=simulation.random_bytes,
    )
    server.is_current = lambda: True
    proxy = Proxy(network, server)
    proxy.replace(["one"], Position(OLD, 5), [Epoch(OLD, 1)])
    async with server:
        proxy.listener = network.listen(host, 2020, server.connect)
        yield proxy


def test_a_client_that_was_told_of_the_epoch_that_ends_gets_the_difference() -> None:
    async def scenario(proxy: Proxy) -> None:
        async with proxy.client() as client, client.subscribe(CfgSkill) as stream:
            proxy.create(2, "two", Position(OLD, 6))
            assert (await anext(stream)).dbid == 2
            proxy.replace(["one"], Position(RESTORED, 3), [Epoch(OLD, 1), Epoch(RESTORED, 4)])
            gone = await anext(stream)
            assert (gone.action, gone.dbid) == (Action.DELETED, 2)
            assert stream.position == Position(RESTORED, 3)
            proxy.create(2, "other", Position(RESTORED, 4))
            assert (await anext(stream)).dbid == 2
            assert client.statistics().reconnects == 0

    simulate(scenario)


def test_a_client_that_cannot_order_the_epochs_is_sent_away_and_begins_anew() -> None:
    async def scenario(proxy: Proxy) -> None:
        async with proxy.client() as client, client.subscribe(CfgSkill) as stream:
            proxy.server.set_epochs([Epoch(OLD, 1), Epoch(SECOND, 6)])  # the backup master has taken over
            proxy.create(2, "two", Position(SECOND, 6))
            assert (await anext(stream)).dbid == 2
            proxy.replace(["one"], Position(RESTORED, 3), [Epoch(OLD, 1), Epoch(RESTORED, 4)])
            with pytest.raises(HistoryExpiredError):
                await anext(stream)
            assert [skill.name for skill in await client.read(CfgSkill)] == ["one"]

    simulate(scenario)


def test_a_client_that_comes_back_is_told_that_what_it_has_seen_is_gone() -> None:
    async def scenario(proxy: Proxy) -> None:
        async with proxy.client() as client:
            proxy.create(2, "two", Position(OLD, 6))
            assert len(await client.read(CfgSkill)) == 2
            proxy.network.cut("desk")
            proxy.replace(["one"], Position(RESTORED, 3), [Epoch(OLD, 1), Epoch(RESTORED, 4)])
            with pytest.raises(HistoryExpiredError):
                await client.read(CfgSkill)
            assert len(await client.read(CfgSkill)) == 1

    simulate(scenario)


def test_a_mark_tells_that_the_same_number_is_of_another_history() -> None:
    async def scenario(proxy: Proxy) -> None:
        async with proxy.client() as client, client.subscribe(CfgSkill) as stream:
            proxy.replace(["one"], Position(RESTORED, 5), [Epoch(OLD, 1), Epoch(RESTORED, 4)])
            with anyio.fail_after(60):
                while stream.position != Position(RESTORED, 5):  # noqa: ASYNC110 - time is simulated
                    await anyio.sleep(0.1)

    simulate(scenario)


def beside_a_late_one(scenario: Callable[[Proxy, Proxy, ConfigClient], Awaitable[None]]) -> None:
    """A client at a proxy that has gone over; the second one, which it is given as well, has not."""

    async def run(simulation: Simulation) -> None:
        network = MemoryNetwork(rng=simulation.rng)
        async with (
            network,
            make_proxy(simulation, network, "first") as first,
            make_proxy(simulation, network, "second") as second,
        ):
            second.create(2, "of the old history", Position(OLD, 6))
            second.server.is_current = lambda: False  # it has lost its master
            first.replace(["one"], Position(RESTORED, 3), HISTORY)
            async with ConfigClient(
                endpoints=[("first", 2020), ("second", 2020)],
                application="desk",
                user="ada",
                password="right",
                connector=network.connector("desk"),
                request_timeout_s=10.0,
                random=simulation.rng.random,
            ) as client:
                await scenario(first, second, client)

    run_simulated(run, seed=1, time_limit_s=600)


def lose(first: Proxy) -> None:
    first.listener.close()
    first.network.cut("desk")


def go_over(second: Proxy) -> None:
    second.replace(["one"], Position(RESTORED, 3), HISTORY)
    second.create(2, "two", Position(RESTORED, 4))
    second.create(3, "three", Position(RESTORED, 5))


def test_a_client_that_knows_the_new_history_is_shown_nothing_of_the_old_one_at_another_server() -> None:
    async def scenario(first: Proxy, second: Proxy, client: ConfigClient) -> None:
        async with client.subscribe(CfgSkill) as stream:
            first.create(2, "two", Position(RESTORED, 4))
            assert (await anext(stream)).object.name == "two"
            lose(first)
            second.create(3, "of the old history", Position(OLD, 7))
            with pytest.raises(ConnectionLostError):
                await client.read(CfgSkill)
            second.create(4, "of the old history", Position(OLD, 8))
            go_over(second)
            assert (await anext(stream)).object.name == "three"
            assert [skill.name for skill in await client.read(CfgSkill)] == ["one", "two", "three"]

    beside_a_late_one(scenario)


def test_a_new_subscription_does_not_begin_in_the_history_that_its_client_has_left() -> None:
    async def scenario(first: Proxy, second: Proxy, client: ConfigClient) -> None:
        first.create(2, "two", Position(RESTORED, 4))
        assert len(await client.read(CfgSkill)) == 2
        lose(first)
        with pytest.raises((ServerError, TimedOutError)):
            async with client.subscribe(CfgSkill):
                pass
        go_over(second)
        assert len(await client.read(CfgSkill)) == 3
        assert second.server.subscriptions.subscription_count == 0
        async with client.subscribe(CfgSkill) as stream:
            assert stream.position == Position(RESTORED, 5)

    beside_a_late_one(scenario)


def test_a_new_subscription_begins_in_the_new_history_although_its_client_has_seen_the_old_one() -> None:
    async def scenario(proxy: Proxy) -> None:
        async with proxy.client() as client:
            proxy.server.set_epochs([Epoch(OLD, 1), Epoch(SECOND, 6)])
            proxy.create(2, "two", Position(SECOND, 6))
            assert len(await client.read(CfgSkill)) == 2
            proxy.network.cut("desk")
            proxy.replace(["one"], Position(RESTORED, 3), HISTORY)
            async with client.subscribe(CfgSkill) as stream:
                assert stream.position == Position(RESTORED, 3)
                proxy.create(2, "other", Position(RESTORED, 4))
                assert (await anext(stream)).object.name == "other"

    simulate(scenario)


def test_a_new_subscription_begins_at_once_where_only_the_names_of_a_position_differ() -> None:
    async def scenario(first: Proxy, second: Proxy, client: ConfigClient) -> None:
        epochs = [*HISTORY, Epoch(SECOND, 5)]
        first.replace(["one", "two"], Position(SECOND, 4), epochs)
        second.replace(["one", "two"], Position(RESTORED, 4), epochs)
        assert len(await client.read(CfgSkill)) == 2
        lose(first)
        async with client.subscribe(CfgSkill) as stream:
            assert stream.position == Position(RESTORED, 4)

    beside_a_late_one(scenario)
