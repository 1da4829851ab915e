"""The states of a replica that follows a master, and the decision what to do next. No I/O.

    CONNECTING   an address is being tried
    REGISTERING  connected; version, role, release and the own Application object are being checked
    RESTORING    the change stream is being resumed from the own position
    WAITING      a load must come, but not yet: delay-reload, or no load slot is free
    LOADING      all types are being read at one position; the old data set is still served
    LIVE         every change is published as it arrives
    LOST         no connection; the next attempt follows after a back-off
    FROM_COPY    the same, and all there is to serve is a copy on disk that no master has confirmed yet
    REFUSED      the master does not want this replica, or must not be followed; tried again slowly
    STOPPED      the end, reachable from everywhere

Rules (design, section 5): a resume is tried first whenever there is data; what cannot be resumed is
loaded; the first load waits for nothing, a reload for ``delay-reload`` (options: [csproxy]); the
data that is there stays in service until the new data set is complete. Data from a copy counts as
a copy's until the replica has been live once, whatever happens in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from csproxy.core.changes import Change, Epoch, Position
from csproxy.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "TRANSITIONS",
    "ChangeStream",
    "Event",
    "Plan",
    "Replication",
    "State",
    "can_resume",
    "diagram",
    "newest_name",
]


class State(Enum):
    """Where a replica stands; the values are shown by status and metrics."""

    CONNECTING = "connecting"
    REGISTERING = "registering"
    RESTORING = "restoring"
    WAITING = "waiting"
    LOADING = "loading"
    LIVE = "live"
    LOST = "lost"
    FROM_COPY = "from-copy"
    REFUSED = "refused"
    STOPPED = "stopped"


class Event(Enum):
    """What happened, or what was decided."""

    CONNECT = "connect"
    CONNECTED = "connected"
    RESUME = "resume"
    WAIT = "wait"
    LOAD = "load"
    COMPLETE = "complete"
    LOSE = "lose"
    COPY = "copy"
    REFUSE = "refuse"
    STOP = "stop"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.CONNECTING, Event.CONNECTED): State.REGISTERING,
    (State.CONNECTING, Event.LOSE): State.LOST,
    (State.REGISTERING, Event.RESUME): State.RESTORING,
    (State.REGISTERING, Event.LOAD): State.LOADING,
    (State.REGISTERING, Event.WAIT): State.WAITING,
    (State.REGISTERING, Event.LOSE): State.LOST,
    (State.REGISTERING, Event.REFUSE): State.REFUSED,
    (State.RESTORING, Event.COMPLETE): State.LIVE,
    (State.RESTORING, Event.LOAD): State.LOADING,
    (State.RESTORING, Event.WAIT): State.WAITING,
    (State.RESTORING, Event.LOSE): State.LOST,
    (State.WAITING, Event.LOAD): State.LOADING,
    (State.WAITING, Event.LOSE): State.LOST,
    (State.LOADING, Event.COMPLETE): State.LIVE,
    (State.LOADING, Event.WAIT): State.WAITING,
    (State.LOADING, Event.LOSE): State.LOST,
    (State.LIVE, Event.LOSE): State.LOST,
    (State.LOST, Event.CONNECT): State.CONNECTING,
    (State.LOST, Event.COPY): State.FROM_COPY,
    (State.FROM_COPY, Event.CONNECT): State.CONNECTING,
    (State.REFUSED, Event.CONNECT): State.CONNECTING,
    **{(state, Event.STOP): State.STOPPED for state in State if state is not State.STOPPED},
}
"""Everything that may happen; any other pair is a mistake of the caller."""


class Plan(NamedTuple):
    """The next step: an event of RESUME, LOAD or WAIT, and for WAIT the seconds before asking for a load."""

    event: Event
    wait_s: float = 0.0


def can_resume(position: Position, epochs: Sequence[Epoch], *, head: Position) -> bool:
    """Whether the epoch table says that the history up to ``head`` contains ``position``.

    The epoch must be listed, and the UEN below the first of its successor; in the newest epoch, at
    most that of ``head``. Whether the window still reaches back so far only the server knows.
    """
    for index, epoch in enumerate(epochs):
        if epoch.epoch == position.epoch:
            if index + 1 < len(epochs):
                return position.uen < epochs[index + 1].first_uen
            return position.uen <= head.uen
    return False


def newest_name(position: Position, epochs: Sequence[Epoch]) -> Position:
    """The same position, in the epoch that begins right after it if there is one.

    A master that has just taken over names the epoch of its predecessor, which a history that has ended (a
    restored backup) may share: there, the same epoch went on to later positions.
    """
    newest = epochs[-1]
    return Position(newest.epoch, position.uen) if newest.first_uen == position.uen + 1 else position


class Replication:
    """The state of one replica, moved by `handle` and by the decisions `registered` and `resume_refused`.

    ``delay_reload_s`` is the option of that name; it may be changed at any time. Times are seconds
    of any monotonic clock.
    """

    __slots__ = ("_broken_at", "_reload_due_s", "_trusted", "delay_reload_s", "is_unconfirmed", "state")

    def __init__(self, *, delay_reload_s: float = 0.0) -> None:
        self.state = State.LOST
        self.delay_reload_s = delay_reload_s
        self._reload_due_s: float | None = None
        self._broken_at: Position | None = None
        self._trusted = True
        self.is_unconfirmed = False
        """The data comes from a copy on disk, and no master has brought it up to date since."""

    def __repr__(self) -> str:
        return f"<Replication {self.state.value}>"

    def handle(self, event: Event) -> State:
        """Move on; `LocalProtocolError` when the table has no such transition."""
        try:
            self.state = TRANSITIONS[self.state, event]
        except KeyError:
            possible = sorted(e.value for s, e in TRANSITIONS if s is self.state)
            raise LocalProtocolError(
                f"a replica that is {self.state.value} cannot take {event.value!r}; possible: {', '.join(possible)}"
            ) from None
        if self.state is State.FROM_COPY:
            self.is_unconfirmed = True
        if self.state is State.LIVE:
            self._reload_due_s = None
            self._trusted = True
            self.is_unconfirmed = False
        return self.state

    def registered(self, position: Position, epochs: Sequence[Epoch], *, head: Position, now: float) -> Plan:
        """What to do at a master whose history ends at ``head``; ``position`` (0, 0) means no data yet."""
        if position == (0, 0):
            return Plan(Event.LOAD)
        if self._trusted and can_resume(position, epochs, head=head):
            return Plan(Event.RESUME)
        return self.resume_refused(now)

    def resume_refused(self, now: float) -> Plan:
        """Load or wait after a resume that the master refused (error 27) or that was not worth trying.

        The delay is counted from the first refusal: further losses of the connection do not prolong it.
        """
        if self._reload_due_s is None:
            self._reload_due_s = now + self.delay_reload_s
        remaining = self._reload_due_s - now
        return Plan(Event.WAIT, remaining) if remaining > 0 else Plan(Event.LOAD)

    def stream_broken(self, position: Position) -> None:
        """The change stream had a gap after ``position``: resume there once more, then load instead."""
        if self._broken_at == position:
            self._trusted = False
        self._broken_at = position

    def data_diverged(self) -> None:
        """A change did not fit the data: no resume can heal that, only a load."""
        self._trusted = False


class ChangeStream:
    """Puts changes together to whole transactions and watches that none is missing or comes twice.

    For a stream that shows everything the UENs of a master have no gaps; one that is ``partial`` may leave out what the
    proxy may not read, and tells at one UEN of several objects that appear or disappear. ``position`` is that of
    the last complete transaction. Every method returns the transaction that is complete now, or
    None, and raises `RemoteProtocolError` when the stream has a gap or names an epoch that
    ``epochs`` does not list; the stream must then be resumed from `position`.
    """

    __slots__ = ("_is_partial", "_known", "_next_uen", "_open", "position")

    def __init__(self, position: Position, epochs: Sequence[Epoch], *, is_partial: bool = False) -> None:
        self.position = position
        self._is_partial = is_partial
        self._known = frozenset(epoch.epoch for epoch in epochs)
        self._next_uen = position.uen + 1
        self._open: list[Change] = []

    def change(self, change: Change) -> list[Change] | None:
        """Take the next change. One at or before `position` was there already and is dropped."""
        uen = change.position.uen
        if change.position.epoch not in self._known:
            raise RemoteProtocolError(
                f"change {uen} is of epoch {change.position.epoch}, which the master never listed"
            )
        if uen != self._next_uen:
            if uen <= self.position.uen:
                return None
            if not self._is_partial or uen < self._next_uen - 1:
                raise RemoteProtocolError(f"change {uen} came where change {self._next_uen} was due")
        self._next_uen = uen + 1
        self._open.append(change)
        return self._complete(change.position) if change.last else None

    def mark(self, position: Position) -> list[Change] | None:
        """Take a progress mark: it closes an open transaction, and shows whether changes are missing."""
        if position.uen < self.position.uen:
            return None
        if self._is_partial and position.uen >= self._next_uen - 1:
            self._next_uen = position.uen + 1
            if not self._open:
                self.position = position
                return None
        elif position.uen != self._next_uen - 1:
            raise RemoteProtocolError(f"a mark for UEN {position.uen} came where change {self._next_uen} was due")
        return self._complete(self._open[-1].position) if self._open else None

    def _complete(self, position: Position) -> list[Change]:
        transaction, self._open = self._open, []
        self.position = position
        return transaction


def diagram() -> str:
    """The table as a mermaid state diagram, for the documentation; STOP is left out."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.LOST.value}"]
    lines += [
        f"    {before.value} --> {after.value}: {event.value}"
        for (before, event), after in TRANSITIONS.items()
        if event is not Event.STOP
    ]
    return "\n".join(lines) + "\n"
