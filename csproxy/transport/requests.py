"""What a server does with each request: one function per message, and the table of them.

Reads are in reads.py, log-ins in registration.py, and what is not about objects and their changes in
permission_requests.py and information_requests.py.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Collection
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import msgspec

from csproxy.core.changes import Action, Change, Position
from csproxy.core.model import SCHEMA
from csproxy.core.security_records import STORED_TYPES
from csproxy.core.sessions import Session
from csproxy.core.subscriptions import EVERY_RECORD, EVERYTHING, Interest, SubscriptionClass
from csproxy.errors import ErrorCode, ModelError, ServerError
from csproxy.transport.credential_requests import CREDENTIAL_HANDLERS
from csproxy.transport.history_sight import visible_history
from csproxy.transport.information_requests import INFORMATION_HANDLERS
from csproxy.transport.keepalive import KEEP_ALIVE_HANDLERS
from csproxy.transport.permission_requests import PERMISSION_HANDLERS
from csproxy.transport.reads import read_objects
from csproxy.transport.refusals import REFUSALS
from csproxy.transport.registration import authenticate, register_client, restore_session
from csproxy.transport.replay import Replay, progress_mark
from csproxy.transport.server_connection import MAX_WRITES, Handler, ServerConnection
from csproxy.transport.sight_changes import sight_for_history, viewer_of
from csproxy.transport.trust import author_of
from csproxy.transport.verification import VERIFICATION_HANDLERS
from csproxy.transport.wire.frames import FLAG_END, HEADER_SIZE, Frame, encode_frame
from csproxy.transport.wire.history import ReadHistory, SessionRecords
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.notifications import without_former
from csproxy.transport.wire.reads import SnapshotHandle, Status
from csproxy.transport.wire.replication import LoadDeferred, LoadGranted
from csproxy.transport.wire.subscriptions import (
    HistoryLog,
    RegisterNotification,
    ResumeFrom,
    Subscription,
    UnregisterNotification,
)
from csproxy.transport.wire.writes import (
    ApplyTransaction,
    CreateObject,
    DeleteObject,
    UpdateObject,
    WriteOutcome,
    WriteRequest,
)
from csproxy.transport.writers import Forwarder, QueueingWriter

if TYPE_CHECKING:
    from csproxy.core.cache import View
    from csproxy.core.sight import Viewer

__all__ = ["HANDLERS"]

log = logging.getLogger("csproxy.server")

MAX_SUBSCRIPTIONS: Final = 10_000
"""Subscriptions of one client; a client that needs more wants a whole type."""
MAX_PIPELINED: Final = 16
"""Writes of one client that a proxy has under way to its master; the client's further ones wait for them."""
MAX_SNAPSHOTS: Final = 4
"""Snapshots that one client may hold open: each may keep replaced segments in memory."""

_WRITE_REQUESTS: Final[dict[int, Any]] = {
    MessageId.CREATE_OBJECT: msgspec.msgpack.Decoder(CreateObject).decode,
    MessageId.UPDATE_OBJECT: msgspec.msgpack.Decoder(UpdateObject).decode,
    MessageId.DELETE_OBJECT: msgspec.msgpack.Decoder(DeleteObject).decode,
    MessageId.APPLY_TRANSACTION: msgspec.msgpack.Decoder(ApplyTransaction).decode,
    MessageId.WRITE_OUTCOME: msgspec.msgpack.Decoder(WriteOutcome).decode,
}


def choose_version(connection: ServerConnection, frame: Frame) -> None:
    """49: agree on a protocol version."""
    server = connection.server
    primary = server.primary() if server.role == "backup" else None
    where = ("", 0) if primary is None else (primary.address, primary.port)
    connection.send(connection.protocol.version_chosen(frame, role=server.role, primary=where))


