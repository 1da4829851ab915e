"""One server per database: an advisory lock of the operating system on a file beside it.

The kernel releases the lock when its process ends in any way, kill -9 included, so that nothing
stale is ever left. The file stays: removing it would let two servers lock two different files. It
holds who has the lock, for the refusal that the second server prints.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from csproxy.errors import ErrorCode, StoreError

__all__ = ["DatabaseLock"]


class DatabaseLock:
    """Held from construction until `release`.

    ``owner`` says who this is (``confserv, process 4711 on host a``). Raises `StoreError` (code 5)
    naming the other holder, or the reason why the file cannot be made.
    """

    def __init__(self, database: Path, *, owner: str) -> None:
        path = database.with_name(database.name + ".lock")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise StoreError(f"lock file {path} cannot be opened: {e.strerror}", code=ErrorCode.NO_DB_ACCESS) from e
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            holder = os.pread(self._fd, 1024, 0).decode("utf-8", "replace").strip() or "another server"
            os.close(self._fd)
            raise StoreError(
                f"database {database} is in use by {holder}: stop that server first, or give this one its own database",
                code=ErrorCode.NO_DB_ACCESS,
            ) from e
        # a full disk must not keep a master from serving: only the name in a refusal is missing then
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, owner.encode(), 0)

    def release(self) -> None:
        """Let others take the database; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
