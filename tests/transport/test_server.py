"""The server's answers, driven by hand: no event loop, no time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from csproxy.core import codec
from csproxy.core.changelog import WindowLimits
from csproxy.core.changes import Action, Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA, CfgAppType
from csproxy.core.model.delta import encode_object
from csproxy.errors import ErrorCode
from csproxy.transport.channel import HIGH_WATER_BYTES
from csproxy.transport.server import ConfigurationServer, ServerSettings
from csproxy.transport.server_connection import PUMP_BYTES
from csproxy.transport.wire.exchanges import IMPLEMENTED_REQUESTS
from csproxy.transport.wire.frames import FLAG_END, MAGIC, Frame, FrameReader, encode_frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import Disconnected, Error
from csproxy.transport.wire.reads import ObjectsRead, ReadObjects, SnapshotHandle
from csproxy.transport.wire.registration import RegisterClient
from csproxy.transport.wire.replication import ReadDigest
from csproxy.transport.wire.subscriptions import (
    HistoryLog,
    RegisterNotification,
    ResumeFrom,
    Subscription,
    UnregisterNotification,
)
from tests.transport.manual import EPOCH, Client, ManualChannel, Turns, application, manual_server, transaction

APPLICATION, SKILL, FOLDER = 9, 13, 22
NOWHERE = Position(0, 0)


def skill(dbid: int, *, name: str = "", filler: int = 0) -> dict[str, Any]:
    item: dict[str, Any] = {"DBID": dbid, "tenantDBID": 1, "name": name or f"skill {dbid}", "state": 1}
    if filler:
        item["userProperties"] = {"v": {"filler": "x" * filler}}
    return item


def site(skills: int = 3, *, filler: int = 0, **options: Any) -> tuple[ConfigurationServer, Turns]:
    objects = [(APPLICATION, application(200 + i, f"client_{i}")) for i in range(3)]
    objects.append((APPLICATION, application(300, "desk", CfgAppType.CFGSCE)))
    objects.append((APPLICATION, application(301, "proxy", CfgAppType.CFGConfigServer)))
    objects += [(SKILL, skill(dbid, filler=filler)) for dbid in range(1, skills + 1)]
    return manual_server(objects, **options)


def error(client: Client) -> Error:
    return decode_payload(Error, client.answer(MessageId.ERROR).payload)


def read(client: Client, **fields: Any) -> list[dict[str, Any]]:
    """The objects of an answer; checks that the frames are an answer."""
    seen = len(client.frames)
    request = client.request(MessageId.READ_OBJECTS, ReadObjects(**fields))
    client.receive_all()
    frames = [frame for frame in client.frames[seen:] if frame.request == request]
    assert [bool(frame.flags & FLAG_END) for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert len({(frame.epoch, frame.uen) for frame in frames}) == 1
    objects = [
        codec.decode_map(bytes(raw))
        for frame in frames[:-1]
        for raw in decode_payload(ObjectsRead, frame.payload).objects
    ]
    assert codec.decode_map(frames[-1].payload).get("total", 0) == len(objects)
    return objects


class RawClient:
    """A client that keeps to no rules."""

    def __init__(self, server: ConfigurationServer) -> None:
        self.channel = ManualChannel()
        server.connect(self.channel)

    def send(self, data: bytes) -> list[Frame]:
        self.channel.deliver(data)
        self.channel.take(1 << 30)
        return FrameReader().receive_data(bytes(self.channel.taken))

    def refused(self, data: bytes) -> Disconnected:
        """The disconnect notice that ends the connection."""
        frame = self.send(data)[-1]
        assert frame.message == MessageId.DISCONNECTED
        assert self.channel.is_closing
        return decode_payload(Disconnected, frame.payload)


def version_frame(versions: list[int]) -> bytes:
    payload = codec.encode({"client": "raw", "versions": versions})
    return encode_frame(MessageId.PROTOCOL_VERSION, payload, request=1)


# bad input: the documented error, and nobody else notices


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"GET / HTTP/1.1\r\n", ErrorCode.WRONG_PROTOCOL, "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01", ErrorCode.WRONG_PROTOCOL, "TLS"),
        (b"\x00" * 100, ErrorCode.WRONG_PROTOCOL, "not this protocol"),
        (MAGIC + b"\xff" * 28, ErrorCode.OBJECT_PACKING_ERROR, "above the limit"),
        (MAGIC + b"\x00" * 28, ErrorCode.WRONG_PROTOCOL, "too short"),
        (MAGIC + version_frame([99]), ErrorCode.WRONG_PROTOCOL, "speaks protocol versions [99]"),
        (MAGIC + version_frame([1]) + encode_frame(10, b"", request=2), ErrorCode.WRONG_PROTOCOL, "register first"),
        (MAGIC + encode_frame(49, b"\xc1", request=1), ErrorCode.OBJECT_PACKING_ERROR, ""),
    ],
)
def test_a_client_that_breaks_the_rules_is_told_why_and_cut(data: bytes, code: ErrorCode, words: str) -> None:
    server, _ = site()
    good = Client(server, "client_0")
    notice = RawClient(server).refused(data)
    assert notice.code == code
    assert words in notice.description
    assert [item["DBID"] for item in read(good, type=SKILL)] == [1, 2, 3]


def test_a_truncated_frame_waits_for_its_rest() -> None:
    server, _ = site()
    raw = RawClient(server)
    data = MAGIC + version_frame([1])
    assert raw.send(data[:20]) == []
    assert raw.send(data[20:])[0].message == MessageId.PROTOCOL_VERSION_READ


def test_requests_may_be_sent_ahead_of_the_registration() -> None:
    server, _ = site()
    register = codec.encode(RegisterClient(type=2, name="client_0"))
    data = MAGIC + version_frame([1]) + encode_frame(3, register, request=2)
    data += encode_frame(78, b"", request=3) + encode_frame(10, codec.encode(ReadObjects(type=SKILL)), request=4)
    messages = [frame.message for frame in RawClient(server).send(data)]
    assert messages == [50, 19, 13, 73, 20]


@pytest.mark.parametrize(
    ("message", "payload", "code", "words"),
    [
        (4711, b"", ErrorCode.UNKNOWN_MESSAGE, "message 4711 is not known"),
        (103, b"", None, "registered already"),
        (10, codec.encode({"type": 99}), ErrorCode.UNSUPPORTED_OBJECT, "99"),
        (10, codec.encode({"type": 99, "filter": {"dbid": 1}}), ErrorCode.UNSUPPORTED_OBJECT, "99"),
        (10, codec.encode({"type": SKILL, "filter": {"colour": 1}}), ErrorCode.WRONG_API_PARAMETERS, "colour"),
        (10, codec.encode({"type": SKILL, "filter": {"dbid": "x"}}), ErrorCode.WRONG_API_PARAMETERS, "dbid"),
        (10, codec.encode({"type": "skill"}), ErrorCode.WRONG_API_PARAMETERS, "type"),
        (10, codec.encode({"type": SKILL, "snapshot": 7}), ErrorCode.WRONG_API_PARAMETERS, "snapshot 7"),
        (10, b"", ErrorCode.WRONG_API_PARAMETERS, ""),
        (10, b"\xc1", ErrorCode.WRONG_API_PARAMETERS, ""),
        (78, codec.encode({"object_dbid": 5}), ErrorCode.WRONG_API_PARAMETERS, "object_type"),
        (78, codec.encode({"object_type": 77}), ErrorCode.UNSUPPORTED_OBJECT, "77"),
        (77, codec.encode({"object_type": 3}), ErrorCode.LIST_ITEM_NOT_FOUND, "no subscription"),
        (41, codec.encode({"session": "other"}), ErrorCode.WRONG_API_PARAMETERS, "own restored session"),
        (1006, codec.encode({"snapshot": 3}), ErrorCode.WRONG_API_PARAMETERS, "snapshot 3"),
        (1012, codec.encode({"types": [99]}), ErrorCode.UNSUPPORTED_OBJECT, "99"),
    ],
)
def test_a_wrong_request_gets_its_error_and_the_connection_lives(
    message: int, payload: bytes, code: ErrorCode | None, words: str
) -> None:
    server, _ = site()
    client = Client(server, "client_0")
    client.channel.deliver(encode_frame(message, payload, request=99))
    client.channel.take(1 << 30)
    frame = RawReader.last(client)
    if code is None:
        assert frame.message == MessageId.DISCONNECTED
        assert words in decode_payload(Disconnected, frame.payload).description
        return
    assert (frame.message, frame.request) == (MessageId.ERROR, 99)
    answer = decode_payload(Error, frame.payload)
    assert answer.code == code
    assert words in answer.description
    assert len(read(client, type=SKILL)) == 3


class RawReader:
    """Reads frames past the client's own protocol object, which knows nothing of the request."""

    @staticmethod
    def last(client: Client) -> Frame:
        frames = FrameReader().receive_data(bytes(client.channel.taken))
        client.channel.taken.clear()
        return frames[-1]


