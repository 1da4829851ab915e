from __future__ import annotations

from typing import Any

import pytest
from upstream_world import (
    APPLICATION,
    BACKUP,
    MASTER,
    PROXY,
    SKILL,
    Master,
    assert_same,
    base_objects,
    make_world,
    skill,
    until,
)

from csproxy.core import codec
from csproxy.core.changes import Action, Position
from csproxy.core.failover import Endpoint
from csproxy.core.replication import State
from csproxy.errors import ConfigurationError, LocalProtocolError, RetryableError
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.wire.frames import FLAG_END, Frame, encode_frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import Status
from csproxy.transport.wire.registration import RegisterClient
from csproxy.transport.wire.replication import LoadGranted

pytestmark = pytest.mark.anyio


async def test_an_empty_proxy_reads_everything_and_becomes_live() -> None:
    skills = [(SKILL, skill(n), SKILL) for n in range(5000)]
    async with make_world([*base_objects(), *skills]) as world, world.source() as source:
        await source.wait_live()
        assert_same(world.master, world.sink)
        assert world.sink.calls == ["replace"]
        assert world.sink.position == (11, 100)
        assert world.sink.epochs == world.master.server.epochs
        statistics = source.statistics()
        assert (statistics.loads, statistics.resumes, statistics.losses) == (1, 0, 0)
        assert statistics.objects_loaded == sum(world.sink.cache.counts().values())
        assert statistics.state == "live"


async def test_the_load_slot_is_given_back() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        assert [len(session.connection.snapshots) for session in world.master.server.sessions] == [0]


async def test_the_own_application_object_is_known_once_live() -> None:
    async with make_world() as world, world.source() as source:
        assert source.application_object is None
        await source.wait_live()
        assert source.application_object is not None
        assert source.application_object["portInfos"] == [{"id": "default", "port": "2021"}]


async def test_changes_made_during_the_load_are_published_right_after_it() -> None:
    async with make_world() as world:
        usual = world.master.server.handlers[MessageId.LOAD_BEGIN]

        def granted(connection: ServerConnection, frame: Frame) -> None:
            usual(connection, frame)
            world.master.create_skills(0, 3)
            world.master.publish((Action.UPDATED, SKILL, {"DBID": 101, "name": "changed meanwhile"}))

        world.master.override(MessageId.LOAD_BEGIN, granted)
        async with world.source() as source:
            await source.wait_live()
            await world.caught_up()
            assert world.sink.calls == ["replace", "publish", "publish"]
            assert world.sink.transactions == [[101, 102, 103], [104]]
            assert_same(world.master, world.sink)


async def test_a_transaction_whose_end_comes_after_the_load_is_published_whole() -> None:
    async with make_world() as world:
        changes = world.master.next_transaction(*((Action.CREATED, SKILL, skill(n)) for n in range(2)))
        usual = world.master.server.handlers

        def first_half(connection: ServerConnection, frame: Frame) -> None:
            usual[MessageId.LOAD_BEGIN](connection, frame)
            connection.channel.write(changes[0].frame)

        def second_half(connection: ServerConnection, frame: Frame) -> None:
            usual[MessageId.LOAD_END](connection, frame)
            connection.channel.write(changes[1].frame)

        world.master.server.handlers = dict(usual)
        world.master.override(MessageId.LOAD_BEGIN, first_half)
        world.master.override(MessageId.LOAD_END, second_half)
        async with world.source():
            await until(lambda: bool(world.sink.transactions))
            assert world.sink.transactions == [[101, 102]]


async def test_the_proxy_names_itself_and_its_type_and_no_user() -> None:
    seen: list[RegisterClient] = []
    async with make_world() as world:

        def look(connection: ServerConnection, frame: Frame) -> bool:
            seen.append(decode_payload(RegisterClient, frame.payload))
            return True

        world.master.before_first(MessageId.REGISTER_CLIENT, look)
        async with world.source(app_password="pass") as source:
            await source.wait_live()
    assert [(r.type, r.name, r.user, r.app_password) for r in seen] == [(21, "proxy1", "", "pass")]


# refusals at the first start


async def refusal_of(world: Any, **options: Any) -> str:
    async with world.source(**options) as source:
        with pytest.raises(ConfigurationError) as caught:
            await source.wait_live()
        assert source.state is not State.LIVE
        assert world.sink.calls == []
    assert source.state is State.STOPPED
    assert source.statistics().refusals == 1
    return str(caught.value)


async def test_an_unknown_application_is_an_error_of_the_first_start() -> None:
    objects = [item for item in base_objects() if (item[0], item[1]["DBID"]) != (APPLICATION, PROXY)]
    async with make_world(objects) as world:
        assert "refused Application 'proxy1'" in await refusal_of(world)


async def test_an_application_of_another_type_is_an_error_of_the_first_start() -> None:
    async with make_world(base_objects(type=1)) as world:
        assert "CFGTServer" in await refusal_of(world)


async def test_a_proxy_of_a_proxy_is_an_error_of_the_first_start() -> None:
    async with make_world(role="proxy") as world:
        assert "proxy of a proxy" in await refusal_of(world)


@pytest.mark.parametrize(
    ("release", "sentence"), [("0.0.1", "older than this proxy"), ("unknown", "no release that can be read")]
)
async def test_an_older_or_unknown_release_is_an_error_of_the_first_start(release: str, sentence: str) -> None:
    async with make_world(release=release) as world:
        assert sentence in await refusal_of(world)


async def test_a_newer_master_is_followed_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with make_world(release="99.0") as world, world.source() as source:
        await source.wait_live()
    assert [r.levelname for r in caplog.records if "newer than this proxy" in r.message] == ["WARNING"]


async def test_warm_standby_without_a_pair_is_an_error_of_the_first_start() -> None:
    async with make_world(base_objects(redundancyType=2)) as world:
        sentence = await refusal_of(world)
    assert "Application 'proxy1' (DBID 101): redundancyType is 'Warm Standby'" in sentence


async def test_a_pair_needs_warm_standby() -> None:
    paired = {"hostDBID": 1, "port": "2021", "backupServerDBID": 99}
    async with make_world(base_objects(serverInfo=paired)) as world:
        assert "redundancyType is 'Not Specified', but must be 'Warm Standby'" in await refusal_of(world)


@pytest.mark.parametrize("of_whom", ["has a backup", "is a backup"])
async def test_either_member_of_a_pair_with_warm_standby_is_right(of_whom: str) -> None:
    if of_whom == "has a backup":
        server = {"hostDBID": 1, "port": "2021", "backupServerDBID": 99}
        objects = base_objects(redundancyType=2, serverInfo=server)
    else:
        objects = base_objects(redundancyType=2)
        primary = {"DBID": 200, "name": "primary", "type": 21, "serverInfo": {"backupServerDBID": PROXY}, "state": 1}
        objects.append((APPLICATION, primary, APPLICATION))
    async with make_world(objects) as world, world.source() as source:
        await source.wait_live()


async def test_a_server_that_speaks_no_common_protocol_version_is_an_error_of_the_first_start() -> None:
    async with make_world() as world:

        def refuse(connection: ServerConnection, frame: Frame) -> None:
            payload = codec.encode({"code": 2, "description": "no common protocol version"})
            connection.channel.write(encode_frame(MessageId.ERROR, payload, request=frame.request, flags=FLAG_END))

        world.master.override(MessageId.PROTOCOL_VERSION, refuse)
        assert "no common protocol version" in await refusal_of(world)


async def test_an_own_application_that_the_master_does_not_show_is_an_error_of_the_first_start() -> None:
    async with make_world() as world:

        def hide(connection: ServerConnection, frame: Frame) -> None:
            connection.channel.write(encode_frame(MessageId.OBJECTS_SENT, b"", request=frame.request, flags=FLAG_END))

        world.master.override(MessageId.READ_OBJECTS, hide)
        assert "has no Application 'proxy1'" in await refusal_of(world)


