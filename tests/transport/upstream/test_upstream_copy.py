"""A proxy with a local copy: starts, losses, reloads and crashes in simulated time, with files in a real folder."""

from __future__ import annotations

import errno
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from upstream_world import (
    APPLICATION,
    BACKUP,
    MASTER,
    PROXY,
    SKILL,
    Item,
    Master,
    OneUser,
    World,
    assert_same,
    base_objects,
    make_world,
    skill,
)

from csproxy.auth.upstream import UpstreamAuthenticator
from csproxy.core.changelog import WindowLimits
from csproxy.core.changes import Action, Epoch, Position
from csproxy.core.model import SCHEMA, CfgAppType, CfgSkill
from csproxy.core.persistence.copy_format import Kind, Record, encode_time
from csproxy.core.persistence.copy_reading import CopyPaths
from csproxy.core.persistence.copy_writing import CopyLock
from csproxy.core.replication import State
from csproxy.errors import ConfigurationError, HistoryExpiredError, RetryableError, TimedOutError
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport.client import ConfigClient
from csproxy.transport.local_copy import CopyLimits, LocalCopy
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter, ServerSettings
from csproxy.transport.upstream import UpstreamLimits, UpstreamSource

NAME = "proxy1"
ENDPOINTS = (MASTER, BACKUP)
GENERIC_SERVER = int(CfgAppType.CFGGenericServer)
TICK_S = 3.0
"""Enough for whatever is written in the next interval."""


def objects() -> list[Item]:
    """The well-known objects, the proxy's Application, and one of a server without a user."""
    watcher = next(obj for number, obj, _ in base_objects() if (number, obj["DBID"]) == (APPLICATION, PROXY))
    watcher = {**watcher, "DBID": PROXY + 500, "name": "watcher", "type": GENERIC_SERVER}
    return [*base_objects(), (APPLICATION, watcher, APPLICATION)]


class _KilledError(Exception):
    """Ends a proxy as kill -9 would: nothing more is written."""


class Proxy:
    """A proxy with a copy, and what it logged of it."""

    def __init__(self, server: ConfigurationServer, copy: LocalCopy, source: UpstreamSource, is_loaded: bool) -> None:
        self.server = server
        self.copy = copy
        self.source = source
        self.is_loaded = is_loaded

    @property
    def objects(self) -> int:
        return sum(self.server.cache.counts().values())

    def skills(self) -> int:
        return self.server.cache.count(SKILL)


class Site:
    """A master, a folder for the copy, and a proxy that can be started again and again."""

    def __init__(self, simulation: Simulation, world: World, folder: Path) -> None:
        self.simulation = simulation
        self.world = world
        self.master = world.master
        self.network = world.network
        self.folder = folder
        self.paths = CopyPaths.of(folder, NAME)

    def leave(self) -> None:
        """All masters are away."""
        for endpoint in ENDPOINTS:
            self.network.refuse(*endpoint)
            self.network.cut(endpoint.host)

    def give_way(self, other: Master) -> None:
        """Another master is there instead."""
        self.leave()
        self.network.refuse(*BACKUP, on=False)
        self.network.listen(*BACKUP, other.server.connect)

    def come_back(self) -> None:
        self.network.refuse("master", 2020, on=False)

    @asynccontextmanager
    async def proxy(
        self, *, limits: CopyLimits | None = None, upstream: UpstreamLimits | None = None, **settings: Any
    ) -> AsyncIterator[Proxy]:
        async with ConfigurationServer(
            role="proxy",
            name=NAME,
            authenticator=OneUser(),
            writer=ReadOnlyWriter("this is a proxy"),
            random=lambda: 0.5,
            random_bytes=self.simulation.random_bytes,
            settings=ServerSettings(**settings),
        ) as server:
            server.is_current = lambda: source.state is State.LIVE
            copy = LocalCopy(
                server,
                server.replica,
                self.folder,
                NAME,
                is_current=server.is_current,
                random_bytes=self.simulation.random_bytes,
                wall_clock=self.simulation.wall_clock,
                limits=limits,
            )
            is_loaded = await copy.load()
            source = UpstreamSource(
                copy,
                self.network.connector("proxy"),
                ENDPOINTS,
                NAME,
                from_copy=is_loaded,
                limits=upstream or UpstreamLimits(),
                random=self.simulation.rng.random,
            )
            async with copy, source:
                server.authenticator = UpstreamAuthenticator(source, server)
                await source.wait_data()
                listener = self.network.listen("proxy", 2021, server.connect)
                try:
                    yield Proxy(server, copy, source, is_loaded)
                finally:
                    listener.close()
                    self.network.cut("proxy")

    @asynccontextmanager
    async def killed_proxy(self, **options: Any) -> AsyncIterator[Proxy]:
        """A proxy that is killed when the block has been worked off."""
        with suppress(_KilledError):
            async with self.proxy(**options) as proxy:
                yield proxy
                raise _KilledError

    async def fill(self, **options: Any) -> None:
        """Start a proxy once so that there is a copy, then stop it in an orderly way."""
        async with self.proxy(**options) as proxy:
            await self.simulation.sleep(TICK_S)
            assert proxy.copy.statistics().snapshots == 1

    def client(self, **options: Any) -> ConfigClient:
        """A client of the proxy that is an application without a user."""
        if "user" not in options:
            options |= {"application": "watcher", "application_type": GENERIC_SERVER}
        return ConfigClient("proxy", 2021, connector=self.network.connector("client"), random=lambda: 0.1, **options)