# registration


def refusal(server: ConfigurationServer, **fields: Any) -> Error:
    register = codec.encode(RegisterClient(**fields))
    data = MAGIC + version_frame([1]) + encode_frame(3, register, request=2)
    frame = RawClient(server).send(data)[-1]
    assert frame.message == MessageId.ERROR
    return decode_payload(Error, frame.payload)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"type": 2, "name": "nobody"}, ErrorCode.APP_SECURITY_VIOLATION, "no Application object named 'nobody'"),
        ({"type": 1, "name": "client_0"}, ErrorCode.APP_SECURITY_VIOLATION, "of type CFGStatServer (2), not"),
        ({"type": 19, "name": "desk"}, ErrorCode.LOGIN_INCORRECT, "a user name and password are needed"),
        ({"type": 2, "name": "client_0", "encoding": "EBCDIC"}, ErrorCode.UNSUPPORTED_ENCODING, "use UTF-8"),
    ],
)
def test_a_registration_that_cannot_be_is_refused_with_its_reason(
    fields: dict[str, Any], code: ErrorCode, words: str
) -> None:
    server, _ = site()
    fields = {**fields, "type": int(CfgAppType.CFGSCE) if fields["name"] == "desk" else fields["type"]}
    answer = refusal(server, **fields)
    assert answer.code == code
    assert words in answer.description


