"""Who may load and who may write, one after the other: the load control of a master. No I/O, no clock.

With ``serialize`` (option serialize-write-transactions) proxies' loads and write transactions stand in one queue:

- a load may begin when fewer than ``load_max`` others run (0: any number) and no write;
- a write may begin when nothing else runs, and ``throttle_s`` after the last write has ended;
- whoever comes later waits for who came earlier, so that neither loads nor writes starve.

A load that waits is answered *deferred* now and then and asks again: it keeps its place, but holds up
nobody while it is not asking. Without ``serialize`` everything begins at once: the other settings need it.

Source: options serialize-write-transactions, proxy-load-max, proxy-load-timeout and throttle-updates-interval;
the order of the queue is our decision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

__all__ = ["Admission", "AdmissionSettings", "Ticket", "Turn"]


class AdmissionSettings(NamedTuple):
    """The options. ``deferral_s``: a request that waits longer is given up (0: never)."""

    serialize: bool = False
    load_max: int = 0
    load_timeout_s: float = 600.0
    deferral_s: float = 3600.0
    throttle_s: float = 0.0


class Turn(Enum):
    """What somebody waits for."""

    LOAD = "load"
    WRITE = "write"


class Ticket:
    """A place in the queue, then permission to go on. ``granted_s`` is None as long as it waits."""

    __slots__ = ("asked_s", "granted_s", "is_asking", "turn")

    def __init__(self, turn: Turn, asked_s: float) -> None:
        self.turn = turn
        self.asked_s = asked_s
        self.granted_s: float | None = None
        self.is_asking = True

    def __repr__(self) -> str:
        state = "waits" if self.granted_s is None else "goes"
        return f"<Ticket {self.turn.value} {state}>"


class Admission:
    """The queue. Times are seconds of any monotonic clock; ``settings`` may be changed at any time."""

    def __init__(self, settings: AdmissionSettings | None = None) -> None:
        self.settings = settings or AdmissionSettings()
        self._waiting: dict[Ticket, None] = {}
        self._going: dict[Turn, dict[Ticket, None]] = {Turn.LOAD: {}, Turn.WRITE: {}}
        self._write_ended_s = -math.inf

    def __repr__(self) -> str:
        loads, writes = (len(self._going[turn]) for turn in Turn)
        return f"<Admission {loads} loads, {writes} writes, {len(self._waiting)} waiting>"

    @property
    def loads(self) -> int:
        """Loads that run."""
        return len(self._going[Turn.LOAD])

    @property
    def waiting_loads(self) -> int:
        """Loads that wait for their turn."""
        return sum(ticket.turn is Turn.LOAD for ticket in self._waiting)

    def ask(self, turn: Turn, now: float) -> Ticket:
        """Take the last place in the queue; `grant` says when it is one's turn."""
        ticket = Ticket(turn, now)
        self._waiting[ticket] = None
        return ticket

    def grant(self, now: float) -> list[Ticket]:
        """Those whose turn it is now; call it after every `ask`, `done` and change of ``is_asking`` or settings."""
        granted = list(self._admitted(now))
        for ticket in granted:
            del self._waiting[ticket]
            ticket.granted_s = now
        return granted

    def done(self, ticket: Ticket, now: float) -> None:
        """The ticket's owner has finished, or does not want its turn any more; a second call does nothing."""
        self._waiting.pop(ticket, None)
        going = self._going[ticket.turn]
        if ticket in going:
            del going[ticket]
            if ticket.turn is Turn.WRITE:
                self._write_ended_s = now

    def overdue(self, now: float) -> list[Ticket]:
        """Loads that have had their slot for longer than they may; the caller ends them and tells `done`."""
        if not self.settings.serialize:
            return []
        latest = now - self.settings.load_timeout_s
        return [ticket for ticket in self._going[Turn.LOAD] if (ticket.granted_s or 0.0) <= latest]

    def remaining_s(self, ticket: Ticket, now: float) -> float:
        """How long the ticket's owner may go on waiting."""
        if not self.settings.deferral_s:
            return math.inf
        return max(0.0, ticket.asked_s + self.settings.deferral_s - now)

    def throttled_s(self, now: float) -> float:
        """Seconds until the interval after the last write is over."""
        if not self.settings.serialize:
            return 0.0
        return max(0.0, self._write_ended_s + self.settings.throttle_s - now)

    def _admitted(self, now: float) -> Iterator[Ticket]:
        loads, writes = self._going[Turn.LOAD], self._going[Turn.WRITE]
        settings = self.settings
        for ticket in self._waiting:
            if settings.serialize:
                if not ticket.is_asking:
                    continue
                if ticket.turn is Turn.WRITE:
                    free = not loads and not writes and not self.throttled_s(now)
                else:
                    free = not writes and (not settings.load_max or len(loads) < settings.load_max)
                if not free:
                    return
            self._going[ticket.turn][ticket] = None
            yield ticket
