"""Writing log lines from threads of their own, so that a slow disk or a pipe that nobody reads holds up no client.

Each output has a thread and a bounded queue: one that hangs holds up neither the server nor the other outputs. What
does not fit is counted, and the output says so when it can be written again.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from csproxy.core.log_events import event_number
from csproxy.daemon.log_format import EventFormatter, LineFormatter

__all__ = ["MAX_WAITING", "DescriptorOutput", "EventHandler", "Output", "OutputThread"]

MAX_WAITING: Final = 10_000
"""Events that wait to be written to one output; more are counted and lost."""

MAX_WAITING_CHARS: Final = 16 * 1024 * 1024
"""Their texts together."""
_MAX_KEPT_BYTES: Final = 256 * 1024
"""Bytes that are written at once, and kept while they cannot be written."""
TICK_S: Final = 5.0
"""How long a thread with nothing to write sleeps before it looks at what depends on time."""

log = logging.getLogger("csproxy.daemon.log")


class Output(ABC):
    """Where formatted lines go. Only its thread uses it, once there is one.

    An output that cannot be written keeps some lines, tries again with the next ones, and counts what it drops: the
    first line that can be written says so.
    """

    batches = True
    """Whether lines that come at the same moment are written together."""

    encoding = "utf-8"
    """What it cannot show is written as ``\\u4e2d``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.level = 1
        self.formatter: LineFormatter = EventFormatter()
        self.lost = 0
        """Events that were dropped since the output could last be written."""
        self.problem = ""
        """Why it cannot be written; empty while it can."""
        self._kept = bytearray()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name} from level {self.level}{': ' if self.problem else ''}{self.problem}>"
        )

    def add(self, record: logging.LogRecord) -> None:
        """Format an event; it is written by the next `flush`."""
        try:
            line = self.formatter.format(record)
        except Exception as e:  # noqa: BLE001 - an event that cannot be shown must not end the log
            line = self.formatter.format(logging.makeLogRecord({**_where(record), "msg": f"cannot be shown: {e!r}"}))
        data = self.frame(record, line)
        if self._kept and len(self._kept) + len(data) > _MAX_KEPT_BYTES:
            self.flush()
            if self.problem:
                self.lost += 1
                return
        self._kept += data

    def print(self, line: str) -> None:
        """Keep a line as it is; it is written by the next `flush`."""
        self._kept += self._encoded(line)

    def flush(self) -> None:
        """Write what is there, and then how many events were lost. Sets `problem` instead of raising."""
        try:
            self._write_kept()
            if self.lost:
                reason = self.problem or "they came faster than they could be written"
                self._kept += self._told(f"{self.lost} events were not logged here: {reason}")
                self.lost = 0
                self._write_kept()
        except OSError as e:
            self.problem = e.strerror or str(e)
        else:
            self.problem = ""

    def _write_kept(self) -> None:
        while self._kept:
            del self._kept[: self.write(bytes(self._kept))]

    @abstractmethod
    def write(self, data: bytes) -> int:
        """Write some of it, from the beginning; returns how many bytes. Raises OSError when nothing was written."""

    def tick(self) -> None:  # noqa: B027 - most have nothing to do
        """Do what depends on time; called every few seconds."""

    def close(self) -> None:
        """Write what is there and let go of the file. What cannot be written now is lost."""
        self.flush()

    def frame(self, record: logging.LogRecord, line: str) -> bytes:
        """A formatted event as it is written."""
        return self._encoded(line)

    def _encoded(self, line: str) -> bytes:
        return line.encode(self.encoding, "backslashreplace") + b"\n"

    def _told(self, text: str) -> bytes:
        known = {"name": log.name, "levelno": logging.WARNING, "levelname": "WARNING", "msg": text, "event": 31011}
        record = logging.makeLogRecord(known)
        return self.frame(record, self.formatter.format(record))


def _where(record: logging.LogRecord) -> dict[str, object]:
    return {"name": record.name, "levelno": record.levelno, "levelname": record.levelname, "created": record.created}


class DescriptorOutput(Output):
    """Writes to an open file descriptor, without a buffer that could be left locked at the end of the process."""

    def __init__(self, name: str, fd: int, *, encoding: str = "utf-8") -> None:
        super().__init__(name)
        self._fd = fd
        self.encoding = encoding

    def write(self, data: bytes) -> int:
        """As `Output.write`."""
        return os.write(self._fd, data)


