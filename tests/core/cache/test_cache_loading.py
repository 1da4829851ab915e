"""A new data set is built in parts and compared with the previous one."""

from __future__ import annotations

import random

import pytest

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Position
from csproxy.core.loading import CacheBuilder, Difference
from csproxy.core.model import SCHEMA
from csproxy.errors import ErrorCode, LocalProtocolError, ModelError
from tests.core.cache.test_cache_filters import random_world
from tests.core.cache.world import (
    APPLICATION,
    FOLDER,
    PERSON,
    SWITCH,
    World,
    cache_of,
    collect,
    created,
    deleted,
    updated,
)


def person(dbid: int, name: str = "") -> bytes:
    return codec.encode({"DBID": dbid, "tenantDBID": 1, "userName": name or f"u{dbid}"})


def test_objects_arrive_in_any_order_and_number() -> None:
    dbids = list(range(1, 10_001))
    random.Random(3).shuffle(dbids)
    builder = CacheBuilder()
    for start in range(0, len(dbids), 700):
        part = dbids[start : start + 700]
        builder.add(PERSON, [person(dbid) for dbid in part], [dbid % 5 for dbid in part])
        builder.add(FOLDER, [], [])
    assert repr(builder) == "<CacheBuilder of 10000 objects>"
    cache = builder.finish(Position(4, 2))
    assert cache.position == Position(4, 2)
    assert list(cache.dbids(PERSON)) == sorted(dbids)
    assert cache.folders(PERSON) == {dbid: dbid % 5 for dbid in dbids}
    assert collect(cache.select(PERSON, {"tenant_dbid": 1})).dbids == sorted(dbids)
    assert cache.find(PERSON, userName="u77") == 77
    assert cache.members_of(3) == [(PERSON, dbid) for dbid in range(3, 10_001, 5)]
    cache.apply([created(PERSON, {"DBID": 10_001, "tenantDBID": 1}), deleted(PERSON, 5)])
    assert len(collect(cache.select(PERSON, {"tenant_dbid": 1})).dbids) == 10_000


def test_ordered_parts_out_of_order_are_sorted() -> None:
    builder = CacheBuilder()
    builder.add(PERSON, [person(5), person(6)], [1, 2])
    builder.add(PERSON, [person(1), person(2)], [3, 4])
    cache = builder.finish(Position(1, 1))
    assert list(cache.dbids(PERSON)) == [1, 2, 5, 6]
    assert cache.folders(PERSON) == {1: 3, 2: 4, 5: 1, 6: 2}


@pytest.mark.parametrize(
    "parts", [[[1, 1]], [[1], [1]], [[0]], [[2**31]], [[-1]]], ids=["twice", "again", "zero", "large", "negative"]
)
def test_a_dbid_must_be_there_and_be_new(parts: list[list[int]]) -> None:
    *good, bad = parts
    builder = CacheBuilder()
    for part in good:
        builder.add(PERSON, [person(dbid) for dbid in part], [0] * len(part))
    with pytest.raises(ModelError, match="CfgPerson") as refused:
        builder.add(PERSON, [person(dbid) for dbid in bad], [0] * len(bad))
    assert refused.value.code is ErrorCode.UNIQUENESS_VIOLATION


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ModelError) as refused:
        CacheBuilder().add(PERSON, [b"\xc1"], [0])
    assert refused.value.code is ErrorCode.OBJECT_PACKING_ERROR
    with pytest.raises(ModelError) as refused:
        CacheBuilder().add(99, [], [])
    assert refused.value.code is ErrorCode.UNSUPPORTED_OBJECT


def test_folders_may_come_composed() -> None:
    builder = CacheBuilder()
    builder.add(FOLDER, [codec.encode({"DBID": 5, "objectIDs": [{"DBID": 1, "type": PERSON}]})], [0])
    assert builder.finish(Position(1, 1)).stored(FOLDER, 5) == {"DBID": 5}


def test_a_builder_makes_one_cache() -> None:
    builder = CacheBuilder()
    with pytest.raises(LocalProtocolError, match="when the builder has finished"):
        builder.difference()
    builder.finish(Position(1, 1))
    with pytest.raises(LocalProtocolError, match="one cache"):
        builder.finish(Position(1, 1))


