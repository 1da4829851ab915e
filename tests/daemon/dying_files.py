"""File operations whose process dies, or whose disk is full, before a chosen one of them; and what a folder holds."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from csproxy.daemon.file_operations import FileOperations


class Killed(BaseException):
    """Nobody handles it, as nobody handles SIGKILL."""


class DyingFiles(FileOperations):
    """Does what ``fault`` says instead of operation number ``at`` (from 0).

    - killed: this operation and every later one do nothing at all, so that no clean-up runs either
    - half-written: the same, but a file that was to be written is there with half of its bytes
    - full: this operation fails, those after it work again
    - interrupted: Ctrl-C arrives after this operation
    - impatient: Ctrl-C arrives before this operation, and before the next three
    - full, then killed: this operation fails, and the process is killed before the next but one
    - sigkill: the process ends at once
    """

    def __init__(self, fault: str = "", at: int = -1) -> None:
        super().__init__()
        self._fault = fault
        self._at = at
        self._is_dead = False
        self.count = 0

    def _guard(self, work: Callable[..., None], *words: Any) -> None:
        if self._is_dead:
            raise Killed
        self.count += 1
        after = self.count - 1 - self._at
        if self._at >= 0 and self._fault == "impatient" and 0 <= after < 4:
            raise KeyboardInterrupt
        if self._at >= 0 and self._fault == "full, then killed" and after == 2:
            self._is_dead = True
            raise Killed
        if after:
            work(*words)
            return
        if self._fault.startswith("full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(words[0]))
        if self._fault == "interrupted":
            with contextlib.suppress(OSError):
                work(*words)
            raise KeyboardInterrupt
        match self._fault, words:
            case "half-written", (path, bytes(data), _):
                Path(path).write_bytes(data[: len(data) // 2])
        if self._fault == "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        self._is_dead = True
        raise Killed

    def make_folder(self, path: Path, mode: int = 0o750) -> None:
        self._guard(super().make_folder, path, mode)

    def write(self, path: Path, data: bytes, mode: int) -> None:
        self._guard(super().write, path, data, mode)

    def copy(self, source: Path, target: Path) -> None:
        self._guard(super().copy, source, target)

    def copy_folder(self, source: Path, target: Path) -> None:
        self._guard(super().copy_folder, source, target)

    def sync_folder(self, path: Path) -> None:
        self._guard(super().sync_folder, path)

    def rename(self, source: Path, target: Path) -> None:
        self._guard(super().rename, source, target)

    def remove(self, path: Path) -> None:
        self._guard(super().remove, path)

    def remove_folder(self, path: Path) -> None:
        self._guard(super().remove_folder, path)


def content(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes, every folder with None."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }
