"""The client's state machine: what may be sent, what may arrive, request ids, the end."""

from __future__ import annotations

import pytest
from wire_vectors import REGISTER, REGISTERED, client_in

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.errors import LocalProtocolError, RemoteProtocolError
from csproxy.transport.wire.client_protocol import ClientProtocol, ClientState
from csproxy.transport.wire.exchanges import ANSWERS, PARTS, REGISTRATIONS, UNASKED, message_name
from csproxy.transport.wire.frames import FLAG_END, FrameReader, encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import Error
from csproxy.transport.wire.reads import ReadObjects

S = ClientState
UNKNOWN = 4711
ALL_NUMBERS = [*map(int, MessageId), UNKNOWN]
LIVE = [S.VERSION, S.UNREGISTERED, S.REGISTERING, S.REGISTERED]
ERROR = codec.encode(Error(code=4))
NOTICE = encode_frame(MessageId.DISCONNECTED, b"\x82\xa4code\x1c\xaeretry_after_ms\x05", flags=FLAG_END)


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("message", list(MessageId), ids=message_name)
def test_only_requests_of_the_state_can_be_sent(state: ClientState, message: MessageId) -> None:
    protocol = client_in(state)
    if state is S.UNREGISTERED:
        allowed = message in REGISTRATIONS
    else:
        allowed = state is S.REGISTERED and message in ANSWERS and message not in {*REGISTRATIONS, 49}
    if allowed:
        request, data = protocol.request(message, b"\x80")
        [frame] = FrameReader().receive_data(data)
        assert frame == (message, 0, request, 0, 0, b"\x80")
        assert protocol.open_requests == 1
    else:
        with pytest.raises(LocalProtocolError):
            protocol.request(message, b"\x80")
        assert protocol.state is S.CLOSED


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize("message", ALL_NUMBERS, ids=message_name)
def test_only_unasked_messages_arrive_with_request_id_0(state: ClientState, message: int) -> None:
    protocol = client_in(state)
    frame = encode_frame(message, b"\x81\xa4code\x1c", flags=FLAG_END)
    if message == UNKNOWN:
        assert protocol.receive_data(frame) == []
        assert protocol.state is state
    elif message == MessageId.DISCONNECTED or (state is S.REGISTERED and message in UNASKED):
        assert [received.message for received in protocol.receive_data(frame)] == [message]
    else:
        with pytest.raises(RemoteProtocolError):
            protocol.receive_data(frame)
        assert protocol.state is S.CLOSED


@pytest.mark.parametrize("asked", sorted(set(ANSWERS) - REGISTRATIONS - {49}), ids=message_name)
def test_a_request_is_answered_by_its_own_answers_only(asked: int) -> None:
    for message in ALL_NUMBERS:
        protocol = client_in(S.REGISTERED)
        request, _ = protocol.request(MessageId(asked), b"")
        frame = encode_frame(message, ERROR, request=request, flags=0 if message in PARTS else FLAG_END)
        if message in ANSWERS[asked] or message == MessageId.ERROR:
            assert len(protocol.receive_data(frame)) == 1
            assert protocol.open_requests == (1 if message in PARTS else 0)
        else:
            with pytest.raises(RemoteProtocolError, match="does not answer"):
                protocol.receive_data(frame)
            assert protocol.state is S.CLOSED


def test_notifications_between_the_parts_of_an_answer_are_let_through() -> None:
    protocol = client_in(S.REGISTERED)
    request, _ = protocol.request(MessageId.READ_OBJECTS, ReadObjects(type=3), minimum=Position(5, 6))
    part = encode_frame(MessageId.OBJECTS_READ, b"", request=request)
    mark = encode_frame(MessageId.PROGRESS_MARK, b"", epoch=5, uen=7, flags=FLAG_END)
    unknown = encode_frame(UNKNOWN, b"\xc1")
    sent = encode_frame(MessageId.OBJECTS_SENT, b"", request=request, flags=FLAG_END)
    received = protocol.receive_data(part + mark + unknown + part + sent)
    assert [frame.message for frame in received] == [73, 1001, 73, 20]
    assert protocol.open_requests == 0


