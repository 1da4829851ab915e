"""The server's state machine: every state with every message, requests sent ahead, notices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wire_vectors import OFFER, REGISTER, server_in

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from csproxy.transport.wire.exchanges import ANSWERS, REGISTRATIONS, UNASKED, message_name
from csproxy.transport.wire.frames import FLAG_END, MAGIC, UNREGISTERED_MAX_FRAME, FrameReader, encode_frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import Disconnected
from csproxy.transport.wire.registration import ProtocolVersionRead
from csproxy.transport.wire.server_protocol import ServerProtocol, ServerState

S = ServerState
UNKNOWN = 4711
FROM_SERVERS = {int(MessageId.ERROR), *UNASKED, *(answer for answers in ANSWERS.values() for answer in answers)}
ALL_NUMBERS = [*map(int, MessageId), UNKNOWN]
REGISTER_FRAME = encode_frame(MessageId.REGISTER_CLIENT, codec.encode(REGISTER), request=2)
PING = encode_frame(MessageId.PING, b"", request=3)


def is_allowed(state: ServerState, message: int) -> bool:
    """The rules of docs/protocol.md once more, told differently from the table under test."""
    if message in FROM_SERVERS:
        return False
    if state is S.VERSION:
        return message == 49
    if state is S.UNREGISTERED:
        return message in (3, 103, 40)
    return message not in (49, 3, 103, 40)


@pytest.mark.parametrize("state", [S.VERSION, S.UNREGISTERED, S.REGISTERED])
@pytest.mark.parametrize("message", ALL_NUMBERS, ids=message_name)
def test_a_state_lets_through_what_the_rules_allow_and_fails_on_the_rest(state: ServerState, message: int) -> None:
    protocol = server_in(state)
    frame = encode_frame(message, b"\x80", request=9)
    if is_allowed(state, message):
        assert [received.message for received in protocol.receive_data(frame)] == [message]
        assert protocol.state is not S.FAILED
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            protocol.receive_data(frame)
        assert str(message) in str(caught.value)
        assert protocol.state is S.FAILED


@pytest.mark.parametrize("state", [S.VERSION, S.UNREGISTERED, S.REGISTERED])
@pytest.mark.parametrize("message", ALL_NUMBERS, ids=message_name)
def test_request_id_0_is_a_violation_in_every_state(state: ServerState, message: int) -> None:
    protocol = server_in(state)
    with pytest.raises(RemoteProtocolError):
        protocol.receive_data(encode_frame(message, b"\x80"))
    assert protocol.state is S.FAILED


@pytest.mark.parametrize("state", [S.FAILED, S.CLOSED])
def test_bytes_are_ignored_once_the_connection_is_over(state: ServerState) -> None:
    protocol = server_in(state)
    assert protocol.receive_data(MAGIC + OFFER) == []
    assert protocol.take_held() == []
    assert protocol.state is state


VERBS: dict[str, tuple[Callable[[ServerProtocol], object], set[ServerState]]] = {
    "version_chosen": (lambda p: p.version_chosen(FrameReader().receive_data(OFFER)[0]), {S.NEGOTIATING}),
    "registered": (lambda p: p.registered(), {S.REGISTERING}),
    "refused": (lambda p: p.refused(), {S.REGISTERING}),
    "disconnect": (lambda p: p.disconnect(ErrorCode.FORCED_DISCONNECT, "bye"), set(S) - {S.CLOSED}),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", list(S))
def test_a_verb_works_in_its_states_and_is_refused_in_all_others(state: ServerState, verb: str) -> None:
    protocol = server_in(state)
    call, states = VERBS[verb]
    if state in states:
        call(protocol)
        assert protocol.state is not S.FAILED
    else:
        with pytest.raises(LocalProtocolError, match=verb):
            call(protocol)
        assert protocol.state in (S.FAILED, S.CLOSED)


def test_the_version_answer_names_the_limits() -> None:
    protocol = ServerProtocol(max_frame=12345, release="8.5")
    [frame] = protocol.receive_data(MAGIC + OFFER)
    [answer] = FrameReader().receive_data(protocol.version_chosen(frame))
    assert (answer.message, answer.request, answer.flags) == (50, 1, FLAG_END)
    assert decode_payload(ProtocolVersionRead, answer.payload) == ProtocolVersionRead(
        version=1, release="8.5", max_frame=12345
    )
    assert protocol.version == 1
    assert protocol.offer is not None
    assert protocol.offer.versions == [1]


def test_the_frame_limit_is_raised_by_the_registration_only() -> None:
    long = encode_frame(MessageId.READ_OBJECTS, bytes(UNREGISTERED_MAX_FRAME), request=5)
    for state in (S.VERSION, S.UNREGISTERED, S.REGISTERING):
        with pytest.raises(RemoteProtocolError, match="above the limit"):
            server_in(state).receive_data(long)
    assert len(server_in(S.REGISTERED).receive_data(long)) == 1


def test_a_server_may_set_a_limit_below_that_for_unregistered_clients() -> None:
    protocol = ServerProtocol(max_frame=100)
    with pytest.raises(RemoteProtocolError, match="above the limit of 100 bytes"):
        protocol.receive_data(MAGIC + encode_frame(MessageId.PROTOCOL_VERSION, bytes(101), request=1))


def test_a_long_frame_of_a_registered_client_fails_the_connection() -> None:
    protocol = server_in(S.REGISTERED)
    with pytest.raises(RemoteProtocolError):
        protocol.receive_data(bytes.fromhex("ffffffff"))
    assert protocol.state is S.FAILED


def test_requests_sent_ahead_come_out_when_the_state_allows_them() -> None:
    protocol = ServerProtocol()
    [offer] = protocol.receive_data(MAGIC + OFFER + REGISTER_FRAME + PING)
    assert protocol.take_held() == []
    protocol.version_chosen(offer)
    [register] = protocol.take_held()
    assert register.message in REGISTRATIONS
    assert protocol.receive_data(PING) == []
    protocol.registered()
    assert [frame.message for frame in protocol.take_held()] == [MessageId.PING, MessageId.PING]
    assert protocol.take_held() == []


def test_a_request_sent_ahead_of_a_refused_registration_is_a_violation() -> None:
    protocol = server_in(S.REGISTERING)
    protocol.receive_data(PING)
    protocol.refused()
    with pytest.raises(RemoteProtocolError, match="must register first"):
        protocol.take_held()


def test_a_refused_client_may_register_again() -> None:
    protocol = server_in(S.REGISTERING)
    protocol.refused()
    assert [frame.message for frame in protocol.receive_data(REGISTER_FRAME)] == [MessageId.REGISTER_CLIENT]


def test_what_is_sent_ahead_is_bounded() -> None:
    protocol = server_in(S.REGISTERING)
    half = encode_frame(MessageId.READ_OBJECTS, bytes(UNREGISTERED_MAX_FRAME // 2), request=5)
    assert protocol.receive_data(half) == []
    with pytest.raises(RemoteProtocolError, match="sent ahead"):
        protocol.receive_data(half)
    assert protocol.state is S.FAILED


def test_the_notice_carries_reason_position_and_retry_hint() -> None:
    protocol = server_in(S.REGISTERED)
    data = protocol.disconnect(ErrorCode.FORCED_DISCONNECT, "too slow", Position(7, 9), 1.5)
    [frame] = FrameReader().receive_data(data)
    assert (frame.message, frame.request, frame.epoch, frame.uen) == (4, 0, 7, 9)
    assert decode_payload(Disconnected, frame.payload) == Disconnected(
        code=28, description="too slow", retry_after_ms=1500
    )


def test_the_repr_names_the_state() -> None:
    assert repr(server_in(S.REGISTERED)) == "<ServerProtocol REGISTERED version=1>"