def register_notification(connection: ServerConnection, frame: Frame) -> None:
    """78: one more subscription; with a position, the changes since then come first."""
    if connection.is_behind(frame, register_notification):
        return
    session = _session(connection)
    interest = _interest(session, msgspec.msgpack.decode(frame.payload or b"\x80", type=RegisterNotification))
    if len(session.interests) >= MAX_SUBSCRIPTIONS:
        raise ServerError.from_code(
            ErrorCode.WRONG_API_PARAMETERS, f"a client may hold at most {MAX_SUBSCRIPTIONS} subscriptions"
        )
    log_ = connection.server.log
    replay = None
    if frame.epoch:
        start = log_.locate(Position(frame.epoch, frame.uen), epochs=connection.server.epochs)
        access = sight_for_history(connection.server, session, start)
        only = SubscriptionClass[Any](frozenset({interest}), access)
        reached = connection.server.position
        # The answer opens the replay: what is still due under earlier subscriptions comes before it. Else the client
        # could not tell such a change from one of the new subscription, and would take its place for reached.
        replay = Replay(
            start, log_.end, only, history=True, opening=_registered(frame, reached), closing=_mark_at(reached)
        )
    else:
        connection.answer(frame, MessageId.NOTIFICATION_REGISTERED)
    connection.subscribe(session.interests | {interest}, replay=replay)


def unregister_notification(connection: ServerConnection, frame: Frame) -> None:
    """77: end one subscription; changes made before this point are still delivered."""
    session = _session(connection)
    interest = _interest(session, msgspec.msgpack.decode(frame.payload or b"\x80", type=UnregisterNotification))
    if interest not in session.interests:
        raise ServerError.from_code(
            ErrorCode.LIST_ITEM_NOT_FOUND, f"this client holds no subscription with the fields {interest._asdict()}"
        )
    connection.subscribe(session.interests - {interest})
    connection.answer(frame, MessageId.NOTIFICATION_UNREGISTERED)


def history_log(connection: ServerConnection, frame: Frame) -> None:
    """41: what a restored session missed, then the live stream."""
    if connection.is_behind(frame, history_log):
        return
    session = _session(connection)
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=HistoryLog)
    if request.session != session.id or connection.cls is not None:
        raise ServerError.from_code(
            ErrorCode.WRONG_API_PARAMETERS,
            "HistoryLog is for the caller's own restored session, once; use ResumeFrom after a new registration",
        )
    _resume(connection, frame, session.interests)


def resume_from(connection: ServerConnection, frame: Frame) -> None:
    """1002: take subscriptions and send what they missed since the position, then the live stream."""
    if connection.is_behind(frame, resume_from):
        return
    session = _session(connection)
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=ResumeFrom)
    _resume(connection, frame, session.interests | {_interest(session, item) for item in request.subscriptions})


def write(connection: ServerConnection, frame: Frame) -> None:
    """7, 8, 9, 1016, 1018: queue a write behind the client's earlier ones; it is answered when it is committed."""
    _session(connection)
    server, writes = connection.server, connection.writes
    writes.append(frame)
    if len(writes) >= MAX_WRITES:
        connection.block()
    if server.forwarder is not None:
        if connection.forwarding < MAX_PIPELINED:
            connection.forwarding += 1
            server.spawn(_forward_some, connection, server.forwarder, name=f"forwarded writes of {connection!r}")
    elif len(writes) == 1:
        server.spawn(_write_all, connection, name=f"writes of {connection!r}")


def open_snapshot(connection: ServerConnection, frame: Frame) -> None:
    """1008: a consistent view for reads of several types."""
    if connection.is_behind(frame, open_snapshot):
        return
    handle, view = _snapshot(connection)
    connection.answer(frame, MessageId.SNAPSHOT_OPENED, SnapshotHandle(snapshot=handle), position=view.position)


def close_snapshot(connection: ServerConnection, frame: Frame) -> None:
    """1010: release a view."""
    _release(connection, frame)
    connection.answer(frame, MessageId.SNAPSHOT_CLOSED)


def load_begin(connection: ServerConnection, frame: Frame) -> None:
    """1003: a proxy's load: a snapshot, and every change after it; at once, in turn, or later."""
    if connection.is_behind(frame, load_begin):
        return
    _session(connection)
    if connection.server.load_control.ask_to_load(connection):
        _grant_load(connection, frame)
    else:
        connection.wait_for(frame, _wait_to_load, connection, frame)


def load_end(connection: ServerConnection, frame: Frame) -> None:
    """1006: the proxy has read everything."""
    _release(connection, frame)
    connection.server.load_control.leave(connection)
    connection.answer(frame, MessageId.LOAD_ENDED)


