"""The output memory: the newest lines, in memory, and a file with what is there every few seconds.

It costs the disk next to nothing however much is logged, and says what happened before the end of a process.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from logging import LogRecord
from pathlib import Path
from typing import Final

from csproxy.core.log_events import LEVELS
from csproxy.daemon.log_writer import Output

__all__ = ["SNAPSHOT_S", "MemoryOutput"]

SNAPSHOT_S: Final = 10.0
"""How often the file is written, if there is something new; after an Alarm event at once."""


class MemoryOutput(Output):
    """Keeps ``size_bytes`` of lines; ``clock`` is one that only goes forward."""

    def __init__(self, path: Path, size_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("memory")
        self.path = path
        self.size_bytes = size_bytes
        self._clock = clock
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._is_new = self._is_urgent = False
        self._written_s = clock()

    def add(self, record: LogRecord) -> None:
        """As `Output.add`."""
        super().add(record)
        self._is_urgent |= record.levelno >= LEVELS["alarm"]

    def write(self, data: bytes) -> int:
        """As `Output.write`; never fails, the file is written later."""
        self._pieces.append(data)
        self._bytes += len(data)
        while self._bytes > self.size_bytes and len(self._pieces) > 1:
            self._bytes -= len(self._pieces.popleft())
        self._is_new = True
        return len(data)

    def flush(self) -> None:
        """As `Output.flush`; then write the file if it is time."""
        super().flush()
        if self._is_new and (self._is_urgent or self._clock() - self._written_s >= SNAPSHOT_S):
            self._snapshot()

    def close(self) -> None:
        """As `Output.close`."""
        super().close()
        if self._is_new:
            self._snapshot()

    def _snapshot(self) -> None:
        """Replace the file in one step: a process that is killed meanwhile leaves the former one."""
        self._is_urgent = False
        self._written_s = self._clock()
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            with open(fd, "wb") as file:
                file.writelines(self._pieces)
            beside.replace(self.path)
        except OSError as e:
            self.problem = f"{self.path}: {e.strerror}"
            return
        self._is_new = False
