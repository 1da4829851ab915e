"""The format of a proxy's local copy: two files of sealed records.

The *snapshot* holds the complete data set at one position and the recent history before it; the
*journal* holds what came after, and belongs to exactly that snapshot. Both begin with a prefix and
go on with records. All numbers are big-endian::

    prefix   8  magic         csproxyS (snapshot) or csproxyJ (journal)
             4  version       of this format: 1
            16  id            random; the same in both files

    record   4  length        bytes of the payload
             4  kind          see `Kind`
             8  checksum      BLAKE2b, 8 bytes, keyed with the id, over the record's number in its file
                              (8 bytes, from 0), kind and length (4 bytes each), and the payload
             …  payload

The key and the number make a record valid only at its place in its file: records that are lost, doubled,
swapped or left over from another file are noticed like flipped bits. A snapshot is HEADER, OBJECTS …,
HISTORY …, CREDENTIALS …, END; a journal is any sequence of TRANSACTION, EPOCHS, TIME and CREDENTIALS, and may end
anywhere.

Payloads: HEADER is the msgpack map `CopyHeader`. OBJECTS is type, count, the folder of each object, the
size of each object (4 bytes each), then the stored objects. HISTORY and TRANSACTION are whole
notification frames as they travel (docs/protocol.md); here they are bytes. EPOCHS is the msgpack
array of [epoch, first UEN]. TIME is 8 bytes, milliseconds since 1970: the data was current then. CREDENTIALS is the
msgpack array of entries (`csproxy.core.credentials.PersonEntry`) and of DBIDs of which nothing is kept any more. END
is empty.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from functools import cache
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import BinaryIO, Final, NamedTuple

import msgspec

from csproxy.core import codec
from csproxy.core.credentials import CredentialBook, PersonEntry
from csproxy.core.model.schema_data import OBJECT_ROWS, STRUCTURE_ROWS
from csproxy.core.security_records import RECORD_TYPES
from csproxy.errors import LocalCopyError

__all__ = [
    "FORMAT_VERSION",
    "PREFIX_SIZE",
    "SNAPSHOT_MAGIC",
    "JOURNAL_MAGIC",
    "CopyHeader",
    "Kind",
    "ObjectsBlock",
    "Record",
    "RecordReader",
    "decode_time",
    "encode_time",
    "model_name",
    "pack_credentials",
    "pack_objects",
    "prefix",
    "seal",
    "unpack_credentials",
    "unpack_objects",
]

FORMAT_VERSION: Final = 1
SNAPSHOT_MAGIC: Final = b"csproxyS"
JOURNAL_MAGIC: Final = b"csproxyJ"
_PREFIX: Final = struct.Struct(">8sI16s")
PREFIX_SIZE: Final = _PREFIX.size
_RECORD: Final = struct.Struct(">II8s")
_SEALED: Final = struct.Struct(">QII")
_BLOCK: Final = struct.Struct(">II")
_TIME: Final = struct.Struct(">Q")
_CREDENTIALS: Final = msgspec.msgpack.Decoder(tuple[list[PersonEntry], list[int]])


class Kind(IntEnum):
    """What a record holds."""

    HEADER = 1
    OBJECTS = 2
    HISTORY = 3
    END = 4
    TRANSACTION = 5
    EPOCHS = 6
    TIME = 7
    CREDENTIALS = 8


class Record(NamedTuple):
    """One record without its seal."""

    kind: Kind
    payload: bytes


class CopyHeader(msgspec.Struct, kw_only=True):
    """What a snapshot says of itself.

    ``schema`` names the object model, ``application`` the proxy's Application object. ``epochs`` is the
    epoch table, ``counts`` the number of objects by type. ``as_of_ms`` is the last time (milliseconds
    since 1970) at which the data was known to be current.
    """

    schema: str
    application: str
    release: str
    epoch: int
    uen: int
    epochs: list[tuple[int, int]]
    counts: dict[int, int]
    as_of_ms: int


class ObjectsBlock(NamedTuple):
    """Stored objects of one type and their folders (parallel)."""

    type: int
    objects: list[bytes]
    folders: Sequence[int]


@cache
def model_name() -> str:
    """A name for the object model of this release, security records included: another model gives another name."""
    return blake2b(repr((STRUCTURE_ROWS, OBJECT_ROWS, [*RECORD_TYPES])).encode(), digest_size=8).hexdigest()


def prefix(magic: bytes, file_id: bytes) -> bytes:
    """The first bytes of a file."""
    return _PREFIX.pack(magic, FORMAT_VERSION, file_id)


def seal(file_id: bytes, number: int, kind: Kind, parts: Sequence[bytes]) -> list[bytes]:
    """Record ``number`` of a file: its head, then ``parts`` as they are, whose join is the payload."""
    length = sum(map(len, parts))
    return [_RECORD.pack(length, kind, _checksum(file_id, number, kind, length, parts)), *parts]


def pack_objects(type_number: int, objects: Sequence[bytes], folders: Sequence[int]) -> list[bytes]:
    """The parts of an OBJECTS payload."""
    count = len(objects)
    numbers = struct.pack(f">{2 * count}I", *folders, *map(len, objects))
    return [_BLOCK.pack(type_number, count), numbers, b"".join(objects)]


def unpack_objects(payload: bytes) -> ObjectsBlock:
    """Read an OBJECTS payload; raises `LocalCopyError` when its sizes do not fit."""
    try:
        type_number, count = _BLOCK.unpack_from(payload)
        numbers = struct.unpack_from(f">{2 * count}I", payload, _BLOCK.size)
    except struct.error as e:
        raise LocalCopyError(f"a block of objects is too short: {e}") from e
    places = list(accumulate(numbers[count:], initial=_BLOCK.size + 8 * count))
    if places[-1] != len(payload):
        raise LocalCopyError(f"a block of objects has {len(payload)} bytes and should have {places[-1]}")
    objects = [payload[start:end] for start, end in pairwise(places)]
    return ObjectsBlock(type_number, objects, numbers[:count])


def pack_credentials(book: CredentialBook, dbids: Iterable[int]) -> bytes:
    """The payload of a CREDENTIALS record: these Persons as the book has them now."""
    entries, removed = [], []
    for dbid in dbids:
        entry = book.entry(dbid)
        if entry is None:
            removed.append(dbid)
        else:
            entries.append(entry)
    return codec.encode((entries, removed))


def unpack_credentials(payload: bytes, book: CredentialBook) -> None:
    """Put a CREDENTIALS record into a book; raises `LocalCopyError`."""
    try:
        entries, removed = _CREDENTIALS.decode(payload)
    except msgspec.MsgspecError as e:
        raise LocalCopyError(f"a record of credentials cannot be read: {e}") from e
    for entry in entries:
        book.put(entry)
    for dbid in removed:
        book.remove(dbid)


def encode_time(milliseconds: int) -> bytes:
    """The payload of a TIME record."""
    return _TIME.pack(milliseconds)


def decode_time(payload: bytes) -> int:
    """The milliseconds of a TIME record; raises `LocalCopyError`."""
    try:
        return int(_TIME.unpack(payload)[0])
    except struct.error as e:
        raise LocalCopyError(f"a record of the time cannot be read: {e}") from e


class RecordReader:
    """Reads a file record by record and checks each seal.

    ``size`` is the file's. Raises `LocalCopyError` from the constructor when the prefix is not that of
    such a file. `records` raises it at the first record that is not valid and ends at the end of the
    file; `valid_bytes` and `count` then tell how far all was well.
    """

    def __init__(self, file: BinaryIO, size: int, *, magic: bytes) -> None:
        head = file.read(PREFIX_SIZE)
        if len(head) < PREFIX_SIZE or not head.startswith(magic):
            raise LocalCopyError("this is no such file, or its beginning is damaged")
        _, version, self.file_id = _PREFIX.unpack(head)
        if version != FORMAT_VERSION:
            raise LocalCopyError(f"its format has version {version}; this release reads version {FORMAT_VERSION}")
        self.valid_bytes = PREFIX_SIZE
        self.count = 0
        self._file = file
        self._size = size

    def records(self) -> Iterator[Record]:
        """The records, in order."""
        while self.valid_bytes < self._size:
            head = self._file.read(_RECORD.size)
            if len(head) < _RECORD.size:
                raise self._damaged("is cut off")
            length, kind, checksum = _RECORD.unpack(head)
            end = self.valid_bytes + _RECORD.size + length
            if end > self._size:
                raise self._damaged("is cut off")
            payload = self._file.read(length)
            if _checksum(self.file_id, self.count, kind, length, [payload]) != checksum:
                raise self._damaged("has a wrong checksum")
            if kind not in Kind._value2member_map_:
                raise self._damaged(f"is of kind {kind}, which this release does not know")
            yield Record(Kind(kind), payload)
            self.count += 1
            self.valid_bytes = end

    def _damaged(self, how: str) -> LocalCopyError:
        return LocalCopyError(f"record {self.count} at byte {self.valid_bytes} of {self._size} {how}")


def _checksum(file_id: bytes, number: int, kind: int, length: int, parts: Sequence[bytes]) -> bytes:
    seal = blake2b(_SEALED.pack(number, kind, length), digest_size=8, key=file_id)
    for part in parts:
        seal.update(part)
    return seal.digest()
