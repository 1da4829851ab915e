"""What connections that have proven nothing may take of a server, and that others do not suffer."""

from __future__ import annotations

import pytest

from csproxy.core import codec
from csproxy.core.peer_limits import PeerLimits
from csproxy.errors import ErrorCode
from csproxy.transport import peers
from csproxy.transport.farewells import MAX_LEAVING
from csproxy.transport.server import ConfigurationServer
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.frames import FrameReader, encode_frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import Disconnected, Error
from csproxy.transport.wire.registration import Authenticate, RegisterClient
from tests.transport.manual import Client, ManualChannel, application, manual_server


class FarChannel(ManualChannel):
    """From an address that limits apply to."""

    def __init__(self, host: str = "192.0.2.7") -> None:
        super().__init__()
        self.host = host
        self.was_cut = False

    @property
    def peer(self) -> str:
        return f"[{self.host}]:5000" if ":" in self.host else f"{self.host}:5000"

    def close(self, *, flush: bool = True) -> None:
        super().close(flush=flush)
        self.was_cut |= not flush


def served(**limits: int) -> ConfigurationServer:
    server, _ = manual_server([(9, application(200 + i, f"client_{i}")) for i in range(3)])
    server.peers.table.limits = PeerLimits(**limits)
    return server


def connect(server: ConfigurationServer, host: str = "192.0.2.7") -> FarChannel:
    channel = FarChannel(host)
    server.connect(channel)
    return channel


def notice(channel: ManualChannel) -> Disconnected:
    channel.take(1 << 20)
    frame = FrameReader().receive_data(bytes(channel.taken))[-1]
    assert frame.message == MessageId.DISCONNECTED
    return decode_payload(Disconnected, frame.payload)


def register(channel: FarChannel, name: str, message: int = MessageId.REGISTER_CLIENT) -> Error | None:
    """The refusal, if it is one."""
    protocol = ClientProtocol()
    channel.deliver(protocol.connect(name, "test"))
    channel.deliver(encode_frame(message, codec.encode(RegisterClient(type=2, name=name)), request=7))
    channel.take(1 << 20)
    frame = FrameReader().receive_data(bytes(channel.taken))[-1]
    channel.taken.clear()
    return None if frame.message == MessageId.CLIENT_REGISTERED else decode_payload(Error, frame.payload)


def test_a_connection_beyond_the_limit_is_told_when_to_come_back() -> None:
    server = served(connections=2)
    first, _ = connect(server), connect(server)
    third = connect(server)
    said = notice(third)
    assert said.code == ErrorCode.FORCED_DISCONNECT
    assert "2 connections from 192.0.2.7" in said.description
    assert said.retry_after_ms >= 1000
    assert third.is_closing
    assert not third.was_cut
    third.deliver(b"whatever it still sends")
    assert not connect(server, "192.0.2.8").is_closing
    first.lose()
    third.lose()
    assert not connect(server).is_closing
    assert server.peers.turned_away == 1


def test_more_refused_connections_than_may_linger_are_cut() -> None:
    server = served(connections=1)
    connect(server)
    lingering = [connect(server) for _ in range(MAX_LEAVING)]
    assert not any(channel.was_cut for channel in lingering)
    assert connect(server).was_cut
    lingering[0].lose()
    assert not connect(server).was_cut


def test_registered_clients_make_room_for_further_ones() -> None:
    server = served(unregistered=1)
    first = connect(server)
    assert connect(server).is_closing
    assert register(first, "client_0") is None
    second = connect(server)
    assert not second.is_closing
    second.lose()
    first.lose()
    assert not connect(server).is_closing


def test_clients_that_register_too_fast_are_told_when_to_come_back_and_may_try_again() -> None:
    server = served(registrations=1)
    channel = connect(server)
    assert register(channel, "nobody").code == ErrorCode.APP_SECURITY_VIOLATION  # type: ignore[union-attr]
    other = connect(server)
    refusal = register(other, "client_1")
    assert refusal is not None
    assert refusal.code == ErrorCode.FORCED_DISCONNECT
    assert refusal.retry_after_ms > 59_000
    assert not other.is_closing
    server.peers.table.limits = PeerLimits(registrations=0)
    other.deliver(
        encode_frame(MessageId.REGISTER_CLIENT, codec.encode(RegisterClient(type=2, name="client_1")), request=8)
    )
    assert len(server.sessions) == 1


@pytest.mark.parametrize(("trusted_by", "is_limited"), [("", True), ("password", False)])
def test_checks_that_a_proxy_asks_for_are_limited_unless_it_is_trusted(
    trusted_by: str, is_limited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = served(registrations=1)
    tasks: list[object] = []
    monkeypatch.setattr(server, "spawn", lambda *args, **_: tasks.append(args))
    channel = connect(server)
    assert register(channel, "client_0") is None
    (session,) = server.sessions
    session.trusted_by = trusted_by
    channel.deliver(encode_frame(MessageId.AUTHENTICATE, codec.encode(Authenticate(user="a", password="b")), request=9))
    channel.take(1 << 20)
    answers = FrameReader().receive_data(bytes(channel.taken))
    assert [frame.message for frame in answers] == ([MessageId.ERROR] if is_limited else [])
    assert len(tasks) == (not is_limited)


def test_when_too_many_are_unregistered_the_oldest_goes_and_the_newest_gets_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "MAX_UNREGISTERED", 2)
    server = served()
    old, middle = connect(server, "192.0.2.1"), connect(server, "192.0.2.2")
    new = connect(server, "192.0.2.3")
    assert old.was_cut
    assert not middle.is_closing
    assert register(new, "client_0") is None
    assert not connect(server, "192.0.2.4").is_closing
    assert not middle.is_closing
    old.lose()
    assert len(server.peers) == 2


def test_what_unregistered_clients_have_sent_is_bounded_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MAX_BUFFERED_BYTES", 100_000)
    server = served()
    started = encode_frame(MessageId.REGISTER_CLIENT, bytes(60_000), request=7)[:-1]
    channels = [connect(server, f"192.0.2.{number}") for number in range(3)]
    for channel in channels:
        channel.deliver(ClientProtocol().connect("client_0", "test"))
        channel.deliver(started)
    assert [channel.was_cut for channel in channels] == [False, True, True]
    other = Client(server, "client_1")  # complete requests are not kept
    assert other.session
    channels[0].deliver(b"\0")  # it is complete now
    assert not connect(server, "192.0.2.9").is_closing
    for channel in channels:
        channel.lose()
    late = connect(server, "192.0.2.10")
    late.deliver(ClientProtocol().connect("client_0", "test"))
    late.deliver(started)
    assert not late.is_closing