def test_a_daemon_is_connected_once_at_a_time() -> None:
    server, _ = site()
    first = Client(server, "client_0")
    answer = refusal(server, type=2, name="client_0")
    assert answer.code == ErrorCode.APP_SECURITY_VIOLATION
    assert "connected already" in answer.description
    assert answer.retry_after_ms > 0
    first.channel.lose()
    Client(server, "client_0")


def test_a_refused_client_may_try_again_on_the_same_connection() -> None:
    server, _ = site()
    raw = RawClient(server)
    wrong = encode_frame(3, codec.encode(RegisterClient(type=2, name="nobody")), request=2)
    assert raw.send(MAGIC + version_frame([1]) + wrong)[-1].message == MessageId.ERROR
    right = encode_frame(3, codec.encode(RegisterClient(type=2, name="client_0")), request=3)
    assert raw.send(right)[-1].message == MessageId.CLIENT_REGISTERED


def test_a_proxy_refuses_to_be_the_master_of_a_proxy() -> None:
    server, _ = site(role="proxy")
    answer = refusal(server, type=int(CfgAppType.CFGConfigServer), name="proxy")
    assert answer.code == ErrorCode.APP_SECURITY_VIOLATION
    assert "proxy of a proxy is not supported" in answer.description


# reads


def test_a_point_read_gives_the_object_or_nothing() -> None:
    server, _ = site()
    client = Client(server, "client_0")
    assert read(client, type=SKILL, filter={"dbid": 2}) == [skill(2)]
    assert read(client, type=SKILL, filter={"dbid": 99}) == []
    assert read(client, type=SKILL, filter={"name": "skill 3"}) == [skill(3)]
    assert read(client, type=SKILL) == [skill(1), skill(2), skill(3)]


def test_a_large_answer_comes_in_parts_of_one_position_while_changes_go_on() -> None:
    server, turns = site(skills=300, filler=1000, settings=ServerSettings(packet_bytes=10_000))
    client = Client(server, "client_0")
    client.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
    turns.run()
    for uen in range(1, 50):
        server.publish(transaction(uen, (Action.DELETED, SKILL, skill(uen), None)))
        client.receive(5_000)
        turns.run()
    client.receive_all()
    parts = [frame for frame in client.frames if frame.message == MessageId.OBJECTS_READ]
    assert {(frame.epoch, frame.uen) for frame in parts} == {(EPOCH, 0)}
    assert len(parts) >= 30
    assert max(len(frame.payload) for frame in parts) < 20_000
    dbids = [
        codec.decode_map(bytes(raw))["DBID"] for f in parts for raw in decode_payload(ObjectsRead, f.payload).objects
    ]
    assert dbids == list(range(1, 301))
    assert len(read(client, type=SKILL, filter={"dbid": 60})) == 1
    assert read(client, type=SKILL, filter={"dbid": 20}) == []


