"""Finding the replays in what a connection carried: who asked, since when, for what, and what came.

Replays are sent in the order in which they were asked for, each after everything that was due
before it. That of ResumeFrom and HistoryLog ends with HistoryLogSent; that of RegisterNotification
begins with its answer and ends with a progress mark of the same position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from csproxy.core.changes import Position
from csproxy.core.subscriptions import Interest
from csproxy.testing.histories import Answered, Asked, Delivered, Ended, Marked, Notified, WireHistory
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import Error
from csproxy.transport.wire.registration import RestoreSession
from csproxy.transport.wire.subscriptions import Subscription

__all__ = ["Held", "RefusedReplay", "Replayed", "find_replays", "held_interests", "interest_of"]


@dataclass
class Replayed:
    """A replay that was asked for. ``interests`` None: not known. ``reached`` None: not answered.

    ``start`` and ``end`` are indexes of events; ``is_complete`` says that its closing frame has
    come. ``is_single`` is one of RegisterNotification.
    """

    request: int
    since: Position
    interests: frozenset[Interest] | None
    start: int
    is_single: bool
    reached: Position | None = None
    end: int | None = None
    is_complete: bool = False
    changes: list[Delivered] = field(default_factory=list)

    @property
    def may_run(self) -> bool:
        """Whether its changes may come now."""
        return not self.is_single or self.reached is not None


class RefusedReplay(NamedTuple):
    """A replay that was answered with an error, by a server that stood at ``position``."""

    request: int
    since: Position
    error: Error
    position: Position
    place: int


Held = Mapping[tuple[int, int], frozenset[Interest] | None]
"""For each HistoryLog, by connection number and request id: what its session holds; None if that is uncertain."""


def find_replays(wire: WireHistory, held: Held) -> tuple[list[Replayed], list[RefusedReplay], int | None]:
    """The replays of a connection, those that were refused, and the index of a history frame outside of any."""
    finder = _Finder(wire, held)
    return finder.run()


class _Finder:
    def __init__(self, wire: WireHistory, held: Held) -> None:
        self._wire = wire
        self._held = held
        self._queue: list[Replayed] = []
        self._done: list[Replayed] = []
        self._refused: list[RefusedReplay] = []

    def run(self) -> tuple[list[Replayed], list[RefusedReplay], int | None]:
        for index, event in enumerate(self._wire.events):
            if isinstance(event, Asked):
                replay = _asked(event, index, self._wire.number, self._held)
                if replay is not None:
                    self._queue.append(replay)
            elif isinstance(event, Answered):
                self._answered(event, index)
            elif isinstance(event, Marked) and not event.from_history:
                self._marked(event, index)
            elif isinstance(event, Notified) and event.change.from_history:
                if not self._queue or not self._queue[0].may_run:
                    return self._done + self._queue, self._refused, index
                self._queue[0].changes.append(event.change)
        return self._done + self._queue, self._refused, None

    def _answered(self, event: Answered, index: int) -> None:
        own = next((replay for replay in self._queue if replay.request == event.request), None)
        if own is None:
            return
        if event.message == MessageId.ERROR:
            self._queue.remove(own)
            self._refused.append(RefusedReplay(own.request, own.since, event.payload, event.position, index))
        elif event.message == MessageId.HISTORY_LOG_SENT:
            own.reached, own.is_complete = event.position, True
            self._close(own, index)
        else:
            own.reached, own.start = event.position, index

    def _marked(self, event: Marked, index: int) -> None:
        running = next((replay for replay in self._queue if replay.may_run), None)
        if running is not None and running.reached is not None and running.reached.uen == event.position.uen:
            running.is_complete = True
            self._close(running, index)

    def _close(self, replay: Replayed, index: int) -> None:
        replay.end = index
        self._queue.remove(replay)
        self._done.append(replay)


def _asked(asked: Asked, index: int, wire_number: int, held: Held) -> Replayed | None:
    interests: frozenset[Interest] | None
    if asked.message == MessageId.RESUME_FROM:
        interests = frozenset(interest_of(item) for item in asked.payload.subscriptions)
    elif asked.message == MessageId.HISTORY_LOG:
        interests = held.get((wire_number, asked.request))
    elif asked.message == MessageId.REGISTER_NOTIFICATION and asked.position.epoch:
        return Replayed(asked.request, asked.position, frozenset({interest_of(asked.payload)}), index, True)
    else:
        return None
    return Replayed(asked.request, asked.position, interests, index, False)


def interest_of(subscription: Subscription) -> Interest:
    """The interest that a subscription's payload names."""
    return Interest(
        subscription.object_type, subscription.tenant_id, subscription.object_dbid, subscription.exclude_bytecode
    )


# what a session holds


@dataclass
class _Session:
    interests: frozenset[Interest] = frozenset()
    is_certain: bool = True


def held_interests(wires: Sequence[WireHistory]) -> Held:
    """What the sessions hold that a HistoryLog was asked for, from what was answered on earlier connections.

    ``wires`` are in the order in which they were opened.
    """
    sessions: dict[str, _Session] = {}
    held: dict[tuple[int, int], frozenset[Interest] | None] = {}
    for wire in wires:
        session = _Session()
        asked: dict[int, Asked] = {}
        for event in wire.events:
            if isinstance(event, Asked):
                asked[event.request] = event
                if event.message == MessageId.HISTORY_LOG:
                    held[wire.number, event.request] = session.interests if session.is_certain else None
            elif isinstance(event, Answered) and event.last and event.request in asked:
                request = asked.pop(event.request)
                if event.message == MessageId.CLIENT_REGISTERED:
                    session = sessions.setdefault(event.payload.session, _Session())
                    if isinstance(request.payload, RestoreSession) and request.payload.subscriptions is not None:
                        session.interests = frozenset(map(interest_of, request.payload.subscriptions))
                        session.is_certain = True
                elif event.message != MessageId.ERROR:
                    session.interests = _after(session.interests, request)
            elif isinstance(event, Ended) and any(
                _after(session.interests, each) != session.interests for each in asked.values()
            ):
                session.is_certain = False
    return held


def _after(interests: frozenset[Interest], request: Asked) -> frozenset[Interest]:
    if request.message == MessageId.REGISTER_NOTIFICATION:
        return interests | {interest_of(request.payload)}
    if request.message == MessageId.UNREGISTER_NOTIFICATION:
        return interests - {interest_of(request.payload)}
    if request.message == MessageId.RESUME_FROM:
        return interests | {interest_of(item) for item in request.payload.subscriptions}
    return interests
