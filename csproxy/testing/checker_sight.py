"""What clients see whose account reads a part of the configuration (P5).

The client's copy, its reads and every single change are compared with what its account may read of the master's log
(`csproxy.testing.checker_seen`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from csproxy.core import codec
from csproxy.core.changes import Action, Position
from csproxy.core.containers import container_type
from csproxy.core.model import SCHEMA
from csproxy.core.security_records import RECORDS
from csproxy.core.subscriptions import Interest
from csproxy.errors import ErrorCode
from csproxy.testing.checker_histories import mixed_answers, parts_of
from csproxy.testing.checker_model import FOLDER, LoggedChange, MasterLog, State, wants
from csproxy.testing.checker_replays import Held, find_replays, held_interests
from csproxy.testing.checker_seen import SeenLog
from csproxy.testing.checker_streams import apply_delivered
from csproxy.testing.checker_wires import Violation, check_marks, check_reads, wrong_objects
from csproxy.testing.histories import (
    Answered,
    Arrived,
    Delivered,
    Expired,
    History,
    ObjectKey,
    Reached,
    Reload,
    Started,
    StreamHistory,
    WireHistory,
)
from csproxy.testing.permission_model import ACCESS_GROUP
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects

__all__ = ["check_sight"]

_HOLDERS: Final = {ACCESS_GROUP, FOLDER, *(container_type(kind).number for kind in SCHEMA.types.values())}
"""Changes of these may change who reads other objects."""
_P5: Final = "P5 filter"


def check_sight(history: History, log: MasterLog) -> Iterator[Violation]:
    """P5, and what else must hold for clients that do not read everything."""
    for client, account in history.accounts.items():
        seen = [SeenLog(each, account) for each in log.histories]
        held = held_interests(history.wires)
        for wire in history.wires:
            if wire.client == client:
                yield from _check_wire(wire, log, seen, held, history.reloads)
        for index, read in enumerate(history.reads):
            truth = log.history_of(read.position)
            if read.client == client and truth is not None and truth.is_end(read.position.uen):
                request = ReadObjects(type=read.type, filter=dict(read.filter))
                mine = seen[log.histories.index(truth)]
                wrong = wrong_objects(mine, request, read.objects, read.position.uen)
                if wrong:
                    yield Violation(_P5, client, f"{request}: {wrong}", index)
        for stream in history.streams:
            if stream.client == client:
                yield from _check_stream(stream, log, seen, history.reloads)


def _check_wire(
    wire: WireHistory, log: MasterLog, seen: Sequence[SeenLog], held: Held, reloads: Sequence[Reload]
) -> Iterator[Violation]:
    for index, what in mixed_answers(wire, log):
        yield Violation("P28 epoch", str(wire), what, index)
    for part, history in parts_of(wire, log):
        mine = seen[log.histories.index(history)]
        yield from check_marks(part, history)
        yield from check_reads(part, mine)
        yield from _check_refusals(part, mine, held, [reload for reload in reloads if reload.host == wire.host])


def _check_refusals(wire: WireHistory, seen: SeenLog, held: Held, gaps: Sequence[Reload]) -> Iterator[Violation]:
    """P7: error 27 where the window ends, where the identities were others, and where a server that was started again
    does not know what accounts could read before: lists, groups, folders, containers or deletions follow."""
    log = seen.log
    known = {
        epoch
        for event in wire.events
        if isinstance(event, Answered) and event.message == MessageId.CLIENT_REGISTERED
        for epoch, _ in event.payload.epochs
    }
    for request, since, error, position, index in find_replays(wire, held)[1]:
        if error.code != ErrorCode.HISTORY_LOG_EXPIRED or since.epoch not in known or not log.is_valid(since):
            continue
        if since.uen < wire.floors.get(request, 0) or any(gap.after < since.uen < gap.until for gap in gaps):
            continue
        after = log.changes_between(since.uen, position.uen)
        if not any(_hides_the_past(change) for change in after) and all(
            seen.identities(change.position.uen) == seen.identities(since.uen) for change in after
        ):
            what = f"error 27 for UEN {since.uen} at {position.uen}, although the account has remained who it was"
            yield Violation("P7 resumable", str(wire), what, index)


def _hides_the_past(change: LoggedChange) -> bool:
    return change.type > RECORDS or change.type in _HOLDERS or change.action is Action.DELETED


# subscriptions


def _check_stream(
    stream: StreamHistory, log: MasterLog, seen: Sequence[SeenLog], reloads: Sequence[Reload]
) -> Iterator[Violation]:
    follower = _Follower(stream.interest, log, seen, reloads)
    for index, event in enumerate(stream.events):
        found = next(follower.take(event), None)
        if found is not None:
            yield Violation(found[0], str(stream), found[1], index)
            return


class _Follower:
    """A subscriber's copy, and what its account may read of the master's state."""

    def __init__(self, interest: Interest, log: MasterLog, seen: Sequence[SeenLog], reloads: Sequence[Reload]) -> None:
        self._interest = interest
        self._whole = log
        self._all = seen
        self._seen = seen[0]
        self._reloads = reloads
        self._at = 0
        self._copy = State({}, {})
        self._came: set[tuple[Position, Action, int, int]] = set()

    def take(self, event: Started | Arrived | Reached | Expired) -> Iterator[tuple[str, str]]:
        """Check one event; yields what is wrong as property and sentence."""
        if isinstance(event, Expired):
            return
        position = event.end if isinstance(event, Arrived) else event.position
        history = self._whole.history_of(position, since=self._seen.log)
        if history is None or not history.is_end(position.uen):
            yield "P3 atomic", f"{position} is no end of a transaction"
            return
        goes_on = history is self._seen.log or self._at <= self._seen.log.common_with(history)
        self._seen = self._all[self._whole.histories.index(history)]
        if isinstance(event, Started):
            truth = self._seen.state(position.uen, self._interest)
            self._copy = State(truth if event.objects is None else event.objects, {})
        elif goes_on and position.uen < self._at:
            yield "P6 marks", f"the stream went back from UEN {self._at} to {position.uen}"
        if isinstance(event, Arrived):
            for change in event.changes:
                if goes_on:
                    yield from self._check_change(change, position.uen)
                wrong = apply_delivered(change, self._copy)
                if wrong:
                    yield "P25 delete and re-create", wrong
        if goes_on and not isinstance(event, Started):
            yield from self._missing(event, position.uen)
        self._at = position.uen
        wrong = _difference(self._copy.objects, self._seen.state(position.uen, self._interest))
        if wrong:
            yield _P5, f"the copy is not what the account may read at UEN {position.uen}: {wrong}"

    def _check_change(self, change: Delivered, end: int) -> Iterator[tuple[str, str]]:
        """One change: as it was made, or an appearance or disappearance, which have no author and no time."""
        place = (change.position, change.action, change.type, change.dbid)
        if place in self._came:
            yield "P2 unique", f"{change} came twice"
        self._came.add(place)
        uen = change.position.uen
        if not self._at < uen <= end:
            yield "P1 ordered", f"{change} came between UEN {self._at} and {end}"
            return
        logged = self._seen.log.changes[uen - 1]
        if not change.is_reload:
            if (change.payload, *change[1:4]) != (logged.payload, *logged[1:4]):
                yield "P4 reliable", f"{change} is not what was committed: {logged}"
            elif not wants(self._interest, logged) or not self._seen.shows(logged):
                yield _P5, f"{change} was not to be shown"
        elif not any(reload.after < uen <= reload.until for reload in self._reloads):
            yield from self._check_shift(change, *self._seen.log.transaction_of(uen))

    def _check_shift(self, change: Delivered, first: int, last: int) -> Iterator[tuple[str, str]]:
        key = (change.type, change.dbid)
        saw, sees = key in self._seen.visible(first - 1), key in self._seen.visible(last)
        if change.action is Action.UPDATED or (saw, sees) != (
            change.action is Action.DELETED,
            change.action is Action.CREATED,
        ):
            yield _P5, f"{change} without author: the object could {'' if saw else 'not '}be read before"
        told = codec.decode_map(change.payload).keys() - {"type", "dbid", "object", "folder"}
        if told:
            yield _P5, f"{change} tells more than that it has come or gone: {sorted(told)}"

    def _missing(self, event: Arrived | Reached, end: int) -> Iterator[tuple[str, str]]:
        """P4: what may be seen came."""
        came = {change.position.uen for change in event.changes} if isinstance(event, Arrived) else set()
        for logged in self._seen.log.matching(self._interest, self._at, end):
            uen = logged.position.uen
            if (
                uen not in came
                and self._seen.shows(logged)
                and not any(reload.after < uen <= reload.until for reload in self._reloads)
            ):
                yield "P4 reliable", f"{logged} is missing between UEN {self._at} and {end}"


def _difference(has: Mapping[ObjectKey, bytes], should: Mapping[ObjectKey, bytes]) -> str:
    if has == should:
        return ""
    more, fewer = sorted(has.keys() - should.keys()), sorted(should.keys() - has.keys())
    other = [key for key in sorted(has.keys() & should.keys()) if has[key] != should[key]]
    return f"too many {more}, missing {fewer}, different {other}"
