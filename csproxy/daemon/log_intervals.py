"""What is logged by the clock: check-points, and lines of statistics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import anyio

__all__ = ["LogIntervals", "next_due"]

log = logging.getLogger("csproxy.daemon.log")

_LONGEST_WAIT_S: Final = 30.0
"""A clock that is put forward is noticed after so long."""
_HOUR_S: Final = 3600


def next_due(now_s: float, every_s: int, *, offset_s: int = 0) -> float:
    """The next multiple of an interval after ``now_s``, counted from a midnight of the local time of ``offset_s``."""
    return ((now_s + offset_s) // every_s + 1) * every_s - offset_s


class LogIntervals:
    """Logs check-points and writes statistics until it is cancelled.

    ``describe`` says in a few words how the server is; ``statistics`` is what a line of statistics has, and ``write``
    takes it. ``clock`` gives seconds since the epoch.
    """

    def __init__(
        self,
        describe: Callable[[], str],
        statistics: Callable[[], Mapping[str, Any]],
        write: Callable[[Mapping[str, Any]], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._describe, self._statistics, self._write = describe, statistics, write
        self._clock = clock
        self._check_point_s = self._statistics_s = 0
        self._next: dict[str, float] = {}
        self._changed = anyio.Event()

    def __repr__(self) -> str:
        return f"<LogIntervals check-point {self._check_point_s} s, statistics {self._statistics_s} s>"

    def set(self, *, check_point_h: int, statistics_s: int) -> None:
        """The intervals from now on; 0 for never."""
        self._check_point_s, self._statistics_s = check_point_h * _HOUR_S, statistics_s
        self._next = {}
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def run(self) -> NoReturn:
        """Do what is due, and wait for the next."""
        while True:
            changed = self._changed
            wait_s = self.step()
            with anyio.move_on_after(wait_s):
                await changed.wait()

    def step(self) -> float:
        """Do what is due; returns for how long there is nothing to do."""
        now_s = self._clock()
        offset_s = time.localtime(now_s).tm_gmtoff
        for name, every_s, do in (
            ("check-point", self._check_point_s, self._check_point),
            ("statistics", self._statistics_s, self._print),
        ):
            if not every_s:
                continue
            due_s = self._next.get(name)
            if due_s is not None and now_s >= due_s:
                do(now_s)
                due_s = None
            # a clock that is put back must not hold up what is due
            if due_s is None or due_s > now_s + every_s:
                self._next[name] = next_due(now_s, every_s, offset_s=offset_s)
        return min([_LONGEST_WAIT_S, *(due_s - now_s for due_s in self._next.values())])

    def _check_point(self, now_s: float) -> None:
        moment = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now_s))
        log.info("check-point %s: %s", moment, self._describe(), extra={"event": 31003})

    def _print(self, now_s: float) -> None:
        self._write(self._statistics())
