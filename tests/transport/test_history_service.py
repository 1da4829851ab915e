"""The history log of a running master and proxy, on a real database and a simulated clock."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from csproxy.core import codec
from csproxy.core.history import (
    DAY_MS,
    AclState,
    HistoryAction,
    HistoryRecord,
    HistorySettings,
    SessionRecord,
    decode_record,
)
from csproxy.core.lease import Holder
from csproxy.core.model.enumerations import CfgAppType
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.sessions import Account, Author
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import (
    AccessDeniedError,
    ConnectionLostError,
    ModelError,
    RetryableError,
    ServerError,
    UnknownMessageError,
)
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport import batches
from csproxy.transport.connection import Connection
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.history import MasterHistory, NoHistory, ProxyHistory
from csproxy.transport.master_administration import MasterAdministration
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.wire.administration import AccessEntry, OperationalMode, UpdatePermissions
from csproxy.transport.wire.administration import Account as WireAccount
from csproxy.transport.wire.history import HistoryRecords, ReadHistory, SessionRecords
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.registration import RegisterClient, RestoreSession
from csproxy.transport.wire.writes import CreateObject

JANE = Author("jane", "sce", 100)
OPENED, CLOSED = HistoryAction.SESSION_OPENED, HistoryAction.SESSION_CLOSED


class AnyUser:
    """Every log-in is right."""

    async def authenticate(self, user: str, password: str) -> Account:
        return Account(100, user)


class World:
    """A master with its history log, reached over a network in memory."""

    def __init__(
        self,
        simulation: Simulation,
        network: MemoryNetwork,
        server: ConfigurationServer,
        database: DatabaseMaster,
        history: MasterHistory,
        path: Path,
    ) -> None:
        self.simulation = simulation
        self.network = network
        self.server = server
        self.database = database
        self.history = history
        self.path = path

    @asynccontextmanager
    async def client(self, user: str = "ada", application: str = "default") -> AsyncIterator[Connection]:
        """A registered client."""
        channel = await self.network.connector("desk")("master", 2020)
        connection = await Connection.open(channel, application, timeout_s=5.0)
        kind = CfgAppType.CFGSCE if application == "default" else CfgAppType.CFGConfigServer
        await connection.register(RegisterClient(type=int(kind), name=application, user=user))
        try:
            yield connection
        finally:
            await connection.aclose()

    async def records(self, **request: int) -> list[HistoryRecord]:
        return [decode_record(raw) for raw in (await self.history.read(ReadHistory(**request))).records]

    async def sessions(self) -> list[tuple[int, str, str, str]]:
        """What the log says of sessions: action, user, application, server."""
        return [
            (record.action, record.user, record.application, record.server)
            for record in await self.records()
            if record.is_session
        ]

    def sql(self, statement: str) -> list[Any]:
        with sqlite3.connect(self.path) as connection:
            rows = connection.execute(statement).fetchall()
        connection.close()
        return rows


Scenario = Callable[[World], Coroutine[Any, Any, None]]


@pytest.fixture
def simulate(tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario in simulated time; day 1,000 of the wall clock is its start."""
    path = tmp_path / "config.db"
    create_configuration(sqlite_url(path), well_known_objects(proxies=[("proxy1", 2021)]), release="1")

    def run(scenario: Scenario) -> None:
        async def main(simulation: Simulation) -> None:
            simulation.wall_clock_offset_s = 1_000 * 86_400
            async with (
                MemoryNetwork(simulation.rng, latency_s=(0.001, 0.01)) as network,
                make_server(simulation, "master") as server,
                DatabaseMaster(
                    sqlite_url(path),
                    server,
                    holder=Holder("test"),
                    random_epoch=lambda: 7,
                    hash_password=str,
                    wall_clock=simulation.wall_clock,
                ) as database,
                MasterHistory(database, "confserv", wall_clock=simulation.wall_clock) as history,
            ):
                server.history = history
                network.listen("master", 2020, server.connect)
                await scenario(World(simulation, network, server, database, history, path))
                await server.stop(grace_s=1.0)

        run_simulated(main, seed=1, time_limit_s=100_000)

    return run


