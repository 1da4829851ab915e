"""The checker's rules for clients that read a part (P5): what holds, and what breaks them and is caught."""

from __future__ import annotations

from collections.abc import Callable
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
from csproxy.testing.checker_seen import SeenLog
from csproxy.testing.histories import (
    Answered,
    Arrived,
    Asked,
    Delivered,
    Expired,
    History,
    Reached,
    ReadRecord,
    Reload,
    Started,
    StreamHistory,
    WireHistory,
)
from csproxy.transport.wire.frames import FLAG_END, Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.notifications import decode_change
from csproxy.transport.wire.payload import Error
from csproxy.transport.wire.registration import ClientRegistered
from csproxy.transport.wire.subscriptions import ResumeFrom, Subscription

PERSON, TENANT, SKILL, ACCESS_GROUP, FOLDER = 3, 7, 13, 21, 22
EPOCH = 7
JANE, STAFF = (PERSON, 101), (ACCESS_GROUP, 200)


def stored(kind: int, dbid: int, **attributes: Any) -> bytes:
    return encode_object(SCHEMA.types[kind], {"DBID": dbid, **attributes})


def access_list(dbid: int, *entries: tuple[int, int, int]) -> bytes:
    return codec.encode({"DBID": dbid, "entries": entries})


def group(*members: tuple[int, int]) -> bytes:
    return stored(*STAFF, memberIDs=[{"type": kind, "DBID": dbid} for kind, dbid in members], groupInfo={"name": "s"})


STEPS: list[tuple[Action, int, int, bytes]] = [
    (Action.CREATED, 1000 + FOLDER, SKILL, access_list(SKILL, (*STAFF, 1))),  # 1: skills appear
    (Action.UPDATED, SKILL, 100, stored(SKILL, 100, name="two")),
    (Action.CREATED, 1000 + SKILL, 101, access_list(101, (*STAFF, 126))),  # 3: all but reading: skill 101 disappears
    (Action.UPDATED, SKILL, 101, stored(SKILL, 101, name="four")),
    (Action.UPDATED, *STAFF, group()),  # 5: Jane is in no group: the rest disappears
    (Action.DELETED, SKILL, 100, b""),
]


def position(uen: int) -> Position:
    return Position(EPOCH, uen)


def payload_of(action: Action, kind: int, dbid: int, after: bytes, **more: Any) -> bytes:
    payload: msgspec.Struct
    if action is Action.CREATED:
        payload = ObjectCreated(type=kind, object=msgspec.Raw(after), **more)
    elif action is Action.UPDATED:
        payload = ObjectUpdated(type=kind, dbid=dbid, object=msgspec.Raw(after), **more)
    else:
        payload = ObjectDeleted(type=kind, dbid=dbid, **more)
    return codec.encode(payload)


def committed(uen: int) -> Change:
    action = STEPS[uen - 1][0]
    payload = payload_of(*STEPS[uen - 1], time_ms=1, user="jim")
    return decode_change(Frame(int(action), FLAG_END, 0, EPOCH, uen, payload))


OBJECTS = {
    (TENANT, 1): stored(TENANT, 1, name="Environment"),
    (FOLDER, SKILL): stored(FOLDER, SKILL, name="Skills", ownerID={"DBID": 1, "type": TENANT}),
    JANE: stored(*JANE, userName="jane"),
    STAFF: group(JANE),
    (SKILL, 100): stored(SKILL, 100, name="one"),
    (SKILL, 101): stored(SKILL, 101, name="one"),
}
FOLDERS = {key: SKILL if key[0] == SKILL else 0 for key in OBJECTS}
LOG = MasterLog(OBJECTS, FOLDERS, [committed(uen) for uen in range(1, len(STEPS) + 1)], [Epoch(EPOCH, 1)])
SEEN = SeenLog(LOG, JANE)


def got(uen: int) -> Delivered:
    return Delivered.of(committed(uen), from_history=False)


def shift(uen: int, action: Action, dbid: int, name: str = "one", *, last: bool = False, **more: Any) -> Delivered:
    """An appearance or disappearance."""
    payload = payload_of(action, SKILL, dbid, stored(SKILL, dbid, name=name), **more)
    return Delivered(position(uen), action, SKILL, dbid, last, False, payload, True)


def arrived(*changes: Delivered) -> Arrived:
    return Arrived(0.0, changes[-1].position, changes)


def start(uen: int, *objects: bytes) -> Started:
    found = {(SKILL, codec.decode_map(each)["DBID"]): each for each in objects}
    return Started(0.0, position(uen), found if objects else None)


def reached(uen: int) -> Reached:
    return Reached(0.0, position(uen))


def stream(*events: Any, reloads: tuple[Reload, ...] = ()) -> History:
    follows = StreamHistory("c", 1, Interest(object_type=SKILL), list(events), is_open=False)
    return History(streams=[follows], reloads=list(reloads), accounts={"c": JANE})


def read(uen: int, *dbids: int) -> History:
    objects = {dbid: LOG.at((SKILL, dbid), uen) or b"" for dbid in dbids}
    record = ReadRecord(0.0, "c", SKILL, {}, Position(0, 0), position(uen), objects)
    return History(reads=[record], accounts={"c": JANE})


