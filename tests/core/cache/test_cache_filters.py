"""Filters answer as their rules say: compared with a slow evaluation over plain dicts."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core import codec
from csproxy.core import filters as filters_module
from csproxy.core.changes import Position
from csproxy.core.criteria import Criterion
from csproxy.core.filter_keys import FILTER_KEYS
from csproxy.core.filter_rules import Containing
from csproxy.core.filters import driver_of, trim
from csproxy.core.model import SCHEMA
from tests.core.cache.world import (
    ACCESS_GROUP,
    AGENT_GROUP,
    AGENT_LOGIN,
    APPLICATION,
    DN,
    FOLDER,
    IVR_PORT,
    PERSON,
    PLACE,
    ROLE,
    SCRIPT,
    SWITCH,
    TENANT,
    World,
    cache_of,
    collect,
    deleted,
    random_filter,
    random_object,
    random_value,
)

RELATED = (
    SWITCH,
    DN,
    PERSON,
    PLACE,
    AGENT_GROUP,
    6,
    TENANT,
    APPLICATION,
    SCRIPT,
    AGENT_LOGIN,
    17,
    ACCESS_GROUP,
    FOLDER,
    IVR_PORT,
)


def random_world(rng: random.Random, numbers: tuple[int, ...], *, size: int = 5) -> World:
    world = World()
    for number in numbers:
        for dbid in rng.sample(range(1, 7), rng.randrange(size + 1)):
            world.put(number, random_object(rng, SCHEMA.types[number], dbid), rng.randrange(5))
    return world


@pytest.mark.parametrize("number", SCHEMA.types)
def test_each_key_alone_selects_what_its_rule_says(number: int) -> None:
    rng = random.Random(number)
    for _ in range(4):
        world = random_world(rng, tuple(SCHEMA.types), size=6)
        cache, view = world.cache(), world.cache().view()
        for key in FILTER_KEYS[number].values():
            asked = {key.name: random_value(rng, key)}
            if isinstance(key.rule, Containing):
                asked[key.rule.partner] = random_value(rng, FILTER_KEYS[number][key.rule.partner])
            expected = world.select(number, asked)
            assert collect(cache.select(number, asked)).dbids == expected, asked
            assert collect(view.select(number, asked)).dbids == expected, asked


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), immediate=st.booleans())
def test_keys_combined_select_what_fits_all(seed: int, immediate: bool) -> None:
    rng = random.Random(seed)
    world = random_world(rng, RELATED, size=6)
    cache = world.cache()
    with pytest.MonkeyPatch.context() as patch:
        if not immediate:
            patch.setattr("csproxy.core.cache.IMMEDIATE_LIMIT", -1)
            patch.setattr("csproxy.core.views.IMMEDIATE_LIMIT", -1)
        for number in RELATED:
            asked = random_filter(rng, number, keys=rng.randrange(1, 4))
            asked.pop("exclude_bytecode", None)
            asked.pop("exclude_longstrings", None)
            for selection in (cache.select(number, asked), cache.view().select(number, asked)):
                found = collect(selection)
                assert found.dbids == world.select(number, asked), asked
                assert [codec.decode(stored) for stored in found.objects] == [
                    world.composed(number, dbid) for dbid in found.dbids
                ]
                assert selection.total in (-1, len(found.dbids))
                if asked.get("read_folder_dbid"):
                    assert found.folders == [world.folder(number, dbid) for dbid in found.dbids]
                if asked.get("object_path"):
                    assert found.paths == [cache.path_of(number, dbid) for dbid in found.dbids]
                assert selection.want_folders is bool(asked.get("read_folder_dbid"))
                assert selection.want_paths is bool(asked.get("object_path"))


def many_persons(count: int, **attributes: Any) -> World:
    world = World()
    for dbid in range(1, count + 1):
        world.put(
            PERSON, {"DBID": dbid, "tenantDBID": 1, "userName": f"u{dbid}", "lastName": "ab"[dbid % 2], **attributes}
        )
    return world


def test_few_candidates_are_answered_at_once_and_many_in_parts() -> None:
    cache = many_persons(201).cache()
    assert cache.select(PERSON, {"user_name": "u7"}).immediate
    assert not cache.select(PERSON, {}).immediate
    assert not cache.select(PERSON, {"tenant_dbid": 1}).immediate
    assert not cache.select(PERSON, {"last_name": "a"}).immediate
    assert many_persons(200).cache().select(PERSON, {}).immediate
    assert many_persons(200).cache().select(PERSON, {"last_name": "a"}).immediate


def test_the_total_is_known_without_a_scan() -> None:
    cache = many_persons(300).cache()
    assert cache.select(PERSON, {}).total == 300
    assert cache.select(PERSON, {"tenant_dbid": 1}).total == 300
    assert cache.select(PERSON, {"last_name": "a"}).total == -1
    assert cache.view().select(PERSON, {}).total == 300
    assert cache.view().select(PERSON, {"dbid": 9}).total == 1
    assert cache.view().select(PERSON, {"dbid": 999}).total == 0


def test_a_list_of_everything_is_read_without_looking_up_each_object() -> None:
    cache = many_persons(5000).cache()
    assert [len(part.dbids) for part in cache.select(PERSON, {"tenant_dbid": 1}).parts()] == [4096, 904]
    assert [len(part.dbids) for part in cache.select(PERSON, {}).parts()] == [4096, 904]


def test_a_selection_says_what_it_is() -> None:
    cache = many_persons(201).cache()
    assert repr(cache.select(PERSON, {"dbid": 3})) == "<Selection of 1 objects, immediate>"
    assert repr(cache.select(PERSON, {"last_name": "a"})) == "<Selection of an unknown number of objects>"


def test_the_parts_of_a_selection_can_be_taken_twice() -> None:
    cache = many_persons(300).cache()
    for selection in (cache.select(PERSON, {"last_name": "a"}), cache.select(PERSON, {"user_name": "u1"})):
        assert collect(selection) == collect(selection)


def test_members_that_do_not_exist_are_passed_over() -> None:
    persons = {"DBID": 5, "groupInfo": {"name": "g"}, "agentDBIDs": list(range(1, 400))}
    world = many_persons(300)
    world.put(AGENT_GROUP, persons)
    selection = world.cache().select(PERSON, {"group_dbid": 5})
    assert selection.total == 300
    assert collect(selection).dbids == list(range(1, 301))
    assert collect(world.cache().view().select(PERSON, {"group_dbid": 5})).dbids == list(range(1, 301))
    small = cache_of((AGENT_GROUP, {"DBID": 5, "agentDBIDs": [1, 2]}), (PERSON, {"DBID": 2}))
    assert collect(small.select(PERSON, {"group_dbid": 5})).dbids == [2]


def test_a_large_relation_is_checked_without_being_the_driver() -> None:
    world = many_persons(600)
    world.put(AGENT_GROUP, {"DBID": 5, "agentDBIDs": list(range(1, 500))})
    world.put(AGENT_GROUP, {"DBID": 6, "agentDBIDs": list(range(250, 600))})
    for dbid in range(1, 601):
        world.put(PERSON, world.objects[PERSON][dbid][0], folder=1 + dbid % 2)
    cache = world.cache()
    asked = {"group_dbid": 5, "folder_dbid": 1, "no_place_dbid": True}
    selection = cache.select(PERSON, asked)
    cache.apply([deleted(PERSON, dbid) for dbid in range(1, 100)])
    assert collect(selection).dbids == list(range(2, 500, 2))
    assert collect(cache.view().select(PERSON, asked)).dbids == list(range(100, 500, 2))


def test_a_selection_keeps_what_was_unreferenced_when_it_was_made() -> None:
    world = World()
    for dbid in range(1, 301):
        world.put(DN, {"DBID": dbid, "number": str(dbid)})
    world.put(PLACE, {"DBID": 1, "DNDBIDs": [7, 8]})
    cache = world.cache()
    selection = cache.select(DN, {"no_place_dbid": True})
    cache.apply([deleted(PLACE, 1)])
    assert len(collect(selection).dbids) == 298
    assert len(collect(cache.select(DN, {"no_place_dbid": True})).dbids) == 300


def test_a_long_answer_is_cut_into_steps_of_bounded_size() -> None:
    world = many_persons(300, userProperties={"s": {"o": "x" * 20_000, "b": b"1"}})
    parts = list(world.cache().select(PERSON, {"last_name": "a"}).parts())
    assert len(parts) > 5
    assert sum(len(part.dbids) for part in parts) == 150
    trimmed = collect(world.cache().select(PERSON, {"exclude_longstrings": 1}))
    assert all(codec.decode(stored)["userProperties"] == {"s": {"b": b"1"}} for stored in trimmed.objects)


def test_excluded_values_are_left_out_of_the_answer_only() -> None:
    properties = {"a": {"code": b"\x00", "short": "x" * 255, "long": "x" * 256, "number": 1}, "empty": {}}
    cache = cache_of(
        (SCRIPT, {"DBID": 1, "name": "s", "userProperties": properties}), (SCRIPT, {"DBID": 2, "name": "t"})
    )

    def read(**keys: Any) -> Any:
        found = [codec.decode(stored) for stored in collect(cache.select(SCRIPT, keys)).objects]
        assert found[1] == {"DBID": 2, "name": "t"}
        return found[0]["userProperties"]

    rest = {"short": "x" * 255, "number": 1}
    assert read(exclude_bytecode=1) == {"a": {**rest, "long": "x" * 256}, "empty": {}}
    assert read(exclude_longstrings=1) == {"a": {**rest, "code": b"\x00"}, "empty": {}}
    assert read(exclude_longstrings=1, exclude_bytecode=True) == {"a": rest, "empty": {}}
    assert read(exclude_longstrings=0, exclude_bytecode=False) == properties
    stored = cache.get(SCRIPT, 1)
    assert stored is not None
    assert codec.decode(stored)["userProperties"] == properties
    assert trim(stored) == stored


def test_the_dbid_overrides_other_keys() -> None:
    cache = cache_of((PERSON, {"DBID": 1, "userName": "a"}), (PERSON, {"DBID": 2, "userName": "b"}))
    found = collect(cache.select(PERSON, {"user_name": "b", "dbid": 1, "read_folder_dbid": 1}))
    assert (found.dbids, found.folders) == ([1], [0])
    assert collect(cache.select(PERSON, {"dbid": 3})).dbids == []
    assert collect(cache.view().select(PERSON, {"dbid": 2, "user_name": "a"})).dbids == [2]


def test_text_is_compared_exactly_unless_asked_otherwise() -> None:
    cache = cache_of((PERSON, {"DBID": 1, "userName": "Ärger"}), (ROLE, {"DBID": 2, "userProperties": {"App": {}}}))
    assert collect(cache.select(PERSON, {"user_name": "ÄRGER"})).dbids == []
    assert collect(cache.select(PERSON, {"user_name": "ÄRGER", "cmp_insensitive": 1})).dbids == [1]
    assert collect(cache.select(ROLE, {"rbac_app_ns": "app"})).dbids == []
    assert collect(cache.select(ROLE, {"rbac_app_ns": "app", "cmp_insensitive": True})).dbids == [2]


def test_applications_on_the_same_host_and_port_are_found() -> None:
    cache = cache_of(
        (APPLICATION, {"DBID": 1, "name": "a", "serverInfo": {"hostDBID": 9, "port": "2020"}}),
        (
            APPLICATION,
            {"DBID": 2, "name": "b", "serverInfo": {"hostDBID": 9}, "portInfos": [{"id": "x", "port": "2020"}]},
        ),
        (APPLICATION, {"DBID": 3, "name": "c", "serverInfo": {"hostDBID": 8, "port": "2020"}}),
        (APPLICATION, {"DBID": 4, "name": "d", "portInfos": [{"id": "x", "port": "2020"}]}),
    )
    assert collect(cache.select(APPLICATION, {"same_host_and_port": 1})).dbids == [1, 2]
    assert collect(cache.view().select(APPLICATION, {"same_host_and_port": 1})).dbids == [1, 2]
    assert collect(cache.select(APPLICATION, {"port": 2020, "host_dbid": 9})).dbids == [1, 2]


def test_a_view_builds_a_relation_once() -> None:
    view = random_world(random.Random(1), RELATED, size=6).cache().view()
    first = list(view.select(PERSON, {"switch_dbid": 1}).parts())
    second = list(view.select(PERSON, {"switch_dbid": 1}).parts())
    assert len(second) < len(first)


def test_the_immediate_limit_is_what_the_server_may_answer_inline() -> None:
    assert filters_module.IMMEDIATE_LIMIT == 200


def test_a_load_reads_folders_as_they_are_stored() -> None:
    cache = cache_of((FOLDER, {"DBID": 5, "name": "f"}), (PERSON, {"DBID": 1}, 5))
    assert cache.position == Position(1, 1)
    composed = collect(cache.view().select(FOLDER, {})).objects[0]
    assert codec.decode(composed) == {"DBID": 5, "name": "f", "objectIDs": [{"DBID": 1, "type": PERSON}]}
    load = cache.view(composed=False).select(FOLDER, {"read_folder_dbid": 1})
    assert load.immediate
    assert codec.decode(collect(load).objects[0]) == {"DBID": 5, "name": "f"}
    assert not cache.view().select(FOLDER, {}).immediate


def test_the_shortest_list_of_candidates_drives_the_search() -> None:
    long, short, test = Criterion((1, 2, 3)), Criterion((2,)), Criterion(excluded={2})
    assert driver_of([long, test, short]) == (short, [long, test])
    assert driver_of([short, long]) == (short, [long])
    assert driver_of([test]) == (None, [test])
