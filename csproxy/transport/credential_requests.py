"""Requests of trusted proxies about passwords and log-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.server_connection import Handler
from csproxy.transport.wire.credentials import LogInRecords, ReadCredentials
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId

if TYPE_CHECKING:
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["CREDENTIAL_HANDLERS"]


def read_credentials(connection: ServerConnection, frame: Frame) -> None:
    """1030: the credentials in which a proxy differs, and pushes from now on."""
    _check_trust(connection)
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=ReadCredentials)
    connection.answer(frame, MessageId.CREDENTIALS_READ, connection.server.credentials.read(connection, request))


def log_in_records(connection: ServerConnection, frame: Frame) -> None:
    """1035: log-ins at a proxy count here, too."""
    application = _check_trust(connection)
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=LogInRecords)
    connection.server.credentials.take(request, server=application)
    connection.answer(frame, MessageId.LOG_IN_RECORDS_STORED)


def _check_trust(connection: ServerConnection) -> str:
    """The name of the trusted proxy that asks."""
    session = connection.session
    if session is None or not session.trusted:
        raise ServerError.from_code(
            ErrorCode.ACCESS_DENIED,
            "passwords and log-ins are shared with trusted proxies only: those that register with the password of "
            "their Application (app-password), or with a client certificate (mutual TLS)",
        )
    return session.application


CREDENTIAL_HANDLERS: Final[dict[int, Handler]] = {
    MessageId.READ_CREDENTIALS: read_credentials,
    MessageId.LOG_IN_RECORDS: log_in_records,
}