def refused(since: int, at: int, *, floor: int = 0) -> History:
    registered = ClientRegistered(session="s", protocol_version=1, epochs=[(EPOCH, 1)])
    events = [
        Answered(0.0, 1, MessageId.CLIENT_REGISTERED, position(at), True, registered),
        Asked(0.0, 2, MessageId.RESUME_FROM, position(since), ResumeFrom(subscriptions=[Subscription()])),
        Answered(0.0, 2, MessageId.ERROR, position(at), True, Error(code=int(ErrorCode.HISTORY_LOG_EXPIRED))),
    ]
    return History(wires=[WireHistory("c", 1, "p", events, {2: floor})], accounts={"c": JANE})


APPEAR = arrived(shift(1, Action.CREATED, 100), shift(1, Action.CREATED, 101))
GONE = arrived(shift(3, Action.DELETED, 101))

HOLDING: dict[str, Callable[[], History]] = {
    "everything that appears, changes and disappears": lambda: stream(
        start(0), APPEAR, arrived(got(2)), GONE, reached(4), arrived(shift(5, Action.DELETED, 100)), reached(6)
    ),
    "a start from a read": lambda: stream(start(3, stored(SKILL, 100, name="two")), reached(4)),
    "the net difference of a reload": lambda: stream(
        start(0), arrived(shift(4, Action.CREATED, 100, "two", last=True)), reloads=(Reload("p", 0, 4),)
    ),
    "a stream that expired": lambda: stream(start(0), Expired(0.0, position(0))),
    "a read of what may be read": lambda: read(4, 100),
    "a refusal where lists have changed": lambda: refused(1, 4),
    "a refusal where the identities are others": lambda: refused(4, 5),
    "a refusal of what has left the window": lambda: refused(1, 2, floor=2),
}

BROKEN: dict[str, tuple[str, Callable[[], History]]] = {
    "an appearance left out": ("P5", lambda: stream(start(0), arrived(shift(1, Action.CREATED, 100)))),
    "a disappearance left out": ("P5", lambda: stream(start(2), reached(3))),
    "a change of what may not be read": ("P5", lambda: stream(start(3), arrived(got(4)))),
    "a change of the list itself": ("P5", lambda: stream(start(0), arrived(got(1)))),
    "a creation of what may not be read": ("P5", lambda: stream(start(3), arrived(shift(4, Action.CREATED, 101)))),
    "a disappearance at another change": ("P5", lambda: stream(start(3), arrived(shift(4, Action.DELETED, 100)))),
    "a disappearance that says who did it": (
        "P5",
        lambda: stream(start(2), arrived(shift(3, Action.DELETED, 101, user="jim"))),
    ),
    "a disappearance with the former object": (
        "P5",
        lambda: stream(start(2), arrived(shift(3, Action.DELETED, 101, former=msgspec.Raw(stored(SKILL, 101))))),
    ),
    "an update in place of an appearance": ("P5", lambda: stream(start(0), arrived(shift(1, Action.UPDATED, 100)))),
    "a read from which a stream starts that shows more": (
        "P5",
        lambda: stream(start(4, stored(SKILL, 100, name="two"), stored(SKILL, 101, name="four"))),
    ),
    "a change left out": ("P4", lambda: stream(start(1), reached(2))),
    "a change that is another": ("P4", lambda: stream(start(1), arrived(got(2)._replace(payload=b"\x80")))),
    "a change that came twice": ("P2", lambda: stream(start(1), arrived(got(2)), arrived(got(2)))),
    "a change from before the start": ("P1", lambda: stream(start(2), Arrived(0.0, position(3), (got(2),)))),
    "a stream that goes back": ("P6", lambda: stream(start(2), reached(1))),
    "a position of nobody's": ("P3", lambda: stream(start(2), reached(99))),
    "a deletion of what was never shown": (
        "P25",
        lambda: stream(start(0), arrived(shift(4, Action.DELETED, 101, last=True)), reloads=(Reload("p", 0, 4),)),
    ),
    "a read of more": ("P5", lambda: read(4, 100, 101)),
    "a read of less": ("P5", lambda: read(2, 100)),
    "error 27 where nobody's sight has changed": ("P7", lambda: refused(1, 2)),
}


@pytest.mark.parametrize("name", HOLDING)
def test_a_history_that_holds_passes(name: str) -> None:
    assert check(HOLDING[name](), LOG) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_property_is_named(name: str) -> None:
    property_, make = BROKEN[name]
    violations = check(make(), LOG)
    assert violations[:1], "nothing was found"
    assert violations[0].property.split()[0] == property_, violations


def test_what_an_account_sees_follows_lists_groups_and_default_access() -> None:
    skills = [sorted(dbid for kind, dbid in SEEN.visible(uen) if kind == SKILL) for uen in range(7)]
    assert skills == [[], [100, 101], [100, 101], [100], [100], [], []]
    assert STAFF in SEEN.visible(5), "whom no group holds has the permissions of Users"
    assert STAFF not in SEEN.visible(4)


def test_a_folder_is_read_with_the_members_that_may_be_read() -> None:
    whole = codec.decode_map(SEEN.of_type(FOLDER, 4)[SKILL])
    assert whole["objectIDs"] == [{"DBID": 100, "type": SKILL}]
