"""How long what is due in the event loop has to wait: whoever blocks the loop makes every client wait so long."""

from __future__ import annotations

from collections import deque
from typing import Final, NoReturn

import anyio

__all__ = ["LoopLag"]

_EVERY_S: Final = 0.5
_KEPT: Final = 60
"""Half a minute of samples: more than most programs that scrape metrics wait between two questions."""


class LoopLag:
    """Sleeps ``every_s`` seconds again and again, and notes by how much it wakes up late; keeps the last ``kept``."""

    def __init__(self, *, every_s: float = _EVERY_S, kept: int = _KEPT) -> None:
        self._every_s = every_s
        self._seen: deque[float] = deque(maxlen=kept)

    def __repr__(self) -> str:
        return f"<LoopLag {self.worst_s:.3f} s>"

    @property
    def worst_s(self) -> float:
        """The longest delay of those kept, in seconds; 0.0 before the first."""
        return max(self._seen, default=0.0)

    async def run(self) -> NoReturn:
        """Measure until it is cancelled."""
        while True:
            due_s = anyio.current_time() + self._every_s
            await anyio.sleep(self._every_s)
            self._seen.append(max(anyio.current_time() - due_s, 0.0))
