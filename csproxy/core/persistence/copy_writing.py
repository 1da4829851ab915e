"""Writing a proxy's local copy: a snapshot in pieces, then a journal that grows.

A new snapshot is written beside the one in use, brought to the disk (fsync), and takes its place by
renaming; its journal, named after its id, is there before that. Whatever happens in between, the copy
on disk is one complete generation. Journals are written without fsync: their bytes survive the death
of the process, and of what a power failure tears off the seals tell where it begins.

All files are readable by their owner only, whatever the umask. Everything here blocks and raises OSError.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from csproxy.core import codec
from csproxy.core.persistence.copy_format import (
    JOURNAL_MAGIC,
    SNAPSHOT_MAGIC,
    CopyHeader,
    Kind,
    Record,
    pack_objects,
    prefix,
    seal,
)
from csproxy.core.persistence.copy_reading import CopyPaths
from csproxy.core.views import View

__all__ = ["CopyLock", "Journal", "SnapshotWriter", "blocks", "switch_off"]

_PRIVATE: Final = 0o600


class Journal:
    """The journal of one snapshot, open for appending.

    A failed `append` may leave bytes behind; the next one overwrites them, so that the same records
    must then come first again.
    """

    def __init__(self, path: Path, fd: int, file_id: bytes, *, size: int, count: int, changes: int) -> None:
        self.path = path
        self.size = size
        self.changes = changes
        self._fd = fd
        self._file_id = file_id
        self._count = count

    def __repr__(self) -> str:
        return f"<Journal {self.path.name} of {self.size} bytes>"

    @classmethod
    def create(cls, paths: CopyPaths, file_id: bytes) -> Journal:
        """A new, empty journal."""
        path = paths.journal(file_id)
        fd = _create(path)
        head = prefix(JOURNAL_MAGIC, file_id)
        try:
            _write_at(fd, head, 0)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return cls(path, fd, file_id, size=len(head), count=0, changes=0)

    @classmethod
    def reopen(cls, paths: CopyPaths, file_id: bytes, *, size: int, count: int, changes: int) -> Journal:
        """Go on with a journal after its first ``size`` bytes, which hold ``count`` valid records."""
        path = paths.journal(file_id)
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.ftruncate(fd, size)
        return cls(path, fd, file_id, size=size, count=count, changes=changes)

    def append(self, records: Sequence[Record], *, changes: int = 0) -> None:
        """Write all ``records``, which hold ``changes`` changes, or raise and stay as before."""
        sealed: list[bytes] = []
        for number, (kind, payload) in enumerate(records, self._count):
            sealed += seal(self._file_id, number, kind, [payload])
        data = b"".join(sealed)
        _write_at(self._fd, data, self.size)
        self.size += len(data)
        self.changes += changes
        self._count += len(records)

    def sync(self) -> None:
        """Bring it to the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close it; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SnapshotWriter:
    """A snapshot that is being written; ends with `commit` or `abort`."""

    def __init__(self, paths: CopyPaths, header: CopyHeader, *, file_id: bytes) -> None:
        self.size = 0
        self._paths = paths
        self._file_id = file_id
        self._count = 0
        self._fd = _create(paths.unfinished)
        try:
            self._write([prefix(SNAPSHOT_MAGIC, file_id)])
            self._record(Kind.HEADER, [codec.encode(header)])
        except OSError:
            self.abort()
            raise

    def __repr__(self) -> str:
        return f"<SnapshotWriter {self._paths.unfinished.name} of {self.size} bytes>"

    def write_next(self, pieces: Iterator[Sequence[bytes]]) -> int:
        """Write the next of `blocks`; returns its bytes, 0 when there is none left."""
        parts = next(pieces, None)
        return 0 if parts is None else self._record(Kind.OBJECTS, parts)

    def write_history(self, frames: Sequence[bytes]) -> int:
        """Write whole transactions of the history as one record; returns its bytes."""
        return self._record(Kind.HISTORY, frames)

    def write_credentials(self, payload: bytes) -> int:
        """Write some passwords and log-ins; returns its bytes."""
        return self._record(Kind.CREDENTIALS, [payload])

    def commit(self, records: Sequence[Record], *, changes: int) -> Journal:
        """Put the snapshot in place of the one before; returns its journal, which begins with ``records``."""
        self._record(Kind.END, [])
        os.fsync(self._fd)
        journal = Journal.create(self._paths, self._file_id)
        try:
            journal.append(records, changes=changes)
            journal.sync()
            os.replace(self._paths.unfinished, self._paths.snapshot)
        except OSError:
            journal.close()
            journal.path.unlink(missing_ok=True)
            raise
        self._close()
        _sync_folder(self._paths.folder)
        self._paths.off.unlink(missing_ok=True)
        for old in self._paths.journals():
            if old != journal.path:
                old.unlink()
        return journal

    def abort(self) -> None:
        """Remove what was written; after a `commit` nothing happens."""
        if self._fd >= 0:
            self._close()
            with contextlib.suppress(OSError):
                self._paths.unfinished.unlink(missing_ok=True)

    def _record(self, kind: Kind, parts: Sequence[bytes]) -> int:
        written = self._write(seal(self._file_id, self._count, kind, parts))
        self._count += 1
        return written

    def _write(self, parts: Iterable[bytes]) -> int:
        data = b"".join(parts)
        _write_at(self._fd, data, self.size)
        self.size += len(data)
        return len(data)

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1


class CopyLock:
    """Says that this process uses the copy; the kernel takes the lock away when the process ends.

    Raises `BlockingIOError` when another process has it, other OSErrors when the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Give it back; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def switch_off(paths: CopyPaths) -> None:
    """Mark the copy, if there is one, as not to be used; the next snapshot takes the mark away."""
    if paths.snapshot.exists() and not paths.off.exists():
        os.close(_create(paths.off))
        _sync_folder(paths.folder)


def blocks(view: View, types: Iterable[int], *, block_bytes: int) -> Iterator[list[bytes]]:
    """All objects of a view made with ``composed=False``, as the parts of OBJECTS payloads.

    A block holds about ``block_bytes``, at least one object, and never objects of two types.
    """
    for number in types:
        for part in view.select(number, {"read_folder_dbid": 1}).parts():
            start, size = 0, 0
            for place, stored in enumerate(part.objects):
                if size and size + len(stored) > block_bytes:
                    yield pack_objects(number, part.objects[start:place], part.folders[start:place])
                    start, size = place, 0
                size += len(stored)
            yield pack_objects(number, part.objects[start:], part.folders[start:])


def _create(path: Path) -> int:
    """A new file that only its owner may read; one that is there already is removed first."""
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    os.fchmod(fd, _PRIVATE)  # a umask can only have taken bits away
    return fd


def _write_at(fd: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest, offset = rest[written:], offset + written


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