def test_long_answers_are_refused_while_too_much_waits_for_clients_that_take_nothing() -> None:
    server, turns = site(skills=300, filler=1000, settings=ServerSettings(max_output_bytes=50_000))
    stalled, other = Client(server, "client_0"), Client(server, "client_1")
    stalled.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
    turns.run()
    assert server.statistics().congested == 1
    other.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
    refused = error(other)
    assert "max-output-queue-size" in refused.description
    assert refused.retry_after_ms > 0
    assert len(read(other, type=SKILL, filter={"dbid": 60})) == 1, "a short answer is not refused"
    server.settings = msgspec.structs.replace(server.settings, max_output_bytes=0)
    assert len(read(other, type=SKILL)) == 300, "without a limit"
    server.settings = msgspec.structs.replace(server.settings, max_output_bytes=50_000)
    stalled.receive_all()
    assert len(read(other, type=SKILL)) == 300, "what waited was taken"
    assert repr(server.bulk_readers) == "<BulkReaders 0>"


def test_one_huge_object_goes_in_a_part_of_its_own() -> None:
    server, _turns = site(settings=ServerSettings(packet_bytes=10_000))
    created = [(Action.CREATED, SKILL, skill(10 + i, filler=200_000 if i == 2 else 10), None) for i in range(5)]
    server.publish(transaction(1, *created))
    client = Client(server, "client_0")
    client.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
    client.receive_all()
    parts = [len(f.payload) for f in client.frames if f.message == MessageId.OBJECTS_READ]
    assert sorted(parts)[-1] > 200_000
    assert all(size < 20_000 for size in sorted(parts)[:-1])


def test_a_folder_is_read_with_its_members_and_an_object_with_its_path() -> None:
    folder = {"DBID": 50, "name": "Skills", "type": SKILL, "ownerID": {"DBID": 1, "type": 7}, "state": 1}
    server, _ = site()
    server.publish(transaction(1, (Action.CREATED, FOLDER, folder, None)))
    moved = {"objectIDs": {"added": [{"DBID": 2, "type": SKILL}]}}
    server.publish(transaction(2, (Action.UPDATED, FOLDER, folder, moved)))
    client = Client(server, "client_0")
    assert read(client, type=FOLDER, filter={"dbid": 50})[0]["objectIDs"] == [{"DBID": 2, "type": SKILL}]
    client.request(
        MessageId.READ_OBJECTS, ReadObjects(type=SKILL, filter={"dbid": 2, "object_path": 1, "read_folder_dbid": 1})
    )
    client.receive()
    part = decode_payload(ObjectsRead, client.frames[-2].payload)
    assert (part.folders, part.paths) == ([50], [["Skills"]])


def test_a_snapshot_shows_its_position_until_it_is_closed() -> None:
    server, _ = site()
    client = Client(server, "client_0")
    client.request(MessageId.OPEN_SNAPSHOT)
    handle = decode_payload(SnapshotHandle, client.answer(MessageId.SNAPSHOT_OPENED).payload).snapshot
    server.publish(transaction(1, (Action.DELETED, SKILL, skill(1), None)))
    assert len(read(client, type=SKILL, snapshot=handle)) == 3
    assert read(client, type=SKILL, snapshot=handle, filter={"name": "skill 1"}) == [skill(1)]
    assert len(read(client, type=SKILL)) == 2
    client.request(MessageId.CLOSE_SNAPSHOT, SnapshotHandle(snapshot=handle))
    client.answer(MessageId.SNAPSHOT_CLOSED)
    client.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL, snapshot=handle))
    assert error(client).property == "snapshot"


def test_a_client_holds_a_bounded_number_of_snapshots() -> None:
    server, _ = site()
    client = Client(server, "client_0")
    for _ in range(4):
        client.request(MessageId.OPEN_SNAPSHOT)
        client.answer(MessageId.SNAPSHOT_OPENED)
    client.request(MessageId.OPEN_SNAPSHOT)
    assert "close one first" in error(client).description