def simulate(folder: Path, scenario: Callable[[Site], Coroutine[Any, Any, None]], *, seed: int = 1) -> None:
    async def run(simulation: Simulation) -> None:
        network = MemoryNetwork(simulation.rng, latency_s=(0.001, 0.01))
        async with make_world(objects(), network=network) as world:
            await scenario(Site(simulation, world, folder))

    run_simulated(run, seed=seed, time_limit_s=20_000)


def messages(caplog: pytest.LogCaptureFixture, *, containing: str = "local copy") -> list[str]:
    return [record.getMessage() for record in caplog.records if containing in record.getMessage()]


# start


def test_a_proxy_starts_from_its_copy_while_the_master_is_away_and_says_so(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.master.create_skills(0, 5)
        await site.fill()
        known = site.simulation.wall_clock()
        site.leave()
        await site.simulation.sleep(3600)
        began = site.simulation.now()
        async with site.proxy() as proxy:
            assert site.simulation.now() - began < 0.1, "one refused attempt is enough"
            assert (proxy.is_loaded, proxy.source.serves_copy) == (True, True)
            assert proxy.source.state is not State.LIVE
            assert_same(site.master, proxy.server)  # type: ignore[arg-type]
            assert proxy.copy.loaded_as_of_s == pytest.approx(known, abs=1.5)
            assert proxy.server.status()["ready"] is True
            async with site.client() as client:
                assert len(await client.read(CfgSkill)) == 5
                assert client.position == site.master.server.position
            await site.simulation.sleep(600)
            assert proxy.source.serves_copy
            assert proxy.copy.statistics().age_s > 4000, "what nobody confirmed does not get younger"

    simulate(tmp_path, scenario)


def test_without_a_copy_a_proxy_waits_for_its_master_as_before(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.leave()
        with anyio.move_on_after(100) as scope:
            async with site.proxy():
                raise AssertionError("there is nothing to serve")
        assert scope.cancelled_caught
        assert not site.paths.snapshot.exists()

    simulate(tmp_path, scenario)


def test_a_master_that_is_there_is_resumed_from_the_position_of_the_copy(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.fill()
        site.master.create_skills(0, 3)
        async with site.proxy() as proxy:
            await proxy.source.wait_live()
            assert not proxy.source.serves_copy
            now = proxy.source.statistics()
            assert (now.loads, now.resumes, now.changes) == (0, 1, 3)
            assert_same(site.master, proxy.server)  # type: ignore[arg-type]

    simulate(tmp_path, scenario)


def test_the_copy_catches_up_without_a_restart_when_the_master_returns(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.fill()
        site.leave()
        async with site.proxy() as proxy, site.client() as client, client.subscribe() as changes:
            site.master.create_skills(0, 2)
            site.come_back()
            assert [(await anext(changes)).dbid for _ in range(2)] == [PROXY, PROXY + 1]
            await proxy.source.wait_live()
            assert not proxy.source.serves_copy
            assert client.statistics().registrations == 1, "the client has noticed nothing"

    simulate(tmp_path, scenario)


def test_a_position_that_cannot_be_resumed_gives_a_reload_while_the_copy_serves(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        site.master.create_skills(0, 3)
        await site.fill()
        site.leave()
        async with site.proxy() as proxy, site.client() as client, client.subscribe(CfgSkill) as changes:
            other = Master("backup")
            async with other.server:
                other.fill([*site_objects(site.master), (SKILL, skill(9), SKILL)], epochs=[Epoch(99, 1)], uen=4000)
                site.give_way(other)
                assert proxy.skills() == 3
                await proxy.source.wait_live()
                assert proxy.source.statistics().loads == 1
                assert proxy.skills() == 4
                change = await anext(changes)
                assert (change.action, change.dbid) == (Action.CREATED, PROXY + 9)
                await site.simulation.sleep(TICK_S)
                assert proxy.copy.statistics().snapshots == 1, "a reload makes a new snapshot"
        site.leave()
        async with site.proxy() as proxy:
            assert (proxy.skills(), proxy.server.position) == (4, Position(99, 4000))

    simulate(tmp_path, scenario)


def site_objects(master: Master) -> list[Any]:
    cache = master.server.cache
    return [
        (number, cache.stored(number, dbid), cache.folder_of(number, dbid))
        for number in SCHEMA.types
        for dbid in cache.dbids(number)
    ]


def test_a_master_that_says_nothing_is_not_waited_for_long(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.fill()
        site.network.partition("master")
        began = site.simulation.now()
        async with site.proxy() as proxy:
            assert site.simulation.now() - began == pytest.approx(3.0, abs=0.1)
            assert proxy.source.serves_copy
            site.network.heal()
            await proxy.source.wait_live()

    simulate(tmp_path, scenario)


def test_a_refusal_by_the_master_at_the_start_counts_more_than_the_copy(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.fill()
        cache = site.master.server.cache
        site.master.publish((Action.DELETED, APPLICATION, cache.stored(APPLICATION, PROXY) or {}))
        with pytest.raises(ConfigurationError, match="proxy1"):
            async with site.proxy():
                raise AssertionError("the master does not want this proxy")

    simulate(tmp_path, scenario)


def test_a_refusal_that_passes_by_itself_is_tried_again_while_the_copy_serves(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.fill()
        connector = site.network.connector("other")
        other = ConfigClient("master", 2020, connector=connector, application=NAME, application_type=21)
        async with other, site.proxy() as proxy:
            assert proxy.source.serves_copy
            assert "connected already" in proxy.source.statistics().last_error
            site.network.cut("other")
            site.network.partition("other", "master")
            await proxy.source.wait_live()

    simulate(tmp_path, scenario)


def test_users_can_log_in_again_only_when_the_master_is_there(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.fill()
        site.leave()
        async with site.proxy() as proxy:
            with pytest.raises(RetryableError, match="checks passwords"):
                async with site.client(user="default", password="secret"):
                    raise AssertionError("nobody could check the password")
            site.come_back()
            await proxy.source.wait_live()
            async with site.client(user="default", password="secret"):
                pass

    simulate(tmp_path, scenario)


# what is written, and when


def test_changes_are_on_the_disk_within_a_second_or_two_and_survive_a_crash(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        async with site.killed_proxy() as proxy:
            await site.simulation.sleep(TICK_S)
            site.master.create_skills(0, 4)
            await site.simulation.sleep(1.1)
            site.master.create_skills(4, 1)
            await site.simulation.sleep(0.05)
            assert proxy.skills() == 5
        site.leave()
        async with site.proxy() as proxy:
            assert proxy.skills() == 4, "the last change was younger than the interval"
            site.come_back()
            await proxy.source.wait_live()
            assert_same(site.master, proxy.server)  # type: ignore[arg-type]

    simulate(tmp_path, scenario)


def test_an_orderly_stop_writes_what_is_left(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        async with site.proxy():
            site.master.create_skills(0, 1)
            await site.simulation.sleep(0.1)
        site.leave()
        async with site.proxy() as proxy:
            assert proxy.skills() == 1
            site.come_back()
            await proxy.source.wait_live()
            site.master.create_skills(1, 1)
            await site.simulation.sleep(0.1)
        site.leave()
        async with site.proxy() as proxy:
            assert proxy.skills() == 2
            assert proxy.copy.statistics().snapshots == 0

    simulate(tmp_path, scenario)


def test_a_long_journal_gives_way_to_a_new_snapshot(tmp_path: Path) -> None:
    limits = CopyLimits(least_journal_changes=50, history_changes=20, history_bytes=0)

    async def scenario(site: Site) -> None:
        async with site.proxy(limits=limits) as proxy:
            for number in range(120):
                site.master.create_skills(number)
                await site.simulation.sleep(0.2)
            now = proxy.copy.statistics()
            assert now.snapshots == 3
            assert now.failures == 0
        site.leave()
        async with site.proxy(limits=limits) as proxy:
            assert proxy.skills() == 120
            oldest = proxy.server.log.floor.uen
            assert 100 < oldest < 220, "the tail of the history is there, and not all of it"
            assert len(list(site.folder.iterdir())) == 3

    simulate(tmp_path, scenario)


@pytest.mark.parametrize("seed", range(8))
def test_a_snapshot_in_many_pieces_and_its_journal_meet_whatever_changes_meanwhile(tmp_path: Path, seed: int) -> None:
    """Pieces of one object at a low rate; the proxy crashes at some moment, and the master's log is the judge."""
    limits = CopyLimits(
        block_bytes=1, bytes_per_s=20_000, least_journal_changes=3, journal_changes_share=0.0, interval_s=0.3
    )

    async def scenario(site: Site) -> None:
        rng = random.Random(seed)
        states: dict[int, int] = {}
        number = 0
        async with site.killed_proxy(limits=limits) as proxy:
            while site.simulation.now() < 20 + seed:
                site.master.create_skills(number, rng.randint(1, 3))
                number += 3
                states[site.master.server.position.uen] = site.master.server.cache.count(SKILL)
                await site.simulation.sleep(rng.uniform(0.01, 0.2))
            assert proxy.copy.statistics().snapshots > 2
        site.leave()
        async with site.proxy(limits=limits) as proxy:
            behind = site.master.server.position.uen - proxy.server.position.uen
            assert proxy.skills() == states[proxy.server.position.uen], "a whole transaction, and all before it"
            assert behind < 40
            site.come_back()
            await proxy.source.wait_live()
            assert_same(site.master, proxy.server)  # type: ignore[arg-type]

    simulate(tmp_path, scenario, seed=seed)


def test_a_reload_while_a_snapshot_is_written_gives_a_snapshot_of_the_new_data(tmp_path: Path) -> None:
    limits = CopyLimits(block_bytes=1, bytes_per_s=2_000)

    async def scenario(site: Site) -> None:
        async with site.killed_proxy(limits=limits) as proxy:
            await site.simulation.sleep(2.0)
            assert site.paths.unfinished.exists()
            other = Master("backup")
            async with other.server:
                other.fill([*site_objects(site.master), (SKILL, skill(1), SKILL)], epochs=[Epoch(5, 1)])
                site.give_way(other)
                with anyio.fail_after(60):
                    while proxy.copy.statistics().snapshots == 0:
                        await site.simulation.sleep(0.5)
                assert proxy.skills() == 1
        site.leave()
        async with site.proxy() as proxy:
            assert (proxy.skills(), proxy.server.position.epoch) == (1, 5)

    simulate(tmp_path, scenario)


def test_a_new_epoch_of_the_master_is_in_the_copy(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        other = Master("backup")
        async with other.server:
            async with site.killed_proxy() as proxy:
                await site.simulation.sleep(TICK_S)
                other.take_over(site.master, epoch=77)
                site.give_way(other)
                await site.simulation.sleep(TICK_S)
                other.create_skills(0, 1)
                await site.simulation.sleep(TICK_S)
                assert proxy.copy.statistics().snapshots == 1
            site.leave()
            async with site.proxy() as proxy:
                assert proxy.server.position == other.server.position
                assert list(proxy.server.epochs) == list(other.server.epochs)

    simulate(tmp_path, scenario)


# clients across a restart of the proxy


def test_clients_resume_across_a_restart_of_the_proxy_and_get_exactly_what_they_missed(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        seen: list[int] = []
        async with site.killed_proxy(), site.client() as client, client.subscribe(CfgSkill) as changes:
            await site.simulation.sleep(TICK_S)
            site.master.create_skills(0, 3)
            seen += [(await anext(changes)).position.uen for _ in range(3)]
            stands = changes.position
            site.network.partition("client")
            site.master.create_skills(3, 3)
            site.master.create_skills(6, 1)
            await site.simulation.sleep(TICK_S)
        site.network.heal()
        site.leave()
        async with site.proxy() as proxy, site.client() as client:
            assert client.position.uen >= stands.uen
            async with client.subscribe(CfgSkill, since=stands) as changes:
                missed = [await anext(changes) for _ in range(4)]
                assert [change.position.uen for change in missed] == [104, 105, 106, 107]
                assert all(change.from_history for change in missed)
                site.master.create_skills(7, 2)
                site.come_back()
                assert [(await anext(changes)).position.uen for _ in range(2)] == [108, 109]
                assert not proxy.source.serves_copy
        assert seen == [101, 102, 103]

    simulate(tmp_path, scenario)


def test_a_client_that_is_ahead_of_the_copy_is_told_to_wait_and_not_shown_an_older_state(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.fill()
        ahead = site.master.create_skills(0, 1)[-1].position
        site.leave()
        async with site.proxy() as proxy, site.client() as client:
            with pytest.raises(RetryableError, match="has not reached UEN 101"):
                async with client.subscribe(CfgSkill, since=ahead):
                    raise AssertionError("the proxy does not know what comes after that")
            site.come_back()
            await proxy.source.wait_live()
            async with client.subscribe(CfgSkill, since=ahead) as changes:
                site.master.create_skills(1, 1)
                assert (await anext(changes)).position.uen == ahead.uen + 1

    simulate(tmp_path, scenario)


def test_a_client_of_a_master_that_the_proxy_has_not_met_keeps_its_position(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.fill()
        site.leave()
        other = Master("backup")
        async with other.server, site.proxy() as proxy, site.client() as client:
            other.take_over(site.master, epoch=77)
            ahead = other.create_skills(0, 1)[-1].position
            with pytest.raises((RetryableError, TimedOutError)):
                async with client.subscribe(CfgSkill, since=ahead):
                    raise AssertionError("the proxy cannot know whether it is behind or this is another history")
            site.give_way(other)
            await proxy.source.wait_live()
            async with client.subscribe(CfgSkill, since=ahead) as changes:
                other.create_skills(1, 1)
                assert (await anext(changes)).position.uen == ahead.uen + 1

    simulate(tmp_path, scenario)


def test_a_client_from_another_history_is_told_to_read_anew_by_a_proxy_that_follows_its_master(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.fill()
        former = site.master.create_skills(0, 1)[-1].position
        other = Master("backup")
        async with other.server:
            other.fill(site_objects(site.master), epochs=[Epoch(99, 1)], uen=4000)  # restored from a backup
            site.give_way(other)
            async with site.proxy() as proxy, site.client() as client:
                await proxy.source.wait_live()
                with pytest.raises(HistoryExpiredError, match="its epoch is not known to the master of this proxy"):
                    async with client.subscribe(CfgSkill, since=former):
                        raise AssertionError("that history has ended")
                assert len(await client.read(CfgSkill)) == 1

    simulate(tmp_path, scenario)


def test_a_client_from_before_the_saved_history_is_told_to_read_anew(tmp_path: Path) -> None:
    short = CopyLimits(history_bytes=0, history_changes=1)

    async def scenario(site: Site) -> None:
        async with site.proxy(limits=short, history=WindowLimits()):
            for number in range(5):
                site.master.create_skills(number)
            await site.simulation.sleep(TICK_S)
        site.leave()
        async with site.proxy() as proxy, site.client() as client:
            assert proxy.server.log.floor.uen == 104
            with pytest.raises(HistoryExpiredError):
                async with client.subscribe(CfgSkill, since=Position(proxy.server.position.epoch, 103)):
                    raise AssertionError("there is a gap")

    simulate(tmp_path, scenario)


# option proxy-snapshot


def test_a_copy_that_was_switched_off_stays_but_is_not_used(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        async with site.killed_proxy() as proxy:
            await site.simulation.sleep(TICK_S)
            written = site.paths.snapshot.read_bytes()
            proxy.copy.is_enabled = False
            site.master.create_skills(0, 5)
            await site.simulation.sleep(TICK_S)
            assert proxy.copy.statistics().journal_bytes == 0
            assert site.paths.snapshot.read_bytes() == written
        async with site.proxy() as proxy:
            assert not proxy.is_loaded
            assert proxy.source.statistics().loads == 1
            await site.simulation.sleep(TICK_S)
        site.leave()
        async with site.proxy() as proxy:
            assert proxy.skills() == 5, "switched on again, there is a new copy"

    simulate(tmp_path, scenario)


# copies that cannot be used


@pytest.mark.parametrize("harm", ["flip", "cut", "foreign", "history"])
def test_a_copy_that_cannot_be_used_is_reported_kept_aside_and_never_served(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(site: Site) -> None:
        site.master.create_skills(0, 3)
        await site.fill()
        data = bytearray(site.paths.snapshot.read_bytes())
        if harm == "flip":
            data[len(data) // 2] ^= 4
        elif harm == "cut":
            del data[-10:]
        else:
            other = CopyPaths.of(site.folder, "other")
            await _write_other(site, other, history=[b"no frame"] if harm == "history" else [])
            data = bytearray(other.snapshot.read_bytes())
        site.paths.snapshot.write_bytes(data)
        with caplog.at_level(logging.INFO):
            async with site.proxy() as proxy:
                assert not proxy.is_loaded
                assert proxy.source.statistics().loads == 1
                assert_same(site.master, proxy.server)  # type: ignore[arg-type]
                await site.simulation.sleep(TICK_S)
        (line,) = messages(caplog, containing="is not used")
        assert "proxy1.snapshot" in line or harm == "history"
        assert "kept as proxy1.snapshot.damaged-1" in line
        assert (site.folder / "proxy1.snapshot.damaged-1").read_bytes() == data

    simulate(tmp_path, scenario)


async def _write_other(site: Site, paths: CopyPaths, *, history: list[bytes]) -> None:
    from csproxy.core.persistence.copy_format import CopyHeader, model_name
    from csproxy.core.persistence.copy_writing import SnapshotWriter

    header = CopyHeader(
        schema=model_name(), application=NAME if history else "other", release="1", epoch=11, uen=100,
        epochs=[(11, 1)], counts={}, as_of_ms=0,
    )  # fmt: skip
    writer = SnapshotWriter(paths, header, file_id=bytes(16))
    if history:
        writer.write_history(history)
    writer.commit([], changes=0).close()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Record(Kind.TRANSACTION, b"\0" * 40), "cannot be read"),
        (Record(Kind.TRANSACTION, b"\0\0"), "not complete"),
        (Record(Kind.EPOCHS, b"?"), "table of epochs"),
        (None, "came where change"),
    ],
)
def test_a_journal_is_used_up_to_the_first_record_that_makes_no_sense(
    tmp_path: Path, record: Record | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(site: Site) -> None:
        async with site.killed_proxy() as proxy:
            await site.simulation.sleep(TICK_S)
            site.master.create_skills(0, 2)
            await site.simulation.sleep(TICK_S)
            skipped = site.master.next_transaction((Action.CREATED, SKILL, skill(50)), skipped=5)
            bad = record or Record(Kind.TRANSACTION, skipped[0].frame)
            assert proxy.copy._current is not None
            assert proxy.copy._current.journal is not None
            good = site.master.next_transaction((Action.CREATED, SKILL, skill(60)))
            proxy.copy._current.journal.append([bad, Record(Kind.TRANSACTION, good[0].frame)])
        site.leave()
        with caplog.at_level(logging.INFO):
            async with site.proxy() as proxy:
                assert (proxy.skills(), proxy.server.position.uen) == (2, 102)
                await site.simulation.sleep(TICK_S)
                assert proxy.copy.statistics().snapshots == 1, "the journal cannot be continued"
        assert reason in messages(caplog, containing="the journal is used up to")[0]

    simulate(tmp_path, scenario)


def test_a_torn_journal_is_reported_and_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(site: Site) -> None:
        async with site.killed_proxy():
            await site.simulation.sleep(TICK_S)
            for number in range(3):
                site.master.create_skills(number)
                await site.simulation.sleep(TICK_S)
        (journal,) = site.paths.journals()
        journal.write_bytes(journal.read_bytes()[:-50])
        site.leave()
        with caplog.at_level(logging.INFO):
            async with site.proxy() as proxy:
                assert proxy.skills() == 2
                site.come_back()
                await proxy.source.wait_live()
                await site.simulation.sleep(TICK_S)
                assert proxy.copy.statistics().snapshots == 0
        assert "is cut off" in messages(caplog, containing="is used up to byte")[0]
        site.leave()
        async with site.proxy() as proxy:
            assert proxy.skills() == 3

    simulate(tmp_path, scenario)


def test_two_proxies_do_not_share_a_copy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(site: Site) -> None:
        await site.fill()
        other = CopyLock(site.paths.lock)
        with caplog.at_level(logging.INFO):
            async with site.proxy() as proxy:
                assert not proxy.is_loaded
                await site.simulation.sleep(100)
                assert proxy.copy.statistics().snapshots == 0
                assert len(messages(caplog, containing="in use by another process")) == 1
                other.release()
                await site.simulation.sleep(61 + TICK_S)
                assert proxy.copy.statistics().snapshots == 1, "the other one has ended"

    simulate(tmp_path, scenario)


# disks that fail


def test_a_folder_that_cannot_be_written_is_reported_once_and_disturbs_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "missing"

    async def scenario(site: Site) -> None:
        with caplog.at_level(logging.INFO):
            async with site.proxy() as proxy, site.client() as client:
                site.master.create_skills(0, 2)
                await site.simulation.sleep(300)
                assert len(await client.read(CfgSkill)) == 2
                now = proxy.copy.statistics()
                assert "No such file" in now.last_error
                assert 5 < now.failures < 20, "tried again, ever more rarely"
                assert len(messages(caplog, containing="cannot be written")) == 1
                folder.mkdir()
                await site.simulation.sleep(61 + TICK_S)
                assert proxy.copy.statistics().last_error == ""
                assert len(messages(caplog, containing="is written again")) == 1
        site.leave()
        async with site.proxy() as proxy:
            assert proxy.skills() == 2

    simulate(folder, scenario)


class FullDisk:
    """Makes every write of the copy fail while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from csproxy.core.persistence import copy_writing

        self.is_full = False
        write_at = copy_writing._write_at

        def write(fd: int, data: bytes, offset: int) -> None:
            if self.is_full:
                write_at(fd, data[: len(data) // 2], offset)
                raise OSError(errno.ENOSPC, "No space left on device")
            write_at(fd, data, offset)

        monkeypatch.setattr(copy_writing, "_write_at", write)


def test_a_full_disk_delays_the_journal_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FullDisk(monkeypatch)

    async def scenario(site: Site) -> None:
        async with site.killed_proxy() as proxy:
            await site.simulation.sleep(TICK_S)
            disk.is_full = True
            for number in range(30):
                site.master.create_skills(number)
                await site.simulation.sleep(1)
            assert len(messages(caplog, containing="No space left")) == 1
            disk.is_full = False
            await site.simulation.sleep(61)
            site.master.create_skills(30)
            await site.simulation.sleep(TICK_S)
            assert proxy.copy.statistics().snapshots == 1
        site.leave()
        async with site.proxy() as proxy:
            assert proxy.skills() == 31

    with caplog.at_level(logging.INFO):
        simulate(tmp_path, scenario)


def test_what_waits_for_a_full_disk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(monkeypatch)
    limits = CopyLimits(pending_bytes=2000)

    async def scenario(site: Site) -> None:
        async with site.proxy(limits=limits) as proxy:
            await site.simulation.sleep(TICK_S)
            disk.is_full = True
            for number in range(100):
                site.master.create_skills(number)
                await site.simulation.sleep(0.5)
            assert proxy.copy._current is None
            assert proxy.copy._coming is None
            disk.is_full = False
            await site.simulation.sleep(61 + TICK_S)
            assert proxy.copy.statistics().snapshots == 2
        site.leave()
        async with site.proxy() as proxy:
            assert proxy.skills() == 100

    simulate(tmp_path, scenario)


def test_changes_that_flood_a_snapshot_being_written_begin_it_anew(tmp_path: Path) -> None:
    limits = CopyLimits(pending_bytes=2000, block_bytes=1, bytes_per_s=5000)

    async def scenario(site: Site) -> None:
        async with site.proxy(limits=limits) as proxy:
            for number in range(100):
                site.master.create_skills(number)
                await site.simulation.sleep(0.05)
            assert proxy.copy.statistics().snapshots == 0
            await site.simulation.sleep(60)
            assert proxy.copy.statistics().snapshots == 1

    simulate(tmp_path, scenario)


def test_the_time_at_which_an_idle_copy_was_current_goes_on(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        async with site.killed_proxy() as proxy:
            await site.simulation.sleep(600)
            assert proxy.copy.statistics().age_s < 62
            assert proxy.copy.statistics().journal_bytes < 600
            now = site.simulation.wall_clock()
        site.leave()
        async with site.proxy() as proxy:
            assert proxy.copy.loaded_as_of_s is not None
            assert 0 <= now - proxy.copy.loaded_as_of_s < 62
            assert encode_time(round(proxy.copy.loaded_as_of_s * 1000))

    simulate(tmp_path, scenario)