def test_an_error_may_cut_an_answer_short() -> None:
    protocol = client_in(S.REGISTERED)
    request, _ = protocol.request(MessageId.READ_OBJECTS, ReadObjects(type=3))
    part = encode_frame(MessageId.OBJECTS_READ, b"", request=request)
    error = encode_frame(MessageId.ERROR, ERROR, request=request, flags=FLAG_END)
    assert len(protocol.receive_data(part + error)) == 2
    assert protocol.open_requests == 0


def test_the_minimum_position_stands_in_the_header() -> None:
    _, data = client_in(S.REGISTERED).request(MessageId.READ_OBJECTS, ReadObjects(type=3), minimum=Position(5, 6))
    [frame] = FrameReader().receive_data(data)
    assert (frame.epoch, frame.uen) == (5, 6)


def test_a_refused_registration_may_be_tried_again() -> None:
    protocol = client_in(S.REGISTERING)
    protocol.receive_data(encode_frame(MessageId.ERROR, ERROR, request=2, flags=FLAG_END))
    assert protocol.state.name == "UNREGISTERED"
    request, _ = protocol.request(MessageId.REGISTER_CLIENT_2, REGISTER)
    protocol.receive_data(encode_frame(MessageId.CLIENT_REGISTERED, REGISTERED, request=request, flags=FLAG_END))
    assert protocol.state.name == "REGISTERED"


def test_a_refused_version_ends_the_connection() -> None:
    protocol = client_in(S.VERSION)
    assert len(protocol.receive_data(encode_frame(MessageId.ERROR, ERROR, request=1, flags=FLAG_END))) == 1
    assert protocol.state is S.CLOSED


def test_connecting_twice_is_a_mistake() -> None:
    protocol = client_in(S.VERSION)
    with pytest.raises(LocalProtocolError, match="connect"):
        protocol.connect("again")


def test_bytes_before_connecting_are_a_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="before connect"):
        ClientProtocol().receive_data(NOTICE)


@pytest.mark.parametrize("state", LIVE)
def test_a_notice_ends_the_connection_and_what_follows_is_dropped(state: ClientState) -> None:
    protocol = client_in(state)
    received = protocol.receive_data(NOTICE + encode_frame(MessageId.PONG, b"", request=99))
    assert [frame.message for frame in received] == [MessageId.DISCONNECTED]
    assert protocol.state is S.CLOSED
    assert protocol.disconnect_reason is not None
    assert (protocol.disconnect_reason.code, protocol.disconnect_reason.retry_after_ms) == (28, 5)
    assert protocol.receive_data(NOTICE) == []


def test_request_ids_count_up_and_skip_0_and_open_ones() -> None:
    protocol = client_in(S.REGISTERED)
    assert [protocol.request(MessageId.PING, b"")[0] for _ in range(3)] == [3, 4, 5]
    protocol._last_request = 0xFFFFFFFE
    assert [protocol.request(MessageId.PING, b"")[0] for _ in range(4)] == [0xFFFFFFFF, 1, 2, 6]
    protocol._last_request = 2
    assert protocol.request(MessageId.PING, b"")[0] == 7


def test_the_client_sets_its_own_limit_on_frames() -> None:
    protocol = ClientProtocol(max_frame=100)
    protocol.connect("test")
    with pytest.raises(RemoteProtocolError, match="above the limit of 100"):
        protocol.receive_data(encode_frame(MessageId.ERROR, bytes(101), request=1, flags=FLAG_END))


def test_the_repr_names_state_and_open_requests() -> None:
    assert repr(client_in(S.REGISTERING)) == "<ClientProtocol REGISTERING open_requests=1>"