def test_digests_status_and_ping_are_answered() -> None:
    server, _ = site()
    client = Client(server, "client_0")
    client.request(MessageId.READ_DIGEST, ReadDigest(types=[SKILL]))
    before = codec.decode(client.answer(MessageId.DIGEST).payload)["digests"][SKILL]
    server.publish(transaction(1, (Action.DELETED, SKILL, skill(1), None)))
    client.request(MessageId.READ_DIGEST)
    frame = client.answer(MessageId.DIGEST)
    assert codec.decode(frame.payload)["digests"][SKILL] != before
    assert frame.uen == 1
    client.request(MessageId.READ_STATUS)
    status = codec.decode_map(client.answer(MessageId.STATUS).payload)["status"]
    assert (status["role"], status["ready"], status["uen"], status["clients"]) == ("master", True, 1, 1)
    client.request(MessageId.PING)
    assert client.answer(MessageId.PONG).uen == 1
    assert "1 clients" in repr(server)


# flow control


def test_a_client_that_never_reads_is_held_back_and_others_notice_nothing() -> None:
    server, turns = site(skills=50, filler=5_000)
    greedy, other = Client(server, "client_0"), Client(server, "client_1")
    request = codec.encode(ReadObjects(type=SKILL, filter={"dbid": 5}))
    data = b"".join(encode_frame(10, request, request=1000 + i) for i in range(2_000))
    greedy.channel.deliver(data)
    assert greedy.channel.is_paused
    assert greedy.channel.pending_bytes < server.settings.max_client_output_bytes + 2 * HIGH_WATER_BYTES
    assert len(read(other, type=SKILL, filter={"dbid": 5})) == 1
    answered = 0
    while answered < 2_000:
        greedy.channel.take(1 << 30)
        turns.run_all()
        answered += sum(f.message == 20 for f in FrameReader().receive_data(bytes(greedy.channel.taken)))
        greedy.channel.taken.clear()
    assert answered == 2_000
    assert not greedy.channel.is_paused


def test_many_bulk_reads_wait_for_each_other_on_one_connection() -> None:
    server, _turns = site(skills=300, filler=1_000)
    client = Client(server, "client_0")
    for _ in range(70):
        client.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
    assert client.channel.is_paused
    client.receive_all()
    assert sum(frame.message == MessageId.OBJECTS_SENT for frame in client.frames) == 70
    assert not client.channel.is_paused


# subscriptions and resuming


def test_a_transaction_that_ends_for_others_is_closed_by_a_mark() -> None:
    server, turns = site()
    client = Client(server, "client_0")
    client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=SKILL))
    other = application(400, "new")
    server.publish(transaction(1, (Action.DELETED, SKILL, skill(1), None), (Action.CREATED, APPLICATION, other, None)))
    turns.run_all()
    client.receive()
    deleted, mark = client.frames[-2:]
    assert (deleted.message, deleted.uen, deleted.flags & FLAG_END) == (16, 1, 0)
    assert (mark.message, mark.uen, mark.flags & FLAG_END) == (MessageId.PROGRESS_MARK, 2, FLAG_END)


def test_scripts_come_without_bytecode_if_every_subscription_asks_so() -> None:
    server, turns = site()
    spared, full = Client(server, "client_0"), Client(server, "client_1")
    spared.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=12, exclude_bytecode=True))
    full.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=12))
    code = {"strategy": {"text": "source", "bytecode": b"\x00\x01"}}
    script = {"DBID": 5, "name": "s", "tenantDBID": 1, "type": 6, "state": 1, "userProperties": code}
    server.publish(transaction(1, (Action.CREATED, 12, script, None)))
    turns.run_all()
    stored = [codec.decode_map(c.answer(MessageId.OBJECT_CREATED).payload)["object"] for c in (spared, full)]
    assert stored[0]["userProperties"] == {"strategy": {"text": "source"}}
    assert stored[1] == script
    resumed = Client(server, "client_2")
    wanted = ResumeFrom(subscriptions=[Subscription(object_type=12, exclude_bytecode=True)])
    resumed.request(MessageId.RESUME_FROM, wanted, minimum=Position(EPOCH, 0))
    resumed.receive()
    replayed = next(f for f in resumed.frames if f.message == MessageId.OBJECT_CREATED)
    assert codec.decode_map(replayed.payload)["object"]["userProperties"] == {"strategy": {"text": "source"}}


class EagerChannel(ManualChannel):
    """One whose peer takes everything at once."""

    def write(self, data: bytes) -> None:
        self.taken += data

    def say_writable(self) -> None:
        assert self._receiver is not None
        self._receiver.writable()


