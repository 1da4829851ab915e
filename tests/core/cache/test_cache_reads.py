"""Reads by DBID, by unique key and by link."""

from __future__ import annotations

import random

import pytest

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Position
from csproxy.core.model import SCHEMA
from csproxy.core.model.links import references
from csproxy.errors import ErrorCode, ModelError
from tests.core.cache.test_cache_filters import random_world
from tests.core.cache.world import (
    ACCESS_GROUP,
    AGENT_GROUP,
    DN,
    FOLDER,
    PERSON,
    PLACE,
    TENANT,
    cache_of,
    created,
    updated,
)


def test_objects_are_read_by_type_and_dbid() -> None:
    cache = cache_of(
        (PERSON, {"DBID": 2, "userName": "b"}), (PERSON, {"DBID": 1, "userName": "a"}), (FOLDER, {"DBID": 1}, 4)
    )
    assert cache.stored(PERSON, 2) == {"DBID": 2, "userName": "b"}
    assert cache.stored(PERSON, 3) is None
    assert cache.get(PERSON, 3) is None
    assert cache.get(99, 1) is None
    assert list(cache.dbids(PERSON)) == [1, 2]
    assert list(cache.dbids(99)) == []
    assert cache.count(PERSON) == 2
    assert cache.count(99) == 0
    assert cache.counts() == {PERSON: 2, FOLDER: 1}
    assert cache.folders(FOLDER) == {1: 4}
    assert cache.folders(99) == {}
    assert set(cache.objects(PERSON)) == {1, 2}
    assert dict(cache.objects(99)) == {}
    assert repr(cache) == "<ConfigurationCache at UEN 1 of 3 objects>"


def test_an_empty_cache_is_at_no_position() -> None:
    cache = ConfigurationCache()
    assert cache.position == Position(0, 0)
    assert cache.counts() == {}
    assert cache.select(PERSON, {}).total == 0
    assert cache.view().count(PERSON) == 0


def test_a_view_reads_like_the_cache_did() -> None:
    cache = cache_of((PERSON, {"DBID": 2, "userName": "b"}, 5))
    view = cache.view()
    before = cache.get(PERSON, 2)
    cache.apply([updated(PERSON, 2, {"userName": "c"}, folder=6), created(PERSON, {"DBID": 1})])
    assert (view.get(PERSON, 2), view.get(PERSON, 1), view.get(99, 1)) == (before, None, None)
    assert (view.folder_of(PERSON, 2), view.folder_of(PERSON, 1), view.folder_of(99, 1)) == (5, 0, 0)
    assert (view.count(PERSON), view.count(99)) == (1, 0)
    assert view.position == Position(1, 1)
    assert repr(view) == "<View at UEN 1 of 1 objects>"
    assert cache.view().position == Position(1, 2)


def test_the_view_is_the_same_while_nothing_changes() -> None:
    cache = cache_of((PERSON, {"DBID": 2}))
    assert cache.view() is cache.view()
    assert cache.view(composed=False) is not cache.view()
    first = cache.view()
    cache.apply([updated(PERSON, 2, {"userName": "c"})])
    assert cache.view() is not first


def unique_keys_world() -> ConfigurationCache:
    return cache_of(
        (PERSON, {"DBID": 1, "tenantDBID": 1, "employeeID": "e", "userName": "a"}),
        (PERSON, {"DBID": 2, "tenantDBID": 2, "employeeID": "e", "userName": "b"}),
        (AGENT_GROUP, {"DBID": 3, "groupInfo": {"tenantDBID": 2, "name": "g"}}),
        (DN, {"DBID": 4, "tenantDBID": 1, "switchDBID": 9, "number": "7000", "type": 1}),
        (DN, {"DBID": 5, "tenantDBID": 1, "switchDBID": 9, "number": "7000", "type": 1, "name": "x"}),
        (FOLDER, {"DBID": 6, "name": "Persons", "type": 3, "ownerID": {"DBID": 2, "type": TENANT}}),
        (FOLDER, {"DBID": 7, "name": "Persons", "type": 3, "ownerID": {"DBID": 1, "type": TENANT}}),
        (TENANT, {"DBID": 1}),
    )