def read_status(connection: ServerConnection, frame: Frame) -> None:
    """1014: what the server says of itself."""
    status = connection.server.status()
    if _session(connection).access is not None:  # who may not read everything must not count it
        status = {name: value for name, value in status.items() if name not in ("objects", "history")}
    connection.answer(frame, MessageId.STATUS, Status(status=status))


def read_history(connection: ServerConnection, frame: Frame) -> None:
    """1033: some records of the history log."""
    if connection.is_behind(frame, read_history):
        return
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=ReadHistory)
    connection.wait_for(frame, _read_history, connection, frame, request)


def session_records(connection: ServerConnection, frame: Frame) -> None:
    """1026: what a proxy recorded of its clients goes into the history log."""
    session = _session(connection)
    if not session.is_proxy:
        raise ServerError.from_code(
            ErrorCode.ACCESS_DENIED, "session records are taken from Configuration Server Proxies only"
        )
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=SessionRecords)
    connection.wait_for(frame, _take_sessions, connection, frame, request)


def peer_update(connection: ServerConnection, frame: Frame) -> None:
    """1020: what the other proxy of a pair says."""
    pair = connection.server.pair
    if pair is None:
        raise ServerError.from_code(ErrorCode.ACCESS_DENIED, "this server is none of a pair of proxies")
    pair.accept(connection, frame)


HANDLERS: Final[dict[int, Handler]] = {
    MessageId.PROTOCOL_VERSION: choose_version,
    MessageId.REGISTER_CLIENT: register_client,
    MessageId.REGISTER_CLIENT_2: register_client,
    MessageId.RESTORE_SESSION: restore_session,
    MessageId.AUTHENTICATE: authenticate,
    MessageId.READ_OBJECTS: read_objects,
    MessageId.REGISTER_NOTIFICATION: register_notification,
    MessageId.UNREGISTER_NOTIFICATION: unregister_notification,
    MessageId.HISTORY_LOG: history_log,
    MessageId.RESUME_FROM: resume_from,
    MessageId.CREATE_OBJECT: write,
    MessageId.UPDATE_OBJECT: write,
    MessageId.DELETE_OBJECT: write,
    MessageId.APPLY_TRANSACTION: write,
    MessageId.WRITE_OUTCOME: write,
    MessageId.OPEN_SNAPSHOT: open_snapshot,
    MessageId.CLOSE_SNAPSHOT: close_snapshot,
    MessageId.LOAD_BEGIN: load_begin,
    MessageId.LOAD_END: load_end,
    MessageId.READ_STATUS: read_status,
    MessageId.PEER_UPDATE: peer_update,
    MessageId.READ_HISTORY: read_history,
    MessageId.SESSION_RECORDS: session_records,
    **CREDENTIAL_HANDLERS,
    **KEEP_ALIVE_HANDLERS,
    **PERMISSION_HANDLERS,
    **INFORMATION_HANDLERS,
    **VERIFICATION_HANDLERS,
}


async def _wait_to_load(connection: ServerConnection, frame: Frame) -> None:
    ask_again_s = await connection.server.load_control.wait_to_load(connection)
    if ask_again_s:
        deferred = LoadDeferred(retry_after_ms=math.ceil(ask_again_s * 1000))
        connection.answer(frame, MessageId.LOAD_DEFERRED, deferred)
    elif not connection.is_closed:
        _grant_load(connection, frame)


def _grant_load(connection: ServerConnection, frame: Frame) -> None:
    try:
        handle, view = _snapshot(connection, composed=False)
    except ServerError:
        connection.server.load_control.leave(connection)
        raise
    viewer = viewer_of(connection, view)
    connection.answer(
        frame,
        MessageId.LOAD_GRANTED,
        LoadGranted(
            snapshot=handle,
            counts={number: count for number in _loadable(connection) if (count := _count(view, number, viewer))},
            epochs=[(epoch.epoch, epoch.first_uen) for epoch in connection.server.epochs],
        ),
        position=view.position,
    )
    session = _session(connection)
    connection.subscribe(session.interests | {EVERYTHING} | ({EVERY_RECORD} if session.is_proxy else set()))