def make_server(simulation: Simulation, role: str) -> ConfigurationServer:
    return ConfigurationServer(
        role=role,
        name="confserv",
        authenticator=AnyUser(),
        writer=ReadOnlyWriter("read-only for this test"),
        random=simulation.rng.random,
        random_bytes=simulation.random_bytes,
        clock=simulation.now,
    )


def skill(name: str) -> CreateObject:
    return CreateObject(type=13, object={"name": name, "tenantDBID": 1})


class Source:
    """A proxy's link to its master: ``client`` is the connection, None while the master is away."""

    def __init__(self, client: Connection | None) -> None:
        self.client = client
        self.batches: list[int] = []

    async def request(self, message: MessageId, payload: Any, *, timeout_s: float) -> Any:
        if self.client is None:
            raise RetryableError(1, "the master is away", retry_after_s=1.0)  # type: ignore[arg-type]
        if isinstance(payload, SessionRecords):
            self.batches.append(len(payload.records))
        return await self.client.request(message, payload, timeout_s=timeout_s)


def session(server: ConfigurationServer, user: str) -> Any:
    return server.sessions.open(
        account=Account(1, user),
        application="desktop",
        application_type=int(CfgAppType.CFGSCE),
        application_dbid=100,
        daemon=False,
        connection=object(),
        now_s=0.0,
    )


# the master


def test_who_comes_and_goes_is_recorded_a_moment_later(simulate: Any) -> None:
    async def scenario(world: World) -> None:
        async with world.client("ada"):
            assert await world.sessions() == []
            await world.simulation.sleep(1.5)
            assert await world.sessions() == [(OPENED, "ada", "default", "confserv")]
        await world.simulation.sleep(1.5)
        assert await world.sessions() == [
            (OPENED, "ada", "default", "confserv"),
            (CLOSED, "ada", "default", "confserv"),
        ]
        first = (await world.records())[0]
        assert (first.uen, 0 <= first.time_ms - 1_000 * DAY_MS < 1_000) == (0, True)
        assert first.host

    simulate(scenario)


def test_a_restored_session_comes_and_goes_as_often_as_it_connects(simulate: Any) -> None:
    async def scenario(world: World) -> None:
        async with world.client("ada") as first:
            (known,) = world.server.sessions
            channel = await world.network.connector("desk")("master", 2020)
            second = await Connection.open(channel, "default", timeout_s=5.0)
            await second.restore(
                RestoreSession(type=int(CfgAppType.CFGSCE), name="default", user="ada", session=known.id)
            )
            await first.wait_closed()
            await second.aclose()
        await world.simulation.sleep(2.0)
        assert [action for action, *_ in await world.sessions()].count(OPENED) == 2
        assert [action for action, *_ in await world.sessions()].count(CLOSED) == 2

    simulate(scenario)


def test_changes_and_sessions_are_read_in_pages_over_the_wire(simulate: Any) -> None:
    async def scenario(world: World) -> None:
        for n in range(5):
            await world.database.write(skill(f"skill {n}"), JANE)
        world.history.settings = HistorySettings(max_records=3)
        async with world.client() as client:
            seen: list[HistoryRecord] = []
            after, more = 0, True
            while more:
                frame = await client.request(MessageId.READ_HISTORY, ReadHistory(since_uen=1, after=after, limit=100))
                page = decode_payload(HistoryRecords, frame.payload)
                assert len(page.records) <= 3
                seen += [decode_record(raw) for raw in page.records]
                after, more = page.numbers[-1], page.more
            assert [(record.uen, record.user, record.application) for record in seen] == [
                (uen, "jane", "sce") for uen in range(2, 6)
            ]
            with pytest.raises(ServerError, match="numbers of 0 or above"):
                await client.request(MessageId.READ_HISTORY, ReadHistory(limit=-1))
            assert (await world.records(limit=2))[-1].uen == 2

    simulate(scenario)


