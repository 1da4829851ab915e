from __future__ import annotations

import pytest
from upstream_world import BACKUP, HASTE, MASTER, SKILL, Master, assert_same, make_world, skill, until

from csproxy.core import codec
from csproxy.core.changelog import WindowLimits
from csproxy.core.changes import Action, Epoch
from csproxy.core.failover import Endpoint
from csproxy.core.replication import State
from csproxy.errors import ErrorCode, RetryableError
from csproxy.transport.connection import Connection
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.upstream import UpstreamLimits, UpstreamSource
from csproxy.transport.wire.frames import Frame, encode_frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.registration import RegisterClient
from csproxy.transport.wire.subscriptions import RegisterNotification

pytestmark = pytest.mark.anyio


async def test_each_transaction_is_published_at_once_and_whole() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        world.master.create_skills(0, 3)
        world.master.publish((Action.UPDATED, SKILL, {"DBID": 102, "name": "Łódź"}))
        world.master.publish((Action.DELETED, SKILL, skill(0)))
        await world.caught_up()
        assert world.sink.transactions == [[101, 102, 103], [104], [105]]
        assert_same(world.master, world.sink)
        assert (source.statistics().transactions, source.statistics().changes) == (3, 5)


async def test_progress_marks_change_nothing() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        for uen in (100, 99, 100):
            world.master.whisper(encode_frame(MessageId.PROGRESS_MARK, b"", epoch=11, uen=uen, flags=1))
        world.master.create_skills(0)
        await world.caught_up()
        assert world.sink.calls == ["replace", "publish"]
        assert source.statistics().losses == 0


async def test_a_transaction_closed_by_a_mark_is_published_with_its_end() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        [change, _] = world.master.next_transaction(*[(Action.CREATED, SKILL, skill(n)) for n in range(2)])
        assert not change.last
        world.master.whisper(change.frame)
        world.master.whisper(encode_frame(MessageId.PROGRESS_MARK, b"", epoch=11, uen=101, flags=1))
        await until(lambda: world.sink.transactions == [[101]])
        records = list(world.sink.replica.log.records(0, world.sink.replica.log.end))
        assert records[-1].last
        assert records[-1].frame[6] == 1


async def test_an_incomplete_transaction_is_dropped_with_the_connection_and_resumed_from_before_it() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        steps = [(Action.CREATED, SKILL, skill(n)) for n in range(3)]
        for change in world.master.next_transaction(*steps)[:2]:
            world.master.whisper(change.frame)
        world.network.cut("master")
        world.master.publish(*steps)
        await world.caught_up()
        assert world.sink.transactions == [[101, 102, 103]]
        assert source.statistics().loads == 1
        assert_same(world.master, world.sink)


async def test_a_repeated_change_is_dropped() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        [change] = world.master.create_skills(0)
        world.master.whisper(change.frame)
        world.master.create_skills(1)
        await world.caught_up()
        assert world.sink.transactions == [[101], [102]]
        assert source.statistics().losses == 0


async def test_a_gap_is_healed_by_resuming() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        [later] = world.master.next_transaction((Action.CREATED, SKILL, skill(7)), skipped=1)
        world.master.whisper(later.frame)
        await until(lambda: source.statistics().resumes == 1)
        world.master.create_skills(0)
        await world.caught_up()
        assert world.sink.calls == ["replace", "set_epochs", "publish"]
        assert_same(world.master, world.sink)


async def test_a_gap_that_comes_again_is_healed_by_loading() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        [later] = world.master.next_transaction((Action.CREATED, SKILL, skill(7)), skipped=1)
        world.master.whisper(later.frame)
        await until(lambda: source.statistics().resumes == 1)
        world.master.whisper(later.frame)
        await until(lambda: source.statistics().loads == 2)
        assert_same(world.master, world.sink)


async def test_a_change_that_does_not_fit_is_healed_by_loading() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        [odd] = world.master.next_transaction((Action.UPDATED, SKILL, {"DBID": 999, "name": "nobody has it"}))
        world.master.whisper(odd.frame)
        await until(lambda: source.statistics().loads == 2)
        assert_same(world.master, world.sink)
        assert source.statistics().last_error == ""