class OutputThread:
    """One output with its thread and the queue of events for it.

    ``on_problem`` is called, in the thread, when the output cannot be written any more.
    """

    def __init__(
        self,
        output: Output,
        on_problem: Callable[[Output], None] = lambda output: None,
        *,
        max_waiting: int = MAX_WAITING,
        max_waiting_chars: int = MAX_WAITING_CHARS,
        tick_s: float = TICK_S,
    ) -> None:
        self.output = output
        self.level = output.level
        self._on_problem = on_problem
        self._tick_s = tick_s
        self._queue: queue.SimpleQueue[logging.LogRecord | Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # held for a moment only, never while anything is written
        self._max_waiting, self._max_chars = max_waiting, max_waiting_chars
        self._waiting = self._chars = self._lost = 0
        self._thread = threading.Thread(target=self._run, name=f"log {output.name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<OutputThread {self.output!r}, {self._waiting} waiting>"

    @property
    def is_running(self) -> bool:
        """False after its end."""
        return self._thread.is_alive()

    def put(self, record: logging.LogRecord) -> None:
        """Queue an event whose text is fixed. Never waits: what does not fit is counted."""
        size = len(record.msg)
        with self._lock:
            if self._waiting >= self._max_waiting or self._chars + size > self._max_chars:
                self._lost += 1
                return
            self._waiting += 1
            self._chars += size
        self._queue.put(record)

    def change(self, level: int, change: Callable[[], None]) -> None:
        """Have the thread call ``change`` after the events that wait, and take those from ``level`` up from now on."""
        self.level = level
        self._queue.put(change)

    def print(self, line: str) -> None:
        """Have the thread write a line as it is after the events that wait. For few lines: nothing counts them."""
        self._queue.put(lambda: self.output.print(line))

    def end(self) -> None:
        """Have the thread write what waits, close the output and end; `join` waits for it."""
        self._queue.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False when it takes longer."""
        self._thread.join(timeout_s)
        return not self.is_running

    def _run(self) -> None:
        output = self.output
        tick_at_s = time.monotonic() + self._tick_s
        while True:
            wait_s = tick_at_s - time.monotonic()
            try:
                # a queue that is never empty must not hold up what depends on time
                item = self._queue.get(timeout=wait_s) if wait_s > 0 else self._queue.get_nowait()
            except queue.Empty:
                self._flush()
                output.tick()
                tick_at_s = time.monotonic() + self._tick_s
                continue
            if wait_s <= 0:
                output.tick()
                tick_at_s = time.monotonic() + self._tick_s
            if item is None:
                break
            if isinstance(item, logging.LogRecord):
                with self._lock:
                    self._waiting -= 1
                    self._chars -= len(item.msg)
                output.add(item)
                if output.batches and not self._queue.empty():
                    continue
            else:
                item()
            self._flush()
        self._flush()
        output.close()

    def _flush(self) -> None:
        had_problem = self.output.problem
        with self._lock:
            self.output.lost += self._lost
            self._lost = 0
        self.output.flush()
        if self.output.problem and not had_problem:
            self._on_problem(self.output)


class EventHandler(logging.Handler):
    """The handler of the root logger: gives events their levels, and hands them to the threads.

    ``reassigned`` has other levels for events by number (None: not logged); ``least`` is the lowest level of any.
    """

    def __init__(self, threads: Sequence[OutputThread], *, least: int, reassigned: Mapping[int, int | None]) -> None:
        super().__init__()
        self.threads = threads
        self.least = least
        self.reassigned = reassigned

    def emit(self, record: logging.LogRecord) -> None:
        """Queue an event; its text is fixed now, because arguments may change later."""
        level = record.levelno
        if self.reassigned:
            number = event_number(getattr(record, "event", None))
            if number is not None and number in self.reassigned:
                other = self.reassigned[number]
                if other is None:
                    return
                level = other
        if level < self.least:
            return
        takers = [thread for thread in self.threads if level >= thread.level]
        if not takers:
            return
        try:
            # as copy.copy, in a third of the time; other handlers see the record as it is
            fixed = logging.LogRecord.__new__(logging.LogRecord)
            vars(fixed).update(vars(record), msg=record.getMessage(), args=None, levelno=level)
        except Exception:  # noqa: BLE001 - as every handler of logging: a bad line must not end who wrote it
            self.handleError(record)
            return
        for thread in takers:
            thread.put(fixed)
