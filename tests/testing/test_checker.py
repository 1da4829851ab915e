"""The checker of histories: for every property a history that holds, and one that breaks it and is caught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from csproxy.core import codec
from csproxy.core.changes import Action, Change, Epoch, ObjectCreated, ObjectDeleted, ObjectUpdated, Position
from csproxy.core.model import SCHEMA
from csproxy.core.model.canonical import encode_object
from csproxy.core.subscriptions import Interest
from csproxy.errors import ErrorCode
from csproxy.testing.checker import MasterLog, check
from csproxy.testing.histories import (
    Answered,
    Arrived,
    Asked,
    Bound,
    Delivered,
    Ended,
    Expired,
    Final,
    History,
    Marked,
    Notified,
    Outcome,
    Reached,
    ReadRecord,
    Reload,
    Started,
    StreamHistory,
    WireHistory,
    WriteRecord,
)
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.notifications import encode_notification
from csproxy.transport.wire.payload import Empty, Error
from csproxy.transport.wire.reads import ObjectsRead, ObjectsSent, ReadObjects
from csproxy.transport.wire.registration import ClientRegistered, RestoreSession
from csproxy.transport.wire.replication import LoadGranted
from csproxy.transport.wire.subscriptions import (
    HistoryLog,
    RegisterNotification,
    ResumeFrom,
    Subscription,
    UnregisterNotification,
)

SKILL, CODE, FOLDER = 13, 14, 22
OLD, NEW = 71, 72
SKILLS = Interest(object_type=SKILL)
ALL = Interest()


def at(uen: int) -> Position:
    return Position(OLD if uen <= 6 else NEW, uen)


def stored(kind: int, dbid: int, token: str = "", name: str = "") -> bytes:
    obj: dict[str, Any] = {"DBID": dbid, "tenantDBID": 1 + dbid % 2, "name": name or f"object {dbid}", "state": 1}
    if token:
        obj["userProperties"] = {"simulation": {"token": token}}
    return encode_object(SCHEMA.types[kind], obj)


def payload_of(
    action: Action, kind: int, dbid: int, token: str, *, time_ms: int = 1, whole: bool = False, folder: int = 0
) -> bytes:
    payload: msgspec.Struct
    if action is Action.CREATED:
        payload = ObjectCreated(
            type=kind, object=msgspec.Raw(stored(kind, dbid, token)), folder=folder or kind, time_ms=time_ms
        )
    elif action is Action.DELETED:
        payload = ObjectDeleted(type=kind, dbid=dbid, time_ms=time_ms)
    elif whole:
        payload = ObjectUpdated(type=kind, dbid=dbid, object=msgspec.Raw(stored(kind, dbid, token)), time_ms=time_ms)
    else:
        delta = {"userProperties": {"changed": {"simulation": {"token": token}}}}
        payload = ObjectUpdated(type=kind, dbid=dbid, delta=delta, time_ms=time_ms)
    return codec.encode(payload)


STEPS = [
    (Action.CREATED, SKILL, 101, "token-1-", True),
    (Action.CREATED, CODE, 201, "token-2-", True),
    # one transaction: a skill and a code that it takes along
    (Action.UPDATED, SKILL, 101, "token-3-", False),
    (Action.DELETED, CODE, 201, "", True),
    # one transaction whose end does not concern subscribers of skills
    (Action.CREATED, SKILL, 102, "token-4-", False),
    (Action.CREATED, CODE, 202, "token-5-", True),
    # the master was restarted; delete and re-create
    (Action.DELETED, SKILL, 102, "", True),
    (Action.CREATED, SKILL, 103, "token-6-", True),
    (Action.UPDATED, SKILL, 101, "token-7-", True),
]


Step = tuple[Action, int, int, str, bool]


def committed(uen: int, steps: Sequence[Step] = STEPS) -> Change:
    action, kind, dbid, token, last = steps[uen - 1]
    payload = payload_of(action, kind, dbid, token)
    return Change(
        action=action,
        type=kind,
        dbid=dbid,
        position=at(uen),
        frame=encode_notification(action, payload, position=at(uen), last=last),
        last=last,
        object=stored(kind, dbid, token) if action is Action.CREATED else None,
        delta={"userProperties": {"changed": {"simulation": {"token": token}}}} if action is Action.UPDATED else None,
        folder=kind if action is Action.CREATED else 0,
        time_ms=1,
    )


def master_log(steps: Sequence[Step] = STEPS) -> MasterLog:
    objects = {(SKILL, 100): stored(SKILL, 100), (FOLDER, SKILL): encode_object(SCHEMA.types[FOLDER], {"DBID": SKILL})}
    folders = {(SKILL, 100): SKILL, (FOLDER, SKILL): 0}
    changes = [committed(uen, steps) for uen in range(1, len(steps) + 1)]
    return MasterLog(objects, folders, changes, [Epoch(OLD, 1), Epoch(NEW, 7)])


LOG = master_log()
HEAD = LOG.head


def got(uen: int, *, history: bool = False, **other: Any) -> Delivered:
    """A change as the master committed it, or with something else about it."""
    return Delivered.of(committed(uen), from_history=history)._replace(**other)


def reloaded(
    action: Action, kind: int, dbid: int, token: str, uen: int, *, last: bool = True, folder: int = 0
) -> Delivered:
    """A change of a reload's difference: complete, and without author and time."""
    payload = payload_of(action, kind, dbid, token, time_ms=0, whole=True, folder=folder)
    return Delivered(at(uen), action, kind, dbid, last, False, payload, True)