def test_those_who_read_much_share_what_a_turn_may_send() -> None:
    server, turns = site(600, filler=30_000)
    channels = [EagerChannel() for _ in range(3)]
    clients = [Client(server, f"client_{number}", channel=channel) for number, channel in enumerate(channels)]
    for client in clients:
        client.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
    for channel in channels:
        channel.say_writable()  # as a socket does that was full for a moment; it begins no second round
        channel.taken.clear()
    sent: list[int] = []
    while not sent or sent[-1]:
        turns.run()
        sent.append(sum(len(channel.taken) for channel in channels))
        for channel in channels:
            channel.taken.clear()
    assert max(sent) <= PUMP_BYTES + 3 * 100_000
    assert sum(sent) > 10 * PUMP_BYTES


@pytest.mark.parametrize("message", [MessageId.RESUME_FROM, MessageId.REGISTER_NOTIFICATION])
@pytest.mark.parametrize("position", [Position(EPOCH + 1, 0), Position(5, 3)])
def test_a_position_of_another_history_is_refused_and_nothing_changes(message: MessageId, position: Position) -> None:
    server, turns = site()
    client = Client(server, "client_0")
    client.request(message, minimum=position)
    assert error(client).code == ErrorCode.HISTORY_LOG_EXPIRED
    server.publish(transaction(1, (Action.DELETED, SKILL, skill(1), None)))
    turns.run_all()
    assert client.receive() == []


def test_a_session_belongs_to_who_restored_it_last() -> None:
    server, _ = site()
    first = Client(server, "client_0")
    second = Client(server, "client_0", session=first.session)
    notice = decode_payload(Disconnected, first.answer(MessageId.DISCONNECTED).payload)
    assert notice.code == ErrorCode.FORCED_DISCONNECT
    assert "restored from another connection" in notice.description
    first.channel.lose()
    assert len(read(second, type=SKILL)) == 3
    assert len(server.sessions) == 1


def test_an_unknown_session_is_refused_with_27() -> None:
    server, _ = site()
    raw = RawClient(server)
    restore = codec.encode({"type": 2, "name": "client_0", "session": "0" * 32})
    frame = raw.send(MAGIC + version_frame([1]) + encode_frame(40, restore, request=2))[-1]
    answer = decode_payload(Error, frame.payload)
    assert answer.code == ErrorCode.HISTORY_LOG_EXPIRED
    assert "register anew" in answer.description


def test_a_restored_session_is_silent_until_it_asks_for_its_history() -> None:
    server, turns = site()
    first = Client(server, "client_0")
    first.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=SKILL))
    first.receive()
    first.channel.lose()
    server.publish(transaction(1, (Action.DELETED, SKILL, skill(1), None)))
    second = Client(server, "client_0", session=first.session)
    server.publish(transaction(2, (Action.DELETED, SKILL, skill(2), None)))
    turns.run_all()
    assert second.receive() == []
    second.request(MessageId.HISTORY_LOG, HistoryLog(session=first.session), minimum=Position(EPOCH, 0))
    turns.run_all()
    assert second.answer(MessageId.HISTORY_LOG_SENT).uen == 2
    assert [uen for uen, *_ in second.changes()] == [1, 2]


def test_a_restored_session_goes_on_with_what_its_client_names_and_nothing_else() -> None:
    """A client may have ended a subscription without this server having heard of it."""
    server, turns = site()
    first = Client(server, "client_0")
    for kind in (SKILL, 0):
        first.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=kind))
    first.receive()
    first.channel.lose()
    both = (Action.DELETED, APPLICATION, application(201, "client_1"), None), (Action.DELETED, SKILL, skill(1), None)
    server.publish(transaction(1, *both))
    second = Client(server, "client_0", session=first.session, relies_on=[Subscription(object_type=SKILL)])
    second.request(MessageId.HISTORY_LOG, HistoryLog(session=first.session), minimum=Position(EPOCH, 0))
    turns.run_all()
    assert second.answer(MessageId.HISTORY_LOG_SENT).uen == 2
    server.publish(transaction(3, (Action.DELETED, APPLICATION, application(202, "client_2"), None)))
    turns.run_all()
    second.receive()
    assert [kind for _, _, kind, _ in second.changes()] == [SKILL]


def test_a_subscription_that_ended_brings_nothing_more() -> None:
    server, turns = site()
    client = Client(server, "client_0")
    client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=SKILL))
    server.publish(transaction(1, (Action.DELETED, SKILL, skill(1), None)))
    client.request(MessageId.UNREGISTER_NOTIFICATION, UnregisterNotification(object_type=SKILL))
    server.publish(transaction(2, (Action.DELETED, SKILL, skill(2), None)))
    turns.run_all()
    client.receive()
    assert [uen for uen, *_ in client.changes()] == [1]
    assert list(server.subscriptions.classes) == []


