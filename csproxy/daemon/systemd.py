"""What systemd is told (``Type=notify``, ``WatchdogSec=``): ready, the state in a line, stopping, still alive.

Source: sd_notify(3), sd_watchdog_enabled(3). Without ``NOTIFY_SOCKET`` in the environment nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import anyio

__all__ = ["ServiceManager"]

_log = logging.getLogger("csproxy.daemon")


class ServiceManager:
    """The service manager that has started this process, if it wants to be told."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._watchdog_s = _watchdog_s(environment)

    def __repr__(self) -> str:
        return f"<ServiceManager {self._address.replace(chr(0), '@') or 'none'}>"

    def ready(self, line: str) -> None:
        """The ports are open; ``line`` says what the server is, and may come again with another text."""
        self._tell(f"READY=1\nSTATUS={line.splitlines()[0]}")

    @asynccontextmanager
    async def informed(self, stop_requested: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Say meanwhile that the event loop turns, and when a stop has been asked for."""
        async with anyio.create_task_group() as tasks:
            if self._address:
                tasks.start_soon(self._tell_of_stop, stop_requested)
                if self._watchdog_s:
                    tasks.start_soon(self._feed_watchdog, self._watchdog_s / 2)
            yield
            tasks.cancel_scope.cancel()

    async def _tell_of_stop(self, stop_requested: Callable[[], Awaitable[None]]) -> None:
        await stop_requested()
        self._tell("STOPPING=1")

    async def _feed_watchdog(self, interval_s: float) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await anyio.sleep(interval_s)

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
        except OSError as e:
            _log.warning(
                "the service manager at %s cannot be told %s: %s",
                self._address,
                text.split("\n")[0],
                e,
                extra={"event": 31083},
            )


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """The time after which a silent process is taken for hung; 0 when nobody watches, or another process is meant."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdigit() else 0.0
