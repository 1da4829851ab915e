"""Two masters on one database, in one process, on a simulated clock and network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import pytest
from anyio.abc import TaskGroup

from csproxy.core.changes import Epoch
from csproxy.core.connections import partner
from csproxy.core.failover import Endpoint
from csproxy.core.lease import Holder
from csproxy.core.model import SCHEMA, CfgSkill
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.persistence.processes import own_process
from csproxy.core.persistence.records import KeepPolicy
from csproxy.core.persistence.store import Store
from csproxy.core.sessions import Account, Author
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import ErrorCode, FencedError, ServerError, StoreError
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport.blocking import carrier
from csproxy.transport.channel import Channel
from csproxy.transport.client import ConfigClient
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.database_peer import is_primary
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire.writes import CreateObject

JANE = Author("jane", "sce", 100)
PRIMARY, BACKUP = "confserv", "confserv_backup"
PORTS = {PRIMARY: 2020, BACKUP: 2021}
LEASE_S = 10.0


class AnyUser:
    """Knows everybody."""

    async def authenticate(self, user: str, password: str) -> Account:
        return Account(100, user)


def make_server(simulation: Simulation, role: str, name: str) -> ConfigurationServer:
    return ConfigurationServer(
        role=role,
        name=name,
        authenticator=AnyUser(),
        writer=ReadOnlyWriter("read-only"),
        random=simulation.rng.random,
        random_bytes=simulation.random_bytes,
    )


class Node:
    """One master of the pair; its database may fail it, and it may die without a word."""

    def __init__(self, world: World, name: str, **more: Any) -> None:
        self.world = world
        self.name = name
        self.server = make_server(world.simulation, "master", name)
        self.cut = False
        self.roles: list[bool] = []
        options: dict[str, Any] = {
            "holder": Holder(name, own_process(), "127.0.0.1", PORTS.get(name, 2029)),
            "random_epoch": lambda: world.simulation.rng.randint(1, 2**53),
            "hash_password": lambda password: password,
            "wall_clock": world.simulation.wall_clock,
            "lease_s": LEASE_S,
        }
        self.database = DatabaseMaster(world.url, self.server, **{**options, **more})
        self._ready, self._stopping, self._ended = anyio.Event(), anyio.Event(), anyio.Event()
        self._refusal: StoreError | None = None

    async def __aenter__(self) -> Self:
        self.world.tasks.start_soon(self._run)
        await self._ready.wait()
        if self._refusal is not None:
            raise self._refusal
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop in good order, as far as ``cut`` allows; idempotent."""
        self._stopping.set()
        await self._ended.wait()

    async def _run(self) -> None:
        """In a task of its own, so that nodes may go in any order."""
        try:
            async with self.server, self.database:
                self._disturb()
                self.server.writer = self.database
                self.server.standby = self._standby
                self.server.primary = lambda: self.database.primary
                self.database.on_role = self._role_changed
                self.database.is_replaced = lambda: is_primary(
                    self.world.network.connector(self.name), partner(self.server.cache, self.name), self.name
                )
                listener = self.world.network.listen("127.0.0.1", PORTS.get(self.name, 2029), self.server.connect)
                self._ready.set()
                await self._stopping.wait()
                listener.close()
                await self.server.stop(grace_s=1.0)
        except StoreError as e:
            self._refusal = e
        finally:
            self._ready.set()
            self._ended.set()

    def _standby(self) -> str | None:
        if self.database.is_primary:
            return None
        return f"{self.name} is a backup: {self.database.primary} has the database"

    def _role_changed(self) -> None:
        self.roles.append(self.database.is_primary)
        if not self.database.is_primary:
            self.server.dismiss("another master has the database")

    def _disturb(self) -> None:
        """While ``cut`` is set, nothing gets through to the database."""
        store = self.database._store
        assert store is not None
        call = store.call

        async def failing(use: Callable[[Store], Any]) -> Any:
            if self.cut and use is not Store.close:
                raise StoreError("the network to the database is cut", code=ErrorCode.NO_DB_ACCESS)
            return await call(use)

        store.call = failing  # type: ignore[method-assign]

    async def write(self, name: str) -> int:
        """Create a skill; returns its UEN."""
        (change,) = await self.database.write(CreateObject(type=13, object={"name": name, "tenantDBID": 1}), JANE)
        return change.position.uen

    def skills(self) -> list[str]:
        cache = self.server.cache
        return [str((cache.stored(13, dbid) or {})["name"]) for dbid in cache.dbids(13)]


