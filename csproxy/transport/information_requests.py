"""Brief info, schema, locale and passwords: requests that every server answers from what it has."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.core.collation import Collation
from csproxy.core.locale import locale_items, locale_sets
from csproxy.core.model.enumerations import CfgFlag, CfgObjectType
from csproxy.core.model.schema import SCHEMA
from csproxy.core.model.schema_file import schema_digest, schema_file
from csproxy.core.paths import scalar_at
from csproxy.core.sessions import Account, Author
from csproxy.errors import AccessDeniedError, ErrorCode, LoginIncorrectError, ModelError, ServerError
from csproxy.transport.reads import source_of, viewer_for
from csproxy.transport.server_connection import Handler
from csproxy.transport.trust import author_of
from csproxy.transport.wire.administration import (
    BriefInfo,
    ChangePassword,
    LocaleRead,
    LocaleSet,
    LocaleSets,
    ReadLocale,
    SchemaFileSent,
    SchemaInfo,
)
from csproxy.transport.wire.frames import FLAG_END, Frame, encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ObjectsSent, ReadObjects
from csproxy.transport.wire.writes import UpdateObject

if TYPE_CHECKING:
    from csproxy.core.filters import Selection
    from csproxy.transport.server import ConfigurationServer
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["INFORMATION_HANDLERS", "must_change_password", "set_password"]

_PERSON: Final = int(CfgObjectType.CFGPerson)
_BRIEF_AT_ONCE: Final = 500
"""Objects in one BriefInfo: some 30 KB."""

_BRIEF: Final[dict[int, dict[str, str]]] = {
    int(CfgObjectType.CFGPerson): {"userName": "userName", "firstName": "firstName"},
    int(CfgObjectType.CFGTenant): {"name": "name"},
    int(CfgObjectType.CFGAccessGroup): {"name": "groupInfo.name"},
}
"""The published Brief structures: beside ID, each attribute and its path in the object; the first is the name."""


def get_brief_info(connection: ServerConnection, frame: Frame) -> None:
    """28: the few attributes by which people choose a person, a tenant or an access group."""
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=ReadObjects)
    if connection.is_behind(frame, get_brief_info):
        return
    kind = SCHEMA.object_type(request.type)
    if kind.number not in _BRIEF:
        raise ModelError(
            ErrorCode.UNSUPPORTED_OBJECT,
            f"there is no brief form of {kind.plural}: valid are persons (3), tenants (7), access groups (21)",
            object_type=kind.number,
        )
    source = source_of(connection, request)
    selection = source.select(kind.number, request.filter, viewer_for(connection, source, request))
    frames = _brief_frames(frame.request, source.position, kind.number, selection, connection.server.collation)
    if selection.immediate:
        connection.send(b"".join(frames))
    else:
        connection.pump(frames)


def _brief_frames(
    request: int, position: Position, kind: int, selection: Selection, order: Collation
) -> Iterator[bytes]:
    """The frames of an answer in the order of names; ``b""`` for each step that only reads and sorts.

    Steps are sorted apart and merged as they are sent: no step holds up other clients for long.
    """
    runs = []
    for part in selection.parts():
        for first in range(0, len(part.objects), _BRIEF_AT_ONCE):
            runs.append(sorted(_brief(kind, stored, order) for stored in part.objects[first : first + _BRIEF_AT_ONCE]))
            yield b""
        if not part.objects:
            yield b""
    total = sum(map(len, runs))
    in_order = heapq.merge(*runs)
    at = {"request": request, "epoch": position.epoch, "uen": position.uen}
    for _ in range(0, max(total, 1), _BRIEF_AT_ONCE):
        objects = [brief.body for brief in itertools.islice(in_order, _BRIEF_AT_ONCE)]
        payload = BriefInfo(type=kind, total=total, objects=objects)
        yield encode_frame(MessageId.BRIEF_INFO, codec.encode(payload), **at)
    yield encode_frame(MessageId.OBJECTS_SENT, codec.encode(ObjectsSent(total=total)), flags=FLAG_END, **at)


class _Brief(NamedTuple):
    """An object of the answer; sorted by the key of its name, objects of the same name by DBID."""

    key: Any
    dbid: int
    body: msgspec.Raw


def _brief(kind: int, stored: bytes, order: Collation) -> _Brief:
    obj = codec.decode_map(stored)
    brief: dict[str, Any] = {"ID": {"DBID": obj["DBID"], "type": kind}}
    texts = {name: scalar_at(obj, path, "") for name, path in _BRIEF[kind].items()}
    brief |= {name: text for name, text in texts.items() if text}
    return _Brief(order.key(next(iter(texts.values()))), obj["DBID"], msgspec.Raw(codec.encode(brief)))


def read_schema_info(connection: ServerConnection, frame: Frame) -> None:
    """43: which object model this server speaks, and the digest of its file."""
    info = SchemaInfo(version=connection.server.schema_version, digest=schema_digest(), size=len(schema_file()))
    connection.answer(frame, MessageId.SCHEMA_INFO, info)


def send_schema_file(connection: ServerConnection, frame: Frame) -> None:
    """71: the object model itself."""
    file = SchemaFileSent(version=connection.server.schema_version, content=schema_file())
    connection.answer(frame, MessageId.SCHEMA_FILE_SENT, file)


def get_locale_sets(connection: ServerConnection, frame: Frame) -> None:
    """79: the languages in which this server has texts."""
    sets = [LocaleSet(id=id, name=name, items=len(locale_items(id))) for id, name in locale_sets().items()]
    connection.answer(frame, MessageId.LOCALE_SETS, LocaleSets(sets=sets))


def read_locale(connection: ServerConnection, frame: Frame) -> None:
    """58: texts of a language, all or those that were asked for."""
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=ReadLocale)
    texts = locale_items(request.set, request.items)
    connection.answer(frame, MessageId.LOCALE_READ, LocaleRead(set=request.set, items=dict(texts)))


def change_password(connection: ServerConnection, frame: Frame) -> None:
    """81: check the old password, then write the new one as any other change."""
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=ChangePassword)
    connection.wait_for(frame, _change_password, connection, frame, request)


async def _change_password(connection: ServerConnection, frame: Frame, request: ChangePassword) -> None:
    server, session = connection.server, connection.session
    assert session is not None
    author = author_of(session, request.on_behalf_of)
    if server.forwarder is not None:
        try:
            connection.relay(frame, await server.forwarder.forward(MessageId.CHANGE_PASSWORD, request, author))
        except AccessDeniedError as e:
            raise _denied(e.description) from e
        return
    try:
        account = await server.authenticator.authenticate(request.user, request.old_password)
    except LoginIncorrectError as e:
        raise _denied("user name or old password is wrong") from e
    await set_password(server, account, request.new_password, old_password=request.old_password, author=author)
    connection.answer(frame, MessageId.PASSWORD_CHANGED)


async def set_password(
    server: ConfigurationServer, account: Account, new_password: str, *, old_password: str, author: Author
) -> None:
    """Give a user, whose log-in has been checked, a new password, through the server's writer.

    Raises `ServerError`: EMPTY_PASSWORD_DENIED, CHANGE_PASSWORD_DENIED (the old one again, a rule broken, or
    this server takes no writes), and what the writer raises.
    """
    if not new_password:
        raise ServerError.from_code(ErrorCode.EMPTY_PASSWORD_DENIED, "the new password must not be empty")
    if new_password == old_password:
        raise _denied("the new password must differ from the old one")
    if server.forwarder is not None:
        change = ChangePassword(user=account.user, old_password=old_password, new_password=new_password)
        try:
            await server.forwarder.forward(MessageId.CHANGE_PASSWORD, change, author)
        except AccessDeniedError as e:
            raise _denied(e.description) from e
        return
    delta: dict[str, Any] = {"password": new_password}
    if must_change_password(server, account):
        delta["changePasswordOnNextLogin"] = int(CfgFlag.CFGFalse)
    try:
        request = UpdateObject(type=_PERSON, dbid=account.person_dbid, delta=delta)
        await server.writer.write(request, author._replace(vouched=True))  # who knows the old one may set a new one
    except AccessDeniedError as e:
        raise _denied(e.description) from e
    except ModelError as e:
        if e.property_name != "password":
            raise
        raise _denied(str(e)) from e


def must_change_password(server: ConfigurationServer, account: Account) -> bool:
    """Whether the user's Person says that the password must be changed at the next log-in."""
    person = server.cache.stored(_PERSON, account.person_dbid) or {}
    return bool(person.get("changePasswordOnNextLogin") == CfgFlag.CFGTrue)


INFORMATION_HANDLERS: Final[dict[int, Handler]] = {
    MessageId.GET_BRIEF_INFO: get_brief_info,
    MessageId.READ_SCHEMA_INFO: read_schema_info,
    MessageId.SCHEMA_FILE: send_schema_file,
    MessageId.GET_LOCALE_SETS: get_locale_sets,
    MessageId.READ_LOCALE: read_locale,
    MessageId.CHANGE_PASSWORD: change_password,
}


def _denied(reason: str) -> ServerError:
    return ServerError.from_code(ErrorCode.CHANGE_PASSWORD_DENIED, reason, object_type=_PERSON)
