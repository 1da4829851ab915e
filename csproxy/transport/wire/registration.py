"""Payloads of the first requests of a connection: the protocol version, and who the client is."""

from __future__ import annotations

from typing import Any

import msgspec

from csproxy.transport.wire.payload import Payload
from csproxy.transport.wire.subscriptions import Subscription

__all__ = [
    "Authenticate",
    "Authenticated",
    "ClientRegistered",
    "ProtocolVersion",
    "ProtocolVersionRead",
    "RegisterClient",
    "RestoreSession",
]


class ProtocolVersion(Payload, kw_only=True):
    """49, request, the first of a connection: the versions that the client speaks."""

    client: str = ""
    versions: list[int] = msgspec.field(default_factory=list)
    release: str = ""
    encoding: str = "UTF-8"


class ProtocolVersionRead(Payload, kw_only=True):
    """50: the version chosen, the limit (bytes) that the server sets on frames, and its role.

    ``role`` is ``master``, ``proxy``, or ``backup``: the backup of a pair of masters, which refuses registrations.
    It names the address of the one that serves, if it knows it: ``primary_host``, ``primary_port``.
    """

    version: int
    encoding: str = "UTF-8"
    release: str = ""
    max_frame: int = 0
    role: str = ""
    primary_host: str = ""
    primary_port: int = 0


class RegisterClient(Payload, kw_only=True):
    """3 and 103, request: log in. 103 carries ``new_password`` too.

    ``type`` is a CfgAppType number and ``name`` that of an Application object of this type. A
    daemon Application may leave ``user`` empty and acts as its account.
    """

    type: int
    name: str
    user: str = ""
    password: str = ""
    app_password: str = ""
    new_password: str = ""
    encoding: str = "UTF-8"
    ticket: bytes = b""
    gss_token: bytes = b""
    release: str = ""


class RestoreSession(RegisterClient, kw_only=True):
    """40, request: continue session ``session`` (32 hexadecimal digits) with its subscriptions.

    The session id is the credential: no password is checked. Notifications stay held back until
    the client sends HistoryLog. ``subscriptions``: those that the client relies on; a session that lacks one of
    them is not restored, and what it has beside them ends (None: whatever it has).
    """

    session: str
    subscriptions: list[Subscription] | None = None


class ClientRegistered(Payload, kw_only=True):
    """19: the client may work. The header holds the server's position.

    ``role`` is ``master`` or ``proxy``; ``epochs`` is the epoch table, oldest first, as pairs of
    epoch and first UEN.
    """

    session: str
    protocol_version: int
    server_dbid: int = 0
    backup_dbid: int = 0
    schema_version: str = ""
    encoding: str = "UTF-8"
    release: str = ""
    role: str = ""
    epochs: list[tuple[int, int]] = msgspec.field(default_factory=list)
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


class Authenticate(Payload, kw_only=True):
    """69, request: check a log-in without registering."""

    user: str
    password: str = ""
    ticket: bytes = b""
    gss_token: bytes = b""


class Authenticated(Payload, kw_only=True):
    """70: the log-in is right; ``person_dbid`` is the user's Person.

    ``must_change``: the password is too old, and registers only together with a new one (error 40).
    """

    person_dbid: int = 0
    must_change: bool = False
