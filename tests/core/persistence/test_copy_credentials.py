"""Passwords and log-ins in a copy on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from copy_world import APPLICATION, FILE_ID, cache_of, header_of, small

from csproxy.core.credentials import CredentialBook, PersonEntry
from csproxy.core.log_in_state import LogInState
from csproxy.core.persistence.copy_format import Kind, Record, model_name, pack_credentials, unpack_credentials
from csproxy.core.persistence.copy_reading import CopyPaths, read_copy
from csproxy.core.persistence.copy_writing import SnapshotWriter, blocks
from csproxy.errors import LocalCopyError

JANE = PersonEntry(101, "hash of jane", 5, LogInState(7, "wde", "10.0.0.1", 1, 8, 1, 0))


def book_of(*entries: PersonEntry) -> CredentialBook:
    book = CredentialBook()
    for entry in entries:
        book.put(entry)
    return book


def test_a_copy_has_what_was_written_into_snapshot_and_journal(tmp_path: Path) -> None:
    paths, cache = CopyPaths.of(tmp_path, APPLICATION), cache_of(small())
    first, later = book_of(JANE, PersonEntry(102, "b")), book_of(JANE)
    header = header_of(cache)
    writer = SnapshotWriter(paths, header, file_id=FILE_ID)
    pieces = blocks(cache.view(composed=False), header.counts, block_bytes=1000)
    while writer.write_next(pieces):
        pass
    assert writer.write_credentials(pack_credentials(first, [101, 102])) > 0
    journal = writer.commit([Record(Kind.CREDENTIALS, pack_credentials(later, [102]))], changes=0)
    journal.close()
    copy = read_copy(paths, application=APPLICATION, schema=model_name())
    assert copy is not None
    book = CredentialBook()
    for payload in (*copy.credentials, *(record.payload for record in copy.journal.records)):
        unpack_credentials(payload, book)
    assert book.digests() == later.digests()
    assert book.entry(101) == JANE


@pytest.mark.parametrize("payload", [b"", b"\x93\x01\x02\x03", b"\x92\x90\xa1x"])
def test_a_record_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(LocalCopyError, match="a record of credentials cannot be read"):
        unpack_credentials(payload, CredentialBook())
