"""Reading a proxy's local copy from disk: everything is checked, and nothing decoded that need not be.

The format is that of `csproxy.core.persistence.copy_format`. A damaged or foreign snapshot gives an
error and no data. A journal is read up to its first record that is not valid: what was written before
is a complete older state. Files that were refused are kept under another name, a few of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from urllib.parse import quote

import msgspec

from csproxy.core.changes import Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.persistence.copy_format import (
    JOURNAL_MAGIC,
    SNAPSHOT_MAGIC,
    CopyHeader,
    Kind,
    Record,
    RecordReader,
    decode_time,
    unpack_objects,
)
from csproxy.errors import LocalCopyError, ModelError

__all__ = ["MAX_DAMAGED", "CopyPaths", "JournalState", "StoredCopy", "decode_epochs", "read_copy", "set_aside"]

MAX_DAMAGED: Final = 3
"""Refused copies that are kept; after that a new one takes the place of the oldest."""

_MAX_STEM: Final = 100
_HEADER: Final = msgspec.msgpack.Decoder(CopyHeader)
_EPOCHS: Final = msgspec.msgpack.Decoder(list[Epoch])


class CopyPaths(NamedTuple):
    """The files of one proxy's copy in a folder."""

    folder: Path
    stem: str

    @classmethod
    def of(cls, folder: Path, application: str) -> CopyPaths:
        """The paths for an Application name, which may hold characters that file names may not."""
        stem = quote(application, safe=" ()[]@+,=&")
        if len(stem) > _MAX_STEM:
            stem = f"{stem[:_MAX_STEM]}~{hashlib.sha256(application.encode()).hexdigest()[:16]}"
        return cls(folder, stem)

    @property
    def snapshot(self) -> Path:
        """The snapshot."""
        return self.folder / f"{self.stem}.snapshot"

    @property
    def unfinished(self) -> Path:
        """A snapshot that is being written."""
        return self.folder / f"{self.stem}.snapshot.new"

    @property
    def lock(self) -> Path:
        """The file that the process which uses the copy holds locked."""
        return self.folder / f"{self.stem}.snapshot.lock"

    @property
    def off(self) -> Path:
        """An empty file that says: the copy was switched off and must not be used."""
        return self.folder / f"{self.stem}.snapshot.off"

    def journal(self, file_id: bytes) -> Path:
        """The journal of the snapshot with this id."""
        return self.folder / f"{self.stem}.journal-{file_id.hex()}"

    def journals(self) -> list[Path]:
        """All journals that are there, those of no snapshot too."""
        start = f"{self.stem}.journal-"
        found = (path for path in self.folder.iterdir() if path.name.startswith(start))
        return sorted(path for path in found if ".damaged-" not in path.name)


@dataclass
class JournalState:
    """A journal that was read: its records, where the valid part ends, and why it ends before the file does."""

    records: list[Record] = field(default_factory=list)
    valid_bytes: int = 0
    count: int = 0
    cut: str = ""


@dataclass
class StoredCopy:
    """A copy as read: ``builder`` holds the objects at ``position``, ``history`` frames up to there.

    ``credentials`` are payloads of passwords and log-ins, if it has any.

    ``as_of_ms`` is the last time at which the data was current.
    """

    header: CopyHeader
    file_id: bytes
    builder: CacheBuilder
    history: list[bytes]
    credentials: list[bytes]
    snapshot_bytes: int
    journal: JournalState
    as_of_ms: int

    @property
    def position(self) -> Position:
        """Where the snapshot stands."""
        return Position(self.header.epoch, self.header.uen)

    @property
    def epochs(self) -> list[Epoch]:
        """The epoch table as it was when the snapshot was written."""
        return [Epoch(*row) for row in self.header.epochs]


def read_copy(paths: CopyPaths, *, application: str, schema: str) -> StoredCopy | None:
    """Read the copy of ``application``; None when there is none, or it was switched off.

    Raises `LocalCopyError` naming the file and the reason when the snapshot is damaged, foreign or
    cannot be read.
    """
    if paths.off.exists():
        return None
    try:
        with paths.snapshot.open("rb") as file:
            copy = _read_snapshot(file, application=application, schema=schema)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise LocalCopyError(f"{paths.snapshot} cannot be read: {e.strerror}") from e
    except LocalCopyError as e:
        raise LocalCopyError(f"{paths.snapshot} is refused: {e}") from e
    copy.journal = _read_journal(paths.journal(copy.file_id), copy.file_id)
    for kind, payload in copy.journal.records:
        if kind is Kind.TIME:
            copy.as_of_ms = decode_time(payload)
    return copy


