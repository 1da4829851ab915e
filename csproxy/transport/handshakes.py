"""Which TLS handshakes run: a bounded number at once, the others wait in order.

A handshake costs the server half a millisecond of computing and 50 KB until it is finished. So one begins per turn of
the event loop, between which established clients are served, however many come at once. A peer that
stops in the middle holds its place only while nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio
import anyio.lowlevel

from csproxy.errors import TlsError
from csproxy.transport.turns import now

__all__ = ["MAX_HANDSHAKES", "HandshakeStatistics", "Handshakes"]

MAX_HANDSHAKES: Final = 500
"""Handshakes under way at once."""
PATIENCE_S: Final = 1.0
"""How long a handshake may take although all places are taken and somebody waits."""

T = TypeVar("T")


@dataclass(frozen=True)
class HandshakeStatistics:
    """Running and waiting now; finished and failed since the start."""

    running: int
    waiting: int
    finished: int
    failed: int


class Handshakes:
    """The handshakes of one listener."""

    def __init__(self, *, limit: int = MAX_HANDSHAKES, patience_s: float = PATIENCE_S) -> None:
        self._limit = limit
        self._patience_s = patience_s
        self._running: dict[anyio.CancelScope, float] = {}
        self._door = anyio.Lock()
        self._room = anyio.Event()
        self._waiting = 0
        self._finished = 0
        self._failed = 0

    def __repr__(self) -> str:
        return f"<Handshakes {len(self._running)} running, {self._waiting} waiting>"

    async def run(self, handshake: Callable[[], Awaitable[T]]) -> T:
        """Wait for a place, then await ``handshake()`` and return its result.

        Raises what it raises, and `TlsError` when it had to give its place to others. Cancellation passes through.
        """
        scope = anyio.CancelScope()
        self._waiting += 1
        try:
            async with self._door:  # in the order of the calls
                await anyio.lowlevel.checkpoint()  # each begins in a turn of its own
                await self._take_place(scope)  # last: nothing may be cancelled between here and what gives it back
        finally:
            self._waiting -= 1
        is_finished = False
        try:
            with scope:
                result = await handshake()
                is_finished = True
                return result
            raise TlsError(f"the TLS handshake took more than {self._patience_s:g} s while others waited")
        finally:
            self._finished += is_finished
            self._failed += not is_finished
            self._leave(scope)

    def statistics(self) -> HandshakeStatistics:
        """Counts of this moment and since the start."""
        return HandshakeStatistics(len(self._running), self._waiting, self._finished, self._failed)

    async def _take_place(self, scope: anyio.CancelScope) -> None:
        while len(self._running) >= self._limit:
            oldest, begun_s = next(iter(self._running.items()))
            left_s = begun_s + self._patience_s - now()
            if left_s <= 0:
                oldest.cancel()
                del self._running[oldest]
                continue
            room = self._room
            with anyio.move_on_after(left_s):
                await room.wait()
        self._running[scope] = now()

    def _leave(self, scope: anyio.CancelScope) -> None:
        self._running.pop(scope, None)
        room, self._room = self._room, anyio.Event()
        room.set()