def test_expired_records_go_at_the_start_and_every_30_minutes(simulate: Any) -> None:
    async def scenario(world: World) -> None:
        await world.database.write(skill("old"), JANE)
        async with world.client():
            pass
        await world.simulation.sleep(2.0)
        assert len(await world.records()) == 3
        world.history.settings = HistorySettings(expiration=1, audit_expiration=2)
        world.simulation.wall_clock_offset_s += 1.5 * 86_400
        assert await world.records() == []
        assert world.sql("SELECT count(*) FROM history") == [(3,)]
        await world.simulation.sleep(1_800.0)
        assert world.sql("SELECT kind FROM history") == [(1,), (2,)]  # one session went; the newest record stays
        await world.database.write(skill("new"), JANE)
        world.simulation.wall_clock_offset_s += 1.0 * 86_400
        await world.simulation.sleep(1_800.0)
        assert [record.uen for record in map(body_of, world.sql("SELECT body FROM history"))] == [2]
        world.sql("UPDATE history SET number = 1, time_ms = 0")
        await world.database.write(skill("newest"), JANE)
        assert world.sql("SELECT count(*) FROM history") == [(2,)]
        async with MasterHistory(world.database, "confserv", wall_clock=world.simulation.wall_clock):
            await world.simulation.sleep(0.1)
            assert [record.uen for record in map(body_of, world.sql("SELECT body FROM history"))] == [3]

    simulate(scenario)


def body_of(row: tuple[bytes]) -> HistoryRecord:
    return decode_record(row[0])