def stream(*events: Any, interest: Interest = SKILLS, is_open: bool = False) -> History:
    return History(streams=[StreamHistory("c", 1, interest, list(events), is_open)])


def over_reload(after: int, until: int, *changes: Delivered, interest: Interest = SKILLS) -> History:
    """A stream that stood at ``after`` when its server took a whole new data set at ``until``."""
    history = stream(start(after), arrived(*changes), interest=interest)
    history.reloads.append(Reload("p", after, until))
    return history


def wire(*events: Any, floors: dict[int, int] | None = None, reloads: Sequence[Reload] = ()) -> History:
    """A connection of a client that has logged in."""
    return History(wires=[WireHistory("c", 1, "p", [TAKEN, *events], floors or {})], reloads=list(reloads))


def start(uen: int, objects: dict[tuple[int, int], bytes] | None = None) -> Started:
    return Started(0.0, at(uen), objects)


def arrived(*changes: Delivered, end: int = 0) -> Arrived:
    return Arrived(0.0, at(end or changes[-1].position.uen), changes)


def reached(uen: int) -> Reached:
    return Reached(0.0, at(uen))


def note(uen: int, **other: Any) -> Notified:
    return Notified(0.0, got(uen, **other))


def mark(uen: int, **other: Any) -> Marked:
    return Marked(0.0, at(uen), **other)


def asks(message: MessageId, payload: Any, request: int = 1, since: int = -1) -> Asked:
    return Asked(0.0, request, message, at(since) if since >= 0 else Position(0, 0), payload)


def answer(message: MessageId, uen: int, payload: Any = None, request: int = 1, *, last: bool = True) -> Answered:
    return Answered(0.0, request, message, at(uen), last, Empty() if payload is None else payload)


def registered(uen: int, request: int = 50) -> Answered:
    epochs = [(OLD, 1), (NEW, 7)]
    return answer(
        MessageId.CLIENT_REGISTERED, uen, ClientRegistered(session="s", protocol_version=1, epochs=epochs), request
    )


def restored(before: list[Any], after: list[Any]) -> History:
    """A session that registers at UEN 4 and is lost, and what its client asks and gets when it comes back."""
    first = [asks(MessageId.REGISTER_CLIENT, Empty(), 50), registered(4), *before, Ended(0.0, "lost")]
    return History(wires=[WireHistory("c", 1, "p", first), WireHistory("c", 2, "p", after)])


TAKEN = answer(MessageId.CLIENT_REGISTERED, 0, ClientRegistered(session="s", protocol_version=1), 49)


def read(kind: int, uen: int, *objects: bytes, since: int = -1, folders: Sequence[int] = (), **more: Any) -> list[Any]:
    """A read and its answer in one part."""
    request = ReadObjects(type=kind, **more)
    part = ObjectsRead(type=kind, objects=[msgspec.Raw(each) for each in objects], folders=list(folders))
    return [
        asks(MessageId.READ_OBJECTS, request, 9, since),
        answer(MessageId.OBJECTS_READ, uen, part, 9, last=False),
        answer(MessageId.OBJECTS_SENT, uen, ObjectsSent(total=len(objects)), 9),
    ]