def _count(view: View, number: int, viewer: Viewer | None) -> int:
    """How many objects a load announces of a type; -1 if it is not told, 0 if there are none."""
    return -1 if viewer is not None and view.count(number) else view.count(number)


def _loadable(connection: ServerConnection) -> Collection[int]:
    """The types that a load consists of: for anybody but a proxy there are no security records."""
    return STORED_TYPES if _session(connection).is_proxy else SCHEMA.types


async def _read_history(connection: ServerConnection, frame: Frame, request: ReadHistory) -> None:
    server = connection.server
    records = await visible_history(server, _session(connection), request, server.history.read)
    connection.answer(frame, MessageId.HISTORY_RECORDS, records)


async def _take_sessions(connection: ServerConnection, frame: Frame, request: SessionRecords) -> None:
    await connection.server.history.take_sessions(request, server=_session(connection).application)
    connection.answer(frame, MessageId.SESSION_RECORDS_STORED)


async def _write_all(connection: ServerConnection) -> None:
    """Carry out a client's writes in the client's order; those that come one after the other may share a commit."""
    writer = connection.server.writer
    queueing = cast(QueueingWriter, writer) if _is_queueing(type(writer)) else None
    ahead: deque[tuple[UpdateObject, Any]] = deque()
    try:
        while connection.writes and not connection.is_closed:
            if queueing is not None:
                _enqueue_some(connection, queueing, ahead)
            frame = connection.writes[0]
            try:
                if ahead and queueing is not None:
                    request, waiting = ahead.popleft()
                    changes = await queueing.finish(waiting)
                    _answer_write(connection, frame, request, changes, hides_former=False)
                else:
                    await _write_one(connection, frame)
            except REFUSALS as e:
                connection.refuse(frame, e)
            finally:
                connection.writes.pop(0)
            connection.unblock_if_free()
    finally:
        if queueing is not None:
            for _, waiting in ahead:
                queueing.withdraw(waiting)


@cache
def _is_queueing(kind: type) -> bool:
    return issubclass(kind, QueueingWriter)  # this takes 30 µs, a tenth of a write


def _enqueue_some(connection: ServerConnection, writer: QueueingWriter, ahead: deque[tuple[UpdateObject, Any]]) -> None:
    """Enqueue the updates at the head of a client's writes that are not yet; what is wrong with one is its turn's."""
    for frame in connection.writes[len(ahead) :]:
        if frame.message != MessageId.UPDATE_OBJECT:
            return
        try:
            request = _WRITE_REQUESTS[frame.message](frame.payload)
            waiting = writer.enqueue(request, author_of(_session(connection), request.on_behalf_of))
        except REFUSALS:
            return
        if waiting is None:
            return
        ahead.append((request, waiting))


async def _write_one(connection: ServerConnection, frame: Frame) -> None:
    server = connection.server
    request = _WRITE_REQUESTS[frame.message](frame.payload)
    author = author_of(_session(connection), request.on_behalf_of)
    if isinstance(request, ApplyTransaction):
        end, applied = await server.writer.apply(request, author)
        connection.answer(frame, MessageId.TRANSACTION_APPLIED, applied, position=end)
        connection.has_written(end)
    elif isinstance(request, WriteOutcome):
        connection.answer(frame, MessageId.WRITE_OUTCOME_READ, await server.writer.outcome(request, author))
    else:
        hides = _hides_former(connection, request)
        changes = await server.writer.write(request, author)
        _answer_write(connection, frame, request, changes, hides_former=hides)


async def _forward_some(connection: ServerConnection, forwarder: Forwarder) -> None:
    """Take a client's writes to the master, beside others that do the same: sent in order, each answered by itself."""
    try:
        while connection.writes and not connection.is_closed:
            await _forward_next(connection, forwarder)
    finally:
        connection.forwarding -= 1


async def _forward_next(connection: ServerConnection, forwarder: Forwarder) -> None:
    if connection.sending is None:
        connection.sending = anyio.Lock()
    async with connection.sending:
        if not connection.writes or connection.is_closed:
            return
        frame = connection.writes.pop(0)
        try:
            request = _WRITE_REQUESTS[frame.message](frame.payload)
            author = author_of(_session(connection), request.on_behalf_of)
            hides = _hides_former(connection, request)
            pending = await forwarder.start(MessageId(frame.message), request, author, changes=_changes_of(request))
        except REFUSALS as e:
            connection.refuse(frame, e)
            pending, hides = None, False
    connection.unblock_if_free()
    if pending is not None:
        try:
            answer = await pending.answer()
            if hides:
                answer = answer._replace(payload=without_former(answer.payload))
            connection.relay(frame, answer)
        except REFUSALS as e:
            connection.refuse(frame, e)