class Stranger:
    """Something else at the port of a master, which says ``words`` to whoever connects."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    def accept(self, channel: Channel) -> None:
        channel.start(self)
        if self._words:
            channel.write(self._words)

    def receive(self, data: bytes) -> None: ...

    def writable(self) -> None: ...

    def closed(self, error: Exception | None) -> None: ...


class World:
    """A database, a network and the time."""

    def __init__(self, simulation: Simulation, network: MemoryNetwork, tasks: TaskGroup, url: str) -> None:
        self.simulation = simulation
        self.tasks = tasks
        self.network = network
        self.url = url

    def node(self, name: str, **more: Any) -> Node:
        return Node(self, name, **more)

    async def until(self, condition: Callable[[], bool], *, limit_s: float = 60.0) -> float:
        """Wait; returns how long it took."""
        began = self.simulation.now()
        with anyio.fail_after(limit_s):
            while not condition():  # noqa: ASYNC110 - time is simulated
                await anyio.sleep(0.01)
        return self.simulation.now() - began

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ConfigClient]:
        endpoints = [("127.0.0.1", port) for port in PORTS.values()]
        connector = self.network.connector("desk")
        async with ConfigClient(endpoints=endpoints, user="jane", password="x", connector=connector) as client:
            yield client


Scenario = Callable[[World], Coroutine[Any, Any, None]]


@pytest.fixture
def simulate(tmp_path: Path) -> Callable[[Scenario], None]:
    def simulate(scenario: Scenario) -> None:
        url = sqlite_url(tmp_path / "config.db")
        objects = well_known_objects(proxies=[("proxy1", 2022)], backup=(BACKUP, PORTS[BACKUP]))
        create_configuration(url, objects, release="1")

        async def run(simulation: Simulation) -> None:
            async with (
                MemoryNetwork(simulation.rng, latency_s=(0.001, 0.01)) as network,
                anyio.create_task_group() as tasks,
            ):
                await scenario(World(simulation, network, tasks, url))

        run_simulated(run, seed=1, time_limit_s=5_000)

    return simulate


def assert_same(one: Node, other: Node) -> None:
    first, second = one.server.cache, other.server.cache
    assert first.position.uen == second.position.uen
    assert {n: first.digest(n) for n in SCHEMA.types} == {n: second.digest(n) for n in SCHEMA.types}
    assert list(one.server.epochs) == list(other.server.epochs)


# --- who may come ---------------------------------------------------------------------------------


def test_a_stranger_and_a_second_of_the_same_name_are_refused(simulate: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary:
            for name in (PRIMARY, "proxy1", "nobody"):
                with pytest.raises(StoreError, match=r"in use by 'confserv' at 127\.0\.0\.1:2020") as caught:
                    async with world.node(name):
                        pytest.fail("entered")
                assert caught.value.code is ErrorCode.NO_DB_ACCESS
            assert await primary.write("english") == 1

    simulate(scenario)


def test_whether_an_owner_elsewhere_lives_is_seen_by_its_lease(simulate: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        elsewhere = Holder(PRIMARY, "another-machine 1 1", "127.0.0.1", 2020)
        async with world.node(PRIMARY, holder=elsewhere) as primary:
            began = world.simulation.now()
            with pytest.raises(StoreError, match="in use by 'confserv'"):
                async with world.node(PRIMARY):
                    pytest.fail("entered")
            assert world.simulation.now() - began <= LEASE_S / 3 + 1
            primary.cut = True  # it dies, without giving up
        began = world.simulation.now()
        async with world.node(PRIMARY) as again:
            assert LEASE_S <= world.simulation.now() - began <= LEASE_S + 1
            assert again.database.is_primary

    simulate(scenario)


def test_nobody_waits_for_a_process_that_has_died_on_this_machine(simulate: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        boot, number, started = own_process().split(" ")
        dead = Holder(PRIMARY, f"{boot} {number} {int(started) + 1}", "127.0.0.1", 2020)
        async with world.node(PRIMARY, holder=dead) as primary, world.node(BACKUP) as backup:
            assert backup.database.is_primary, "a start does not wait"
            await world.until(lambda: not primary.database.is_primary)

    simulate(scenario)


# --- following ------------------------------------------------------------------------------------


def test_a_backup_follows_and_serves_nobody(simulate: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary, world.node(BACKUP) as backup:
            assert (primary.database.is_primary, backup.database.is_primary) == (True, False)
            assert (primary.server.role, backup.server.role) == ("master", "backup")
            assert not backup.server.status()["ready"]
            for n in range(20):
                await primary.write(f"skill {n}")
            assert await world.until(lambda: backup.server.position.uen == 20) <= 0.6
            assert_same(primary, backup)
            connector = world.network.connector("desk")
            with pytest.raises(ServerError, match=r"'confserv' at 127\.0\.0\.1:2020 has") as caught:
                async with ConfigClient("127.0.0.1", 2021, user="x", password="x", connector=connector):
                    pytest.fail("entered")
            assert caught.value.code is ErrorCode.SERVER_NOT_FOUND
            assert caught.value.retry_after_s > 0
            with pytest.raises(StoreError, match="this one is its backup"):
                await backup.write("french")
            await world.simulation.sleep(100)
            assert (primary.roles, backup.roles) == ([], [])

    simulate(scenario)


def test_transactions_arrive_whole_and_what_was_trimmed_is_read_again(simulate: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        short = KeepPolicy(min_changes=2, min_age_ms=0, max_bytes=1)
        async with world.node(PRIMARY, keep=short) as primary, world.node(BACKUP) as backup:
            await primary.database.write(CreateObject(type=7, object={"name": "North"}), JANE)
            assert len(primary.server.cache.counts()) > 5
            await world.until(lambda: backup.server.position == primary.server.position)
            assert_same(primary, backup)
            for n in range(50):
                await primary.write(f"skill {n}")
            await world.until(lambda: backup.server.position == primary.server.position)
            assert_same(primary, backup)

    simulate(scenario)


# --- taking over ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", [False, True])
def test_a_backup_reads_everything_again_after_the_delay_or_when_it_takes_over(
    simulate: Callable[[Scenario], None], dies: bool
) -> None:
    async def scenario(world: World) -> None:
        short = KeepPolicy(min_changes=2, min_age_ms=0, max_bytes=1)
        async with world.node(PRIMARY, keep=short) as primary, world.node(BACKUP) as backup:
            backup.database.delay_reload_s = 60.0
            backup.cut = True
            for n in range(50):
                await primary.write(f"skill {n}")
            backup.cut = False
            await world.simulation.sleep(20)
            assert backup.skills() == [], "it waits"
            if dies:
                primary.cut = True
                await world.until(lambda: backup.database.is_primary)
            else:
                took_s = await world.until(lambda: backup.server.position == primary.server.position)
                assert 30.0 < took_s < 50.0
            assert len(backup.skills()) == 50

    simulate(scenario)


def test_an_orderly_stop_hands_over_at_once_and_numbers_go_on(simulate: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary, world.node(BACKUP) as backup:
            for n in range(5):
                await primary.write(f"skill {n}")
            first_epoch = primary.server.position.epoch
            await primary.stop()
            assert await world.until(lambda: backup.database.is_primary) <= 0.6
            assert backup.roles == [True]
            assert await backup.write("after") == 6
            assert backup.server.epochs == [Epoch(first_epoch, 1), Epoch(backup.server.position.epoch, 6)]
            assert max(backup.server.cache.dbids(13)) == 106
            async with world.node(PRIMARY) as back:  # the other way round
                assert not back.database.is_primary
                assert_same(backup, back)

    simulate(scenario)


def test_a_write_that_is_under_way_at_the_stop_ends_as_it_would(simulate: Callable[[Scenario], None]) -> None:
    async def slowly(call: Callable[[], Any]) -> Any:
        await anyio.sleep(3)
        return call()

    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary:
            request = CreateObject(type=13, object={"name": "last", "tenantDBID": 1}, key="a")
            written: list[int] = []

            async def write() -> None:
                changes = await primary.database.write(request, JANE)
                written.append(changes[0].position.uen)

            async with anyio.create_task_group() as tasks:
                carrier.set(slowly)
                tasks.start_soon(write)
                await anyio.sleep(1)  # it looks for its key
                tasks.start_soon(primary.stop)
            assert written == [1]
        with Store.open(world.url, reading=True) as store:
            assert store.read_head() == 1

    simulate(scenario)


def test_a_silent_primary_is_replaced_after_the_lease_and_follows_when_it_is_back(
    simulate: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary, world.node(BACKUP) as backup, world.client() as client:
            await client.create(CfgSkill(name="before", tenantDBID=1))
            await world.simulation.sleep(1)
            primary.cut = True
            took_s = await world.until(lambda: backup.database.is_primary)
            assert LEASE_S * 2 / 3 - 1 <= took_s <= LEASE_S + 1
            with pytest.raises(StoreError) as caught:
                await primary.write("lost")
            assert caught.value.code is ErrorCode.NO_DB_ACCESS
            assert primary.database.is_primary, "it cannot know yet"
            assert await backup.write("by the backup") == 2
            primary.cut = False
            await world.until(lambda: not primary.database.is_primary)
            await world.until(lambda: primary.server.position.uen == 2)
            assert_same(primary, backup)
            assert primary.skills() == ["before", "by the backup"]
            # the client was sent away and finds the other one
            await world.until(lambda: client.statistics().endpoint == "127.0.0.1:2021")
            stored = await client.create(CfgSkill(name="after", tenantDBID=1))
            assert stored.DBID == 103
            assert (primary.roles, backup.roles) == ([False], [True])

    simulate(scenario)


def test_a_primary_that_cannot_renew_refuses_writes_before_another_takes_over(
    simulate: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary:
            primary.cut = True
            await world.until(lambda: not primary.database._keeper.is_well)  # type: ignore[union-attr]
            began = world.simulation.now()
            with pytest.raises(StoreError, match="nothing can be written now: the network to the database is cut"):
                await primary.write("english")
            assert world.simulation.now() == began, "refused at once"
            primary.cut = False
            assert await world.until(lambda: primary.database._keeper.is_well) <= 10.0  # type: ignore[union-attr]
            assert await primary.write("english") == 1

    simulate(scenario)


def test_a_primary_that_alone_is_cut_off_gives_way_and_follows_when_it_is_back(
    simulate: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary, world.node(BACKUP) as backup, world.client() as client:
            await client.create(CfgSkill(name="before", tenantDBID=1))
            primary.cut = True
            await world.until(lambda: backup.database.is_primary)
            assert await world.until(lambda: primary.roles == [False]) <= 11.0
            await world.simulation.sleep(1.0)  # the client hears of it
            await client.create(CfgSkill(name="after", tenantDBID=1))
            assert backup.skills() == ["before", "after"]
            primary.cut = False
            await world.until(lambda: primary.server.position.uen == 2)
            assert_same(primary, backup)
            assert (primary.roles, backup.roles) == ([False], [True])

    simulate(scenario)


@pytest.mark.parametrize(
    "words", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["nobody", "silent", "stranger"]
)
def test_a_primary_whose_database_is_away_stays_if_the_other_one_does_not_say_that_it_has_it(
    simulate: Callable[[Scenario], None], words: bytes | None
) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary:
            if words is not None:
                world.network.listen("127.0.0.1", PORTS[BACKUP], Stranger(words).accept)
            primary.cut = True
            await world.simulation.sleep(60)
            assert primary.roles == []
            primary.cut = False
            await world.until(lambda: primary.database._keeper.is_well)  # type: ignore[union-attr]
            assert await primary.write("english") == 1

    simulate(scenario)


def test_a_commit_that_comes_too_late_is_refused_and_nothing_of_it_is_there(
    simulate: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary, world.node(BACKUP) as backup:
            await primary.write("one")

            def usurp(store: Store) -> None:
                commit = store.commit

                def late(*args: Any, **more: Any) -> None:
                    with Store.open(world.url) as other:  # while the primary was stopped, just before its commit
                        other.begin_epoch(99, holder=Holder(BACKUP, own_process(), "127.0.0.1", 2021))
                    commit(*args, **more)

                store.commit = late  # type: ignore[method-assign]

            await primary.database.use_store(usurp)
            with pytest.raises(FencedError):
                await primary.write("two")
            assert primary.skills() == ["one"]
            await world.until(lambda: backup.database.is_primary)
            assert await backup.write("three") == 2
            await world.until(lambda: primary.server.position.uen == 2)
            assert_same(primary, backup)
            assert primary.roles == [False]

    simulate(scenario)


def test_a_commit_whose_outcome_stayed_unknown_is_published_by_the_one_that_takes_over(
    simulate: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY, settle_s=1.0) as primary, world.node(BACKUP) as backup:

            def lose_the_answer(store: Store) -> None:
                commit = store.commit

                def losing(*args: Any, **more: Any) -> None:
                    commit(*args, **more)
                    primary.cut = True
                    raise StoreError("the answer was lost", code=ErrorCode.NO_DB_ACCESS)

                store.commit = losing  # type: ignore[method-assign]

            await primary.database.use_store(lose_the_answer)
            with pytest.raises(ServerError, match="it is unknown whether this was written"):
                await primary.write("unknown")
            await world.until(lambda: backup.database.is_primary)
            assert backup.skills() == ["unknown"]
            assert await backup.write("next") == 2
            primary.cut = False
            await world.until(lambda: primary.server.position.uen == 2)
            assert_same(primary, backup)

    simulate(scenario)


def test_a_database_that_nobody_reaches_changes_no_roles(simulate: Callable[[Scenario], None]) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary, world.node(BACKUP) as backup:
            primary.cut = backup.cut = True
            await world.simulation.sleep(100)
            primary.cut = backup.cut = False
            await world.simulation.sleep(30)
            assert (primary.roles, backup.roles) == ([], [])
            assert await primary.write("english") == 1

    simulate(scenario)


# --- those that follow the pair -------------------------------------------------------------------


def test_a_proxy_that_knows_nothing_but_the_backup_is_told_where_the_primary_is(
    simulate: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY), world.node(BACKUP):
            proxy = make_server(world.simulation, "proxy", "proxy1")
            connector = world.network.connector("proxy")
            async with proxy, UpstreamSource(proxy, connector, [Endpoint("127.0.0.1", 2021)], "proxy1") as source:
                with anyio.fail_after(10):
                    await source.wait_live()
                assert source.statistics().endpoint == "127.0.0.1:2020"

    simulate(scenario)


def test_a_proxy_that_knows_the_primary_finds_its_backup_and_loses_nothing(
    simulate: Callable[[Scenario], None],
) -> None:
    async def scenario(world: World) -> None:
        async with world.node(PRIMARY) as primary:
            proxy = make_server(world.simulation, "proxy", "proxy1")
            async with (
                world.node(BACKUP) as backup,
                proxy,
                UpstreamSource(
                    proxy,
                    world.network.connector("proxy"),
                    [Endpoint("127.0.0.1", 2020)],
                    "proxy1",
                    random=world.simulation.rng.random,
                ) as source,
            ):
                await source.wait_live()
                await primary.write("one")
                primary.cut = True  # it dies: the lease is not given up
                await primary.stop()
                await world.until(lambda: backup.database.is_primary)
                assert await world.until(lambda: source.state.value == "live") <= 2.0
                await backup.write("two")
                await world.until(lambda: proxy.position.uen == 2)
                now = source.statistics()
                assert (now.loads, now.resumes, now.refusals) == (1, 1, 0)
                assert now.endpoint == "127.0.0.1:2021"
                assert proxy.cache.digest(13) == backup.server.cache.digest(13)

    simulate(scenario)