def own_write(uen: int) -> list[Any]:
    """A write that is answered at a position."""
    return [asks(MessageId.DELETE_OBJECT, b"", 8), answer(MessageId.OBJECT_DELETED, uen, b"", 8)]


def skills_at(uen: int) -> list[bytes]:
    return list(LOG.of_type(SKILL, uen).values())


WANT_SKILLS = RegisterNotification(object_type=SKILL)
RESUME_SKILLS = ResumeFrom(subscriptions=[Subscription(object_type=SKILL)])
GONE = Error(code=int(ErrorCode.HISTORY_LOG_EXPIRED))
LATER = Error(code=int(ErrorCode.UNDEFINED_ERROR), retry_after_ms=500)


def write(action: Action, kind: int, dbid: int, token: str, outcome: Outcome, uen: int = 0) -> History:
    return History(writes=[WriteRecord(0.0, "c", action, kind, dbid, token, outcome, at(uen))])


def final(uen: int, objects: dict[tuple[int, int], bytes] | None = None, *, quiet: bool = False) -> History:
    truth = LOG.state(uen, ALL)
    history = History(finals=[Final("proxy", at(uen), truth.objects if objects is None else objects, truth.folders)])
    history.is_quiet_at_end = quiet
    return history


def library_read(uen: int, *objects: bytes, seen: int = 0) -> History:
    by_dbid = {msgspec.msgpack.decode(each)["DBID"]: each for each in objects}
    return History(reads=[ReadRecord(0.0, "c", SKILL, {}, at(seen), at(uen), by_dbid)])


def bounded(most: float) -> History:
    return History(bounds=[Bound("a buffer", most, 100.0)])


def awaited(*events: Any) -> History:
    history = stream(*events, is_open=True)
    history.is_quiet_at_end = True
    return history


