"""Requests about permissions, accounts and the operational mode; `csproxy.transport.permission_news` tells of changes.

What they mean is the matter of the server's `csproxy.transport.administration.Administration`; here they
are decoded, put into its hands one after the other for each client, and answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.sessions import Session
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.permission_news import announce, hearers
from csproxy.transport.server_connection import Handler
from csproxy.transport.trust import author_of
from csproxy.transport.wire.administration import PermissionsChanged, ReadObjectPermissions, UpdatePermissions
from csproxy.transport.wire.exchanges import ANSWERS
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import PAYLOADS, MessageId
from csproxy.transport.wire.payload import Forwardable

if TYPE_CHECKING:
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["PERMISSION_HANDLERS"]

_APPLICATION: Final = int(CfgObjectType.CFGApplication)


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
    before = hearers(server, (request.type, request.dbid)) if isinstance(request, UpdatePermissions) else {}
    answer = await server.administration.answer(MessageId(frame.message), request, author)
    if isinstance(request, UpdatePermissions):
        news = PermissionsChanged(
            type=request.type,
            dbid=request.dbid,
            recursive=request.recursive,
            user=author.user,
            application=author.application,
        )
        announce(server, news, before=before)
    (message,) = ANSWERS[frame.message]
    connection.answer(frame, MessageId(message), answer)


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
