"""What must hold for a replica that follows a master, judged by its own connections: P17, P18 and P22.

A replica that can resume does not load; one that must load again waits for its option delay-reload; and
data from a disk or a database is said to be unconfirmed until a master has been followed from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from csproxy.core.changes import Epoch
from csproxy.core.replication import newest_name
from csproxy.testing.checker_wires import Violation
from csproxy.testing.histories import Answered, Asked, Began, Event, History, Marked, Notified
from csproxy.transport.wire.messages import MessageId

__all__ = ["check_replicas"]

_CONFIRMING = frozenset({MessageId.RESUME_FROM, MessageId.LOAD_END})
_EARLY_S = 1e-6


def check_replicas(history: History) -> Iterator[Violation]:
    """All checks on every run of every replica."""
    for index, began in enumerate(history.began):
        later = (each.at_s for each in history.began[index + 1 :] if each.name == began.name)
        ends_s = next(later, inf)
        run = _Run(began)
        for event in _events(history, began, ends_s):
            yield from run.take(event)
        for announced in history.announced:
            if announced.name == began.name and began.at_s <= announced.at_s < ends_s:
                confirmed_s = next((at_s for at_s in run.confirmed_s if at_s <= announced.at_s), None)
                if confirmed_s == announced.at_s:
                    continue  # either may have come first
                is_unconfirmed = began.position != (0, 0) and confirmed_s is None
                if announced.is_unconfirmed is not is_unconfirmed:
                    what = (
                        "as unconfirmed although it was"
                        if announced.is_unconfirmed
                        else "as the master's before it was"
                    )
                    yield Violation(
                        "P22 honest copy", began.name, f"announced {what} confirmed, at {announced.at_s:.3f}"
                    )
                    break


def _events(history: History, began: Began, ends_s: float) -> Sequence[tuple[int, Event]]:
    """What the replica\'s connections carried in this run, by time, with the number of the connection."""
    replicas = {each.name for each in history.began}
    found = [
        (event.at_s, wire.number, place, event)
        for wire in history.wires
        if wire.client == began.name and wire.host not in replicas  # a replica's connection to another is no master's
        for place, event in enumerate(wire.events)
        if began.at_s <= event.at_s < ends_s
    ]
    return [(number, event) for _, number, _, event in sorted(found, key=lambda each: each[:3])]


class _Run:
    """What a replica has, and may do, from its start to its end."""

    def __init__(self, began: Began) -> None:
        self.confirmed_s: list[float] = []
        self._began = began
        self._position = began.position
        self._asked: dict[tuple[int, int], Asked] = {}
        self._epochs: dict[int, list[tuple[int, int]]] = {}
        self._refused: set[int] = set()
        self._followed: set[int] = set()
        self._resuming: set[int] = set()
        self._reload_from_s: float | None = None

    def take(self, numbered: tuple[int, Event]) -> Iterator[Violation]:
        """One event, in the order of time."""
        number, event = numbered
        if isinstance(event, Asked):
            self._asked[number, event.request] = event
            if event.message == MessageId.LOAD_BEGIN:
                yield from self._check_load(number, event)
            elif event.message == MessageId.RESUME_FROM:
                self._resuming.add(number)
        elif isinstance(event, Answered) and event.last:
            self._answered(number, event)
        elif isinstance(event, Notified) and number in self._followed | self._resuming and event.change.last:
            self._position = event.change.position  # what a resume brings counts although it is cut short
        elif isinstance(event, Marked) and number in self._followed and not event.from_history:
            # where it is already, it goes on under the name that it has
            self._position = max(self._position, event.position, key=lambda position: position.uen)

    def _answered(self, number: int, event: Answered) -> None:
        asked = self._asked.pop((number, event.request), None)
        if event.message == MessageId.CLIENT_REGISTERED:
            self._epochs[number] = event.payload.epochs
            if self._position != (0, 0) and not self._may_resume(number):
                self._reload_due(event.at_s)
        elif event.message == MessageId.LOAD_GRANTED:
            self._epochs[number] = event.payload.epochs
        elif asked is not None and asked.message in _CONFIRMING and event.message != MessageId.ERROR:
            self._position = event.position
            if asked.message == MessageId.LOAD_END:
                self._position = newest_name(event.position, [Epoch(*row) for row in self._epochs[number]])
            self._followed.add(number)
            self._reload_from_s = None
            self.confirmed_s.append(event.at_s)
        elif asked is not None and asked.message == MessageId.RESUME_FROM and not event.payload.retry_after_ms:
            self._refused.add(number)
            self._reload_due(event.at_s)

    def _reload_due(self, at_s: float) -> None:
        if self._reload_from_s is None:
            self._reload_from_s = at_s

    def _check_load(self, number: int, event: Asked) -> Iterator[Violation]:
        name = self._began.name
        if number in self._followed:
            yield Violation("P17 herd", name, f"it loads at {event.at_s:.3f} on a connection on which it has caught up")
        elif self._position != (0, 0) and number not in self._refused and self._may_resume(number):
            yield Violation(
                "P17 herd", name, f"it loads at {event.at_s:.3f} although it could resume from {self._position}"
            )
        elif self._position != (0, 0):
            due_s = (self._reload_from_s or 0.0) + self._began.delay_reload_s
            if event.at_s < due_s - _EARLY_S:
                yield Violation(
                    "P18 upstream herd", name, f"it loads again at {event.at_s:.3f}, delay-reload ends at {due_s:.3f}"
                )

    def _may_resume(self, number: int) -> bool:
        """Whether the table of the master that it registered with says that its position is of the same history."""
        epochs = self._epochs.get(number, [])
        for index, (epoch, _) in enumerate(epochs):
            if epoch == self._position.epoch:
                return index + 1 == len(epochs) or self._position.uen < epochs[index + 1][1]
        return False