def _changes_of(request: WriteRequest | ApplyTransaction | WriteOutcome) -> int:
    if isinstance(request, WriteOutcome):
        return 0
    return max(len(request.changes), 1) if isinstance(request, ApplyTransaction) else 1


def _hides_former(connection: ServerConnection, request: Any) -> bool:
    """Whether the answer must not show what has been deleted: DELETE alone is no permission to read."""
    if not isinstance(request, DeleteObject):
        return False
    viewer = viewer_of(connection, connection.server.cache)
    return viewer is not None and not viewer.sees(request.type, request.dbid)


def _answer_write(
    connection: ServerConnection, frame: Frame, request: WriteRequest, changes: Any, *, hides_former: bool
) -> None:
    """The answer is the notification of the object that the request names, with the request's id."""
    change = next(change for change in changes if _is_answer(change, request))
    payload = change.frame[HEADER_SIZE:]
    end = Position(change.position.epoch, changes[-1].position.uen)
    connection.send(
        encode_frame(
            change.action,
            without_former(payload) if hides_former else payload,
            request=frame.request,
            epoch=end.epoch,
            uen=end.uen,
            flags=FLAG_END,
        )
    )
    connection.has_written(end)


def _is_answer(change: Change, request: WriteRequest) -> bool:
    if change.type != request.type:
        return False
    if isinstance(request, CreateObject):
        return change.action is Action.CREATED
    return change.dbid == request.dbid


def _session(connection: ServerConnection) -> Session:
    session = connection.session
    if session is None:
        raise ServerError.from_code(ErrorCode.ACCESS_DENIED, "the client is not registered")
    return session


def _interest(session: Session, payload: Subscription) -> Interest:
    interest = payload.interest
    if interest == EVERY_RECORD and session.is_proxy:
        return interest
    if interest.object_type:
        SCHEMA.object_type(interest.object_type)
    interest.check()
    return interest


def _resume(connection: ServerConnection, frame: Frame, interests: frozenset[Interest]) -> None:
    server = connection.server
    start = server.log.locate(Position(frame.epoch, frame.uen), epochs=server.epochs)
    access = sight_for_history(server, _session(connection), start)
    reached = server.position

    def sent() -> bytes:
        return encode_frame(
            MessageId.HISTORY_LOG_SENT,
            b"",
            request=frame.request,
            epoch=reached.epoch,
            uen=reached.uen,
            flags=FLAG_END,
        )

    matcher = SubscriptionClass[Any](interests, access)
    connection.subscribe(interests, replay=Replay(start, server.log.end, matcher, history=True, closing=sent))


def _registered(frame: Frame, position: Position) -> bytes:
    return encode_frame(
        MessageId.NOTIFICATION_REGISTERED,
        b"",
        request=frame.request,
        epoch=position.epoch,
        uen=position.uen,
        flags=FLAG_END,
    )


def _mark_at(position: Position) -> Callable[[], bytes]:
    return lambda: progress_mark(position)


def _snapshot(connection: ServerConnection, *, composed: bool = True) -> tuple[int, View]:
    _session(connection)
    if len(connection.snapshots) >= MAX_SNAPSHOTS:
        raise ServerError.from_code(
            ErrorCode.WRONG_API_PARAMETERS, f"a client may hold at most {MAX_SNAPSHOTS} snapshots: close one first"
        )
    handle = connection.server.next_snapshot()
    view = connection.server.cache.view(composed=composed)
    connection.snapshots[handle] = view
    return handle, view


def _release(connection: ServerConnection, frame: Frame) -> None:
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=SnapshotHandle)
    if connection.snapshots.pop(request.snapshot, None) is None:
        raise ModelError(
            ErrorCode.WRONG_API_PARAMETERS,
            f"snapshot {request.snapshot} is not open on this connection",
            property_name="snapshot",
        )
