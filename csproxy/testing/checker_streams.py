"""What must hold for every subscription, judged by what its consumer was given, across connections.

The consumer's copy is rebuilt from what it got and compared with the master's state wherever the
stream says that it is complete; beside that, every change is compared with the one committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from csproxy.core.changes import Action, Change, Position
from csproxy.core.subscriptions import EVERYTHING
from csproxy.errors import CsproxyError
from csproxy.testing.checker_model import MasterLog, State, moved_members, updated, wants
from csproxy.testing.checker_wires import Violation
from csproxy.testing.histories import Arrived, Delivered, Expired, Reached, Reload, Started, StreamHistory
from csproxy.transport.wire.frames import FLAG_END, Frame
from csproxy.transport.wire.notifications import decode_change

__all__ = ["apply_delivered", "check_streams"]


def check_streams(streams: Sequence[StreamHistory], log: MasterLog, reloads: Sequence[Reload]) -> Iterator[Violation]:
    """All checks on all subscriptions; the first violation of each ends its check, for others follow from it."""
    for stream in streams:
        follower = _Follower(stream, log, reloads)
        for index, event in enumerate(stream.events):
            found = next(follower.take(event), None)
            if found is not None:
                name, sentence = found
                yield Violation(name, str(stream), sentence, index)
                break


class _Follower:
    """A subscriber's copy, and the copy that it should have."""

    def __init__(self, stream: StreamHistory, log: MasterLog, reloads: Sequence[Reload]) -> None:
        self._interest = stream.interest
        self._whole = log
        self._log = log.histories[0]
        self._reloads = reloads
        self._at = 0
        self._copy = State({}, {})
        self._truth = State({}, {})
        self._seen: set[tuple[int, int, int, int, int]] = set()

    def _enter_history(self, position: Position, changes: Sequence[Delivered] = ()) -> bool:
        """Go on in the history of ``position``; False if what the subscriber has is of one that has ended, or may be.

        It may be if ``changes`` lead to where it stands: its server had been further on, and it was told nothing.
        """
        history = self._whole.history_of(position, since=self._log)
        if history is None or history is self._log:
            return True
        before, self._log = self._log, history
        return self._at <= before.common_with(history) and not (changes and position.uen <= self._at)

    def take(self, event: Started | Arrived | Reached | Expired) -> Iterator[tuple[str, str]]:
        """Check one event; yields what is wrong as property and sentence."""
        if isinstance(event, Started):
            self._enter_history(event.position)
            yield from self._check_place(event.position)
            yield from self._start(event)
            return
        position = event.end if isinstance(event, Arrived) else event.position
        changes = event.changes if isinstance(event, Arrived) else ()
        if isinstance(event, Expired):
            return
        if not self._enter_history(position, changes):
            yield from self._cross(position, changes)
            return
        yield from self._check_place(position)
        if isinstance(event, Arrived):
            yield from self._check_parts(event)
        yield from self._advance(position, changes)

    def _check_place(self, position: Position) -> Iterator[tuple[str, str]]:
        """P3 and P6: a position of this history, at the end of a transaction, not before the last one."""
        if not self._log.is_valid(position):
            yield "P6 marks", f"{position} is no position of the master's history"
        elif not self._log.is_end(position.uen):
            yield "P3 atomic", f"UEN {position.uen} is within a transaction"
        elif position.uen < self._at:
            yield "P6 marks", f"the stream went back from UEN {self._at} to {position.uen}"

    def _start(self, event: Started) -> Iterator[tuple[str, str]]:
        """P8: what was read is the state at the position where the stream begins."""
        self._at = event.position.uen
        self._truth = self._log.state(self._at, self._interest)
        if event.objects is None:
            self._copy = State(self._truth.objects, self._truth.folders)
            return
        self._copy = State(event.objects, self._truth.folders)
        if self._copy.objects != self._truth.objects:
            yield "P8 splice", f"what was read is not the state at UEN {self._at}: {self._difference()}"

    def _check_parts(self, event: Arrived) -> Iterator[tuple[str, str]]:
        """P1, P2, P3 and P5 within one transaction."""
        log = self._log
        before = self._at
        for change in event.changes:
            # in the difference of a reload an object may be deleted and another one created with its DBID
            key = (*change.position, change.type, change.dbid, change.action if change.is_reload else 0)
            if key in self._seen:
                yield "P2 unique", f"{change} came twice"
            self._seen.add(key)
            if not self._at < change.position.uen <= event.end.uen:
                yield "P1 ordered", f"{change} came between UEN {self._at} and {event.end.uen}"
            if change.position.uen < before:
                yield "P1 ordered", f"{change} came after UEN {before}"
            before = change.position.uen
            if change.is_reload:
                continue
            logged = log.changes[change.position.uen - 1]
            if (change.payload, *change[1:4]) != (logged.payload, *logged[1:4]):
                yield "P4 reliable", f"{change} is not what was committed: {logged}"
            if not wants(self._interest, logged):
                yield "P5 filter", f"{change} was not subscribed to"
        parts = {_part(change, log) for change in event.changes}
        if len(parts) > 1:
            yield "P3 atomic", f"changes of several transactions came as one: {'; '.join(map(str, event.changes))}"

    def _cross(self, end: Position, changes: Sequence[Delivered]) -> Iterator[tuple[str, str]]:
        """P28: from one history into another only the net difference leads, which may be empty."""
        if changes and not any(change.is_reload for change in changes) and self._log.is_valid(end):
            before = self._log.transaction_of(changes[0].position.uen)[0] - 1
            self._truth = self._log.state(before, self._interest)
            if not self._difference():
                self._at = before
                yield from self._advance(end, changes)
                return
        if not all(change.is_reload for change in changes):
            yield "P28 epoch", f"changes of another history came after UEN {self._at}: {'; '.join(map(str, changes))}"
        if not self._log.is_end(end.uen):
            yield "P3 atomic", f"UEN {end.uen} of the new history is within a transaction"
        self._at = end.uen
        self._truth = self._log.state(end.uen, self._interest)
        for change in changes:
            wrong = apply_delivered(change, self._copy)
            if wrong:
                yield "P25 delete and re-create", wrong
        wrong = self._difference()
        if wrong:
            yield "P28 epoch", f"the copy is not the state at UEN {end.uen} of the new history: {wrong}"

    def _advance(self, end: Position, changes: Sequence[Delivered]) -> Iterator[tuple[str, str]]:
        """P4 and P25: every matching change came, and the copy is the master's state."""
        log = self._log
        for change in changes:
            wrong = apply_delivered(change, self._copy)
            if wrong:
                yield "P25 delete and re-create", wrong
        delivered = {change.position.uen for change in changes if not change.is_reload}
        for logged in log.matching(self._interest, self._at, end.uen):
            self._truth.apply(logged)
            uen = logged.position.uen
            if uen not in delivered and not any(reload.after < uen <= reload.until for reload in self._reloads):
                first, last = log.transaction_of(uen)
                half = any(first <= other <= last for other in delivered)
                name = "P3 atomic" if half else "P4 reliable"
                yield name, f"{logged} is missing between UEN {self._at} and {end.uen}"
        self._at = end.uen
        wrong = self._difference()
        if wrong:
            yield "P4 reliable", f"the copy is not the state at UEN {end.uen}: {wrong}"

    def _difference(self) -> str:
        """What is wrong with the copy, in words; empty if nothing is. Who follows everything knows all folders, too."""
        has, should = self._copy.objects, self._truth.objects
        if has != should:
            more, fewer = sorted(has.keys() - should.keys()), sorted(should.keys() - has.keys())
            other = [key for key in sorted(has.keys() & should.keys()) if has[key] != should[key]]
            return f"too many {more}, missing {fewer}, different {other}"
        if self._interest == EVERYTHING and self._copy.folders != self._truth.folders:
            return f"not in these folders: {sorted(self._copy.folders.items() ^ self._truth.folders.items())}"
        return ""


