"""A log file in segments: closed when it is large or old enough, named by its time, deleted when it expires.

The present segment has the name that the option says, so that it can be followed (``tail -F``); a closed one gets the
time at which it was closed: ``confserv.log`` → ``confserv.20250504_120000_123.log``. The segment of a start that is to
be kept has ``.startup`` before the suffix. Nothing else in the folder is touched.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from csproxy.core.log_events import LEVELS
from csproxy.core.log_options import Expiry, SegmentLimit
from csproxy.daemon.log_writer import Output

__all__ = ["FilePolicy", "SegmentedFile"]

_DAY_S: Final = 86_400
_EXPIRE_EVERY_S: Final = 600


@dataclass(frozen=True)
class FilePolicy:
    """When a segment ends and when it expires.

    ``startup_bytes``: the log of this start begins a segment of its own, which is kept and becomes so large at most
    (0: as large as any); None: it does not.
    """

    segment: SegmentLimit = field(default_factory=SegmentLimit)
    expiry: Expiry = field(default_factory=Expiry)
    startup_bytes: int | None = None
    utc: bool = False
    header: str = ""
    """What each segment says of its server, on its first line."""


class SegmentedFile(Output):
    """Appends to a file. ``clock`` gives seconds since the epoch.

    The constructor raises OSError when the file cannot be opened.
    """

    def __init__(self, path: Path, policy: FilePolicy, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(str(path))
        self.policy = policy
        self._path = path
        self._clock = clock
        self._is_first = True
        self._is_inside_line = False
        self._has_events = False
        self._fd = -1
        self._inode = (0, 0)
        self._size = 0
        self._since_s = 0.0
        self._expired_s = 0.0
        self._open()
        if policy.startup_bytes is not None and self._size:
            self._is_first = False
            self._roll()
            self._is_first = True

    def write(self, data: bytes) -> int:
        """As `Output.write`; begins a new segment first when it is time. A segment ends with a whole line."""
        if self._fd < 0:
            self._open()
        if self._is_inside_line:
            # the rest of a line that could not be written to its end
            data = data[: data.find(b"\n") + 1] or data
        elif self._is_due(data.find(b"\n") + 1):
            self._roll()
        if self._size == 0:
            self._begin()
        limit = self._limit_bytes()
        if limit and not self._is_inside_line and self._size + len(data) > limit:
            end = data.rfind(b"\n", 0, max(limit - self._size, 0)) + 1 or data.find(b"\n") + 1
            data = data[:end] or data
        self._has_events = True
        return self._write(data)

    def tick(self) -> None:
        """Begin a new segment when the present one is old enough; delete what has expired; note that it was moved."""
        with suppress(OSError):
            if self._was_moved():
                self._close()
                self._open()
            elif self._size and not self._is_inside_line and self._is_due():
                self._roll()
        if self._clock() - self._expired_s >= _EXPIRE_EVERY_S:
            self._expire()

    def close(self) -> None:
        """As `Output.close`."""
        super().close()
        self._close()

    def _write(self, data: bytes) -> int:
        written = os.write(self._fd, data)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written
        self._is_inside_line = data[written - 1 : written] != b"\n"
        return written

    def _begin(self) -> None:
        line = self._first_line()
        if self._write(line) < len(line):
            os.ftruncate(self._fd, 0)
            self._size, self._is_inside_line = 0, False
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._has_events = False

    def _first_line(self) -> bytes:
        record = logging.makeLogRecord(
            {
                "name": "csproxy.daemon.log",
                "levelno": LEVELS["trace"],
                "created": self._clock(),
                "msg": f"log {self._path.name} begins: {self.policy.header}{self._date(self._clock())}",
                "event": 4112,
            }
        )
        return self.formatter.format(record).encode("utf-8", "backslashreplace") + b"\n"

    def _date(self, at_s: float) -> str:
        parts = time.gmtime(at_s) if self.policy.utc else time.localtime(at_s)
        return time.strftime("%Y-%m-%d %H:%M:%S ", parts) + ("UTC" if self.policy.utc else time.strftime("%z", parts))

    # segments

    def _is_startup(self) -> bool:
        """Whether this is the segment of the start that is to be kept; the option may come a moment after the start."""
        return self._is_first and self.policy.startup_bytes is not None

    def _limit_bytes(self) -> int:
        if self._is_startup() and self.policy.startup_bytes:
            return self.policy.startup_bytes
        return self.policy.segment.bytes

    def _is_due(self, more: int = 0) -> bool:
        """Whether the segment has ended, or would be too large with ``more`` bytes."""
        limit, seconds = self._limit_bytes(), self.policy.segment.seconds
        is_full = 0 < limit < self._size + more and self._has_events
        return is_full or (seconds > 0 and self._clock() - self._since_s >= seconds)

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        found = os.fstat(self._fd)
        self._inode = found.st_dev, found.st_ino
        self._size = found.st_size
        self._has_events = found.st_size > 0
        self._since_s = self._clock() if found.st_size == 0 else found.st_mtime
        # a process that was killed may have left half a line
        self._is_inside_line = False
        if found.st_size and not _ends_with_newline(self._path):
            with suppress(OSError):
                self._write(b"\n")
        self._expire()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _roll(self) -> None:
        """Close the segment, name it by its time, and begin the next one. On failure the present one goes on."""
        target = self._name_for(self._clock())
        size = self._size
        self._close()  # some systems rename no open file
        try:
            self._path.rename(target)
        except FileNotFoundError:
            pass  # somebody has moved it
        except OSError:
            self._open()
            if self._limit_bytes() and size >= 2 * self._limit_bytes():
                raise
            return
        self._is_first = False
        self._open()

    def _name_for(self, at_s: float) -> Path:
        parts = time.gmtime(at_s) if self.policy.utc else time.localtime(at_s)
        stamp = f"{time.strftime('%Y%m%d_%H%M%S', parts)}_{int(at_s * 1000) % 1000:03d}"
        kept = ".startup" if self._is_startup() else ""
        stem, suffix = self._path.stem, self._path.suffix
        number = 1
        while True:
            more = f"_{number}" if number > 1 else ""
            target = self._path.with_name(f"{stem}.{stamp}{more}{kept}{suffix}")
            if not target.exists():
                return target
            number += 1

    def _was_moved(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != self._inode

    # expiry

    def _expire(self) -> None:
        """Delete the oldest closed segments; the newest one of a start is kept."""
        self._expired_s = self._clock()
        files, days = self.policy.expiry
        if not files and not days:
            return
        found = self._segments()
        startup = max((each for each in found if ".startup" in each[1].name), default=None)
        if self.policy.startup_bytes is not None and startup is not None:
            found.remove(startup)
        found.sort()
        old = found[: max(len(found) - (files - 1), 0)] if files else []
        if days:
            old = [each for each in found if self._clock() - each[0] >= days * _DAY_S]
        for _, path in old:
            with suppress(OSError):
                path.unlink()

    def _segments(self) -> list[tuple[float, Path]]:
        """The closed segments of this log, each with the time of its last line."""
        stem, suffix = re.escape(self._path.stem), re.escape(self._path.suffix)
        pattern = re.compile(rf"{stem}\.\d{{8}}_\d{{6}}_\d{{3}}(_\d+)?(\.startup)?{suffix}")
        segments: list[tuple[float, Path]] = []
        with suppress(OSError), os.scandir(self._path.parent) as entries:
            for entry in entries:
                if pattern.fullmatch(entry.name):
                    with suppress(OSError):
                        segments.append((entry.stat(follow_symlinks=False).st_mtime, Path(entry.path)))
        return segments


def _ends_with_newline(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:
        return True
