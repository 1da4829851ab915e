"""Stopping a daemon: the first SIGTERM or SIGINT asks, the second one ends the process at once."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

__all__ = ["Shutdown"]

_log = logging.getLogger("csproxy.daemon")


class Shutdown:
    """Whether the process has been asked to stop."""

    def __init__(self) -> None:
        self._requested = anyio.Event()

    def __repr__(self) -> str:
        return f"<Shutdown {'requested' if self.is_requested else 'not requested'}>"

    @property
    def is_requested(self) -> bool:
        """Somebody asked."""
        return self._requested.is_set()

    def request(self) -> None:
        """Ask; idempotent."""
        self._requested.set()

    async def wait(self) -> None:
        """Wait until somebody asks."""
        await self._requested.wait()

    @asynccontextmanager
    async def watching_signals(self) -> AsyncIterator[None]:
        """Turn signals into requests meanwhile; a second signal ends the process with 128 + its number."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._take, signals)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()

    async def _take(self, signals: AsyncIterator[signal.Signals]) -> None:
        async for number in signals:
            if self.is_requested:
                os._exit(128 + number)
            _log.info("%s received: stopping", number.name)
            self.request()

    async def unless_requested(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do ``work``, but drop it when a stop is asked for; returns whether it was finished.

        What ``work`` raises is raised here, not in a group.
        """
        finished = False
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:

            async def stop_early() -> None:
                await self.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(stop_early)
            try:
                await work()
                finished = True
            except Exception as e:  # noqa: BLE001 - handed to the caller outside of the group
                failure = e
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return finished
