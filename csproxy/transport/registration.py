"""Log-in of clients: RegisterClient, RegisterClient2 (with a new password), RestoreSession, Authenticate.

A client names an Application object and its type; a daemon Application may come without a user and
acts as SYSTEM, any other needs a user name and password, or a Kerberos ticket. A daemon Application is
connected once at a time, a GUI Application object serves any number of users. A proxy's registration also settles
whether it is trusted (`csproxy.transport.trust`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from csproxy.core.changes import Position
from csproxy.core.collation import CODE_POINTS
from csproxy.core.model import SCHEMA, CfgApplication, CfgAppType
from csproxy.core.model.applications import INTERACTIVE_TYPES, is_daemon
from csproxy.core.model.typed import decode_object
from csproxy.core.permissions import Permission
from csproxy.core.sessions import SYSTEM_ACCOUNT, Account, Author, Session
from csproxy.errors import ErrorCode, LoginIncorrectError, ServerError
from csproxy.transport.information_requests import must_change_password, set_password
from csproxy.transport.refusals import REFUSALS
from csproxy.transport.trust import names_of
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import (
    Authenticate,
    Authenticated,
    ClientRegistered,
    RegisterClient,
    RestoreSession,
)
from csproxy.transport.wire.texts import is_utf8

if TYPE_CHECKING:
    from csproxy.transport.server import ConfigurationServer
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["authenticate", "register_client", "restore_session"]

log = logging.getLogger("csproxy.server")

_APPLICATION: Final = 9
_PERSON: Final = 3
_decode_register = msgspec.msgpack.Decoder(RegisterClient).decode
_decode_restore = msgspec.msgpack.Decoder(RestoreSession).decode
_decode_authenticate = msgspec.msgpack.Decoder(Authenticate).decode


def register_client(connection: ServerConnection, frame: Frame) -> None:
    """Answer request 3 or 103; without user and ticket at once, else after the authenticator has answered."""
    request = _decode_register(frame.payload)
    if connection.is_undecided(frame, request.name, register_client):
        return
    connection.server.peers.registering(connection)
    application = _application(connection, request)
    if _has_user(request):
        connection.wait_for(frame, _log_in, connection, frame, request, application)
        return
    if frame.message == MessageId.REGISTER_CLIENT_2:
        raise _refused(
            ErrorCode.WRONG_API_PARAMETERS, "RegisterClient2 changes the password of a user: a user name is needed"
        )
    if not is_daemon(application.type):
        raise _refused(
            ErrorCode.LOGIN_INCORRECT, f"application {request.name!r} serves users: a user name and password are needed"
        )
    if _is_proxy(application) and request.app_password:
        connection.wait_for(frame, _log_in, connection, frame, request, application)
    else:
        _open(connection, frame, request, application, SYSTEM_ACCOUNT)


def restore_session(connection: ServerConnection, frame: Frame) -> None:
    """Answer request 40: the session id is the credential, no password is checked.

    Its subscriptions stay silent until the client asks for the HistoryLog. Those that the client does not name are
    gone: that it has ended them may not have come this far.
    """
    request = _decode_restore(frame.payload)
    if connection.is_undecided(frame, request.name, restore_session):
        return
    _check_serves(connection.server, request)  # who would refuse anyway keeps nobody waiting
    if connection.is_behind(frame, restore_session):
        return
    server = connection.server
    application = _application(connection, request)
    session = server.sessions.find(request.session, application=request.name, user=request.user)
    relied_on = None if request.subscriptions is None else frozenset(item.interest for item in request.subscriptions)
    if session is None or not (relied_on is None or session.interests >= relied_on):
        raise _refused(
            ErrorCode.HISTORY_LOG_EXPIRED,
            "the session is not known here (any more): register anew, then resume by epoch and UEN",
        )
    if session.connection is not None:
        session.connection.disconnect(ErrorCode.FORCED_DISCONNECT, "the session was restored from another connection")
        server.sessions.detach(session, now_s=server.clock())
    if relied_on is not None:
        session.interests = relied_on
    server.sessions.attach(session, connection, daemon=is_daemon(application.type))
    session.trusted_by = _trust_channel(connection, application)
    _welcome(connection, frame, session)


def authenticate(connection: ServerConnection, frame: Frame) -> None:
    """Answer request 69: check a user name and password, or a ticket, nothing else."""
    request = _decode_authenticate(frame.payload)
    _check_standby(connection.server)
    if not _asks_for_others(connection):
        connection.server.peers.registering(connection)
    connection.wait_for(frame, _check, connection, frame, request)


def _asks_for_others(connection: ServerConnection) -> bool:
    """Whether this is a trusted proxy, which limits its own clients; whoever says that it is one may be guessing."""
    return connection.session is not None and connection.session.trusted


async def _log_in(
    connection: ServerConnection, frame: Frame, request: RegisterClient, application: CfgApplication
) -> None:
    try:
        account = SYSTEM_ACCOUNT
        if _has_user(request):
            account = await _account(connection, request)
            _check_execute(connection.server, application, account)
            await _settle_password(connection, frame, request, account)
        trusted_by = ""
        if _is_proxy(application) and request.app_password:
            trusted_by = await connection.server.trust.by_password(application.DBID, request.app_password)
        _open(connection, frame, request, application, account, trusted_by=trusted_by)
    except REFUSALS as e:
        if isinstance(e, LoginIncorrectError):
            connection.server.peers.failed(connection)
            connection.server.log_ins.refused()
        log.warning(
            "client %r of application %r, user %r from %s failed authorisation: %s",
            CfgAppType(request.type).name,
            request.name,
            request.user,
            connection.channel.peer,
            e,
            extra={
                "event": 22122,
                "client": request.name,
                "user": request.user,
                "address": connection.channel.peer,
                "code": int(getattr(e, "code", ErrorCode.UNDEFINED_ERROR)),
            },
        )
        raise


def _check_execute(server: ConfigurationServer, application: CfgApplication, account: Account) -> None:
    """A user needs Execute on the Application of a user interface; a daemon may have a user for other reasons."""
    if is_daemon(application.type):
        return
    mask = server.sight.sight.mask_of((_APPLICATION, application.DBID), (_PERSON, account.person_dbid))
    if not mask & Permission.EXECUTE:
        raise _refused(
            ErrorCode.NO_PERMISSION,
            f"user {account.user!r} has no permission to execute application {application.name!r}",
        )


async def _settle_password(
    connection: ServerConnection, frame: Frame, request: RegisterClient, account: Account
) -> None:
    """Set the new password of a RegisterClient2; refuse a RegisterClient of a user who must set one."""
    server = connection.server
    if _ticket(request):
        if frame.message == MessageId.REGISTER_CLIENT_2:
            raise _refused(
                ErrorCode.WRONG_API_PARAMETERS,
                "RegisterClient2 changes a password and needs the old one: register with it instead of a ticket",
            )
        return  # the password that must be changed is not used
    if frame.message == MessageId.REGISTER_CLIENT_2:
        author = Author(account.user, request.name, account.person_dbid)
        await set_password(server, account, request.new_password, old_password=request.password, author=author)
    elif account.must_change or must_change_password(server, account):
        raise ServerError.from_code(
            ErrorCode.USER_MUST_CHANGE_PASSWORD,
            f"user {request.user!r} must set a new password: register with RegisterClient2 and a new password",
        )


def _has_user(request: RegisterClient) -> bool:
    return bool(request.user or _ticket(request))


def _is_proxy(application: CfgApplication) -> bool:
    return application.type == CfgAppType.CFGConfigServer


def _trust_channel(connection: ServerConnection, application: CfgApplication) -> str:
    if not _is_proxy(application):
        return ""
    server = connection.server
    return server.trust.by_channel(connection.channel, names_of(server.cache, application))


def _ticket(request: RegisterClient | Authenticate) -> bytes:
    return request.gss_token or request.ticket


async def _account(connection: ServerConnection, request: RegisterClient | Authenticate) -> Account:
    """Whose log-in this is; a ticket comes before a password."""
    server, ticket = connection.server, _ticket(request)
    if ticket:
        return await server.tickets.authenticate_ticket(ticket, request.user)
    return await server.authenticator.authenticate(request.user, request.password)


async def _check(connection: ServerConnection, frame: Frame, request: Authenticate) -> None:
    session = connection.session
    try:
        account = await _account(connection, request)
    except LoginIncorrectError:
        if not _asks_for_others(connection):
            connection.server.peers.failed(connection)
        connection.server.log_ins.refused()
        raise
    if session is not None:
        is_proxy = session.application_type == CfgAppType.CFGConfigServer
        is_kept = is_proxy and not session.trusted  # a trusted proxy reports its users' log-ins itself
        connection.server.log_ins.logged_in(
            account, application=session.application, address=connection.channel.peer, is_kept=is_kept
        )
    checked = Authenticated(person_dbid=account.person_dbid, must_change=account.must_change)
    connection.answer(frame, MessageId.AUTHENTICATED, checked)


def _application(connection: ServerConnection, request: RegisterClient) -> CfgApplication:
    """The Application object that the client names; every reason to refuse it is checked here."""
    server = connection.server
    is_other = _check_serves(server, request)
    if not server.replica.complete:
        raise _refused(
            ErrorCode.SERVER_NOT_FOUND,
            "this server has no complete configuration yet",
            retry_after_s=server.retry_after_s(),
        )
    if not is_utf8(request.encoding):
        log.warning(
            "client %r from %s refused: it announces encoding %r",
            request.name,
            connection.channel.peer,
            request.encoding,
            extra={"event": 22122},
        )
        raise _refused(ErrorCode.UNSUPPORTED_ENCODING, f"encoding {request.encoding!r} is not supported: use UTF-8")
    dbid = server.cache.find(_APPLICATION, name=request.name)
    stored = None if dbid is None else server.cache.get(_APPLICATION, dbid)
    if stored is None:
        raise _refused(ErrorCode.APP_SECURITY_VIOLATION, f"there is no Application object named {request.name!r}")
    application = cast(CfgApplication, decode_object(SCHEMA.types[_APPLICATION], stored))
    if application.type != request.type:
        raise _refused(
            ErrorCode.APP_SECURITY_VIOLATION,
            f"application {request.name!r} is of type {application.type.name} ({int(application.type)}), "
            f"not {CfgAppType(request.type).name} ({request.type})",
        )
    if server.is_for_users(connection.port_id) and application.type not in INTERACTIVE_TYPES:
        raise _refused(
            ErrorCode.APP_SECURITY_VIOLATION,
            f"port {connection.port_id!r} of {server.name!r} takes applications with a user interface only: "
            f"{request.name!r} is of type {application.type.name}, connect it to another port",
        )
    if _is_proxy(application) and server.role != "master" and not is_other:
        raise _refused(
            ErrorCode.APP_SECURITY_VIOLATION,
            f"{server.name!r} is itself a proxy: a proxy of a proxy is not supported, "
            f"connect {request.name!r} to the master",
        )
    if request.name == server.name:
        raise _refused(
            ErrorCode.APP_SECURITY_VIOLATION,
            f"{request.name!r} is the Application of this {server.role} itself: every server has one of its own",
        )
    return application


def _check_serves(server: ConfigurationServer, request: RegisterClient) -> bool:
    """Refuse a client of a server that stands by; returns whether it is the other proxy of the pair, which may come."""
    is_other = server.pair is not None and server.pair.is_other(request.name)
    if not is_other:
        _check_standby(server)
    return is_other


def _open(
    connection: ServerConnection,
    frame: Frame,
    request: RegisterClient,
    application: CfgApplication,
    account: Account,
    *,
    trusted_by: str = "",
) -> None:
    server = connection.server
    daemon = is_daemon(application.type)
    if connection.is_over:
        return
    if daemon:
        other = server.sessions.daemon_session(application.DBID)
        if other is not None:
            raise _refused(
                ErrorCode.APP_SECURITY_VIOLATION,
                f"application {request.name!r} is connected already, from {other.connection.channel.peer}",
                retry_after_s=server.retry_after_s(),
            )
    session = server.sessions.open(
        account=account._replace(must_change=False),
        application=request.name,
        application_type=int(application.type),
        application_dbid=application.DBID,
        daemon=daemon,
        connection=connection,
        now_s=server.clock(),
    )
    session.trusted_by = trusted_by or _trust_channel(connection, application)
    log_ins = server.log_ins.logged_in(account, application=request.name, address=connection.channel.peer)
    _welcome(connection, frame, session, log_ins)


def _welcome(
    connection: ServerConnection, frame: Frame, session: Session, log_ins: Mapping[str, Any] = MappingProxyType({})
) -> None:
    server = connection.server
    connection.session = session
    server.sight.admit(session)
    connection.protocol.registered()
    server.registered(connection)
    log.info(
        "client authorised: %r, type %s, user %r, %s%s",
        session.application,
        CfgAppType(session.application_type).name,
        session.account.user,
        connection.channel.peer,
        f", trusted by {session.trusted_by}" if session.trusted else "",
        extra={
            "event": 4522,
            "client": session.application,
            "user": session.account.user,
            "address": connection.channel.peer,
        },
    )
    connection.told_epochs = tuple(server.epochs)
    connection.answer(
        frame,
        MessageId.CLIENT_REGISTERED,
        ClientRegistered(
            session=session.id,
            protocol_version=connection.protocol.version,
            server_dbid=server.cache.find(_APPLICATION, name=server.name) or 0,
            schema_version=server.schema_version,
            release=server.release,
            role=server.role,
            epochs=[(epoch.epoch, epoch.first_uen) for epoch in connection.told_epochs],
            parameters={**_parameters(server, session), **log_ins},
        ),
        position=Position(*server.position),
    )


def _parameters(server: ConfigurationServer, session: Session) -> dict[str, Any]:
    parameters = {} if server.collation is CODE_POINTS else {"locale": server.collation.name}
    if session.is_proxy and session.access is not None:
        parameters["partial"] = "1"
    return parameters


def _check_standby(server: ConfigurationServer) -> None:
    reason = server.standby()
    if reason is not None:
        raise _refused(ErrorCode.SERVER_NOT_FOUND, reason, retry_after_s=server.retry_after_s())


def _refused(code: ErrorCode, description: str, *, retry_after_s: float = 0.0) -> ServerError:
    return ServerError.from_code(code, description, object_type=_APPLICATION, retry_after_s=retry_after_s)