def decode_epochs(payload: bytes) -> list[Epoch]:
    """The table of an EPOCHS record; raises `LocalCopyError`."""
    try:
        return _EPOCHS.decode(payload)
    except msgspec.MsgspecError as e:
        raise LocalCopyError(f"a table of epochs cannot be read: {e}") from e


def set_aside(paths: CopyPaths) -> Path:
    """Keep the snapshot and its journal under names ending in ``.damaged-N``; returns the snapshot's.

    Raises OSError.
    """
    slots = [Path(f"{paths.snapshot}.damaged-{number}") for number in range(1, MAX_DAMAGED + 1)]
    free = [slot for slot in slots if not slot.exists()]
    slot = free[0] if free else min(slots, key=lambda path: path.stat().st_mtime_ns)
    suffix = slot.suffix
    for old in paths.folder.iterdir():
        if old.name.startswith(f"{paths.stem}.journal-") and old.suffix == suffix:
            old.unlink()
    for journal in paths.journals():
        os.replace(journal, f"{journal}{suffix}")
    os.replace(paths.snapshot, slot)
    return slot


def _read_snapshot(file: BinaryIO, *, application: str, schema: str) -> StoredCopy:
    size = os.fstat(file.fileno()).st_size
    reader = RecordReader(file, size, magic=SNAPSHOT_MAGIC)
    records = reader.records()
    header = _read_header(next(records, None))
    if header.application != application:
        raise LocalCopyError(f"it is the copy of Application {header.application!r}, not of {application!r}")
    if header.schema != schema:
        raise LocalCopyError(f"its object model is {header.schema}, that of this release {schema}")
    builder = CacheBuilder()
    history: list[bytes] = []
    credentials: list[bytes] = []
    counts = dict.fromkeys(header.counts, 0)
    ended = False
    for kind, payload in records:
        if ended or kind not in (Kind.OBJECTS, Kind.HISTORY, Kind.CREDENTIALS, Kind.END):
            raise LocalCopyError(f"record {reader.count} ({kind.name}) does not belong there")
        if kind is Kind.OBJECTS:
            block = unpack_objects(payload)
            counts[block.type] = counts.get(block.type, 0) + len(block.objects)
            try:
                builder.add(block.type, block.objects, block.folders)
            except ModelError as e:
                raise LocalCopyError(f"record {reader.count} holds objects that do not fit: {e}") from e
        elif kind is Kind.HISTORY:
            history.append(payload)
        elif kind is Kind.CREDENTIALS:
            credentials.append(payload)
        else:
            ended = True
    if not ended:
        raise LocalCopyError("its end is missing")
    if counts != header.counts:
        raise LocalCopyError("it does not hold the objects that its header announces")
    return StoredCopy(header, reader.file_id, builder, history, credentials, size, JournalState(), header.as_of_ms)


def _read_header(record: Record | None) -> CopyHeader:
    if record is None or record.kind is not Kind.HEADER:
        raise LocalCopyError("it has no header")
    try:
        return _HEADER.decode(record.payload)
    except msgspec.MsgspecError as e:
        raise LocalCopyError(f"its header cannot be read: {e}") from e


def _read_journal(path: Path, file_id: bytes) -> JournalState:
    """The valid beginning of a journal; one that is missing or not readable at all holds nothing."""
    state = JournalState()
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            reader = RecordReader(file, os.fstat(file.fileno()).st_size, magic=JOURNAL_MAGIC)
        except (OSError, LocalCopyError) as e:
            state.cut = f"{path} is not used: {e}"
            return state
        if reader.file_id != file_id:
            state.cut = f"{path} is not used: it belongs to another snapshot"
            return state
        try:
            state.records.extend(reader.records())
        except (OSError, LocalCopyError) as e:
            state.cut = f"{path} is used up to byte {reader.valid_bytes}: {e}"
        state.valid_bytes, state.count = reader.valid_bytes, reader.count
    return state
