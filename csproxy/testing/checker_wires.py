"""What must hold on every single connection, judged by the bytes that passed.

One function per property; each yields `Violation`. They need no client library: what a connection
carried is compared with the master's log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from csproxy.core.changes import Position
from csproxy.core.model import SCHEMA
from csproxy.core.security_records import is_record
from csproxy.errors import ErrorCode
from csproxy.testing.checker_histories import mixed_answers, parts_of
from csproxy.testing.checker_model import FOLDER, LoggedChange, MasterLog, Truth, wants
from csproxy.testing.checker_replays import Held, RefusedReplay, Replayed, find_replays, held_interests
from csproxy.testing.histories import Answered, Asked, Delivered, Marked, Notified, Reload, WireHistory
from csproxy.testing.permission_model import ACCESS_GROUP
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects

__all__ = ["Violation", "check_wires", "missing_from", "wrong_objects"]


class Violation(NamedTuple):
    """``property`` (P1 … P28, G11) is broken at ``subject``: the sentence, and the index of the event that shows it."""

    property: str
    subject: str
    sentence: str
    event: int = -1

    def __str__(self) -> str:
        place = f" (event {self.event})" if self.event >= 0 else ""
        return f"{self.property}: {self.subject}{place}: {self.sentence}"


def check_wires(wires: Sequence[WireHistory], log: MasterLog, reloads: Sequence[Reload]) -> Iterator[Violation]:
    """All checks on all connections."""
    held = held_interests(wires)
    for whole in wires:
        for index, what in mixed_answers(whole, log):
            yield Violation("P28 epoch", str(whole), what, index)
        for wire, history in parts_of(whole, log):
            later = log.histories[log.histories.index(history) + 1 :]
            yield from _check_part(wire, history, held, reloads, later)


def _check_part(
    wire: WireHistory, log: MasterLog, held: Held, reloads: Sequence[Reload], later: Sequence[MasterLog]
) -> Iterator[Violation]:
    replays, refused, stray = find_replays(wire, held)
    if stray is not None:
        what = "a change with the history flag came outside of any replay"
        yield Violation("P1 ordered", str(wire), what, stray)
    yield from check_order(wire, replays)
    yield from check_atomicity(wire, log)
    yield from check_marks(wire, log)
    gaps = [reload for reload in reloads if reload.host == wire.host]
    yield from check_replays(wire, replays, log, gaps)
    # a server that has not yet come to what is different may know already that this history has ended
    refused = [each for each in refused if all(history.is_valid(each.since) for history in later)]
    yield from check_refusals(wire, refused, log, gaps)
    yield from check_reads(wire, log)


# P1

_SUBSCRIBED: Final = frozenset({MessageId.NOTIFICATION_REGISTERED, MessageId.HISTORY_LOG_SENT, MessageId.LOAD_GRANTED})


def check_order(wire: WireHistory, replays: Sequence[Replayed]) -> Iterator[Violation]:
    """P1: UENs of the live stream ascend, beginning after the first subscription; those of a replay do so within it."""
    seen = -1
    was_reload = False
    for index, event in enumerate(wire.events):
        if isinstance(event, Answered) and event.message in _SUBSCRIBED and seen < 0:
            seen = event.position.uen
        elif isinstance(event, Notified) and not event.change.from_history:
            change = event.change
            uen = change.position.uen
            if uen < seen or (uen == seen and not (was_reload and change.is_reload)):
                yield Violation("P1 ordered", str(wire), f"{change} came after UEN {seen}", index)
                return
            seen, was_reload = uen, change.is_reload
    for replay in replays:
        for before, after in zip(replay.changes, replay.changes[1:], strict=False):
            if after.position.uen < before.position.uen or (
                after.position.uen == before.position.uen and not (before.is_reload and after.is_reload)
            ):
                yield Violation("P1 ordered", str(wire), f"{after} was replayed after {before}", replay.start)
                return


# P3


def check_atomicity(wire: WireHistory, log: MasterLog) -> Iterator[Violation]:
    """P3: the changes of one transaction come together, and its end is told truly."""
    open_changes: list[Delivered] = []
    for index, event in enumerate(wire.events):
        if isinstance(event, Marked) or (isinstance(event, Answered) and event.message == MessageId.HISTORY_LOG_SENT):
            open_changes = []
        if not isinstance(event, Notified):
            continue
        change = event.change
        if not (change.is_reload or change.position.uen) or change.position.uen > log.head:
            yield Violation("P4 reliable", str(wire), f"{change} was never committed", index)
            return
        if not change.is_reload and change.last is not log.changes[change.position.uen - 1].last:
            yield Violation("P3 atomic", str(wire), f"{change} tells the end of its transaction wrongly", index)
            return
        if open_changes and not _together(open_changes[-1], change, log):
            what = f"{change} came while the transaction of {open_changes[-1]} was open"
            yield Violation("P3 atomic", str(wire), what, index)
            return
        open_changes.append(change)
        if change.last:
            open_changes = []


def _together(one: Delivered, other: Delivered, log: MasterLog) -> bool:
    if one.is_reload or other.is_reload:
        return one.is_reload and other.is_reload and one.position == other.position
    return log.transaction_of(one.position.uen) == log.transaction_of(other.position.uen)


# P6


def check_marks(wire: WireHistory, log: MasterLog) -> Iterator[Violation]:
    """P6 and P3: marks stand at ends of transactions and never go back, and no live change follows that they cover."""
    marked = -1
    for index, event in enumerate(wire.events):
        if isinstance(event, Marked) and not (log.is_valid(event.position) and log.is_end(event.position.uen)):
            yield Violation("P3 atomic", str(wire), f"the mark {event.position} is no end of a transaction", index)
            return
        position = _mark(event)
        if position is not None:
            if position.uen < marked:
                yield Violation("P6 marks", str(wire), f"mark {position.uen} came after mark {marked}", index)
                return
            marked = position.uen
        elif isinstance(event, Notified) and event.change.position.uen <= marked and not event.change.from_history:
            yield Violation("P6 marks", str(wire), f"{event.change} came after mark {marked}", index)
            return


def _mark(event: object) -> Position | None:
    if isinstance(event, Marked):
        return None if event.from_history else event.position
    if isinstance(event, Answered) and event.message == MessageId.HISTORY_LOG_SENT:
        return event.position
    return None


# P7 and P26


def check_replays(
    wire: WireHistory, replays: Sequence[Replayed], log: MasterLog, gaps: Sequence[Reload]
) -> Iterator[Violation]:
    """P7 and P26: a replay holds exactly the matching changes after its start, up to where it says it ends."""
    for replay in replays:
        if replay.interests is None or replay.reached is None:
            continue
        interests = replay.interests
        until = replay.reached.uen
        expected = [
            change
            for change in log.changes_between(replay.since.uen, until)
            if any(wants(interest, change) for interest in interests)
        ]
        got = [change for change in replay.changes if not change.is_reload]
        if not replay.is_complete:
            covered = got[-1].position.uen if got else 0
            expected = [change for change in expected if change.position.uen <= covered]
        wrong = missing_from(expected, got, gaps)
        if wrong:
            trimmed = wire.floors.get(replay.request, 0) > replay.since.uen
            what = f"the replay from UEN {replay.since.uen} to {until}: {wrong}"
            yield Violation("P26 trimming race" if trimmed else "P7 resumable", str(wire), what, replay.start)


def missing_from(expected: Sequence[LoggedChange], got: Sequence[Delivered], gaps: Sequence[Reload]) -> str:
    """What is wrong with ``got``, in words; empty if nothing is. Changes in a gap may be missing, for they were
    covered by a reload's difference."""
    place = 0
    for change in expected:
        if place < len(got) and got[place].position == change.position:
            if (got[place].payload, *got[place][1:4]) != (change.payload, *change[1:4]):
                return f"{got[place]} is not what was committed: {change}"
            place += 1
        elif not any(gap.after < change.position.uen <= gap.until for gap in gaps):
            return f"{change} is missing"
    return f"{got[place]} does not belong there" if place < len(got) else ""