def test_objects_are_found_by_unique_key() -> None:
    cache = unique_keys_world()
    assert cache.find(PERSON, userName="b") == 2
    assert cache.find(PERSON, userName="c") is None
    assert cache.find(PERSON, tenantDBID=2, employeeID="e") == 2
    assert cache.find(PERSON, tenantDBID=3, employeeID="e") is None
    assert cache.find(AGENT_GROUP, tenantDBID=2, name="g") == 3
    assert cache.find(DN, tenantDBID=1, switchDBID=9, number="7000", type=1, name="") == 4
    assert cache.find(DN, tenantDBID=1, switchDBID=9, number="7000", type=1, name="x") == 5
    assert cache.find(DN, tenantDBID=1, switchDBID=9, number="7000", type=2, name="") is None
    assert cache.find(TENANT, name="") == 1, "an absent value is found by a scan"
    key = SCHEMA.types[FOLDER].unique_keys[0]
    assert cache.lookup(FOLDER, key, (TENANT, 1, 3, 0, 0, "Persons")) == 7


def test_names_that_are_no_unique_key_are_refused() -> None:
    cache = unique_keys_world()
    with pytest.raises(
        ModelError, match=r"lastName is no unique key of CfgPerson; its keys: tenantDBID\+employeeID, userName"
    ):
        cache.find(PERSON, lastName="x")
    with pytest.raises(ModelError, match="its keys: none") as refused:
        cache.find(44, personDBID=1)
    assert refused.value.code is ErrorCode.WRONG_API_PARAMETERS
    with pytest.raises(ModelError) as unknown:
        cache.find(99, name="x")
    assert unknown.value.code is ErrorCode.UNSUPPORTED_OBJECT
    with pytest.raises(ModelError):
        cache.lookup(99, ("name",), ("x",))


def test_a_key_that_two_objects_have_for_a_moment_finds_both_in_turn() -> None:
    cache = cache_of((PERSON, {"DBID": 1, "userName": "a"}), (PERSON, {"DBID": 2, "userName": "b"}))
    cache.apply([updated(PERSON, 2, {"userName": "a"}), updated(PERSON, 1, {"userName": "b"})])
    assert (cache.find(PERSON, userName="a"), cache.find(PERSON, userName="b")) == (2, 1)
    cache.apply([updated(PERSON, 1, {"userName": "a"})])
    assert cache.find(PERSON, userName="a") == 1
    cache.apply([updated(PERSON, 1, {"userName": "c"})])
    assert cache.find(PERSON, userName="a") == 2


def test_referrers_are_the_objects_that_link_here() -> None:
    cache = cache_of(
        (PERSON, {"DBID": 1, "agentInfo": {"placeDBID": 4}}),
        (PERSON, {"DBID": 2, "agentInfo": {"placeDBID": 4}}),
        (6, {"DBID": 3, "placeDBIDs": [4, 5]}),
        (PLACE, {"DBID": 4}, 8),
        (ACCESS_GROUP, {"DBID": 5, "memberIDs": [{"DBID": 4, "type": PLACE}, {"DBID": 4, "type": PERSON}]}),
    )
    assert cache.referrers(PLACE, 4) == [
        (PERSON, 1, "agentInfo.placeDBID"),
        (PERSON, 2, "agentInfo.placeDBID"),
        (6, 3, "placeDBIDs"),
        (ACCESS_GROUP, 5, "memberIDs(type,DBID)"),
    ]
    assert cache.referrers(PLACE, 4, limit=1) == [(PERSON, 1, "agentInfo.placeDBID")]
    assert cache.referrers(PLACE, 6) == []
    assert cache.referrers(99, 6) == []


def test_referrers_agree_with_the_references_of_all_objects() -> None:
    for seed in range(5):
        world = random_world(random.Random(seed), tuple(SCHEMA.types), size=4)
        cache = world.cache()
        expected: dict[tuple[int, int], set[tuple[int, int]]] = {}
        for number, objects in world.objects.items():
            for dbid, (obj, _) in objects.items():
                for reference in references(SCHEMA.types[number], obj):
                    expected.setdefault((reference.target, reference.dbid), set()).add((number, dbid))
        for number in SCHEMA.types:
            for dbid in range(1, 7):
                found = {(referrer.type, referrer.dbid) for referrer in cache.referrers(number, dbid)}
                assert found == expected.get((number, dbid), set())
