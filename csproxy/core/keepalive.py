"""Keep-alive (ADDP): when a peer that says nothing is asked, and when it counts as lost. No I/O.

Each side of a connection watches the other on its own: when nothing has arrived for ``timeout_s`` it
polls, and when nothing arrives within the same time again the connection is lost. Whatever
arrives is a sign of life, not only the answer to a poll. 0 means that nobody watches (behaviour: ADDP).

`KeepAlive` is what a Connection says, `Silence` the watch over one peer, and `Deadlines` the order in which
a server looks at thousands of them. All are told the time; what the bytes look like is
`csproxy.transport.keepalive`'s business.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final, Generic, TypeVar

import msgspec

from csproxy.errors import ConfigurationError

__all__ = [
    "LONGEST_TIMEOUT_S",
    "TICK_S",
    "Deadlines",
    "KeepAlive",
    "Silence",
    "Trace",
    "Verdict",
    "connection_keep_alive",
]

LONGEST_TIMEOUT_S: Final = 3600.0
TICK_S: Final = 0.25
"""Deadlines of a server fall on multiples of this: so often at most it wakes up, and so late it may be."""

T = TypeVar("T")


class Trace(Enum):
    """Who writes polls and their answers into its log, at the trace level."""

    OFF = "off"
    LOCAL = "local"
    REMOTE = "remote"
    BOTH = "both"


class KeepAlive(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a connection, as the side that makes it has them.

    ``timeout_s``: this side's watch over its peer, seconds from 0 (off) to 3600. ``remote_timeout_s``
    is handed to the peer, which watches this side in the same way. Raises `ConfigurationError` for other numbers.
    """

    timeout_s: float = 0.0
    remote_timeout_s: float = 0.0
    trace: Trace = Trace.OFF

    def __post_init__(self) -> None:
        for name, value in (("timeout", self.timeout_s), ("remote timeout", self.remote_timeout_s)):
            if not 0 <= value <= LONGEST_TIMEOUT_S:
                raise ConfigurationError(
                    f"keep-alive {name} of {value} s: 0 (off) to {LONGEST_TIMEOUT_S:g} s are possible"
                )

    @property
    def traces_here(self) -> bool:
        """Whether this side writes what it sends and receives into its log."""
        return self.trace in (Trace.LOCAL, Trace.BOTH)

    @property
    def traces_there(self) -> bool:
        """Whether the peer is to do so."""
        return self.trace in (Trace.REMOTE, Trace.BOTH)


class Verdict(Enum):
    """What a look at a silent peer leads to."""

    WAIT = "wait"
    POLL = "poll"
    LOST = "lost"


class Silence(Generic[T]):
    """The watch over the silence of one peer.

    ``heard_s`` is when something last arrived; who receives sets it. ``timeout_s`` may be changed at any
    time. ``owner`` is whatever belongs to it, None once nobody wants to know any more.
    """

    __slots__ = ("heard_s", "owner", "polled_s", "slot", "timeout_s")

    def __init__(self, owner: T | None, *, timeout_s: float, now: float) -> None:
        self.owner = owner
        self.timeout_s = timeout_s
        self.heard_s = now
        self.polled_s: float | None = None
        self.slot = 0
        """Where `Deadlines` keeps it."""

    def __repr__(self) -> str:
        asked = "" if self.polled_s is None else f", polled at {self.polled_s:g}"
        return f"<Silence {self.timeout_s:g} s, heard at {self.heard_s:g}{asked}>"

    @property
    def due_s(self) -> float:
        """When to look next, if nothing arrives meanwhile."""
        if not self.timeout_s:
            return math.inf
        if self.polled_s is not None and self.heard_s < self.polled_s:
            return self.polled_s + self.timeout_s
        return self.heard_s + self.timeout_s

    def check(self, now: float) -> Verdict:
        """Look at ``now``; after POLL the caller polls, after LOST it ends the connection."""
        if self.polled_s is not None and self.heard_s >= self.polled_s:
            self.polled_s = None
        if now < self.due_s:
            return Verdict.WAIT
        if self.polled_s is not None:
            return Verdict.LOST
        self.polled_s = now
        return Verdict.POLL

    def excuse(self, now: float) -> None:
        """The silence was this side's doing, which did not read: it counts from now on only."""
        self.heard_s = now
        self.polled_s = None


class Deadlines(Generic[T]):
    """Silences in the order in which they fall due, in steps of ``tick_s``.

    Nothing moves when a peer is heard: its place is looked at when its old deadline comes, and it is put where
    it belongs then. So a peer costs one step per time-out, whether it talks or not.
    """

    __slots__ = ("_slots", "_tick_s", "_ticks")

    def __init__(self, *, tick_s: float = TICK_S) -> None:
        self._tick_s = tick_s
        self._slots: dict[int, list[Silence[T]]] = {}
        self._ticks: list[int] = []

    def __len__(self) -> int:
        """Steps at which there is something to look at."""
        return len(self._ticks)

    def __repr__(self) -> str:
        return f"<Deadlines {sum(map(len, self._slots.values()))} in {len(self)} steps>"

    def add(self, silence: Silence[T]) -> None:
        """Watch it, or look at it sooner than was planned; one without a time-out is not watched.

        One that has a place already gets no second one for a later time: who changes its mind again and again
        must not fill the memory.
        """
        if not silence.timeout_s:
            return
        slot = math.ceil(silence.due_s / self._tick_s)
        if silence.slot and silence.slot <= slot:
            return
        silence.slot = slot
        if slot not in self._slots:
            self._slots[slot] = []
            heapq.heappush(self._ticks, slot)
        self._slots[slot].append(silence)

    def due(self, now: float) -> Iterator[Silence[T]]:
        """Take out what is due; the caller adds again what it goes on watching."""
        while self._ticks and self._ticks[0] * self._tick_s <= now:
            slot = heapq.heappop(self._ticks)
            for silence in self._slots.pop(slot):
                if silence.slot != slot or silence.owner is None:
                    continue  # it was put elsewhere, or has ended
                silence.slot = 0
                if silence.due_s > now:
                    self.add(silence)
                else:
                    yield silence


_TRACES: Final = {2: Trace.LOCAL, 3: Trace.REMOTE, 4: Trace.BOTH}
"""By the numbers of CfgTraceMode; all others are off."""


def connection_keep_alive(connection: Mapping[str, Any]) -> KeepAlive | None:
    """The settings that a Connection (CfgConnInfo, in plain form) gives; None if its protocol is not ``addp``.

    Raises `ConfigurationError` for time-outs out of range.
    """
    if str(connection.get("connProtocol", "")).strip().lower() != "addp":
        return None
    return KeepAlive(
        timeout_s=float(connection.get("timoutLocal", 0)),
        remote_timeout_s=float(connection.get("timoutRemote", 0)),
        trace=_TRACES.get(int(connection.get("mode", 0)), Trace.OFF),
    )