def test_objects_that_did_not_change_are_the_same_bytes() -> None:
    before = cache_of((PERSON, {"DBID": 1, "userName": "a"}), (PERSON, {"DBID": 2, "userName": "b"}))
    builder = CacheBuilder(before)
    builder.add(PERSON, [codec.encode({"DBID": 1, "userName": "a"}), person(2)], [0, 0])
    after = builder.finish(Position(1, 2))
    assert after.get(PERSON, 1) is before.get(PERSON, 1)
    assert after.get(PERSON, 2) != before.get(PERSON, 2)


def test_the_difference_lists_deletions_creations_and_updates() -> None:
    before = cache_of(
        (PERSON, {"DBID": 1, "userName": "same"}, 5),
        (PERSON, {"DBID": 2, "userName": "changed"}, 5),
        (PERSON, {"DBID": 3, "userName": "moved"}, 5),
        (PERSON, {"DBID": 4, "userName": "gone"}, 5),
        (FOLDER, {"DBID": 5, "name": "f"}),
    )
    former = {dbid: before.get(PERSON, dbid) for dbid in (2, 3, 4)}
    builder = CacheBuilder(before)
    new = {1: "same", 2: "other", 3: "moved", 6: "new"}
    objects = {dbid: codec.encode({"DBID": dbid, "userName": name}) for dbid, name in new.items()}
    builder.add(PERSON, list(objects.values()), [5, 5, 8, 5])
    builder.finish(Position(1, 9))
    assert builder.difference() == [
        Difference(Action.DELETED, PERSON, 4, None, former[4], 5),
        Difference(Action.DELETED, FOLDER, 5, None, before.get(FOLDER, 5), 0),
        Difference(Action.CREATED, PERSON, 6, objects[6], None, 5),
        Difference(Action.UPDATED, PERSON, 2, objects[2], former[2], 0),
        Difference(Action.UPDATED, PERSON, 3, objects[3], former[3], 8),
    ]


def test_what_hangs_on_another_tenants_container_goes_with_it() -> None:
    owned = [(FOLDER, {"DBID": dbid, "name": "f", "ownerID": {"DBID": dbid, "type": SWITCH}}) for dbid in (1, 2)]
    before = cache_of((SWITCH, {"DBID": 1, "tenantDBID": 101}), (SWITCH, {"DBID": 2, "tenantDBID": 101}), *owned)
    builder = CacheBuilder(before)
    switches = [codec.encode({"DBID": 1, "tenantDBID": 102}), before.get(SWITCH, 2) or b""]
    builder.add(SWITCH, switches, [0, 0])
    builder.add(FOLDER, [before.get(FOLDER, dbid) or b"" for dbid in (1, 2)], [0, 0])
    builder.finish(Position(1, 2))
    assert [(each.action, each.type, each.dbid) for each in builder.difference()] == [
        (Action.DELETED, SWITCH, 1),
        (Action.DELETED, FOLDER, 1),
        (Action.CREATED, SWITCH, 1),
        (Action.CREATED, FOLDER, 1),
    ]


def test_without_a_previous_data_set_everything_is_created() -> None:
    builder = CacheBuilder()
    builder.add(PERSON, [person(1)], [3])
    builder.finish(Position(1, 1))
    assert builder.difference() == [Difference(Action.CREATED, PERSON, 1, person(1), None, 3)]


def test_equal_bytes_are_no_difference_even_if_the_previous_data_set_moved_on() -> None:
    before = cache_of((PERSON, {"DBID": 1, "userName": "a"}))
    builder = CacheBuilder(before)
    builder.add(PERSON, [codec.encode({"DBID": 1, "userName": "b"})], [0])
    before.apply([deleted(PERSON, 1), created(PERSON, {"DBID": 1, "userName": "b"})])
    builder.finish(Position(1, 3))
    assert builder.difference() == []


def test_the_difference_makes_the_new_data_set_of_the_old_one() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        old, new = (random_world(rng, tuple(SCHEMA.types), size=4) for _ in range(2))
        for number in SCHEMA.types:
            for dbid in [dbid for dbid in old.objects[number] if rng.random() < 0.5]:
                new.objects[number][dbid] = old.objects[number][dbid]
        before = old.cache()
        builder = new.builder(before)
        after = builder.finish(Position(1, 2))
        result = old.copy()
        for difference in builder.difference():
            number, dbid = difference.type, difference.dbid
            if difference.action is Action.DELETED:
                assert difference.former == old.stored(number, dbid)
                del result.objects[number][dbid]
                continue
            assert difference.object is not None
            folder = difference.folder or result.folder(number, dbid)
            result.put(number, codec.decode_map(difference.object), folder)
        for number in SCHEMA.types:
            # A move out of every folder has no notification: folder 0 stands for *unchanged*.
            assert {d: o for d, (o, _) in result.objects[number].items()} == {
                d: o for d, (o, _) in new.objects[number].items()
            }
            assert list(after.dbids(number)) == sorted(new.objects[number])


def test_a_loaded_cache_equals_one_that_was_built_by_changes() -> None:
    world = random_world(random.Random(9), tuple(SCHEMA.types), size=6)
    loaded, grown = world.cache(), ConfigurationCache()
    for number, objects in world.objects.items():
        grown.apply([created(number, obj, folder=folder) for obj, folder in objects.values()])
    for number in SCHEMA.types:
        assert dict(grown.objects(number)) == dict(loaded.objects(number))
        assert grown.folders(number) == loaded.folders(number)
        assert grown.digest(number) == loaded.digest(number)
        for dbid in range(1, 7):
            assert grown.referrers(number, dbid) == loaded.referrers(number, dbid)


def test_a_world_without_objects_is_a_cache_without_objects() -> None:
    assert World().cache().counts() == {}


def test_some_types_are_built_anew_and_the_others_taken_over_uncopied() -> None:
    before = cache_of(
        (PERSON, {"DBID": 1, "userName": "wrong"}, 5),
        (PERSON, {"DBID": 2, "userName": "surplus"}, 5),
        (APPLICATION, {"DBID": 9, "name": "app"}, 5),
        (FOLDER, {"DBID": 5, "name": "f"}, 6),
        (FOLDER, {"DBID": 6, "name": "g"}),
    )
    view = before.view()
    wrong, table = before.get(PERSON, 1), before._tables[APPLICATION]
    builder = CacheBuilder(before, types=[PERSON])
    builder.add(PERSON, [person(1, "right"), person(3, "missing")], [5, 6])
    after = builder.finish(Position(1, 1))
    assert [(found.action, found.dbid) for found in builder.difference()] == [
        (Action.DELETED, 2),
        (Action.CREATED, 3),
        (Action.UPDATED, 1),
    ]
    assert after._tables[APPLICATION] is table
    assert after.find(PERSON, userName="right") == 1
    assert after.find(APPLICATION, name="app") == 9
    assert after.members_of(5) == [(PERSON, 1), (APPLICATION, 9)]
    assert after.members_of(6) == [(PERSON, 3), (FOLDER, 5)]
    after.apply([deleted(APPLICATION, 9), created(PERSON, {"DBID": 7}, folder=5)])
    assert after.members_of(5) == [(PERSON, 1), (PERSON, 7)]
    assert (view.get(PERSON, 1), view.get(APPLICATION, 9)) == (wrong, codec.encode({"DBID": 9, "name": "app"}))


def test_views_of_the_previous_data_set_stay_as_they_are() -> None:
    before = cache_of((APPLICATION, {"DBID": 9, "name": "app"}))
    for uen in range(2, 6):
        before.view()
        before.apply([updated(APPLICATION, 9, {"name": f"app {uen}"}, uen=uen)])
    view = before.view()
    cache = before
    for uen in range(6, 12):
        cache = CacheBuilder(cache, types=[PERSON]).finish(cache.position)
        cache.apply([updated(APPLICATION, 9, {"name": f"app {uen}"}, uen=uen)])
        cache.view()
    assert codec.decode_map(view.get(APPLICATION, 9) or b"")["name"] == "app 5"


def test_some_types_stand_only_where_the_others_do() -> None:
    builder = CacheBuilder(cache_of(), types=[PERSON])
    with pytest.raises(LocalProtocolError, match="builds the types"):
        builder.add(FOLDER, [], [])
    with pytest.raises(LocalProtocolError, match="do not fit"):
        builder.finish(Position(1, 2))
    with pytest.raises(LocalProtocolError, match="do not fit None"):
        CacheBuilder(types=[PERSON]).finish(Position(1, 2))
