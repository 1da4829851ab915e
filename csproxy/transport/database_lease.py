"""The lease of the master that has the database: renewed while the database answers, and what follows when not.

While the database is away, or the lease has run out unrenewed, nothing can be written, and that is said
at once. The attempt to renew is also the attempt to reconnect.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from csproxy.core.persistence.store import Store
from csproxy.errors import ErrorCode, FencedError, StoreError
from csproxy.transport.database_store import OpenStore

__all__ = ["RECONNECT_S", "LeaseKeeper", "RetryDelay"]

log = logging.getLogger("csproxy.master")

RECONNECT_S: Final = 10.0
"""Default of option reconnect-timeout: the longest time between two attempts to reach a database that is away."""
_FIRST_RETRY_S: Final = 0.1
_RENEWALS: Final = 3
"""Renewals within the time of a lease."""


class RetryDelay:
    """Delays that double from `_FIRST_RETRY_S` to ``longest_s``."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._next_s = min(_FIRST_RETRY_S, longest_s)

    def next_s(self) -> float:
        """The next delay."""
        delay, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return delay


class LeaseKeeper:
    """Keeps one lease, from the epoch that began it to its loss. ``clock`` gives monotonic seconds.

    ``is_replaced`` is asked while the lease has run out and the database is away: whether another server is
    known to have taken it.
    """

    def __init__(
        self,
        store: OpenStore,
        *,
        lease_s: float,
        reconnect_s: float,
        is_replaced: Callable[[], Awaitable[bool]],
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._store = store
        self._lease_s = lease_s
        self._reconnect_s = reconnect_s
        self._is_replaced = is_replaced
        self._clock = clock
        self._renewed_s = clock()
        self._trouble: StoreError | None = None
        self._is_superseded = False
        self._woken = anyio.Event()

    def __repr__(self) -> str:
        return f"<LeaseKeeper {'lost' if self._is_superseded else self._trouble or 'held'}>"

    @property
    def is_well(self) -> bool:
        """Whether the database answered the last time."""
        return self._trouble is None

    def check(self) -> None:
        """Raise the `StoreError` for which nothing can be written now, if there is one."""
        if self._is_superseded:
            raise FencedError("another master has the database now", code=ErrorCode.NO_DB_ACCESS)
        if self._trouble is not None:
            raise StoreError(f"nothing can be written now: {self._trouble}", code=self._trouble.code)
        if self._has_run_out():
            raise StoreError(
                f"nothing can be written now: the lease on the database was not renewed for {self._lease_s:g} s",
                code=ErrorCode.NO_DB_ACCESS,
            )

    def note(self, error: StoreError) -> None:
        """A call of the store has failed: find out at once how the database is."""
        if isinstance(error, FencedError):
            self._is_superseded = True
        elif error.code is ErrorCode.NO_DB_ACCESS:
            self._lose(error)
        self._woken.set()

    async def keep(self) -> None:
        """Renew the lease until another server has it; then return."""
        delay = RetryDelay(self._reconnect_s)
        wait_s = self._lease_s / _RENEWALS
        while not self._is_superseded:
            with anyio.move_on_after(wait_s):
                await self._woken.wait()
            self._woken = anyio.Event()
            asked_s = self._clock()
            try:
                held = await self._store.call(Store.renew)
            except StoreError as e:
                self._lose(e)
                if self._has_run_out() and await self._is_replaced():
                    self._is_superseded = True
                    return
                wait_s = delay.next_s()
                # a write that waits for the lock meets the same and must not shorten the delay
                await anyio.sleep(wait_s)
                continue
            if not held:
                self._is_superseded = True
                return
            self._renewed_s = asked_s
            delay, wait_s = RetryDelay(self._reconnect_s), self._lease_s / _RENEWALS
            self._regain()

    def _has_run_out(self) -> bool:
        return self._clock() - self._renewed_s > self._lease_s

    def _lose(self, error: StoreError) -> None:
        if self._trouble is None:
            log.warning("the database is away, writes are refused until it is back: %s", error, extra={"event": 4504})
        self._trouble = error

    def _regain(self) -> None:
        if self._trouble is not None:
            log.warning("the database is back, writes are accepted", extra={"event": 4503})
        self._trouble = None
