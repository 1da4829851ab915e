"""Small data sets and copies of them on disk, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.persistence.copy_format import CopyHeader, Record, model_name
from csproxy.core.persistence.copy_reading import CopyPaths, StoredCopy, read_copy
from csproxy.core.persistence.copy_writing import Journal, SnapshotWriter, blocks

APPLICATION = "CSProxy_1"
PERSON, SKILL, FOLDER = 3, 13, 22
FILE_ID = bytes(range(16))
POSITION = Position(4711, 17)

Objects = Mapping[tuple[int, int], tuple[bytes, int]]
"""(type, DBID) → stored bytes and folder."""


class State(NamedTuple):
    """All that a copy holds, in plain form."""

    objects: Objects
    history: bytes
    journal: list[Record]


def stored(dbid: int, filler: str = "") -> bytes:
    return codec.encode({"DBID": dbid, "tenantDBID": 1, "name": f"n{dbid}{filler}", "state": 1})


def small() -> dict[tuple[int, int], tuple[bytes, int]]:
    """A few objects of three types."""
    keys = [(PERSON, 100), (PERSON, 101), (SKILL, 5), (SKILL, 9), (FOLDER, 7)]
    return {key: (stored(key[1]), key[1] % 3) for key in keys}


def cache_of(objects: Objects, position: Position = POSITION) -> ConfigurationCache:
    builder = CacheBuilder()
    for (number, _), (body, folder) in objects.items():
        builder.add(number, [body], [folder])
    return builder.finish(position)


def contents(cache: ConfigurationCache) -> Objects:
    return {
        (number, dbid): (cache.get(number, dbid) or b"", cache.folder_of(number, dbid))
        for number in cache.counts()
        for dbid in cache.dbids(number)
    }


def header_of(cache: ConfigurationCache, **other: object) -> CopyHeader:
    values = {
        "schema": model_name(),
        "application": APPLICATION,
        "release": "1",
        "epoch": cache.position.epoch,
        "uen": cache.position.uen,
        "epochs": [(4711, 1)],
        "counts": cache.counts(),
        "as_of_ms": 1000,
    }
    return CopyHeader(**(values | other))  # type: ignore[arg-type]


def write_copy(
    folder: Path,
    objects: Objects,
    *,
    history: Sequence[bytes] = (),
    journal: Sequence[Record] = (),
    block_bytes: int = 60,
    file_id: bytes = FILE_ID,
    **header: object,
) -> Journal:
    """Write a snapshot and a journal; returns the open journal."""
    cache = cache_of(objects)
    writer = SnapshotWriter(paths_in(folder), header_of(cache, **header), file_id=file_id)
    pieces = blocks(cache.view(composed=False), cache.counts(), block_bytes=block_bytes)
    while writer.write_next(pieces):
        pass
    if history:
        writer.write_history(history)
    return writer.commit(journal, changes=len(journal))


def paths_in(folder: Path) -> CopyPaths:
    return CopyPaths.of(folder, APPLICATION)


def read(folder: Path) -> StoredCopy | None:
    return read_copy(paths_in(folder), application=APPLICATION, schema=model_name())


def state_of(copy: StoredCopy | None) -> State | None:
    """What was read; the builder is used up."""
    if copy is None:
        return None
    cache = copy.builder.finish(copy.position)
    return State(contents(cache), b"".join(copy.history), copy.journal.records)