def test_a_load_gets_a_snapshot_and_every_change_after_it() -> None:
    server, turns = site()
    proxy = Client(server, "client_0")
    proxy.request(MessageId.LOAD_BEGIN)
    granted = codec.decode(proxy.answer(MessageId.LOAD_GRANTED).payload)
    assert granted["counts"] == {APPLICATION: 5, SKILL: 3}
    assert granted["epochs"] == [[EPOCH, 1]]
    server.publish(transaction(1, (Action.DELETED, SKILL, skill(1), None)))
    turns.run_all()
    assert len(read(proxy, type=SKILL, snapshot=granted["snapshot"], filter={"read_folder_dbid": 1})) == 3
    assert [uen for uen, *_ in proxy.changes()] == [1]
    proxy.request(MessageId.LOAD_END, SnapshotHandle(snapshot=granted["snapshot"]))
    proxy.answer(MessageId.LOAD_ENDED)


def test_a_reload_tells_subscribers_the_difference_in_one_transaction() -> None:
    server, turns = site()
    client, late = Client(server, "client_0"), Client(server, "client_1")
    client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=SKILL))
    builder = CacheBuilder(server.cache)
    for item in (skill(2), skill(3, name="renamed"), skill(4)):
        builder.add(SKILL, [encode_object(SCHEMA.types[SKILL], item)], [0])
    for dbid in server.cache.dbids(APPLICATION):
        stored = server.cache.get(APPLICATION, dbid)
        assert stored is not None
        builder.add(APPLICATION, [stored], [0])
    server.replace(builder, Position(EPOCH, 10), [Epoch(EPOCH, 1)])
    turns.run_all()
    client.receive()
    assert sorted((number, dbid) for _, number, _, dbid in client.changes()) == [(16, 1), (74, 4), (75, 3)]
    assert {uen for uen, *_ in client.changes()} == {10}
    assert client.frames[-1].flags & FLAG_END
    late.request(MessageId.RESUME_FROM, ResumeFrom(subscriptions=[Subscription()]), minimum=Position(EPOCH, 0))
    late.answer(MessageId.HISTORY_LOG_SENT)
    assert len(late.changes()) == 3
    late.request(MessageId.RESUME_FROM, ResumeFrom(subscriptions=[Subscription()]), minimum=Position(EPOCH, 5))
    assert error(late).code == ErrorCode.HISTORY_LOG_EXPIRED


def test_a_parked_client_whose_place_left_the_window_is_cut() -> None:
    limits = WindowLimits(min_changes=4, min_age_s=0, max_bytes=200_000)
    server, turns = site(settings=ServerSettings(history=limits))
    client = Client(server, "client_0")
    client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification())
    for uen in range(1, 40):
        server.publish(transaction(uen, (Action.CREATED, SKILL, skill(100 + uen, filler=20_000), None)))
        turns.run_all()
    assert client.channel.pending_bytes < 2 * HIGH_WATER_BYTES
    notice = decode_payload(Disconnected, client.answer(MessageId.DISCONNECTED).payload)
    assert notice.code == ErrorCode.FORCED_DISCONNECT
    assert "left the history window" in notice.description
    seen = [uen for uen, *_ in client.changes()]
    assert seen == list(range(1, len(seen) + 1))


def test_a_mark_comes_to_those_who_have_not_heard_of_the_position() -> None:
    server, turns = site()
    skills, everything = Client(server, "client_0"), Client(server, "client_1")
    skills.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=14))
    everything.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification())
    server.publish(transaction(1, (Action.DELETED, SKILL, skill(1), None)))
    turns.run_all()
    for _ in range(2):
        server.fan_out.mark(server.position)
        turns.run_all()
    assert [f.message for f in skills.receive()][1:] == [MessageId.PROGRESS_MARK]
    assert [f.message for f in everything.receive()][1:] == [MessageId.OBJECT_DELETED]


def test_payload_structures_have_unique_numbers() -> None:
    server, _ = site()
    assert set(server.handlers) == {int(message) for message in IMPLEMENTED_REQUESTS}
    assert msgspec.structs.fields(ServerSettings)