async def test_changes_before_any_were_asked_for_are_a_fault() -> None:
    async with make_world() as world:
        [change] = world.master.next_transaction((Action.CREATED, SKILL, skill(7)))

        def too_early(connection: object, frame: object) -> bool:
            world.master.whisper(change.frame)
            return True

        world.master.before_first(MessageId.READ_OBJECTS, too_early)
        async with world.source() as source:
            await source.wait_live()
            assert source.statistics().losses == 1
            assert_same(world.master, world.sink)


async def test_too_many_changes_during_one_load_make_it_start_anew() -> None:
    async with make_world() as world:
        usual = world.master.server.handlers[MessageId.LOAD_BEGIN]
        loads = iter([True, False])

        def flood(connection: object, frame: object) -> None:
            usual(connection, frame)  # type: ignore[arg-type]
            if next(loads):
                world.master.create_skills(0, 20)

        world.master.override(MessageId.LOAD_BEGIN, flood)
        async with world.source(limits=UpstreamLimits(kept_back_bytes=1000)) as source:
            await source.wait_live()
            assert source.statistics().losses == 1
            assert world.sink.calls == ["replace"]
            assert_same(world.master, world.sink)


# losing the master


async def test_a_short_loss_is_healed_by_resuming_with_all_that_was_missed() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        for n in range(3):
            world.network.cut("master")
            world.master.create_skills(10 * n, 5)
            await world.caught_up()
        await until(lambda: source.state is State.LIVE)
        statistics = source.statistics()
        assert (statistics.losses, statistics.resumes, statistics.loads) == (3, 3, 1)
        assert world.sink.transactions == [list(range(n, n + 5)) for n in (101, 106, 111)]
        assert_same(world.master, world.sink)


async def test_what_the_history_no_longer_holds_is_loaded_while_the_old_data_stays() -> None:
    limits = WindowLimits(min_changes=1, min_age_s=0.0, max_bytes=1)
    async with make_world(settings={"history": limits}) as world, world.source() as source:
        await source.wait_live()
        world.network.refuse("master", 2020)
        world.network.cut("master")
        for n in range(50):
            world.master.create_skills(n)
        seen: list[int] = []
        world.master.before_first(
            MessageId.LOAD_BEGIN, lambda connection, frame: seen.append(world.sink.cache.count(SKILL)) is None
        )
        world.network.refuse("master", 2020, on=False)
        await until(lambda: source.statistics().loads == 2)
        assert seen == [0]
        assert world.sink.calls[-1] == "replace"
        assert_same(world.master, world.sink)


async def test_a_new_epoch_of_the_same_history_is_resumed() -> None:
    async with make_world() as world:
        other = Master("backup")
        async with other.server, world.source(endpoints=[MASTER, BACKUP]) as source:
            await source.wait_live()
            world.master.create_skills(0, 2)
            await world.caught_up()
            world.network.refuse("master", 2020)
            world.network.cut("master")
            world.master.create_skills(2)
            other.take_over(world.master, epoch=22)
            world.listen(other, BACKUP)
            other.create_skills(3)
            await world.caught_up(other)
            assert world.sink.epochs == [Epoch(11, 1), Epoch(22, 104)]
            assert world.sink.position == (22, 104)
            assert source.statistics().loads == 1
            assert_same(other, world.sink)
            assert source.statistics().endpoint == "backup:2020"


async def test_a_master_restored_from_a_backup_is_noticed_and_loaded() -> None:
    async with make_world() as world:
        restored = Master("restored")
        async with restored.server, world.source(endpoints=[MASTER, BACKUP]) as source:
            await source.wait_live()
            restored.take_over(world.master, epoch=22)
            world.master.create_skills(0, 2)
            await world.caught_up()
            world.network.refuse("master", 2020)
            world.network.cut("master")
            restored.create_skills(50, 3)
            world.listen(restored, BACKUP)
            await until(lambda: source.statistics().loads == 2)
            assert world.sink.position == (22, 103)
            assert_same(restored, world.sink)


async def test_the_data_of_a_backup_that_has_just_taken_over_a_restored_database_is_of_its_epoch() -> None:
    async with make_world() as world:
        restored = Master("restored")
        async with restored.server, world.source(endpoints=[MASTER, BACKUP]) as source:
            await source.wait_live()
            head = world.master.server.position
            restored.take_over(world.master, epoch=22)
            restored.server.replica.cache.position = head  # as one that followed: it has not written yet
            world.master.create_skills(0, 2)
            await world.caught_up()
            world.network.refuse("master", 2020)
            world.network.cut("master")
            world.listen(restored, BACKUP)
            await until(lambda: source.statistics().loads == 2)
            assert world.sink.position == (22, head.uen)


