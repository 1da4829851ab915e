"""Which TLS handshakes run: a bounded number at once, the others wait in order.

A handshake costs the server up to half a millisecond of computing, in the background, and 50 KB until it is finished.
So one begins per turn of the event loop, between which established clients are served, however many come at once. A
peer that has not said completely what it wants holds no place; one that stops later holds it only while nobody waits
for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio
import anyio.lowlevel

from csproxy.errors import TlsError
from csproxy.transport.turns import now

__all__ = ["MAX_HANDSHAKES", "PATIENCE_S", "WAITING_S", "HandshakeStatistics", "Handshakes"]

MAX_HANDSHAKES: Final = 500
"""Handshakes under way at once."""
PATIENCE_S: Final = 1.0
"""How long a handshake may take although all places are taken and somebody waits."""
WAITING_S: Final = 20.0
"""How long one may wait for its place."""

T = TypeVar("T")


@dataclass(frozen=True)
class HandshakeStatistics:
    """Running and waiting now (for the peer's first message or for a place); finished and failed since the start."""

    running: int
    waiting: int
    finished: int
    failed: int


class Handshakes:
    """The handshakes of one listener."""

    def __init__(
        self, *, limit: int = MAX_HANDSHAKES, patience_s: float = PATIENCE_S, waiting_s: float = WAITING_S
    ) -> None:
        self._limit = limit
        self._patience_s = patience_s
        self._waiting_s = waiting_s
        self._running: dict[anyio.CancelScope, float] = {}
        self._door = anyio.Lock()
        self._room = anyio.Event()
        self._waiting = 0
        self._finished = 0
        self._failed = 0

    def __repr__(self) -> str:
        return f"<Handshakes {len(self._running)} running, {self._waiting} waiting>"

    async def run(
        self, handshake: Callable[[], Awaitable[T]], *, ready: Callable[[], Awaitable[object]] | None = None
    ) -> T:
        """Await ``ready()``, which takes no place, wait for one, then await ``handshake()`` and return its result.

        Raises what these raise, and `TlsError` when it got no place in time or had to give it to others. Cancellation
        passes through.
        """
        scope = anyio.CancelScope()
        is_finished = False
        try:
            self._waiting += 1
            try:
                if ready is not None:
                    await ready()
                await self._wait_for_place(scope)  # last: nothing may be cancelled between here and what gives it back
            finally:
                self._waiting -= 1
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

    async def _wait_for_place(self, scope: anyio.CancelScope) -> None:
        try:
            with anyio.fail_after(self._waiting_s):
                async with self._door:  # in the order of the calls
                    await anyio.lowlevel.checkpoint()  # each begins in a turn of its own
                    await self._take_place(scope)
        except TimeoutError as e:
            raise TlsError(f"a TLS handshake waited more than {self._waiting_s:g} s for its turn") from e

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
        if self._running.pop(scope, None) is None:
            return
        room, self._room = self._room, anyio.Event()
        room.set()
