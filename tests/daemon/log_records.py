"""Records as the library would make them, and outputs in memory."""

from __future__ import annotations

import errno
import logging
import os

from csproxy.daemon.log_writer import Output


def record(level: int, text: str, *, at_s: float | None = None, **extra: object) -> logging.LogRecord:
    found = logging.getLogger("csproxy.test").makeRecord("csproxy.test", level, "f", 1, text, (), None, extra=extra)
    if at_s is not None:
        found.created = at_s
    return found


class SmallOutput(Output):
    """Has room for so many bytes; then the disk is full until there is more."""

    def __init__(self, room: int, *, level: int = 1) -> None:
        super().__init__("small")
        self.level = level
        self.room = room
        self.data = b""

    def write(self, data: bytes) -> int:
        taken = data[: self.room]
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(taken)
        self.data += taken
        return len(taken)

    @property
    def texts(self) -> list[str]:
        """The texts of the lines, without time, level and number."""
        return [line.split(" ", 3)[3] for line in self.data.decode().splitlines()]
