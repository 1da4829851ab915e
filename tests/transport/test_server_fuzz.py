"""Whatever a client sends, it gets an answer or a disconnect notice, and another client notices nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.transport.wire.exchanges import IMPLEMENTED_REQUESTS
from csproxy.transport.wire.frames import Frame, FrameReader, encode_frame
from csproxy.transport.wire.messages import PAYLOADS, MessageId
from csproxy.transport.wire.reads import ReadObjects
from tests.transport.manual import EPOCH, Client, application, manual_server

SKILL = 13
WRITES = {
    MessageId.CREATE_OBJECT,
    MessageId.UPDATE_OBJECT,
    MessageId.DELETE_OBJECT,
    MessageId.APPLY_TRANSACTION,
    MessageId.WRITE_OUTCOME,
    MessageId.AUTHENTICATE,
    MessageId.CHANGE_PASSWORD,
    MessageId.READ_HISTORY,
    MessageId.VERIFY,
    MessageId.READ_PERMISSIONS,
    MessageId.UPDATE_PERMISSIONS,
    MessageId.READ_OBJECT_PERMISSIONS,
    MessageId.READ_ACCOUNT,
    MessageId.UPDATE_ACCOUNT,
    MessageId.READ_OPERATIONAL_MODE,
    MessageId.CHANGE_OPERATIONAL_MODE,
}
"""Answered by a task: not here, where no task runs."""

REQUESTS = sorted(IMPLEMENTED_REQUESTS - WRITES)
FIELDS = sorted({name for message in REQUESTS for name in PAYLOADS[message].__struct_fields__})
KEYS = ["dbid", "name", "tenant_dbid", "state", "object_path", "read_folder_dbid", "cmp_insensitive", "folder_dbid"]

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=3),
    max_leaves=6,
)
payloads = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), values, max_size=5).map(codec.encode),
    st.builds(
        lambda kind, filter_: codec.encode({"type": kind, "filter": filter_}),
        st.integers(0, 46),
        st.dictionaries(st.sampled_from(KEYS), scalars, max_size=3),
    ),
)
positions = st.sampled_from([Position(0, 0), Position(EPOCH, 0), Position(9, 9), Position(2**64 - 1, 2**64 - 1)])


def answers(client: Client) -> list[Frame]:
    turns = client.server.call_soon.__self__  # type: ignore[attr-defined]
    for _ in range(50):
        turns.run_all()
        client.channel.take(1 << 30)
    frames = FrameReader().receive_data(bytes(client.channel.taken))
    client.channel.taken.clear()
    return frames


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.sampled_from(REQUESTS) | st.integers(0, 65535), payloads, positions, st.integers(0, 2**32 - 1))
def test_any_request_is_answered_or_ends_the_connection(
    message: int, payload: bytes, position: Position, number: int
) -> None:
    if message in WRITES or (position.epoch == EPOCH and position.uen) or position.epoch > 9:
        position = Position(0, 0)
    if message in WRITES:
        message = int(MessageId.PING)
    objects: list[tuple[int, dict[str, Any]]] = [(9, application(200 + i, f"client_{i}")) for i in range(2)]
    objects += [(SKILL, {"DBID": i, "tenantDBID": 1, "name": f"s{i}", "state": 1}) for i in range(1, 4)]
    server, _ = manual_server(objects)
    hostile, other = Client(server, "client_0"), Client(server, "client_1")
    minimum = Position(0, 0) if message in (MessageId.READ_OBJECTS, MessageId.GET_BRIEF_INFO) else position
    hostile.channel.deliver(encode_frame(message, payload, request=number, epoch=minimum.epoch, uen=minimum.uen))
    frames = answers(hostile)
    assert frames
    ended = frames[-1].message == MessageId.DISCONNECTED
    assert ended is hostile.channel.is_closing
    assert ended or any(frame.request == number and frame.flags & 1 for frame in frames)
    other.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
    assert codec.decode_map(other.answer(MessageId.OBJECTS_SENT).payload)["total"] == 3


@pytest.mark.parametrize("message", REQUESTS)
def test_any_request_with_an_empty_payload_is_answered_or_ends_the_connection(message: int) -> None:
    server, _ = manual_server([(9, application(200, "client_0"))])
    client = Client(server, "client_0")
    client.channel.deliver(encode_frame(message, b"", request=50))
    assert answers(client)