def check_refusals(
    wire: WireHistory, refused: Sequence[RefusedReplay], log: MasterLog, gaps: Sequence[Reload]
) -> Iterator[Violation]:
    """P7: error 27 only for a place outside of the window, a future place only a retryable refusal."""
    known = {
        epoch
        for event in wire.events
        if isinstance(event, Answered) and event.message == MessageId.CLIENT_REGISTERED
        for epoch, _ in event.payload.epochs
    }
    for request, since, error, position, index in refused:
        if since.epoch not in known:  # for all that this server knows, another history
            continue
        is_future = log.is_valid(since) and since.uen > position.uen
        if error.code == ErrorCode.HISTORY_LOG_EXPIRED:
            outside = since.uen < wire.floors.get(request, 0) or not log.is_valid(since)
            # a server that read its history from the disk does not know what accounts could read before
            outside |= log.is_valid(since) and any(
                is_record(change.type) or change.type == ACCESS_GROUP for change in log.changes[since.uen :]
            )
            if is_future or not (outside or any(gap.after < since.uen < gap.until for gap in gaps)):
                what = f"error 27 for UEN {since.uen}, which the server at {position.uen} must know"
                yield Violation("P7 resumable", str(wire), what, index)
        elif is_future and not error.retry_after_ms:
            yield Violation("P7 resumable", str(wire), f"UEN {since.uen} is refused for good: {error}", index)


# P14, P27


