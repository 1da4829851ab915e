"""A proxy finds out that its data is not its master's, and heals it, in simulated time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import msgspec
import pytest
from proxy_site import Site, make_site
from upstream_world import BACKUP, EPOCH, SKILL, Master, make_change, skill

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change, Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA, CfgSkill
from csproxy.core.model.canonical import encode_object
from csproxy.core.security_records import STORED_TYPES
from csproxy.errors import RetryableError
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_changes import ObjectChange
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.replication import Digest

OTHER_FOLDER = 9
"""Any folder but the one that holds the skills."""


def simulate(scenario: Callable[[Site], Awaitable[None]], **options: Any) -> None:
    async def run(simulation: Simulation) -> None:
        async with make_site(simulation, **options) as site:
            await scenario(site)

    run_simulated(run, seed=1, time_limit_s=20_000)


# differences that nothing announces


def plant(site: Site, *steps: tuple[Action, dict[str, Any], int]) -> None:
    """Change the proxy's data behind everybody's back: action, skill, folder."""
    cache = site.proxy.cache
    cache.apply([alteration(action, obj, folder, cache.position) for action, obj, folder in steps])


def alteration(action: Action, obj: dict[str, Any], folder: int, position: Position) -> Change:
    change = make_change(action, SKILL, obj, position, last=True)
    stored = None if action is Action.DELETED else encode_object(SCHEMA.types[SKILL], obj)
    return msgspec.structs.replace(change, object=stored, delta=None, folder=folder, correction=True)


PLANTED: dict[str, tuple[Action, dict[str, Any], int]] = {
    "changed": (Action.UPDATED, skill(3, "wrong"), 0),
    "missing": (Action.DELETED, skill(3), 0),
    "surplus": (Action.CREATED, skill(77), SKILL),
    "folder": (Action.UPDATED, skill(3), OTHER_FOLDER),
}
TOLD: dict[str, tuple[Action, int, str | None, int]] = {
    "changed": (Action.UPDATED, skill(3)["DBID"], skill(3)["name"], 0),
    "missing": (Action.CREATED, skill(3)["DBID"], skill(3)["name"], SKILL),
    "surplus": (Action.DELETED, skill(77)["DBID"], None, 0),
    "folder": (Action.UPDATED, skill(3)["DBID"], skill(3)["name"], SKILL),
}
"""What subscribers are told then: action, DBID, name, folder."""


def summary(change: ObjectChange) -> tuple[Action, int, str | None, int]:
    assert change.object is None or isinstance(change.object, CfgSkill)
    return change.action, change.dbid, change.object and change.object.name, change.folder


@pytest.mark.parametrize("what", PLANTED)
def test_a_difference_is_found_healed_and_told(what: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(site: Site) -> None:
        plant(site, PLANTED[what])
        await site.until_healed()
        site.assert_same()
        assert [summary(change) for change in site.told] == [TOLD[what]]
        now = site.source.statistics().digests
        assert (now.differences, now.healed) == (1, 1)
        assert site.source.statistics().loads == 1
        await anyio.sleep(200)
        assert len(site.told) == 1
        assert site.source.digests.statistics.differences == 1

    simulate(scenario)
    assert "differs from that of the master master:2020 at UEN 110 in CfgSkill" in caplog.text
    assert "read again and equal now: CfgSkill" in caplog.text


def test_an_object_that_went_wrong_without_a_change_is_found() -> None:
    async def scenario(site: Site) -> None:
        site.proxy.cache.digest(SKILL)
        segment = site.proxy.cache._tables[SKILL].segments()[0]
        segment.objects[4] = encode_object(SCHEMA.types[SKILL], skill(4, "rotten"))
        await site.until_healed()
        site.assert_same()

    simulate(scenario)


def test_several_types_and_objects_are_told_as_one_transaction() -> None:
    async def scenario(site: Site) -> None:
        plant(site, *PLANTED.values())
        await site.until_healed()
        assert [change.last for change in site.told] == [False, True]
        assert [change.action for change in site.told] == [Action.DELETED, Action.UPDATED]
        assert {change.position for change in site.told} == {Position(EPOCH, 110)}
        site.assert_same()

    simulate(scenario)


def test_nothing_is_reported_while_the_master_writes_without_pause() -> None:
    async def scenario(site: Site) -> None:
        with anyio.move_on_after(300):
            n = 1000
            while True:
                site.master.create_skills(n, 3)
                n += 3
                await anyio.sleep(0.05)
        await anyio.sleep(1)
        now = site.source.digests.statistics
        assert (now.checks, now.differences) == (5, 0)
        site.assert_same()

    simulate(scenario)


def test_a_difference_is_healed_under_continuous_writes() -> None:
    async def scenario(site: Site) -> None:
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                for n in range(1000, 1_000_000, 2):
                    site.master.create_skills(n, 2)
                    await anyio.sleep(0.02)

            tasks.start_soon(write)
            await anyio.sleep(5)
            plant(site, PLANTED["changed"], PLANTED["surplus"])
            await site.until_healed()
            tasks.cancel_scope.cancel()
        await anyio.sleep(1)
        site.assert_same()
        corrected = [change for change in site.told if change.dbid < 1000]
        assert [(change.action, change.dbid) for change in corrected] == [
            (Action.DELETED, skill(77)["DBID"]),
            (Action.UPDATED, skill(3)["DBID"]),
        ]
        uens = [change.position.uen for change in site.told]
        assert uens == sorted(uens)
        assert len(site.told) - len(corrected) == site.master.server.position.uen - 110

    simulate(scenario)


# who was away when the data was put right


def test_a_client_that_was_away_is_told_when_it_comes_back() -> None:
    async def scenario(site: Site) -> None:
        plant(site, PLANTED["changed"])
        other = ConfigClient(
            "proxy", 2020, user="default", password="secret", connector=site.world.network.connector("other")
        )
        async with other:
            wrong = await other.get(CfgSkill, skill(3)["DBID"])
            assert wrong.name == "wrong"
            since = other.position
            site.world.network.partition("other")
            await site.until_healed()
            site.world.network.heal("other")
            site.world.network.cut("other")
            async with other.subscribe(CfgSkill, since=since) as changes:
                change = await anext(changes)
                assert summary(change) == TOLD["changed"]
                assert change.from_history
        await anyio.sleep(1)

    simulate(scenario)


def test_a_stream_that_has_the_correction_is_not_told_again() -> None:
    async def scenario(site: Site) -> None:
        plant(site, PLANTED["changed"])
        other = ConfigClient(
            "proxy", 2020, user="default", password="secret", connector=site.world.network.connector("other")
        )
        async with other, other.subscribe(CfgSkill) as changes:
            await site.until_healed()
            assert summary(await anext(changes)) == TOLD["changed"]
            site.world.network.cut("other")
            await anyio.sleep(5)
            site.master.create_skills(50)
            assert (await anext(changes)).dbid == skill(50)["DBID"]
        await anyio.sleep(1)

    simulate(scenario)


# what happens in between


def test_a_master_that_restarts_in_between_is_compared_with_afterwards() -> None:
    async def scenario(site: Site) -> None:
        other = Master("backup")
        async with other.server:
            plant(site, PLANTED["missing"])

            def die(connection: ServerConnection, frame: Frame) -> bool:
                site.world.network.refuse("master", 2020)
                site.world.network.cut("master")
                return False

            site.master.before_first(MessageId.READ_DIGEST, die)
            await anyio.sleep(59)
            other.take_over(site.master, epoch=22)
            site.world.listen(other, BACKUP)
            await site.until_healed(limit_s=61)
            assert site.source.statistics().endpoint == "backup:2020"
            assert site.proxy.epochs == [Epoch(EPOCH, 1), Epoch(22, 111)]
            assert [summary(change) for change in site.told] == [TOLD["missing"]]
            site.assert_same()

    simulate(scenario)


@pytest.mark.parametrize(
    "message", [MessageId.READ_DIGEST, MessageId.OPEN_SNAPSHOT, MessageId.READ_OBJECTS, MessageId.CLOSE_SNAPSHOT]
)
def test_a_link_that_is_lost_in_between_is_resumed_and_the_rest_done_then(message: MessageId) -> None:
    async def scenario(site: Site) -> None:
        plant(site, PLANTED["changed"])

        def cut(connection: ServerConnection, frame: Frame) -> bool:
            site.world.network.cut("master")
            site.master.create_skills(30)
            return False

        site.master.before_first(message, cut)
        with anyio.fail_after(120):
            while site.source.statistics().resumes == 0:  # noqa: ASYNC110 - time is simulated
                await anyio.sleep(0.1)
        await anyio.sleep(70)
        site.assert_same()
        assert site.source.statistics().loads == 1
        assert {summary(change) for change in site.told} >= {TOLD["changed"]}
        assert len(site.told) == 2

    simulate(scenario)


def test_the_data_is_compared_when_the_stream_was_resumed() -> None:
    async def scenario(site: Site) -> None:
        await anyio.sleep(30)
        plant(site, PLANTED["changed"])
        site.world.network.cut("master")
        await site.until_healed(limit_s=10)

    simulate(scenario)


def test_what_reading_again_does_not_heal_is_loaded_and_then_only_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(site: Site) -> None:
        usual = site.master.server.handlers[MessageId.READ_DIGEST]

        def lie(connection: ServerConnection, frame: Frame) -> None:
            usual_answer = connection.answer
            digests = {number: site.master.server.cache.digest(number) for number in STORED_TYPES}
            usual_answer(frame, MessageId.DIGEST, Digest(digests={**digests, SKILL: "f" * 32}))

        site.master.override(MessageId.READ_DIGEST, lie)
        await anyio.sleep(70)
        assert site.source.statistics().loads == 2
        await anyio.sleep(600)
        assert site.source.statistics().loads == 2
        site.master.override(MessageId.READ_DIGEST, usual)
        await anyio.sleep(61)
        plant(site, PLANTED["surplus"])
        await site.until_healed()
        site.assert_same()

    simulate(scenario)
    assert "still different after it was read again: CfgSkill; everything is loaded anew" in caplog.text
    assert "loading everything did not help: the difference in CfgSkill stays" in caplog.text


def test_a_master_that_does_not_send_what_it_stands_for_is_given_time_and_nothing_is_lost() -> None:
    async def scenario(site: Site) -> None:
        def ahead(connection: ServerConnection, frame: Frame) -> bool:
            connection.answer(frame, MessageId.DIGEST, Digest(), position=Position(EPOCH, 111))
            return False

        site.master.before_first(MessageId.READ_DIGEST, ahead)
        await anyio.sleep(65)
        site.master.create_skills(20, 2)
        await anyio.sleep(100)
        site.assert_same()
        assert site.source.statistics().losses == 0

    simulate(scenario)


# on demand


def test_a_comparison_on_demand_says_what_it_found() -> None:
    async def scenario(site: Site) -> None:
        position, verified = await site.source.digests.ask(timeout_s=10)
        assert position == Position(EPOCH, 110)
        assert verified.compared_with == "the master master:2020"
        assert {item.state for item in verified.types} == {"equal"}
        plant(site, PLANTED["missing"])
        _, verified = await site.source.digests.ask(timeout_s=10)
        assert [(item.type, item.objects, item.state) for item in verified.types if item.state != "equal"] == [
            (SKILL, 10, "healed")
        ]
        assert repr(site.source.digests) == "<DigestWatch 2 checks, 1 differences>"

    simulate(scenario)


def test_a_comparison_on_demand_needs_the_master() -> None:
    async def scenario(site: Site) -> None:
        site.master.override(MessageId.READ_DIGEST, lambda connection, frame: None)
        async with anyio.create_task_group() as tasks:

            async def lost() -> None:
                with pytest.raises(RetryableError, match="the connection was cut"):
                    await site.source.digests.ask(timeout_s=50)

            tasks.start_soon(lost)
            await anyio.sleep(1)
            with pytest.raises(RetryableError, match="took longer than 2 s"):
                await site.source.digests.ask(timeout_s=2)
            site.world.network.refuse("master", 2020)
            site.world.network.cut("master")
        await anyio.sleep(1)
        with pytest.raises(RetryableError, match="the master is away"):
            await site.source.digests.ask(timeout_s=50)

    simulate(scenario)


# the sizes of real sites


def test_comparing_blocks_neither_side() -> None:
    def large() -> CacheBuilder:
        builder = CacheBuilder()
        objects = [encode_object(SCHEMA.types[SKILL], skill(n)) for n in range(20_000)]
        builder.add(SKILL, objects, [SKILL] * len(objects))
        return builder

    def steps_of(cache: ConfigurationCache) -> int:
        return sum(1 for _ in cache.digest_steps(SKILL))

    assert steps_of(large().finish(Position(1, 1))) >= 20
