"""Whatever bytes arrive: frames or RemoteProtocolError, nothing else, and always an end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_vectors import client_in, load, server_in

from csproxy.errors import RemoteProtocolError
from csproxy.transport.wire.client_protocol import ClientProtocol, ClientState
from csproxy.transport.wire.frames import HEADER_SIZE, MAGIC, Frame, encode_frame
from csproxy.transport.wire.messages import PAYLOADS, MessageId, decode_payload
from csproxy.transport.wire.notifications import NOTIFICATIONS, decode_change
from csproxy.transport.wire.server_protocol import ServerProtocol, ServerState

VECTORS = [bytes.fromhex(vector["hex"]) for vector in load("messages.json")]
CHANGES = [bytes.fromhex(v["hex"]) for v in load("messages.json") if v["message"] in NOTIFICATIONS]
STREAM = MAGIC + b"".join(VECTORS)

random_frames = st.builds(
    encode_frame,
    st.sampled_from([*map(int, MessageId), 0, 999, 65535]),
    st.binary(max_size=40),
    request=st.integers(0, 9),
    flags=st.integers(0, 3),
)


@st.composite
def mutated(draw: st.DrawFn, sources: list[bytes] | None = None) -> bytes:
    """A stream of good frames with a few bytes changed, taken out or put in."""
    pieces = draw(st.lists(st.sampled_from(sources or [*VECTORS, MAGIC]), min_size=1, max_size=6))
    data = bytearray(b"".join(pieces))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(data)


streams = st.one_of(st.binary(max_size=200), st.lists(random_frames, max_size=6).map(b"".join), mutated())


def feed(protocol: ServerProtocol | ClientProtocol, data: bytes, cuts: list[int]) -> list[Frame]:
    """Give ``data`` in pieces; frames as far as they came, whole input always consumed."""
    frames = []
    try:
        for size in cuts:
            piece, data = data[:size], data[size:]
            frames += protocol.receive_data(piece)
        frames += protocol.receive_data(data)
        if isinstance(protocol, ServerProtocol):
            for frame in frames:
                if protocol.state is ServerState.NEGOTIATING and frame.message == MessageId.PROTOCOL_VERSION:
                    protocol.version_chosen(frame)
                    frames += protocol.take_held()
    except RemoteProtocolError:
        assert protocol.state in (ServerState.FAILED, ClientState.CLOSED)
        assert protocol.receive_data(b"after the end") == []
    return frames


@pytest.mark.parametrize("state", [state for state in ServerState if state is not ServerState.CLOSED])
@given(data=streams, cuts=st.lists(st.integers(1, 40), max_size=10))
@settings(max_examples=60)
def test_a_server_survives_any_bytes(state: ServerState, data: bytes, cuts: list[int]) -> None:
    for frame in feed(server_in(state), data, cuts):
        assert frame.request > 0


@pytest.mark.parametrize("state", [state for state in ClientState if state is not ClientState.START])
@given(data=streams, cuts=st.lists(st.integers(1, 40), max_size=10))
@settings(max_examples=60)
def test_a_client_survives_any_bytes(state: ClientState, data: bytes, cuts: list[int]) -> None:
    protocol = client_in(state)
    if state is ClientState.REGISTERED:
        for message in (MessageId.READ_OBJECTS, MessageId.LOAD_BEGIN, MessageId.UPDATE_OBJECT):
            protocol.request(message, b"")
    feed(protocol, data, cuts)


@given(data=mutated())
def test_how_the_bytes_are_cut_changes_neither_frames_nor_the_verdict(data: bytes) -> None:
    def outcome(step: int) -> list[Frame] | None:
        protocol, frames = server_in(ServerState.REGISTERED), []
        try:
            for start in range(0, len(data), step):
                frames += protocol.receive_data(data[start : start + step])
        except RemoteProtocolError:
            return None
        return frames

    assert outcome(1) == outcome(5) == outcome(max(1, len(data)))


@given(data=mutated(CHANGES))
def test_a_notification_is_read_or_refused(data: bytes) -> None:
    for frame in feed(client_in(ClientState.REGISTERED), data, []):
        if frame.message in NOTIFICATIONS:
            read(frame)


@given(action=st.sampled_from(sorted(NOTIFICATIONS)), payload=st.binary(max_size=60))
def test_any_payload_of_a_notification_is_read_or_refused(action: int, payload: bytes) -> None:
    read(Frame(action, 1, 0, 1, 1, payload))


def read(frame: Frame) -> None:
    try:
        change = decode_change(frame)
    except RemoteProtocolError:
        return
    assert change.frame[HEADER_SIZE:] == frame.payload


@pytest.mark.parametrize("cls", list(dict.fromkeys(PAYLOADS.values())))
@given(payload=st.binary(max_size=60))
@settings(max_examples=30)
def test_any_payload_is_read_or_refused(cls: Any, payload: bytes) -> None:
    try:
        decoded = decode_payload(cls, payload)
    except RemoteProtocolError:
        return
    assert isinstance(decoded, cls)


@pytest.mark.parametrize("nested", [b"\x91" * 100_000, b"\x81\xa6filter" * 50_000], ids=["lists", "maps"])
def test_deep_nesting_is_refused(nested: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not a valid ReadObjects"):
        decode_payload(PAYLOADS[MessageId.READ_OBJECTS], b"\x82\xa4type\x03\xa6filter\x81\xa1x" + nested)


def test_text_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="not a valid RegisterClient"):
        decode_payload(PAYLOADS[MessageId.REGISTER_CLIENT], b"\x82\xa4type\x03\xa4name\xa2\xff\xfe")


def test_an_update_without_delta_and_object_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="neither delta nor object"):
        decode_change(Frame(75, 1, 0, 1, 1, b"\x82\xa4type\x03\xa4dbid\x64"))


def test_the_stream_of_all_vectors_is_refused_by_a_server_for_its_answers() -> None:
    protocol = server_in(ServerState.MAGIC)
    with pytest.raises(RemoteProtocolError, match="only servers send it"):
        protocol.receive_data(STREAM)