HOLDING: dict[str, Callable[[], History]] = {
    "a stream from the beginning to the end": lambda: stream(
        start(0),
        arrived(got(1)),
        arrived(got(3), end=4),
        arrived(got(5), end=6),
        arrived(got(7)),
        arrived(got(8)),
        arrived(got(9)),
    ),
    "a stream of everything, with folders": lambda: stream(
        start(2), arrived(got(3), got(4)), arrived(got(5), got(6)), reached(6), interest=ALL
    ),
    "a stream of one tenant": lambda: stream(
        start(0), arrived(got(5), got(6)), arrived(got(7)), interest=Interest(tenant_id=1)
    ),
    "a splice": lambda: stream(
        start(2, {(SKILL, 100): stored(SKILL, 100), (SKILL, 101): stored(SKILL, 101, "token-1-")}),
        arrived(got(3, history=True), end=4),
    ),
    "a stream over a reload": lambda: over_reload(
        2,
        8,
        reloaded(Action.CREATED, SKILL, 103, "token-6-", 8, last=False),
        reloaded(Action.UPDATED, SKILL, 101, "token-3-", 8),
    ),
    "a stream that expired": lambda: awaited(start(0), Expired(0.0, at(0))),
    "a live connection": lambda: wire(
        registered(0), mark(0), note(1), note(3), mark(4), note(5), mark(6), note(7), note(8), mark(8), mark(8)
    ),
    "a replay of a new subscription after a mark": lambda: wire(
        mark(6),
        asks(MessageId.REGISTER_NOTIFICATION, WANT_SKILLS, since=2),
        answer(MessageId.NOTIFICATION_REGISTERED, 7),
        note(3, history=True),
        mark(4, from_history=True),
        note(5, history=True),
        mark(6, from_history=True),
        note(7, history=True),
        mark(7),
        note(8),
    ),
    "a resumed session": lambda: wire(
        asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=4),
        note(5, history=True),
        mark(6, from_history=True),
        note(7, history=True),
        answer(MessageId.HISTORY_LOG_SENT, 7),
        note(8),
    ),
    "a replay that the connection cut short": lambda: wire(
        asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=4), note(5, history=True), Ended(0.0, "lost")
    ),
    "a refusal of a trimmed place": lambda: wire(
        registered(8),
        asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=2),
        answer(MessageId.ERROR, 8, GONE),
        floors={1: 4},
    ),
    "a refusal of a place in a reload's gap": lambda: wire(
        registered(8),
        asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=6),
        answer(MessageId.ERROR, 8, GONE),
        reloads=[Reload("p", 4, 8)],
    ),
    "a refusal of an epoch that the server cannot know": lambda: wire(
        asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=8), answer(MessageId.ERROR, 6, GONE)
    ),
    "a retryable refusal of a future place": lambda: wire(
        registered(7), asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=8), answer(MessageId.ERROR, 7, LATER)
    ),
    "reads": lambda: wire(
        *read(SKILL, 4, *skills_at(4), since=2),
        *read(SKILL, 6, stored(SKILL, 102, "token-4-"), filter={"dbid": 102}),
        *read(SKILL, 6, stored(SKILL, 100), filter={"name": "object 100"}),
        *read(SKILL, 6, stored(SKILL, 101, "token-3-"), filter={"tenant_dbid": 2}),
        *read(SKILL, 6, stored(SKILL, 100), filter={"another_key": 1}),
        *read(FOLDER, 0, LOG.of_type(FOLDER, 0)[SKILL]),
        asks(MessageId.READ_OBJECTS, ReadObjects(type=SKILL), 10),
        answer(MessageId.ERROR, 6, LATER, 10),
    ),
    "reads before and after an own write, and of a snapshot": lambda: wire(
        answer(MessageId.LOAD_GRANTED, 2, LoadGranted(snapshot=5)),
        *read(SKILL, 2, *skills_at(2)),
        *own_write(4),
        *read(SKILL, 4, *skills_at(4)),
        *read(SKILL, 2, *skills_at(2), snapshot=5),
    ),
    "a read that was under way when a write was answered": lambda: wire(
        *read(SKILL, 2, *skills_at(2))[:1], *own_write(4), *read(SKILL, 2, *skills_at(2))[1:]
    ),
    "a write that was refused": lambda: wire(
        asks(MessageId.DELETE_OBJECT, b"", 8), answer(MessageId.ERROR, 4, LATER, 8), *read(SKILL, 2, *skills_at(2))
    ),
    "a load": lambda: wire(
        answer(MessageId.LOAD_GRANTED, 4, LoadGranted(snapshot=5)),
        *read(FOLDER, 4, LOG.at((FOLDER, SKILL), 4) or b"", snapshot=5, folders=[0], filter={"read_folder_dbid": 1}),
    ),
    "a read of the library": lambda: library_read(6, *skills_at(6), seen=6),
    "an acknowledged creation": lambda: write(Action.CREATED, SKILL, 102, "token-4-", Outcome.ACKNOWLEDGED, 6),
    "an acknowledged deletion": lambda: write(Action.DELETED, SKILL, 102, "", Outcome.ACKNOWLEDGED, 7),
    "an unknown write that was made": lambda: write(Action.UPDATED, SKILL, 101, "token-7-", Outcome.UNKNOWN),
    "an unknown write that was not made": lambda: write(Action.UPDATED, SKILL, 101, "token-99-", Outcome.UNKNOWN),
    "a refused write": lambda: write(Action.CREATED, SKILL, 0, "token-99-", Outcome.REFUSED),
    "a bound that is kept": lambda: bounded(100.0),
    "a replica that is the same": lambda: final(6),
    "a replica at the end": lambda: final(HEAD, quiet=True),
    "a stream that caught up": lambda: awaited(start(8), arrived(got(9))),
}

