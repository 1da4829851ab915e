"""Connections across the end of a history: a master whose database was put back to an older copy (P28).

What a connection carried is divided where its server came to stand in another history; each part is then
judged within one. What was asked in one history must not be answered with data of another.
"""

from __future__ import annotations

from collections.abc import Iterator

from csproxy.core.changes import Position
from csproxy.testing.checker_model import MasterLog
from csproxy.testing.histories import Answered, Asked, Event, Marked, Notified, WireHistory
from csproxy.transport.wire.messages import MessageId

__all__ = ["mixed_answers", "parts_of"]

_DATA = frozenset({MessageId.OBJECTS_READ, MessageId.OBJECTS_SENT})


def parts_of(wire: WireHistory, log: MasterLog) -> Iterator[tuple[WireHistory, MasterLog]]:
    """The parts of a connection, each with its history; answers to what was asked in another part are left out."""
    if len(log.histories) == 1:
        yield wire, log
        return
    for history, events in _divided(wire, log):
        asked = {event.request for event in events if isinstance(event, Asked)}
        kept = [event for event in events if not isinstance(event, Answered) or event.request in asked]
        yield WireHistory(wire.client, wire.number, wire.host, kept, wire.floors), history


def mixed_answers(wire: WireHistory, log: MasterLog) -> Iterator[tuple[int, str]]:
    """Places at which what was asked for as of a position of one history was answered with data of another."""
    asked: dict[int, Asked] = {}
    for index, event in enumerate(wire.events):
        if isinstance(event, Asked):
            asked[event.request] = event
        elif isinstance(event, Answered) and event.message in _DATA and event.request in asked:
            least = asked[event.request].position
            if least.epoch and event.position.epoch:
                before, after = log.history_of(least), log.history_of(event.position)
                if (
                    before is not None
                    and after is not None
                    and not (after.is_valid(least) or before.is_valid(event.position))
                ):
                    yield (
                        index,
                        f"asked for as of {least}, answered as of {event.position}, which is of another history",
                    )


def _divided(wire: WireHistory, log: MasterLog) -> Iterator[tuple[MasterLog, list[Event]]]:
    present: MasterLog | None = None
    events: list[Event] = []
    positions: set[Position] = set()
    of_snapshots: set[int] = set()
    for event in wire.events:
        if isinstance(event, Asked) and getattr(event.payload, "snapshot", False):
            of_snapshots.add(event.request)
        position = _position(event)
        history = _history_of(event, position, log, present) if position.epoch else None
        if history is not None and history is not present:
            if present is not None and not (_goes_on(event, positions) and all(map(history.is_valid, positions))):
                yield present, events
                events, positions = [], set()
            present = history
        if (
            history is None
            and isinstance(event, Answered)
            and event.request in of_snapshots
            and log.history_of(position)
        ):
            continue  # a snapshot that was opened in an earlier history shows that one until it is closed
        if history is not None:
            positions.add(position)
        events.append(event)
    yield present or log, events


def _goes_on(event: Event, positions: set[Position]) -> bool:
    """False if a difference leads to where the client stands, or before: its server had been further on, unheard."""
    if not isinstance(event, Notified) or not event.change.is_reload:
        return True
    return event.change.position.uen > max((position.uen for position in positions), default=-1)


def _history_of(event: Event, position: Position, log: MasterLog, present: MasterLog | None) -> MasterLog | None:
    """The first history, from the present one on, that has the position, and the epochs that the server lists."""
    told = {epoch for epoch, _ in getattr(getattr(event, "payload", None), "epochs", ())}
    histories = log.histories if present is None else log.histories[log.histories.index(present) :]
    for history in histories:
        if history.is_valid(position) and told <= {epoch.epoch for epoch in history.epochs}:
            return history
    return None


def _position(event: Event) -> Position:
    if isinstance(event, Notified):
        return event.change.position
    return event.position if isinstance(event, (Answered, Marked)) else Position(0, 0)
