"""Many registered clients that cost the test little: a socket each, and no task."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from csproxy.core.model import CfgAppType
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import RegisterClient
from csproxy.transport.wire.subscriptions import RegisterNotification
from tests.daemon.servers import DEADLINE_S, PASSWORD


class Visitors:
    """Connected to ``port`` until the context is left."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for sock in self._sockets:
            sock.close()

    def come(self, application: str = "default", *, subscribed_to: Iterable[int] = ()) -> str:
        """One more client with subscriptions to these object types; returns its address as the server sees it."""
        sock = socket.create_connection(("127.0.0.1", self._port), DEADLINE_S)
        self._sockets.append(sock)
        client = ClientProtocol()
        sock.sendall(client.connect("visitor"))
        _answer(sock, client, MessageId.PROTOCOL_VERSION_READ)
        who = RegisterClient(type=int(CfgAppType.CFGSCE), name=application, user="default", password=PASSWORD)
        _ask(sock, client, MessageId.REGISTER_CLIENT, who, MessageId.CLIENT_REGISTERED)
        for number in subscribed_to:
            wanted = RegisterNotification(object_type=number)
            _ask(sock, client, MessageId.REGISTER_NOTIFICATION, wanted, MessageId.NOTIFICATION_REGISTERED)
        host, port = sock.getsockname()
        return f"{host}:{port}"


def _ask(sock: socket.socket, client: ClientProtocol, message: MessageId, payload: Any, expected: MessageId) -> None:
    sock.sendall(client.request(message, payload)[1])
    _answer(sock, client, expected)


def _answer(sock: socket.socket, client: ClientProtocol, expected: MessageId) -> None:
    while True:
        data = sock.recv(65536)
        assert data, "the server has closed the connection"
        frames = client.receive_data(data)
        if frames:
            assert frames[-1].message == expected, frames
            return