BROKEN: dict[str, tuple[str, Callable[[], History]]] = {
    # streams
    "a change left out": ("P4", lambda: stream(start(6), arrived(got(9)))),
    "a change left out before a mark": ("P4", lambda: stream(start(0), reached(4))),
    "a change that is another": (
        "P4",
        lambda: stream(start(0), arrived(got(1, payload=payload_of(Action.CREATED, SKILL, 101, "token-8-")))),
    ),
    "a reload that leaves something out": (
        "P4",
        lambda: over_reload(2, 8, reloaded(Action.CREATED, SKILL, 103, "token-6-", 8)),
    ),
    "an object in another folder": (
        "P4",
        lambda: over_reload(0, 1, reloaded(Action.CREATED, SKILL, 101, "token-1-", 1, folder=99), interest=ALL),
    ),
    "a change that came twice": ("P2", lambda: stream(start(0), arrived(got(1)), arrived(got(1)))),
    "changes in another order": ("P1", lambda: stream(start(0), arrived(got(2), got(1), end=2), interest=ALL)),
    "half a transaction": ("P3", lambda: stream(start(2), arrived(got(3), end=4), interest=ALL)),
    "a position within a transaction": ("P3", lambda: stream(start(2), arrived(got(3)))),
    "two transactions as one": ("P3", lambda: stream(start(0), arrived(got(1), got(2)), interest=ALL)),
    "a change that was not wanted": ("P5", lambda: stream(start(1), arrived(got(2)))),
    "a stream that goes back": ("P6", lambda: stream(start(6), reached(4))),
    "a position of another history": ("P6", lambda: stream(start(0), Reached(0.0, Position(99, 2)))),
    "a read that is not what the stream continues": (
        "P8",
        lambda: stream(start(2, {(SKILL, 100): stored(SKILL, 100)}), arrived(got(3), end=4)),
    ),
    "an update of what is not there": (
        "P25",
        lambda: over_reload(6, 8, reloaded(Action.UPDATED, SKILL, 103, "token-6-", 8)),
    ),
    "a creation of what is there": (
        "P25",
        lambda: over_reload(6, 8, reloaded(Action.CREATED, SKILL, 101, "token-3-", 8)),
    ),
    "a deletion of what is not there": ("P25", lambda: over_reload(6, 8, reloaded(Action.DELETED, SKILL, 999, "", 8))),
    # connections
    "UENs that go back": ("P1", lambda: wire(note(2), note(1))),
    "a change from before the subscription": (
        "P1",
        lambda: wire(
            asks(MessageId.REGISTER_NOTIFICATION, WANT_SKILLS), answer(MessageId.NOTIFICATION_REGISTERED, 2), note(1)
        ),
    ),
    "a live change that comes again": ("P1", lambda: wire(note(2), note(2))),
    "a replay that goes back": (
        "P1",
        lambda: wire(
            asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=6),
            note(8, history=True),
            note(7, history=True),
            answer(MessageId.HISTORY_LOG_SENT, 8),
        ),
    ),
    "a replay that nobody asked for": ("P1", lambda: wire(note(1, history=True))),
    "a replay before its answer": (
        "P1",
        lambda: wire(asks(MessageId.REGISTER_NOTIFICATION, WANT_SKILLS, since=0), note(1, history=True)),
    ),
    "a change that was never committed": (
        "P4",
        lambda: wire(Notified(0.0, got(9)._replace(position=Position(NEW, 99)))),
    ),
    "a transaction mixed with another": ("P3", lambda: wire(note(3), note(5))),
    "a wrong end of a transaction": ("P3", lambda: wire(note(3, last=True), note(4))),
    "a mark within a transaction": ("P3", lambda: wire(mark(3))),
    "a mark of a replay within a transaction": ("P3", lambda: wire(mark(3, from_history=True))),
    "a mark that goes back": ("P6", lambda: wire(mark(6), mark(4))),
    "a change behind a mark": ("P6", lambda: wire(mark(2), note(1))),
    "a replay that leaves a change out": (
        "P7",
        lambda: wire(
            asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=4),
            note(7, history=True),
            answer(MessageId.HISTORY_LOG_SENT, 7),
        ),
    ),
    "a replay that begins too early": (
        "P7",
        lambda: wire(
            asks(MessageId.REGISTER_NOTIFICATION, WANT_SKILLS, since=6),
            answer(MessageId.NOTIFICATION_REGISTERED, 7),
            note(5, history=True),
            mark(6, from_history=True),
            note(7, history=True),
            mark(7),
        ),
    ),
    "a replay of another change": (
        "P7",
        lambda: wire(
            asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=6),
            note(7, history=True, dbid=103),
            answer(MessageId.HISTORY_LOG_SENT, 7),
        ),
    ),
    "a restored session that leaves a change out": (
        "P7",
        lambda: restored(
            [
                asks(MessageId.REGISTER_NOTIFICATION, WANT_SKILLS, 2),
                answer(MessageId.NOTIFICATION_REGISTERED, 4, None, 2),
                asks(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=CODE), 3),
                answer(MessageId.NOTIFICATION_REGISTERED, 4, None, 3),
                asks(MessageId.UNREGISTER_NOTIFICATION, UnregisterNotification(object_type=CODE), 4),
                answer(MessageId.NOTIFICATION_UNREGISTERED, 4, None, 4),
            ],
            [
                asks(MessageId.RESTORE_SESSION, Empty(), 50),
                registered(8),
                asks(MessageId.HISTORY_LOG, HistoryLog(session="s"), 1, since=4),
                note(5, history=True),
                mark(6, from_history=True),
                note(7, history=True),
                answer(MessageId.HISTORY_LOG_SENT, 8),
            ],
        ),
    ),
    "a restored session that goes on with what its client has not named": (
        "P7",
        lambda: restored(
            [
                asks(MessageId.REGISTER_NOTIFICATION, WANT_SKILLS, 2),
                answer(MessageId.NOTIFICATION_REGISTERED, 4, None, 2),
                asks(MessageId.REGISTER_NOTIFICATION, RegisterNotification(), 3),
                answer(MessageId.NOTIFICATION_REGISTERED, 4, None, 3),
            ],
            [
                asks(
                    MessageId.RESTORE_SESSION,
                    RestoreSession(type=1, name="c", session="s", subscriptions=RESUME_SKILLS.subscriptions),
                    50,
                ),
                registered(8),
                asks(MessageId.HISTORY_LOG, HistoryLog(session="s"), 1, since=4),
                note(5, history=True),
                note(6, history=True),
                note(7, history=True),
                answer(MessageId.HISTORY_LOG_SENT, 8),
            ],
        ),
    ),
    "a replay that skips what was trimmed": (
        "P26",
        lambda: wire(
            asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=4),
            note(7, history=True),
            answer(MessageId.HISTORY_LOG_SENT, 7),
            floors={1: 6},
        ),
    ),
    "error 27 within the window": (
        "P7",
        lambda: wire(
            registered(8),
            asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=6),
            answer(MessageId.ERROR, 8, GONE),
            floors={1: 4},
        ),
    ),
    "error 27 for a future place": (
        "P7",
        lambda: wire(
            registered(7), asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=8), answer(MessageId.ERROR, 7, GONE)
        ),
    ),
    "a future place refused for good": (
        "P7",
        lambda: wire(
            registered(7),
            asks(MessageId.RESUME_FROM, RESUME_SKILLS, since=8),
            answer(MessageId.ERROR, 7, Error(code=int(ErrorCode.UNDEFINED_ERROR))),
        ),
    ),
    "a read with a later object": ("P14", lambda: wire(*read(SKILL, 2, *skills_at(4)))),
    "a read that leaves an object out": ("P14", lambda: wire(*read(SKILL, 4, *skills_at(4)[1:]))),
    "a read with an object twice": ("P14", lambda: wire(*read(SKILL, 0, stored(SKILL, 100), stored(SKILL, 100)))),
    "a filter that is not applied": ("P14", lambda: wire(*read(SKILL, 4, *skills_at(4), filter={"dbid": 100}))),
    "a read in parts of several positions": (
        "P14",
        lambda: wire(*read(SKILL, 4, *skills_at(4))[:2], answer(MessageId.OBJECTS_SENT, 6, ObjectsSent(total=2), 9)),
    ),
    "a folder that lacks a member": (
        "P14",
        lambda: wire(*read(FOLDER, 0, encode_object(SCHEMA.types[FOLDER], {"DBID": SKILL}))),
    ),
    "a read of a snapshot at another position": (
        "P14",
        lambda: wire(
            answer(MessageId.LOAD_GRANTED, 4, LoadGranted(snapshot=5)), *read(SKILL, 6, *skills_at(6), snapshot=5)
        ),
    ),
    "a read with a wrong folder": (
        "P14",
        lambda: wire(*read(SKILL, 0, stored(SKILL, 100), folders=[99], filter={"read_folder_dbid": 1})),
    ),
    "a read of half a transaction": ("P3", lambda: wire(*read(SKILL, 3, *skills_at(3)))),
    "a read older than was asked for": ("P9", lambda: wire(*read(SKILL, 2, *skills_at(2), since=4))),
    "an answer of a server without data": (
        "P27",
        lambda: wire(
            asks(MessageId.READ_OBJECTS, ReadObjects(type=SKILL), 9),
            answer(MessageId.OBJECTS_SENT, 0, ObjectsSent(), 9)._replace(position=Position(0, 0)),
        ),
    ),
    "a client of a server without data": ("P27", lambda: wire(registered(0)._replace(position=Position(0, 0)))),
    "a read that does not show the client's own write": (
        "P10",
        lambda: wire(*own_write(4), *read(SKILL, 2, *skills_at(2))),
    ),
    # the library's reads, writes, bounds, ends
    "a read of the library that is not true": ("P14", lambda: library_read(6, *skills_at(4))),
    "a read of the library that goes back": ("P9", lambda: library_read(4, *skills_at(4), seen=6)),
    "a read of the library within a transaction": ("P3", lambda: library_read(3, *skills_at(3))),
    "an acknowledged write that is not there": (
        "G11",
        lambda: write(Action.CREATED, SKILL, 999, "token-99-", Outcome.ACKNOWLEDGED, 6),
    ),
    "an acknowledged write at another place": (
        "G11",
        lambda: write(Action.CREATED, SKILL, 102, "token-4-", Outcome.ACKNOWLEDGED, 8),
    ),
    "a refused write that is there": ("P11", lambda: write(Action.CREATED, SKILL, 102, "token-4-", Outcome.REFUSED)),
    "a bound that was passed": ("P16", lambda: bounded(101.0)),
    "a replica that differs": ("P12", lambda: final(6, {})),
    "a replica of another history": (
        "P12",
        lambda: History(finals=[Final("proxy", Position(99, 1), {}, {})]),
    ),
    "a replica that did not catch up": ("P24", lambda: final(6, quiet=True)),
    "a stream that did not catch up": ("P24", lambda: awaited(start(6), arrived(got(7)))),
    "a stream that never began": ("P24", lambda: awaited()),
}


