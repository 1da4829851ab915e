"""Whoever has seen a position is never shown an older state: wait, refuse for now, or say that it is no more."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio
import pytest

from csproxy.core.changes import Action, Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA, CfgAppType, CfgSkill
from csproxy.core.model.delta import encode_object
from csproxy.errors import ConnectionLostError, HistoryExpiredError, ServerError
from csproxy.testing import MemoryNetwork, Simulation, run_simulated
from csproxy.transport.client import ConfigClient
from csproxy.transport.connection import Connection
from csproxy.transport.history import NoHistory
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.wire.administration import OperationalMode
from csproxy.transport.wire.history import HistoryRecords, ReadHistory
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import Empty
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.registration import RegisterClient, RestoreSession
from csproxy.transport.wire.replication import LoadBegin, ReadDigest
from csproxy.transport.wire.subscriptions import HistoryLog, RegisterNotification, ResumeFrom, Subscription
from csproxy.transport.wire.verification import Verified, Verify
from tests.transport.manual import EPOCH, application, transaction
from tests.transport.test_server_time import OneUser

SKILL = 13
STAT = {"type": int(CfgAppType.CFGStatServer), "name": "client_0"}

REQUESTS: dict[MessageId, Any] = {
    MessageId.READ_OBJECTS: ReadObjects(type=SKILL),
    MessageId.GET_BRIEF_INFO: ReadObjects(type=7),
    MessageId.READ_OPERATIONAL_MODE: Empty(),
    MessageId.OPEN_SNAPSHOT: Empty(),
    MessageId.LOAD_BEGIN: LoadBegin(),
    MessageId.READ_DIGEST: ReadDigest(),
    MessageId.VERIFY: Verify(),
    MessageId.READ_HISTORY: ReadHistory(),
    MessageId.HISTORY_LOG: HistoryLog(session=""),
    MessageId.RESUME_FROM: ResumeFrom(subscriptions=[Subscription()]),
    MessageId.REGISTER_NOTIFICATION: RegisterNotification(),
    MessageId.RESTORE_SESSION: RestoreSession(**STAT, session=""),
}
"""Every request that answers with data, or continues a stream of it."""


class Answers(NoHistory):
    """Answers what takes a database, for the requests that need one."""

    async def read(self, request: ReadHistory) -> HistoryRecords:
        return HistoryRecords()

    async def answer(self, message: MessageId, request: Any, author: Any) -> OperationalMode:
        return OperationalMode(mode=0)

    async def ask(self, *, timeout_s: float) -> tuple[Position, Verified]:
        return Position(EPOCH, 0), Verified()


class Site:
    """A proxy at UEN 0 and clients of it."""

    def __init__(self, simulation: Simulation, network: MemoryNetwork, server: ConfigurationServer) -> None:
        self.simulation = simulation
        self.network = network
        self.server = server
        self._uen = 0

    async def open(self) -> Connection:
        return await Connection.open(await self.network.connector("client")("server", 2020), "client")

    def publish(self) -> None:
        self._uen += 1
        item = {"DBID": self._uen, "tenantDBID": 1, "state": 1, "name": f"skill {self._uen}"}
        self.server.publish(transaction(self._uen, (Action.CREATED, SKILL, item, None)))

    async def request(self, message: MessageId, minimum: Position) -> Any:
        """The answer on a connection of its own, in whatever state the request needs."""
        connection = await self.open()
        payload = REQUESTS[message]
        try:
            if message is MessageId.RESTORE_SESSION:
                first = await connection.register(RegisterClient(**STAT))
                again = await self.open()
                connection, previous = again, connection
                try:
                    return await again.restore(RestoreSession(**STAT, session=first.session), minimum=minimum)
                finally:
                    previous.close()
            registered = await connection.register(RegisterClient(**STAT))
            if message is MessageId.HISTORY_LOG:
                payload = HistoryLog(session=registered.session)
            return await connection.request(message, payload, minimum=minimum)
        finally:
            connection.close()
            await anyio.sleep(0.5)


@asynccontextmanager
async def make_site(simulation: Simulation, role: str) -> AsyncIterator[Site]:
    answers = Answers()
    server = ConfigurationServer(
        role=role,
        name="server",
        authenticator=OneUser(),
        writer=ReadOnlyWriter("read-only"),
        random=lambda: 0.5,
        random_bytes=simulation.random_bytes,
    )
    server.history, server.administration, server.verifier = answers, answers, answers
    builder = CacheBuilder(None)
    desk = application(300, "desk", CfgAppType.CFGSCE)
    builder.add(9, [encode_object(SCHEMA.types[9], each) for each in (application(200, "client_0"), desk)], [0, 0])
    server.replace(builder, Position(EPOCH, 0), [Epoch(EPOCH, 1)])
    async with MemoryNetwork(rng=simulation.rng) as network, server:
        network.listen("server", 2020, server.connect)
        yield Site(simulation, network, server)


def simulate(scenario: Callable[[Site], Awaitable[None]], *, role: str = "proxy") -> None:
    async def run(simulation: Simulation) -> None:
        async with make_site(simulation, role) as site:
            await scenario(site)

    run_simulated(run, seed=1, time_limit_s=7200)


each_request = pytest.mark.parametrize("message", REQUESTS)


@each_request
def test_a_position_that_comes_soon_is_waited_for(message: MessageId) -> None:
    async def scenario(site: Site) -> None:
        async with anyio.create_task_group() as tasks:

            async def later() -> None:
                await anyio.sleep(2)
                site.publish()
                site.publish()

            tasks.start_soon(later)
            began = site.simulation.now()
            await site.request(message, Position(EPOCH, 2))
            assert site.simulation.now() - began >= 2
        assert site.server.position.uen == 2

    simulate(scenario)


@each_request
@pytest.mark.parametrize("wanted", [Position(EPOCH, 5), Position(88, 5)], ids=["future", "unknown epoch"])
def test_one_that_does_not_come_is_refused_for_now_by_name(message: MessageId, wanted: Position) -> None:
    async def scenario(site: Site) -> None:
        began = site.simulation.now()
        with pytest.raises(ServerError, match=rf"is at UEN 0 of epoch {EPOCH} and has not reached UEN 5") as caught:
            await site.request(message, wanted)
        assert not isinstance(caught.value, HistoryExpiredError)
        assert caught.value.retry_after_s > 0
        assert 3 <= site.simulation.now() - began < 4

    simulate(scenario)


@each_request
def test_a_client_that_is_sent_away_while_it_waits_is_answered_nothing_more(
    message: MessageId, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(site: Site) -> None:
        async with anyio.create_task_group() as tasks:

            async def later() -> None:
                await anyio.sleep(2)
                site.server.dismiss("another one serves")
                site.publish()

            tasks.start_soon(later)
            with pytest.raises(ConnectionLostError, match="another one serves"):
                await site.request(message, Position(EPOCH, 1))
        await anyio.sleep(1)
        assert site.server.statistics().clients == 0

    simulate(scenario)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@each_request
def test_one_beyond_the_end_of_its_epoch_is_of_another_history_at_once(message: MessageId) -> None:
    async def scenario(site: Site) -> None:
        site.publish()
        site.server.set_epochs([Epoch(EPOCH, 1), Epoch(88, 2)])
        began = site.simulation.now()
        with pytest.raises(HistoryExpiredError, match="epoch 88 took over at UEN 2"):
            await site.request(message, Position(EPOCH, 2))
        assert site.simulation.now() - began < 1

    simulate(scenario)


@each_request
def test_a_master_knows_every_epoch_of_its_history(message: MessageId) -> None:
    async def scenario(site: Site) -> None:
        began = site.simulation.now()
        with pytest.raises(HistoryExpiredError, match="epoch is not known to this master"):
            await site.request(message, Position(88, 5))
        assert site.simulation.now() - began < 1

    simulate(scenario, role="master")


def test_an_epoch_that_becomes_known_meanwhile_is_reached() -> None:
    async def scenario(site: Site) -> None:
        site.publish()
        async with anyio.create_task_group() as tasks:

            async def later() -> None:
                await anyio.sleep(1)
                site.server.set_epochs([Epoch(EPOCH, 1), Epoch(88, 2)])

            tasks.start_soon(later)
            await site.request(MessageId.READ_OBJECTS, Position(88, 1))

    simulate(scenario)


def test_a_client_that_goes_is_not_waited_for() -> None:
    async def scenario(site: Site) -> None:
        connection = await site.open()
        await connection.register(RegisterClient(**STAT))
        async with anyio.create_task_group() as tasks:

            async def go() -> None:
                await anyio.sleep(1)
                site.network.cut("client")

            tasks.start_soon(go)
            with pytest.raises(ConnectionLostError):
                await connection.request(MessageId.LOAD_BEGIN, LoadBegin(), minimum=Position(EPOCH, 1))
        await anyio.sleep(0.1)
        site.publish()
        await anyio.sleep(5)
        assert site.server.load_control.statistics()["loads"] == 0

    simulate(scenario)


# the client


@asynccontextmanager
async def client_of(site: Site, **options: Any) -> AsyncIterator[ConfigClient]:
    async with ConfigClient(
        "server",
        2020,
        application="desk",
        user="ada",
        password="right",
        connector=site.network.connector("client"),
        random=lambda: 0.1,
        **options,
    ) as client:
        yield client


def test_a_client_keeps_its_position_and_asks_again_ever_less_often() -> None:
    async def scenario(site: Site) -> None:
        asked: list[float] = []
        usual = site.server.handlers[MessageId.READ_OBJECTS]

        def counted(connection: Any, frame: Any) -> None:
            asked.append(site.simulation.now())
            usual(connection, frame)

        async with client_of(site, request_timeout_s=60.0) as client:
            seen = Position(EPOCH, 1)
            assert client._link.connection is not None
            client._link.connection.position = seen
            site.server.handlers = {**site.server.handlers, MessageId.READ_OBJECTS: counted}
            async with anyio.create_task_group() as tasks:

                async def later() -> None:
                    await anyio.sleep(30)
                    assert client.position == seen
                    site.publish()

                tasks.start_soon(later)
                assert len(await client.read(CfgSkill)) == 1
        pauses = [later - earlier - 3 for earlier, later in pairwise(asked)]
        assert len(asked) > 3
        assert pauses[0] < pauses[1] <= pauses[-1] + 0.01 < 6

    simulate(scenario)


def test_a_client_forgets_its_position_when_it_belongs_to_another_history() -> None:
    async def scenario(site: Site) -> None:
        site.publish()
        async with client_of(site) as client:
            assert client._link.connection is not None
            client._link.connection.position = Position(88, 7)
            with pytest.raises(HistoryExpiredError, match="another history"):
                await client.read(CfgSkill)
            assert len(await client.read(CfgSkill)) == 1

    simulate(scenario, role="master")
