"""Requests about permissions, accounts and the operational mode, and the notification of their changes.

What they mean is the matter of the server's `csproxy.transport.administration.Administration`; here they
are decoded, put into its hands one after the other for each client, and answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from csproxy.core import codec
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.sessions import Author, Session
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.server_connection import Handler
from csproxy.transport.trust import author_of
from csproxy.transport.wire.administration import PermissionsChanged, ReadObjectPermissions, UpdatePermissions
from csproxy.transport.wire.exchanges import ANSWERS
from csproxy.transport.wire.frames import Frame, encode_frame
from csproxy.transport.wire.messages import PAYLOADS, MessageId
from csproxy.transport.wire.payload import Forwardable

if TYPE_CHECKING:
    from csproxy.transport.server import ConfigurationServer
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["PERMISSION_HANDLERS"]

_APPLICATION: Final = int(CfgObjectType.CFGApplication)
_DEFAULT_OUTPUT_BYTES: Final = 1024 * 1024


def administer(connection: ServerConnection, frame: Frame) -> None:
    """24, 26, 30, 32, 36, 38, 47: the answer may have to come from a database or from the master."""
    if connection.is_behind(frame, administer):
        return
    request: Any = msgspec.msgpack.decode(frame.payload or b"\x80", type=PAYLOADS[frame.message])
    session = _session(connection)
    if isinstance(request, ReadObjectPermissions) and not (request.account_type or request.account_dbid):
        _fill_in_caller(request, session)
    connection.wait_for(frame, _administer, connection, frame, request, session)


def register_permissions_notification(connection: ServerConnection, frame: Frame) -> None:
    """62: tell this client of every change of permissions from now on."""
    session = _session(connection)
    if connection.server.role != "master":
        raise ServerError.from_code(
            ErrorCode.ACCESS_DENIED,
            "a Configuration Server Proxy is not told when permissions change: register at the master",
        )
    session.hears_permissions = True
    connection.server.sessions.changed(session)
    connection.answer(frame, MessageId.PERMISSIONS_NOTIFICATION_REGISTERED)


def unregister_permissions_notification(connection: ServerConnection, frame: Frame) -> None:
    """63: tell it no more."""
    session = _session(connection)
    if not session.hears_permissions:
        raise ServerError.from_code(
            ErrorCode.LIST_ITEM_NOT_FOUND, "this client is not registered for changes of permissions"
        )
    session.hears_permissions = False
    connection.server.sessions.changed(session)
    connection.answer(frame, MessageId.PERMISSIONS_NOTIFICATION_UNREGISTERED)


PERMISSION_HANDLERS: Final[dict[int, Handler]] = {
    MessageId.READ_PERMISSIONS: administer,
    MessageId.UPDATE_PERMISSIONS: administer,
    MessageId.READ_OBJECT_PERMISSIONS: administer,
    MessageId.READ_ACCOUNT: administer,
    MessageId.UPDATE_ACCOUNT: administer,
    MessageId.CHANGE_OPERATIONAL_MODE: administer,
    MessageId.READ_OPERATIONAL_MODE: administer,
    MessageId.REGISTER_PERMISSIONS_NOTIFICATION: register_permissions_notification,
    MessageId.UNREGISTER_PERMISSIONS_NOTIFICATION: unregister_permissions_notification,
}


async def _administer(connection: ServerConnection, frame: Frame, request: Any, session: Session) -> None:
    server = connection.server
    author = session.author
    if isinstance(request, Forwardable):
        author = author_of(session, request.on_behalf_of)
        if server.forwarder is not None:
            connection.relay(frame, await server.forwarder.forward(MessageId(frame.message), request, author))
            return
    before = _hearers(server, request) if isinstance(request, UpdatePermissions) else {}
    answer = await server.administration.answer(MessageId(frame.message), request, author)
    if isinstance(request, UpdatePermissions):
        _announce(server, request, author, before=before)
    (message,) = ANSWERS[frame.message]
    connection.answer(frame, MessageId(message), answer)


def _hearers(server: ConfigurationServer, request: UpdatePermissions) -> dict[Session, None]:
    """The clients that registered for changes of permissions and may read the object now."""
    id = (request.type, request.dbid)
    return dict.fromkeys(each for each in server.sessions if each.hears_permissions and server.sight.sees(each, id))


def _announce(
    server: ConfigurationServer, request: UpdatePermissions, author: Author, *, before: dict[Session, None]
) -> None:
    """Send PermissionsChanged to the clients that registered for it and may read the object, or could ``before``.

    It belongs to no UEN and is not replayed. A client that takes nothing is cut at the limit of unsent
    answers, so that it costs no more memory than they do.
    """
    payload = PermissionsChanged(
        type=request.type,
        dbid=request.dbid,
        recursive=request.recursive,
        user=author.user,
        application=author.application,
    )
    at = server.position
    frame = encode_frame(MessageId.PERMISSIONS_CHANGED, codec.encode(payload), epoch=at.epoch, uen=at.uen)
    limit = server.settings.max_client_output_bytes or _DEFAULT_OUTPUT_BYTES
    for other in before | _hearers(server, request):
        if other.connection is None or not other.hears_permissions:  # it has gone, or changed its mind, meanwhile
            continue
        if other.connection.channel.pending_bytes > limit:
            other.connection.disconnect(ErrorCode.FORCED_DISCONNECT, "the client took its notifications too slowly")
        else:
            other.connection.send(frame)


def _fill_in_caller(request: ReadObjectPermissions, session: Session) -> None:
    """Name the caller's own account: its Person, or the Application that it runs as. A proxy's master cannot know."""
    if session.account.person_dbid:
        request.account_type, request.account_dbid = int(CfgObjectType.CFGPerson), session.account.person_dbid
    else:
        request.account_type, request.account_dbid = _APPLICATION, session.application_dbid


def _session(connection: ServerConnection) -> Session:
    session = connection.session
    if session is None:
        raise ServerError.from_code(ErrorCode.ACCESS_DENIED, "the client is not registered")
    return session