@pytest.mark.parametrize("name", HOLDING)
def test_a_history_that_holds_passes(name: str) -> None:
    assert check(HOLDING[name](), LOG) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_property_is_named(name: str) -> None:
    property_, make = BROKEN[name]
    violations = check(make(), LOG)
    assert property_ in {violation.property.split()[0] for violation in violations}, violations
    assert property_ in str(violations[0]), "what is broken comes first, not what follows from it"


def test_a_write_that_was_made_twice_is_found() -> None:
    log = master_log([*STEPS, (Action.UPDATED, SKILL, 101, "token-7-", True)])
    history = write(Action.UPDATED, SKILL, 101, "token-7-", Outcome.UNKNOWN)
    assert [violation.property for violation in check(history, log)] == ["P11 outcome"]


def test_a_refusal_may_follow_a_write_that_was_carried_out_and_not_answered() -> None:
    history = History()
    for outcome in (Outcome.UNKNOWN, Outcome.REFUSED):
        attempt = write(Action.CREATED, SKILL, 102, "token-4-", outcome).writes[0]
        history.writes.append(attempt._replace(key="k"))
    assert check(history, LOG) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([committed(2)], "stands where change 1 should"),
        ([committed(1), committed(2), committed(3)], "no end"),
        ([msgspec.structs.replace(committed(9), position=at(1))], "was None"),
    ],
)
def test_a_log_that_is_no_history_is_refused(changes: list[Change], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MasterLog({}, {}, changes, [Epoch(OLD, 1)])


def test_the_transcript_tells_everything_in_the_order_of_time() -> None:
    history = History(
        streams=[StreamHistory("c", 1, SKILLS, [start(0), arrived(got(1)), reached(2), Expired(5.0, at(2))])],
        wires=[WireHistory("c", 1, "p", [*read(SKILL, 0, stored(SKILL, 100)), note(1), mark(2), Ended(1.0, "cut")])],
        reads=library_read(6, *skills_at(6)).reads,
        writes=write(Action.DELETED, SKILL, 102, "", Outcome.ACKNOWLEDGED, 7).writes,
    )
    lines = list(history.transcript())
    assert len(lines) == 4 + 6 + 1 + 1
    assert lines[-1] == "    5.0000  stream 1 of c (object_type=13): expired at 2"
    assert any("created 13/101 at 1." in line for line in lines)
