"""ReadObjects: point reads inline, everything else as joined parts.

A stored object is its wire form, so an answer is a header, a few map keys and a join. A point read
decodes its request, looks the object up twice in dictionaries and joins two frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache, View
from csproxy.core.changes import Position
from csproxy.core.model import SCHEMA
from csproxy.core.security_records import is_record
from csproxy.core.sight import Viewer
from csproxy.errors import ErrorCode, ModelError
from csproxy.transport import message_log
from csproxy.transport.consistent_reads import wait_for_master
from csproxy.transport.delegates import delegated, no_such_account
from csproxy.transport.sight_changes import viewer_of
from csproxy.transport.wire.frames import FLAG_END, HEADER, HEADER_SIZE, Frame, encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ObjectsSent, ReadObjects

if TYPE_CHECKING:
    from csproxy.core.filters import Part, Selection
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["read_objects", "source_of", "viewer_for"]

_FOLDER_TYPE: Final = 22
_AFTER_LENGTH: Final = HEADER_SIZE - 4
_decode_request = msgspec.msgpack.Decoder(ReadObjects).decode
_ONE_SENT: Final = codec.encode(ObjectsSent(total=1))
_SENT_LENGTH: Final = _AFTER_LENGTH + len(_ONE_SENT)
_pack = HEADER.pack


def _keys(**values: Any) -> bytes:
    """Encoded key-value pairs of a map, without its header."""
    return b"".join(codec.encode(key) + codec.encode(value) for key, value in values.items())


_OBJECTS_KEY: Final = codec.encode("objects")
_ONE_OBJECT: Final = {
    number: b"\x83" + _keys(type=number, total=1) + _OBJECTS_KEY + codec.array_header(1) for number in SCHEMA.types
}


def read_objects(connection: ServerConnection, frame: Frame) -> None:
    """Answer request 10."""
    request = _decode_request(frame.payload)
    server = connection.server
    if connection.is_behind(frame, read_objects):
        return
    if request.consistent and server.upstream_position is not None:
        connection.wait_for(frame, _read_consistently, connection, frame, request)
        return
    cache = server.cache
    if not request.snapshot and len(request.filter) == 1 and request.type != _FOLDER_TYPE:
        dbid = request.filter.get("dbid")
        if type(dbid) is int:
            stored = cache.get(request.type, dbid)
            if stored is not None and request.type in _ONE_OBJECT and _may_read(connection, request.type, dbid):
                _answer_one(connection, frame, request.type, stored, cache.position)
                return
    _answer_many(connection, frame, request)


def _answer_one(connection: ServerConnection, frame: Frame, kind: int, stored: bytes, position: Position) -> None:
    epoch, uen = position
    prefix = _ONE_OBJECT[kind]
    if connection.is_traced:
        message_log.tell_objects_sent(connection, kind, 1)
    request = frame.request
    connection.send(
        b"".join(
            (
                _pack(_AFTER_LENGTH + len(prefix) + len(stored), 73, 0, 0, request, epoch, uen),
                prefix,
                stored,
                _pack(_SENT_LENGTH, 20, FLAG_END, 0, request, epoch, uen),
                _ONE_SENT,
            )
        )
    )


async def _read_consistently(connection: ServerConnection, frame: Frame, request: ReadObjects) -> None:
    """As new as the master was when the request came: ask it where it stands, and get there first."""
    await wait_for_master(connection.server)
    if not connection.is_over:
        _answer_many(connection, frame, request)


def _answer_many(connection: ServerConnection, frame: Frame, request: ReadObjects) -> None:
    server = connection.server
    if is_record(request.type) and not (connection.session is not None and connection.session.is_proxy):
        SCHEMA.object_type(request.type)  # raises: there is no such type
    source = source_of(connection, request)
    selection = source.select(request.type, request.filter, viewer_for(connection, source, request))
    tell = partial(message_log.tell_objects_sent, connection, request.type) if message_log.is_wanted() else None
    parts = _frames(frame.request, source.position, request.type, selection, server.settings.packet_bytes, tell=tell)
    if selection.immediate:
        connection.send(b"".join(parts))
    else:
        connection.pump(parts)


def _may_read(connection: ServerConnection, kind: int, dbid: int) -> bool:
    session = connection.session
    assert session is not None
    access = session.access
    return access is None or not access.isdisjoint(connection.server.cache.readers.of(kind, dbid))


def viewer_for(connection: ServerConnection, source: ConfigurationCache | View, request: ReadObjects) -> Viewer | None:
    """What the caller sees of ``source``, and no more than the account that the filter names; None: everything.

    Raises `ModelError` when the filter names an account that is none, or that the caller may not read.
    """
    own = viewer_of(connection, source)
    named = request.filter.get("delegate_dbid"), request.filter.get("delegate_type")
    if named == (None, None):
        return own
    account = delegated(connection.server.cache, *named, object_type=request.type)
    if own is not None and not own.sees(*account):
        raise no_such_account(account, object_type=request.type)
    who = connection.server.sight.sight.identities_of(account)
    return Viewer(source.readers, who, None if own is None else own.access)


def source_of(connection: ServerConnection, request: ReadObjects) -> ConfigurationCache | View:
    """What a read is answered from: its snapshot, or the present data. Raises `ModelError` if it is not open."""
    if not request.snapshot:
        return connection.server.cache
    view = connection.snapshots.get(request.snapshot)
    if view is None:
        raise ModelError(
            ErrorCode.WRONG_API_PARAMETERS,
            f"snapshot {request.snapshot} is not open on this connection",
            object_type=request.type,
            property_name="snapshot",
        )
    return view


def _frames(
    request: int,
    position: Position,
    kind: int,
    selection: Selection,
    packet_bytes: int,
    *,
    tell: Callable[[int], None] | None = None,
) -> Iterator[bytes]:
    """The frames of an answer, each about ``packet_bytes`` long; ``b""`` where a step found nothing.

    ``tell`` is called with the number of objects when all are sent.
    """
    epoch, uen = position
    sent = 0
    count = max(1, packet_bytes // 500)
    for part in selection.parts():
        first = 0
        objects = part.objects
        while first < len(objects):
            chunk = objects[first : first + count]
            size = sum(map(len, chunk))
            while size > 2 * packet_bytes and len(chunk) > 1:
                chunk = chunk[: len(chunk) // 2]
                size = sum(map(len, chunk))
            head = _part_head(kind, selection, part, first, len(chunk))
            yield b"".join((_pack(_AFTER_LENGTH + len(head) + size, 73, 0, 0, request, epoch, uen), head, *chunk))
            first += len(chunk)
            count = max(1, packet_bytes * len(chunk) // max(size, 1))
        sent += first
        if not first:
            yield b""
    if not sent:
        head = b"\x83" + _keys(type=kind, total=0) + _OBJECTS_KEY + codec.array_header(0)
        yield encode_frame(MessageId.OBJECTS_READ, head, request=request, epoch=epoch, uen=uen)
    if tell is not None:
        tell(sent)
    yield encode_frame(
        MessageId.OBJECTS_SENT,
        codec.encode(ObjectsSent(total=sent)),
        request=request,
        epoch=epoch,
        uen=uen,
        flags=FLAG_END,
    )


def _part_head(kind: int, selection: Selection, part: Part, first: int, count: int) -> bytes:
    """The payload of ObjectsRead up to the objects themselves, which stand last."""
    fields = _keys(type=kind, total=selection.total)
    keys = 3
    if selection.want_folders:
        fields += _keys(folders=list(part.folders[first : first + count]))
        keys += 1
    if selection.want_paths:
        fields += _keys(paths=list(part.paths[first : first + count]))
        keys += 1
    return bytes((0x80 | keys,)) + fields + _OBJECTS_KEY + codec.array_header(count)