def _part(change: Delivered, log: MasterLog) -> tuple[str, int]:
    if change.is_reload:
        return "reload", change.position.uen
    return "transaction", log.transaction_of(change.position.uen)[0]


def apply_delivered(delivered: Delivered, copy: State) -> str:
    """Bring the copy up to date as a subscriber would; returns what does not fit."""
    key = (delivered.type, delivered.dbid)
    before = copy.objects.get(key)
    change = _decoded(delivered)
    if change.action is Action.CREATED:
        if before is not None:
            return f"{delivered} creates what is there"
        copy.objects[key] = change.object or b""
        copy.folders[key] = change.folder
        return ""
    if before is None:
        return f"{delivered} is of an object that is not there"
    if change.action is Action.DELETED:
        del copy.objects[key]
        copy.folders.pop(key, None)
        return ""
    try:
        copy.objects[key] = updated(change.type, before, change)
    except CsproxyError as e:
        return f"{delivered} does not fit: {e}"
    if change.folder:
        copy.folders[key] = change.folder
    for member in moved_members(change):
        if member in copy.folders:
            copy.folders[member] = change.dbid
    return ""


def _decoded(delivered: Delivered) -> Change:
    position = delivered.position
    return decode_change(Frame(int(delivered.action), FLAG_END, 0, position.epoch, position.uen, delivered.payload))
