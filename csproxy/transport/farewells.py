"""Connections that are told why they cannot stay, and closed.

A bounded number is kept open until the peer has read that; nothing that still comes from them is looked at.
"""

from __future__ import annotations

from typing import Final

from csproxy.transport.channel import Channel

__all__ = ["MAX_LEAVING", "Farewells"]

MAX_LEAVING: Final = 256
"""Refused connections that are kept open; further ones are cut."""


class Farewells:
    """The connections of one server or listener that are leaving."""

    def __init__(self, *, limit: int = MAX_LEAVING) -> None:
        self._limit = limit
        self._leaving: set[_Leaving] = set()

    def __len__(self) -> int:
        return len(self._leaving)

    def __repr__(self) -> str:
        return f"<Farewells {len(self)} leaving>"

    def say(self, channel: Channel, notice: bytes = b"") -> None:
        """Send ``notice`` to a channel that is not started, and close it; cut it when too many are leaving."""
        leaving = _Leaving(self._leaving)
        channel.start(leaving)
        if len(self._leaving) >= self._limit:
            channel.close(flush=False)
            return
        self._leaving.add(leaving)
        if notice:
            channel.write(notice)
        channel.close()


class _Leaving:
    """The receiver of a connection that is closing: whatever still comes is dropped."""

    def __init__(self, leaving: set[_Leaving]) -> None:
        self._leaving = leaving

    def receive(self, data: bytes) -> None:
        """Drop it."""

    def writable(self) -> None:
        """Nothing waits."""

    def closed(self, error: Exception | None) -> None:
        """It is gone."""
        self._leaving.discard(self)