async def test_an_own_application_that_is_shown_with_another_type_is_an_error_of_the_first_start() -> None:
    async with make_world() as world:

        def disguise(connection: ServerConnection, frame: Frame) -> None:
            payload = codec.encode({"type": 9, "objects": [{"DBID": 101, "type": 1}]})
            connection.channel.write(encode_frame(MessageId.OBJECTS_READ, payload, request=frame.request))
            connection.channel.write(encode_frame(MessageId.OBJECTS_SENT, b"", request=frame.request, flags=FLAG_END))

        world.master.override(MessageId.READ_OBJECTS, disguise)
        assert "type is 1, but must be 21 (CFGConfigServer)" in await refusal_of(world)


# obstacles that pass


async def test_an_address_without_a_server_is_followed_by_the_next() -> None:
    async with make_world() as world:
        endpoints = [Endpoint("nobody", 1), MASTER]
        async with world.source(endpoints=endpoints) as source:
            await source.wait_live()
            assert source.statistics().endpoint == "master:2020"


async def test_a_master_without_data_is_asked_again() -> None:
    async with make_world() as world:
        empty = Master()
        async with empty.server:
            world.listen(empty, BACKUP)
            async with world.source(endpoints=[BACKUP, MASTER]) as source:
                await source.wait_live()
                assert source.statistics().losses == 1


async def test_attributes_that_a_newer_release_added_to_its_application_keep_no_client_out() -> None:
    async with make_world(base_objects(addedLater={"x": 1})) as world, world.source() as source:
        await source.wait_live()
        assert_same(world.master, world.sink)


async def test_a_load_with_a_missing_object_is_not_believed() -> None:
    async with make_world() as world:
        usual = world.master.server.handlers[MessageId.LOAD_BEGIN]
        snapshots = iter([True, False])

        def one_more(connection: ServerConnection, frame: Frame) -> None:
            if not next(snapshots):
                usual(connection, frame)
                return
            handle = world.master.server.next_snapshot()
            connection.snapshots[handle] = world.master.server.cache.view()
            granted = LoadGranted(snapshot=handle, counts={7: 2}, epochs=[(11, 1)])
            connection.answer(frame, MessageId.LOAD_GRANTED, granted)

        world.master.override(MessageId.LOAD_BEGIN, one_more)
        async with world.source() as source:
            await source.wait_live()
            assert source.statistics().losses == 1
            assert world.sink.calls == ["replace"]
            assert_same(world.master, world.sink)


async def test_a_peer_that_closes_at_once_is_tried_again() -> None:
    async with make_world() as world:
        world.network.listen("closing", 1, lambda channel: channel.close())
        async with world.source(endpoints=[Endpoint("closing", 1), MASTER]) as source:
            await source.wait_live()


# the object


async def test_a_request_to_the_master_goes_over_the_same_connection() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        frame = await source.request(MessageId.READ_STATUS)
        assert decode_payload(Status, frame.payload).status["name"] == "confserv"
        assert len(world.master.server.sessions) == 1


async def test_a_request_while_the_master_is_away_says_so_at_once() -> None:
    async with make_world() as world:
        source = world.source()
        with pytest.raises(RetryableError, match="the master is away") as caught:
            await source.request(MessageId.READ_STATUS)
        assert caught.value.retry_after_s > 0


async def test_leaving_the_context_closes_the_connection_and_keeps_the_data() -> None:
    async with make_world() as world:
        async with world.source() as source:
            await source.wait_live()
            connection = next(iter(world.master.server.sessions)).connection
        assert source.state is State.STOPPED
        assert world.sink.position == Position(11, 100)
        with pytest.raises(LocalProtocolError, match="has been stopped"):
            await source.wait_live()
        with pytest.raises(LocalProtocolError, match="entered once"):
            await source.__aenter__()
        async with world.source() as again:
            await again.wait_live()
            assert connection.is_closed


async def test_an_error_of_the_body_is_raised_as_it_is() -> None:
    async with make_world() as world:

        async def embedder() -> None:
            async with world.source() as source:
                await source.wait_live()
                raise KeyError("of the embedder")

        with pytest.raises(KeyError):
            await embedder()


async def test_a_source_shows_itself_in_a_line() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        assert repr(source) == "<UpstreamSource 'proxy1' live master:2020 at UEN 100>"