def check_reads(wire: WireHistory, log: Truth) -> Iterator[Violation]:
    """P14, P3, P9 and P27: a read answers as of one position, not older than asked for, with the whole truth there."""
    asked: dict[int, tuple[Asked, list[Answered]]] = {}
    snapshots: dict[int, Position] = {}
    for index, event in enumerate(wire.events):
        if isinstance(event, Asked):
            if event.message == MessageId.READ_OBJECTS:
                asked[event.request] = (event, [])
        elif isinstance(event, Answered):
            if event.message == MessageId.CLIENT_REGISTERED and not event.position.epoch:
                yield Violation("P27 no empty truth", str(wire), "a client was taken without any data", index)
            if event.message == MessageId.LOAD_GRANTED:
                snapshots[event.payload.snapshot] = event.position
            request, parts = asked.get(event.request, (None, []))
            if request is None:
                continue
            parts.append(event)
            if event.last:
                del asked[event.request]
                if event.message == MessageId.OBJECTS_SENT:
                    for name, wrong in _wrong_read(request, parts, log, snapshots):
                        yield Violation(name, str(wire), f"{request.payload}: {wrong}", index)


def _wrong_read(
    asked: Asked, parts: Sequence[Answered], log: Truth, snapshots: Mapping[int, Position]
) -> Iterator[tuple[str, str]]:
    request: ReadObjects = asked.payload
    position = parts[-1].position
    if any(part.position != position for part in parts):
        yield "P14 snapshot reads", f"its parts state several positions: {[part.position.uen for part in parts]}"
        return
    if not position.epoch:
        yield "P27 no empty truth", "answered without any data"
        return
    if not log.is_valid(position) or not log.is_end(position.uen):
        yield "P3 atomic", f"UEN {position.uen} is no end of a transaction"
        return
    if position.uen < asked.position.uen:
        yield "P9 monotonic", f"answered as of {position.uen} although {asked.position.uen} was asked for"
    if snapshots.get(request.snapshot, position) != position:
        yield "P14 snapshot reads", f"the snapshot is of {snapshots[request.snapshot].uen}, the read of {position.uen}"
    objects = [bytes(raw) for part in parts[:-1] for raw in part.payload.objects]
    found = {_dbid(stored): stored for stored in objects}
    if len(found) != len(objects):
        yield "P14 snapshot reads", "an object came twice"
    wrong = wrong_objects(log, request, found, position.uen, is_load=request.snapshot in snapshots)
    if wrong:
        yield "P14 snapshot reads", wrong
    if request.filter.get("read_folder_dbid"):
        folders = [folder for part in parts[:-1] for folder in part.payload.folders]
        expected = [log.folder_at((request.type, _dbid(stored)), position.uen) for stored in objects]
        if not wrong and folders != expected:
            yield "P14 snapshot reads", f"folders {folders} at UEN {position.uen}, not {expected}"


def wrong_objects(
    log: Truth, request: ReadObjects, found: Mapping[int, bytes], uen: int, *, is_load: bool = False
) -> str:
    """What is wrong with an answer, in words; empty if it is the truth at ``uen``. A load shows objects as stored."""
    kind = request.type
    if kind == FOLDER and is_load:
        truth = {dbid: stored for dbid in log.of_type(kind, uen) if (stored := log.at((kind, dbid), uen)) is not None}
    else:
        truth = log.of_type(kind, uen)
    if request.filter.keys() <= _FILTERS:
        expected = {dbid: stored for dbid, stored in truth.items() if _fits(kind, dbid, stored, request.filter)}
    else:  # what fits is not known, but what came must be true
        expected = {dbid: stored for dbid, stored in truth.items() if dbid in found}
    if found == expected:
        return ""
    more, fewer = sorted(found.keys() - expected.keys()), sorted(expected.keys() - found.keys())
    other = [dbid for dbid in sorted(found.keys() & expected.keys()) if found[dbid] != expected[dbid]]
    return f"not the state at UEN {uen}: too many {more}, missing {fewer}, different {other}"


def _fits(kind: int, dbid: int, stored: bytes, filter: Mapping[str, Any]) -> bool:
    """The few filters that simulations use, evaluated on the decoded object."""
    for key, wanted in filter.items():
        if key == "dbid":
            if dbid != wanted:
                return False
        elif key != "read_folder_dbid":
            path = SCHEMA.types[kind].tenant_path if key == "tenant_dbid" else _ATTRIBUTES[key]
            if msgspec.msgpack.decode(stored).get(path) != wanted:
                return False
    return True


_ATTRIBUTES: Final = {"name": "name", "user_name": "userName"}
_FILTERS: Final = frozenset({"dbid", "tenant_dbid", "read_folder_dbid", *_ATTRIBUTES})


class _Numbered(msgspec.Struct):
    DBID: int


_decode_number = msgspec.msgpack.Decoder(_Numbered).decode


def _dbid(stored: bytes) -> int:
    return _decode_number(stored).DBID
