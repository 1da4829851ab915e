"""Tables of segments hold what was put in, and snapshots never change."""

from __future__ import annotations

import random
from array import array
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core.segments import SEGMENT_LIMIT, Table, TableSnapshot

Model = dict[int, tuple[bytes, int]]


def stored(dbid: int, version: int = 0) -> bytes:
    return f"{dbid}/{version}".encode()


def table_of(dbids: list[int]) -> tuple[Table, Model]:
    objects = [stored(dbid) for dbid in dbids]
    folders = [dbid % 7 for dbid in dbids]
    table = Table.build(dict(zip(dbids, objects, strict=True)), array("I", dbids), objects, array("I", folders))
    return table, {dbid: (stored(dbid), dbid % 7) for dbid in dbids}


def content(snapshot: TableSnapshot) -> Model:
    found: Model = {}
    previous = 0
    for segment in snapshot.segments:
        assert 0 < len(segment.dbids) <= SEGMENT_LIMIT
        assert len(segment.dbids) == len(segment.objects) == len(segment.folders)
        for dbid, obj, folder in zip(segment.dbids, segment.objects, segment.folders, strict=True):
            assert dbid > previous
            previous = dbid
            found[dbid] = (obj, folder)
    assert snapshot.count == len(found)
    return found


def check(table: Table, model: Model) -> None:
    assert content(table.snapshot()) == model
    assert list(table.dbids()) == sorted(model)
    assert table.by_dbid == {dbid: obj for dbid, (obj, _) in model.items()}
    snapshot = table.snapshot()
    for dbid in [0, 1, *list(model)[::97], 10**6]:
        expected = model.get(dbid)
        assert snapshot.get(dbid) == (expected and expected[0])
        assert snapshot.folder_of(dbid) == (expected[1] if expected else 0)
        if expected:
            assert table.folder_of(dbid) == expected[1]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([0, 1, 5, SEGMENT_LIMIT, 2 * SEGMENT_LIMIT + 5]))
def test_any_changes_leave_the_table_right_and_snapshots_as_they_were(seed: int, size: int) -> None:
    rng = random.Random(seed)
    table, model = table_of(sorted(rng.sample(range(1, 40_000), size)))
    generation = 1
    kept: list[tuple[TableSnapshot, Model]] = []
    for _ in range(40):
        match rng.choice(("insert", "append", "replace", "remove", "snapshot")):
            case "insert" | "append" as how:
                dbid = max(model, default=0) + 1 if how == "append" else rng.randrange(1, 40_000)
                if dbid not in model:
                    table.insert(dbid, stored(dbid), 3, generation=generation)
                    model[dbid] = (stored(dbid), 3)
            case "replace" if model:
                dbid = rng.choice(list(model))
                table.replace(dbid, stored(dbid, 1), 4, generation=generation)
                model[dbid] = (stored(dbid, 1), 4)
            case "remove" if model:
                dbid = rng.choice(list(model))
                table.remove(dbid, generation=generation)
                del model[dbid]
            case _:
                kept.append((table.snapshot(), dict(model)))
                generation += 1
    check(table, model)
    for snapshot, then in kept:
        assert content(snapshot) == then


def test_ascending_insertions_fill_segments() -> None:
    table = Table()
    for dbid in range(1, 2 * SEGMENT_LIMIT + 2):
        table.insert(dbid, stored(dbid), 0, generation=1)
    assert [len(segment.dbids) for segment in table.segments()] == [SEGMENT_LIMIT, SEGMENT_LIMIT, 1]


def test_an_insertion_into_a_full_segment_halves_it() -> None:
    for dbid in (2, 2 * SEGMENT_LIMIT - 100, 2 * SEGMENT_LIMIT + 1):
        table, model = table_of(list(range(1, 4 * SEGMENT_LIMIT + 1, 2)))
        if dbid in model:
            dbid += 1
        table.insert(dbid, stored(dbid), 0, generation=1)
        assert sorted(len(segment.dbids) for segment in table.segments()) in (
            [SEGMENT_LIMIT // 2, SEGMENT_LIMIT // 2 + 1, SEGMENT_LIMIT],
        )
        check(table, {**model, dbid: (stored(dbid), 0)})


def test_removals_merge_small_segments_and_drop_empty_ones() -> None:
    table, model = table_of(list(range(1, 3 * SEGMENT_LIMIT + 1)))
    rng = random.Random(4)
    victims = list(model)
    rng.shuffle(victims)
    for dbid in victims[:-10]:
        table.remove(dbid, generation=1)
        del model[dbid]
    assert len(table.segments()) == 1
    check(table, model)
    for dbid in list(model):
        table.remove(dbid, generation=1)
    assert table.segments() == []


def test_a_small_segment_beside_full_ones_stays() -> None:
    table, model = table_of(list(range(1, 3 * SEGMENT_LIMIT + 1)))
    for dbid in range(SEGMENT_LIMIT + 1, 2 * SEGMENT_LIMIT - 10):
        table.remove(dbid, generation=1)
        del model[dbid]
    assert [len(segment.dbids) for segment in table.segments()] == [SEGMENT_LIMIT, 11, SEGMENT_LIMIT]
    for dbid in range(2 * SEGMENT_LIMIT - 10, 2 * SEGMENT_LIMIT + 1):
        table.remove(dbid, generation=1)
        del model[dbid]
    assert [len(segment.dbids) for segment in table.segments()] == [SEGMENT_LIMIT, SEGMENT_LIMIT]
    check(table, model)


def test_the_snapshot_is_shared_while_nothing_changes() -> None:
    table, _ = table_of([1, 2, 3])
    first = table.snapshot()
    assert table.snapshot() is first
    table.replace(2, stored(2, 9), 0, generation=1)
    assert table.snapshot() is not first
    assert first.get(2) == stored(2)


def test_only_segments_that_change_are_cloned() -> None:
    table, _ = table_of(list(range(1, 3 * SEGMENT_LIMIT + 1)))
    before = table.snapshot()
    table.replace(SEGMENT_LIMIT + 5, b"new", 0, generation=1)
    after = table.snapshot()
    assert [old is new for old, new in zip(before.segments, after.segments, strict=True)] == [True, False, True]
    table.replace(SEGMENT_LIMIT + 6, b"new", 0, generation=1)
    assert table.snapshot().segments[1] is after.segments[1], "a clone of this generation is not cloned again"


def test_segments_begin_where_the_index_says() -> None:
    table, model = table_of(list(range(10, 3 * SEGMENT_LIMIT)))
    table.insert(3, stored(3), 0, generation=1)
    table.remove(10, generation=1)
    del model[10]
    check(table, {**model, 3: (stored(3), 0)})
    firsts = [segment.dbids[0] for segment in table.segments()]
    assert all(first < second for first, second in pairwise(firsts))
