"""The files of a local copy: what is written is read, and nothing else ever is."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csproxy.core import codec
from csproxy.core.changes import Action, Change, Epoch
from csproxy.core.persistence.copy_format import (
    SNAPSHOT_MAGIC,
    Kind,
    Record,
    RecordReader,
    decode_time,
    encode_time,
    pack_objects,
    prefix,
    seal,
    unpack_objects,
)
from csproxy.core.persistence.copy_reading import MAX_DAMAGED, CopyPaths, decode_epochs, read_copy, set_aside
from csproxy.core.persistence.copy_writing import CopyLock, Journal, SnapshotWriter, blocks, switch_off
from csproxy.errors import LocalCopyError
from tests.core.persistence.copy_world import (
    APPLICATION,
    FILE_ID,
    FOLDER,
    PERSON,
    POSITION,
    SKILL,
    Objects,
    State,
    cache_of,
    header_of,
    paths_in,
    read,
    small,
    state_of,
    stored,
    write_copy,
)

JOURNAL = [
    Record(Kind.TRANSACTION, b"first frames"),
    Record(Kind.TIME, encode_time(2000)),
    Record(Kind.EPOCHS, codec.encode([(4711, 1), (22, 18)])),
    Record(Kind.TRANSACTION, b"more frames"),
]


def refusal(folder: Path) -> str:
    with pytest.raises(LocalCopyError) as caught:
        read(folder)
    return str(caught.value)


# round trip

dbids = st.integers(min_value=1, max_value=2**31 - 1)
objects = st.dictionaries(
    st.tuples(st.sampled_from([PERSON, SKILL, FOLDER]), dbids),
    st.tuples(st.text(max_size=40), st.integers(min_value=0, max_value=2**31 - 1)),
    max_size=30,
).map(lambda drawn: {key: (stored(key[1], text), folder) for key, (text, folder) in drawn.items()})
records = st.lists(
    st.one_of(
        st.builds(Record, st.sampled_from([Kind.TRANSACTION, Kind.EPOCHS]), st.binary(max_size=60)),
        st.builds(Record, st.just(Kind.TIME), st.integers(0, 2**63).map(encode_time)),
    ),
    max_size=12,
)


@given(
    objects=objects, history=st.lists(st.binary(max_size=40), max_size=4), journal=records, block=st.integers(1, 400)
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read(
    tmp_path: Path, objects: Objects, history: list[bytes], journal: list[Record], block: int
) -> None:
    half = len(journal) // 2
    open_journal = write_copy(tmp_path, objects, history=history, journal=journal[:half], block_bytes=block)
    open_journal.append(journal[half:])
    open_journal.close()
    assert state_of(read(tmp_path)) == State(objects, b"".join(history), journal)


def test_a_copy_says_what_it_is(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    write_copy(tmp_path, small(), journal=JOURNAL).close()
    copy = read(tmp_path)
    assert copy is not None
    assert (copy.position, copy.epochs) == (POSITION, [Epoch(4711, 1)])
    assert copy.as_of_ms == 2000, "the journal knows a later time than the snapshot"
    assert copy.snapshot_bytes == paths_in(tmp_path).snapshot.stat().st_size
    assert (copy.journal.count, copy.journal.cut) == (4, "")


def test_a_journal_goes_on_after_a_restart(tmp_path: Path) -> None:
    write_copy(tmp_path, small(), journal=JOURNAL[:2]).close()
    first = read(tmp_path)
    assert first is not None
    state = first.journal
    with paths_in(tmp_path).journal(FILE_ID).open("ab") as torn:
        torn.write(b"half a record" * 10)
    journal = Journal.reopen(paths_in(tmp_path), FILE_ID, size=state.valid_bytes, count=state.count, changes=1)
    assert repr(journal) == f"<Journal CSProxy_1.journal-{FILE_ID.hex()} of {state.valid_bytes} bytes>"
    journal.append(JOURNAL[2:], changes=1)
    journal.sync()
    assert (journal.changes, journal.size) == (2, journal.path.stat().st_size)
    journal.close()
    journal.close()
    second = read(tmp_path)
    assert second is not None
    assert (second.journal.records, second.journal.cut) == (JOURNAL, "")


def test_blocks_are_bounded_and_hold_one_type_each() -> None:
    objects = {(SKILL, dbid): (stored(dbid, "x" * 200 * (dbid == 3)), dbid) for dbid in range(1, 9)}
    objects |= {(PERSON, 1): (stored(1), 4)}
    cache = cache_of(objects)
    found = [
        unpack_objects(b"".join(parts)) for parts in blocks(cache.view(composed=False), cache.counts(), block_bytes=80)
    ]
    assert {(block.type, len(block.objects)) for block in found} == {(SKILL, 1), (SKILL, 2), (PERSON, 1)}
    assert [folder for block in found if block.type == SKILL for folder in block.folders] == list(range(1, 9))
    assert all(len(block.objects) == 1 or sum(map(len, block.objects)) <= 80 for block in found)


def test_a_snapshot_is_of_one_moment_whatever_changes_meanwhile(tmp_path: Path) -> None:
    cache = cache_of(small())
    pieces = blocks(cache.view(composed=False), cache.counts(), block_bytes=1)
    first = next(pieces)
    cache.apply([Change(action=Action.DELETED, type=FOLDER, dbid=7, position=POSITION, frame=b"")])
    assert len([first, *pieces]) == len(small())


# damage


def damaged_states(tmp_path: Path) -> list[State | None]:
    """The states that a copy with `JOURNAL` may give: none (refused), or any complete older one."""
    return [State(small(), b"history", JOURNAL[:count]) for count in range(len(JOURNAL) + 1)]


def read_damaged(folder: Path) -> State | None:
    try:
        return state_of(read(folder))
    except LocalCopyError:
        return None


def test_a_snapshot_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    write_copy(tmp_path, small(), history=[b"history"], journal=JOURNAL).close()
    path = paths_in(tmp_path).snapshot
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert str(path) in refusal(tmp_path)
    path.write_bytes(whole + b"x")
    refusal(tmp_path)


@pytest.mark.slow
def test_no_flipped_bit_of_a_snapshot_is_overlooked(tmp_path: Path) -> None:
    write_copy(tmp_path, small(), history=[b"history"], journal=JOURNAL).close()
    path = paths_in(tmp_path).snapshot
    whole = bytearray(path.read_bytes())
    for place in range(len(whole)):
        for bit in (0, 3, 7):
            whole[place] ^= 1 << bit
            path.write_bytes(whole)
            refusal(tmp_path)
            whole[place] ^= 1 << bit


def test_a_journal_that_is_cut_off_anywhere_gives_what_was_written_before(tmp_path: Path) -> None:
    write_copy(tmp_path, small(), history=[b"history"], journal=JOURNAL).close()
    path = paths_in(tmp_path).journal(FILE_ID)
    whole = path.read_bytes()
    possible = damaged_states(tmp_path)
    lengths = []
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        state = read_damaged(tmp_path)
        assert state in possible
        lengths.append(len(state.journal))
    assert lengths == sorted(lengths)
    assert set(lengths) == set(range(len(JOURNAL)))


@pytest.mark.slow
def test_a_flipped_bit_of_a_journal_costs_only_what_comes_after_it(tmp_path: Path) -> None:
    write_copy(tmp_path, small(), history=[b"history"], journal=JOURNAL).close()
    path = paths_in(tmp_path).journal(FILE_ID)
    whole = bytearray(path.read_bytes())
    possible = damaged_states(tmp_path)[:-1]
    for place in range(len(whole)):
        for bit in range(8):
            whole[place] ^= 1 << bit
            path.write_bytes(whole)
            assert read_damaged(tmp_path) in possible
            whole[place] ^= 1 << bit


def test_a_journal_of_another_snapshot_is_not_used(tmp_path: Path) -> None:
    write_copy(tmp_path, small(), journal=JOURNAL, file_id=bytes(16)).close()
    foreign = paths_in(tmp_path).journal(bytes(16)).read_bytes()
    write_copy(tmp_path, small()).close()
    paths_in(tmp_path).journal(FILE_ID).write_bytes(foreign)
    copy = read(tmp_path)
    assert copy is not None
    assert copy.journal.records == []
    assert "belongs to another snapshot" in copy.journal.cut
    paths_in(tmp_path).journal(FILE_ID).unlink()
    copy = read(tmp_path)
    assert copy is not None
    assert "No such file" in copy.journal.cut


def test_records_are_valid_only_at_their_place() -> None:
    one, two = (b"".join(seal(FILE_ID, number, Kind.TIME, [encode_time(number)])) for number in (0, 1))
    for data in (two + one, one + one, b"".join(seal(bytes(16), 0, Kind.TIME, [encode_time(0)]))):
        file = prefix(SNAPSHOT_MAGIC, FILE_ID) + data
        with pytest.raises(LocalCopyError, match="wrong checksum"):
            list(RecordReader(io.BytesIO(file), len(file), magic=SNAPSHOT_MAGIC).records())


# what is well-formed and still refused


def write_records(folder: Path, *records: tuple[int, bytes], version: int = 1) -> None:
    data = bytearray(prefix(SNAPSHOT_MAGIC, FILE_ID))
    data[11] = version
    for number, (kind, payload) in enumerate(records):
        data += b"".join(seal(FILE_ID, number, kind, [payload]))  # type: ignore[arg-type]
    paths_in(folder).snapshot.write_bytes(data)


HEADER = (1, codec.encode(header_of(cache_of({}))))
OBJECTS = (2, b"".join(pack_objects(SKILL, [stored(5)], [0])))
END = (4, b"")


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([], "it has no header"),
        ([END], "it has no header"),
        ([(1, b"\x80")], "its header cannot be read"),
        ([HEADER], "its end is missing"),
        ([HEADER, END, END], r"record 2 \(END\) does not belong there"),
        ([HEADER, HEADER], r"record 1 \(HEADER\) does not belong there"),
        ([HEADER, (99, b"")], "of kind 99"),
        ([HEADER, OBJECTS, END], "does not hold the objects that its header announces"),
        ([HEADER, OBJECTS, OBJECTS, END], "record 2 holds objects that do not fit"),
        ([HEADER, (2, b"\0")], "a block of objects is too short"),
        ([HEADER, (2, OBJECTS[1] + b"x")], "should have"),
    ],
)
def test_a_snapshot_that_makes_no_sense_is_refused(
    tmp_path: Path, records: list[tuple[int, bytes]], reason: str
) -> None:
    write_records(tmp_path, *records)
    with pytest.raises(LocalCopyError, match=reason):
        read(tmp_path)


def test_a_copy_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    write_records(tmp_path, HEADER, END)
    assert read(tmp_path) is not None
    paths = paths_in(tmp_path)
    with pytest.raises(LocalCopyError, match=r"the copy of Application 'CSProxy_1', not of 'other'"):
        read_copy(paths, application="other", schema=header_of(cache_of({})).schema)
    with pytest.raises(LocalCopyError, match=r"its object model is .*, that of this release new"):
        read_copy(paths, application=APPLICATION, schema="new")
    write_records(tmp_path, HEADER, END, version=2)
    assert "version 2; this release reads version 1" in refusal(tmp_path)
    paths.snapshot.unlink()
    paths.snapshot.mkdir()
    assert "cannot be read: Is a directory" in refusal(tmp_path)


def test_small_payloads_are_checked_too() -> None:
    assert decode_time(encode_time(5)) == 5
    with pytest.raises(LocalCopyError, match="of the time"):
        decode_time(b"")
    assert decode_epochs(codec.encode([(1, 2)])) == [Epoch(1, 2)]
    with pytest.raises(LocalCopyError, match="table of epochs"):
        decode_epochs(b"\xc0")


# files


def test_all_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0, 0o777):
        before = os.umask(umask)
        try:
            write_copy(tmp_path, small(), file_id=os.urandom(16)).close()
        finally:
            os.umask(before)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert modes == {0o600}


def test_a_new_generation_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    write_copy(tmp_path, small(), journal=JOURNAL, file_id=bytes(16)).close()
    new = {(SKILL, 77): (stored(77), 1)}
    write_copy(tmp_path, new).close()
    assert state_of(read(tmp_path)) == State(new, b"", [])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"CSProxy_1.snapshot", f"CSProxy_1.journal-{FILE_ID.hex()}"}


def test_a_snapshot_that_is_given_up_leaves_the_old_generation(tmp_path: Path) -> None:
    write_copy(tmp_path, small(), journal=JOURNAL).close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    writer = SnapshotWriter(paths_in(tmp_path), header_of(cache_of({})), file_id=bytes(16))
    assert "CSProxy_1.snapshot.new" in repr(writer)
    writer.abort()
    writer.abort()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_an_earlier_process_left_unfinished_is_replaced(tmp_path: Path) -> None:
    paths_in(tmp_path).unfinished.write_bytes(b"left over")
    paths_in(tmp_path).journal(bytes(16)).write_bytes(b"left over")
    write_copy(tmp_path, small()).close()
    assert len(list(tmp_path.iterdir())) == 2
    assert state_of(read(tmp_path)) == State(small(), b"", [])


def test_refused_copies_are_kept_but_only_a_few(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    for number in range(1, MAX_DAMAGED + 3):
        paths.snapshot.write_bytes(b"%d" % number)
        paths.journal(bytes([number] * 16)).write_bytes(b"%d" % number)
        kept = set_aside(paths)
        os.utime(kept, ns=(number, number))
        assert kept.name == f"CSProxy_1.snapshot.damaged-{(number - 1) % MAX_DAMAGED + 1}"
        assert read(tmp_path) is None
        assert paths.journals() == []
    contents = sorted(path.read_bytes() for path in tmp_path.iterdir())
    assert contents == [b"3", b"3", b"4", b"4", b"5", b"5"]


def test_names_of_applications_become_names_of_files(tmp_path: Path) -> None:
    names = ["CSProxy_1", "a/b", "..", "ä" * 200, "ä" * 199 + "a", "Proxy (north) @1"]
    paths = [CopyPaths.of(tmp_path, name) for name in names]
    assert paths[0].snapshot == tmp_path / "CSProxy_1.snapshot"
    assert paths[-1].lock.name == "Proxy (north) @1.snapshot.lock"
    assert len({each.snapshot for each in paths}) == len(names)
    for each in paths:
        assert each.journal(FILE_ID).parent == tmp_path
        each.journal(FILE_ID).touch()
        assert each.journals() == [each.journal(FILE_ID)]


def test_a_copy_that_was_switched_off_is_not_read_until_there_is_a_new_one(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    switch_off(paths)
    assert list(tmp_path.iterdir()) == []
    write_copy(tmp_path, small()).close()
    switch_off(paths)
    switch_off(paths)
    assert paths.snapshot.exists()
    assert read(tmp_path) is None
    write_copy(tmp_path, small(), file_id=bytes(16)).close()
    assert read(tmp_path) is not None


def test_one_process_at_a_time_has_the_lock(tmp_path: Path) -> None:
    path = paths_in(tmp_path).lock
    first = CopyLock(path)
    with pytest.raises(BlockingIOError):
        CopyLock(path)
    first.release()
    first.release()
    CopyLock(path).release()