async def test_a_backup_stays_in_use_until_it_is_lost_and_then_the_primary_is_tried_first() -> None:
    async with make_world() as world:
        other = Master("backup")
        async with other.server, world.source(endpoints=[MASTER, BACKUP]) as source:
            await source.wait_live()
            other.take_over(world.master, epoch=22)
            world.listen(other, BACKUP)
            world.network.refuse("master", 2020)
            world.network.cut("master")
            await until(lambda: source.statistics().endpoint == "backup:2020" and source.state is State.LIVE)
            world.network.refuse("master", 2020, on=False)
            other.create_skills(0)
            await world.caught_up(other)
            assert source.statistics().endpoint == "backup:2020"
            world.master.take_over(other, epoch=33)
            world.network.cut("backup")
            await until(lambda: source.statistics().endpoint == "master:2020" and source.state is State.LIVE)
            assert world.sink.position.uen == 101
            assert world.sink.epochs[-1].epoch == 33


async def test_a_master_that_cannot_resume_yet_is_asked_again() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()

        def not_yet(connection: ServerConnection, frame: Frame) -> bool:
            connection.refuse(frame, RetryableError(ErrorCode.UNDEFINED_ERROR, "not there yet", retry_after_s=0.01))
            return False

        world.master.before_first(MessageId.RESUME_FROM, not_yet)
        world.network.cut("master")
        await until(lambda: source.statistics().resumes == 1)
        assert source.statistics().losses == 2
        assert source.statistics().loads == 1


async def test_a_master_that_does_not_know_how_to_resume_is_loaded_from() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        del world.master.server.handlers[MessageId.RESUME_FROM]
        world.network.cut("master")
        await until(lambda: source.statistics().loads == 2)
        assert_same(world.master, world.sink)


async def test_a_load_without_folders_is_not_believed() -> None:
    async with make_world() as world:

        def without_folders(connection: ServerConnection, frame: Frame) -> bool:
            request = decode_payload(ReadObjects, frame.payload)
            if request.snapshot:
                world.master.server.handlers[MessageId.READ_OBJECTS] = usual
                payload = codec.encode({"type": request.type, "objects": [{"DBID": 1}]})
                connection.channel.write(encode_frame(MessageId.OBJECTS_READ, payload, request=frame.request))
            else:
                usual(connection, frame)
            return False

        usual = world.master.server.handlers[MessageId.READ_OBJECTS]
        world.master.override(MessageId.READ_OBJECTS, without_folders)
        async with world.source() as source:
            await source.wait_live()
            assert source.statistics().losses == 1
            assert_same(world.master, world.sink)


async def test_clients_of_the_proxy_are_not_disturbed_by_what_happens_upstream() -> None:
    limits = WindowLimits(min_changes=1, min_age_s=0.0, max_bytes=1)
    async with make_world(settings={"history": limits}) as world:
        proxy = Master("proxy", role="proxy")
        source = UpstreamSource(
            proxy.server, world.network.connector("proxy"), [MASTER], "proxy1", limits=HASTE, random=lambda: 0.5
        )
        async with proxy.server, source:
            await source.wait_live()
            world.listen(proxy, Endpoint("proxy", 2021))
            client = await Connection.open(await world.network.connector("client")("proxy", 2021), "desktop")
            received: list[tuple[int, int, int]] = []
            client.on_change = lambda change: received.append((change.action, change.dbid, change.position.uen))
            await client.register(RegisterClient(type=19, name="default", user="default", password="secret"))
            await client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=SKILL))

            world.master.create_skills(0, 2)
            await until(lambda: len(received) == 2)
            world.network.refuse("master", 2020)
            world.network.cut("master", "proxy")
            for n in range(2, 50):
                world.master.create_skills(n)
            world.master.publish((Action.DELETED, SKILL, skill(0)))
            answer = await client.request(MessageId.READ_STATUS)
            assert answer.uen == 102, "served from memory meanwhile"
            world.network.refuse("master", 2020, on=False)
            await until(lambda: source.statistics().loads == 2)
            await until(lambda: len(received) == 2 + 48 + 1)

            assert received[:2] == [(74, 101, 101), (74, 102, 102)]
            assert {uen for _, _, uen in received[2:]} == {world.master.server.position.uen}
            assert (16, 101, 151) in received
            assert client.error is None
            client.close()
