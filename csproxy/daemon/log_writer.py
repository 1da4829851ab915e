"""Writing log lines from a thread of their own, so that a slow disk or a pipe that nobody reads holds up no client."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Sequence
from typing import Final

__all__ = ["BackgroundWriter", "DescriptorHandler"]

MAX_WAITING: Final = 10_000
"""Events that wait to be written; more are counted and lost."""


class DescriptorHandler(logging.Handler):
    """Writes lines to an open file descriptor, without a buffer that could be left locked at the end of the process."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event, however many pieces that takes."""
        try:
            data = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self.handleError(record)


class BackgroundWriter(logging.Handler):
    """Hands events to other handlers, each with its own level, in a thread. `close` writes what waits."""

    def __init__(self, handlers: Sequence[logging.Handler], *, max_waiting: int = MAX_WAITING) -> None:
        super().__init__()
        for handler in handlers:
            # none but the thread uses it; a lock held while a pipe is full would hold up the end of the process
            handler.lock = None
        self._handlers = handlers
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(max_waiting)
        self._lost = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue an event; its text is fixed now, because arguments may change later."""
        record.msg, record.args = record.getMessage(), None
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._lost += 1

    def end(self, *, timeout_s: float = 2.0) -> None:
        """Write what waits and close all handlers; what cannot be written within ``timeout_s`` is left."""
        try:
            self._waiting.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _write_all(self) -> None:
        while (record := self._waiting.get()) is not None:
            self._write(record)
            if self._lost and self._waiting.empty():
                lost, self._lost = self._lost, 0
                text = f"{lost} events were not logged: they came faster than they could be written"
                self._write(logging.LogRecord("csproxy.log", logging.WARNING, __file__, 0, text, None, None))
        for handler in self._handlers:
            handler.close()

    def _write(self, record: logging.LogRecord) -> None:
        for handler in self._handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
