"""Limits per address in a real master, whose clients come from many addresses by way of PROXY headers."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

from csproxy.core import codec
from csproxy.errors import ErrorCode
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.frames import Frame, FrameReader, encode_frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import Disconnected, Error
from csproxy.transport.wire.registration import RegisterClient
from tests.daemon.servers import PASSWORD, Site, answer

OPTIONS = {
    "csproxy.balancer-addresses": "127.0.0.1",
    "security.max-connections-per-address": "2",
    "security.failed-logins-per-minute": "2",
    "security.unlimited-addresses": "203.0.113.128/25",
}


class Far:
    """A client that seems to come from ``address``."""

    def __init__(self, port: int, address: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.sendall(f"PROXY TCP4 {address} 192.0.2.1 50000 2020\r\n".encode())
        self.socket.sendall(ClientProtocol().connect("far", "1"))
        self._reader = FrameReader()
        self._frames: list[Frame] = []
        self.first = self.next()

    def __enter__(self) -> Far:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def next(self) -> Frame:
        while not self._frames:
            data = self.socket.recv(65536)
            assert data, "the server has closed without a word"
            self._frames += self._reader.receive_data(data)
        return self._frames.pop(0)

    def log_in(self, password: str) -> Error | None:
        who = RegisterClient(type=19, name="default", user="default", password=password)
        self.socket.sendall(encode_frame(MessageId.REGISTER_CLIENT, codec.encode(who), request=7))
        frame = self.next()
        return None if frame.message == MessageId.CLIENT_REGISTERED else decode_payload(Error, frame.payload)


def test_limits_of_the_application_object_hold_for_each_address(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.master("-log-verbose", "all") as master, ExitStack() as stack:
        (application,) = answer("read", "application", "name=confserv", port=site.port)
        assignments = [f"options.{name}={value}" for name, value in OPTIONS.items()]
        answer("update", "application", str(application["DBID"]), *assignments, port=site.port)
        master.line(containing="option unlimited-addresses of [security] is now 203.0.113.128/25")

        def far(address: str) -> Far:
            return stack.enter_context(Far(site.port, address))

        first, second = far("203.0.113.7"), far("203.0.113.7")
        assert first.first.message == second.first.message == MessageId.PROTOCOL_VERSION_READ
        third = far("203.0.113.7")
        notice = decode_payload(Disconnected, third.first.payload)
        assert notice.code == ErrorCode.FORCED_DISCONNECT
        assert "there are 2 connections from 203.0.113.7 already" in notice.description
        assert notice.retry_after_ms >= 1000
        for client in (first, second):
            refused = client.log_in("guessed")
            assert refused is not None
            assert refused.code == ErrorCode.LOGIN_INCORRECT
        refused = second.log_in(PASSWORD)
        assert refused is not None
        assert refused.code == ErrorCode.FORCED_DISCONNECT
        assert "too many log-ins from 203.0.113.7 have failed" in refused.description
        assert refused.retry_after_ms > 1000
        assert far("203.0.113.8").log_in(PASSWORD) is None
        for _ in range(4):
            assert far("203.0.113.130").first.message == MessageId.PROTOCOL_VERSION_READ