def test_a_log_that_fails_or_is_not_active_stops_nothing(simulate: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        world.sql("ALTER TABLE history RENAME TO gone")
        with caplog.at_level(logging.ERROR, "csproxy.history"):
            async with world.client():
                await world.database.write(skill("one"), JANE)
                await world.simulation.sleep(1_900.0)
        events = {(record.event, record.getMessage().partition(":")[0]) for record in caplog.records}  # type: ignore[attr-defined]
        assert events == {
            (22138, "the history log could not be written, 1 records are missing in it"),
            (22138, "1 records of client sessions are missing in the history log"),
            (22138, "the history log could not be cleaned up"),
        }
        world.sql("ALTER TABLE gone RENAME TO history")
        world.history.settings = HistorySettings(active=False)
        async with world.client():
            await world.database.write(skill("two"), JANE)
        await world.history.take_sessions(records(5), server="proxy1")
        await world.simulation.sleep(2.0)
        assert [record for record in await world.records() if not record.is_session] == []
        assert world.server.cache.count(13) == 2

    simulate(scenario)


def test_permissions_accounts_and_the_mode_are_in_the_log_with_their_author(simulate: Any) -> None:
    async def scenario(world: World) -> None:
        cache = world.server.cache
        world.server.administration = await MasterAdministration.open(world.database, lambda: cache)
        await world.database.write(skill("one"), JANE)
        dbid = next(iter(cache.dbids(13)))
        entry = AccessEntry(type=3, dbid=100, mask=127)
        async with world.client() as client:

            async def ask(message: MessageId, request: Any) -> None:
                await client.request(message, request)

            await ask(MessageId.UPDATE_PERMISSIONS, UpdatePermissions(type=13, dbid=dbid, entries=[entry]))
            await ask(MessageId.UPDATE_PERMISSIONS, UpdatePermissions(type=13, dbid=dbid, entries=[entry]))
            await ask(MessageId.UPDATE_PERMISSIONS, UpdatePermissions(type=7, dbid=1, entries=[entry], recursive=True))
            await ask(MessageId.UPDATE_ACCOUNT, WireAccount(dbid=100, account_type=3, account_dbid=100))
            await ask(MessageId.UPDATE_ACCOUNT, WireAccount(dbid=100, account_type=3, account_dbid=100))
            await ask(MessageId.CHANGE_OPERATIONAL_MODE, OperationalMode(mode=2))
            await ask(MessageId.CHANGE_OPERATIONAL_MODE, OperationalMode(mode=2))
        found = [record for record in await world.records(since_uen=1) if record.action in (27, 33, 37)]
        own, inherits = AclState(entries=((3, 100, 127),)), AclState(inherits=True)
        assert [(record.action, record.type, record.dbid) for record in found] == [
            (27, 13, dbid),
            (27, 13, dbid),
            (27, 7, 1),
            (33, 9, 100),
            (37, 0, 0),
        ]
        assert [(record.permissions, record.former_permissions) for record in found[:3]] == [
            (own, inherits),
            (inherits, own),
            (own, inherits),
        ]
        assert (found[3].account, found[3].former_account) == ((3, 100), (21, 98))
        assert (found[4].mode, found[4].former_mode) == (2, 1)
        assert {(record.user, record.application, record.epoch) for record in found} == {("ada", "default", 7)}
        assert [record.uen for record in found] == [2, 4, 4, 5, 5]  # where each transaction ends
        assert {record.time_ms // DAY_MS for record in found} == {1_000}

    simulate(scenario)


# the proxy


def records(count: int) -> SessionRecords:
    return SessionRecords(
        records=[msgspec.Raw(codec.encode(SessionRecord(action=1, time_ms=n, user=f"u{n}"))) for n in range(count)]
    )


def test_only_a_proxy_may_send_session_records(simulate: Any) -> None:
    async def scenario(world: World) -> None:
        async with world.client() as client:
            with pytest.raises(AccessDeniedError, match="Configuration Server Proxies only"):
                await client.request(MessageId.SESSION_RECORDS, records(1))
        async with world.client("", "proxy1") as proxy:
            now_ms = int(world.simulation.wall_clock() * 1000)
            sent = SessionRecord(action=2, time_ms=now_ms + 10**9, user="eve", application="desk", host="h:1", uen=3)
            await proxy.request(MessageId.SESSION_RECORDS, SessionRecords(records=[msgspec.Raw(codec.encode(sent))]))
            record = next(record for record in await world.records() if record.user == "eve")
            assert (record.server, record.host, record.application, record.uen) == ("proxy1", "h:1", "desk", 3)
            assert record.time_ms <= now_ms + 1_000
            for broken in (b"\x81\xa6action\x4b\x00", codec.encode({"action": 75, "time_ms": 1}), b"\x80"):
                with pytest.raises(ServerError):
                    await proxy.request(
                        MessageId.SESSION_RECORDS, SessionRecords(records=[msgspec.Raw(broken)]), timeout_s=5.0
                    )

    simulate(scenario)


def test_a_proxy_keeps_its_records_while_the_master_is_away_and_sends_them_in_batches(simulate: Any) -> None:
    async def scenario(world: World) -> None:
        async with world.client("", "proxy1") as link:
            source: Any = Source(None)
            async with ProxyHistory(source, wall_clock=world.simulation.wall_clock) as proxy:
                for n in range(1_200):
                    proxy.session_opened(session(world.server, f"u{n}"), peer="h", uen=n)
                await world.simulation.sleep(30.0)
                assert source.batches == []
                assert repr(proxy) == "<ProxyHistory 1200 sessions waiting>"
                with pytest.raises(RetryableError):
                    await proxy.read(ReadHistory())
                source.client = link
                await world.simulation.sleep(2.0)
                assert source.batches == [500, 500, 200]
                proxy.session_closed(session(world.server, "last"), peer="h", uen=5)
                found = await proxy.read(ReadHistory(limit=2))
                assert (len(found.records), found.more) == (2, True)
                with pytest.raises(AccessDeniedError, match="send them to the master"):
                    await proxy.take_sessions(records(1), server="x")
            assert source.batches == [500, 500, 200, 1]  # what waited at the end was sent
            names = world.sql("SELECT count(*) FROM history WHERE kind = 2 AND number > 0")
            assert names == [(1_202,)]
            proxy.settings = HistorySettings(active=False)
            proxy.session_opened(session(world.server, "x"), peer="h", uen=1)
            assert repr(proxy) == "<ProxyHistory 0 sessions waiting>"

    simulate(scenario)


class LosesAnswers(Source):
    """The link of a proxy, which is cut each time when the master has done what it was asked and not yet said so."""

    def __init__(self, client: Connection | None) -> None:
        super().__init__(client)
        self.identities: list[str] = []
        self.lost = 2

    async def request(self, message: MessageId, payload: Any, *, timeout_s: float) -> Any:
        answer = await super().request(message, payload, timeout_s=timeout_s)
        self.identities.append(payload.batch)
        if self.lost:
            self.lost -= 1
            raise ConnectionLostError("the connection was cut before the answer")
        return answer


def test_a_batch_whose_answer_was_lost_is_sent_again_as_it_was_and_stored_once(
    simulate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(world: World) -> None:
        names = iter("abc")
        async with world.client("", "proxy1") as link:
            source: Any = LosesAnswers(link)
            async with ProxyHistory(
                source, wall_clock=world.simulation.wall_clock, batch_id=lambda: next(names)
            ) as proxy:
                proxy.session_opened(session(world.server, "ada"), peer="h", uen=1)
                await world.simulation.sleep(1.5)
                proxy.session_opened(session(world.server, "eve"), peer="h", uen=1)  # waits for the next batch
                await world.simulation.sleep(3.0)
                proxy.session_closed(session(world.server, "ada"), peer="h", uen=1)
                await world.simulation.sleep(1.5)
            assert source.identities == ["a", "a", "a", "b", "c"]
            assert source.batches == [1, 1, 1, 1, 1]
        assert [entry[:2] for entry in await world.sessions() if entry[3] == "proxy1"] == [
            (OPENED, "ada"),
            (OPENED, "eve"),
            (CLOSED, "ada"),
        ]
        assert world.sql("SELECT server, batch FROM session_batches WHERE server = 'proxy1'") == [("proxy1", "c")]

    with caplog.at_level(logging.INFO, "csproxy.history"):
        simulate(scenario)
    assert caplog.text.count("a batch of 1 session records of 'proxy1' was sent again") == 2


def test_a_batch_of_another_proxy_or_without_identity_is_a_new_one(simulate: Any) -> None:
    async def scenario(world: World) -> None:
        world.simulation.wall_clock_offset_s = 0.0  # the records are of the first day
        for server, batch in (("proxy1", "a"), ("proxy2", "a"), ("proxy2", "a"), ("proxy1", ""), ("proxy1", "")):
            request = msgspec.structs.replace(records(2), batch=batch)
            await world.history.take_sessions(request, server=server)
        assert [entry[3] for entry in await world.sessions()] == ["proxy1"] * 2 + ["proxy2"] * 2 + ["proxy1"] * 4
        with pytest.raises(ServerError, match="at most 64 characters, not 65"):
            await world.history.take_sessions(SessionRecords(batch="x" * 65), server="proxy1")

    simulate(scenario)


def test_records_that_wait_too_long_are_given_up_oldest_first_and_counted(
    simulate: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_WAITING", 10)

    async def scenario(world: World) -> None:
        source: Any = Source(None)
        with caplog.at_level(logging.ERROR, "csproxy.history"):
            async with ProxyHistory(source, wall_clock=world.simulation.wall_clock) as proxy:
                for n in range(13):
                    proxy.session_opened(session(world.server, f"u{n}"), peer="h", uen=n)
                await world.simulation.sleep(2.0)
                assert "lacks 3 records of client sessions" in caplog.text
                assert repr(proxy) == "<ProxyHistory 10 sessions waiting>"
            assert "lacks 10 records of client sessions" in caplog.text

    simulate(scenario)


def test_a_master_that_refuses_records_is_not_asked_for_ever(simulate: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        async with world.client() as no_proxy:
            source: Any = Source(no_proxy)
            async with ProxyHistory(source, wall_clock=world.simulation.wall_clock) as proxy:
                proxy.session_opened(session(world.server, "u"), peer="h", uen=1)
                await world.simulation.sleep(3.0)
                assert source.batches == [1]
        assert "1 records of client sessions are missing in the history log" in caplog.text

    simulate(scenario)


def test_a_server_without_a_log_refuses_to_read_it(simulate: Any) -> None:
    async def scenario(world: World) -> None:
        world.server.history = NoHistory()
        async with world.client() as client:
            with pytest.raises(UnknownMessageError, match="keeps no history log"):
                await client.request(MessageId.READ_HISTORY, ReadHistory())
        async with world.client("", "proxy1") as proxy:
            with pytest.raises(UnknownMessageError, match="keeps no history log"):
                await proxy.request(MessageId.SESSION_RECORDS, records(1))

    simulate(scenario)


def test_a_wrong_record_stores_none_of_its_batch(simulate: Any) -> None:
    async def scenario(world: World) -> None:
        batch = records(3)
        batch.records.append(msgspec.Raw(codec.encode({"action": 74, "time_ms": 1})))
        with pytest.raises(ModelError, match="action 74 is none of a session"):
            await world.history.take_sessions(batch, server="proxy1")
        assert world.sql("SELECT count(*) FROM history") == [(0,)]
        assert repr(world.history).startswith("<MasterHistory HistorySettings(active=True")

    simulate(scenario)
