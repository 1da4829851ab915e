"""Membership is kept once and composed when folders are read; tenants follow owners."""

from __future__ import annotations

import random
from typing import Any

import pytest

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action
from csproxy.core.folders import Membership, compose_folder, without_members
from csproxy.core.model.delta import encode_object
from csproxy.core.model.schema import SCHEMA
from tests.core.cache.world import (
    APPLICATION,
    DN,
    FOLDER,
    PERSON,
    PLACE,
    SWITCH,
    TENANT,
    cache_of,
    change,
    collect,
    created,
    deleted,
    updated,
)

ENUMERATOR_VALUE, IVR_PORT, IVR, SERVICE, HOST, SCHEDULED_TASK = 36, 32, 33, 8, 10, 42


def folder_members(cache: ConfigurationCache, dbid: int) -> Any:
    (stored,) = collect(cache.select(FOLDER, {"dbid": dbid})).objects
    return codec.decode(stored).get("objectIDs")


def nested() -> ConfigurationCache:
    """Folder 1 "Persons" holds folder 2 "North", which holds person 7; folder 3 is empty."""
    return cache_of(
        (FOLDER, {"DBID": 1, "name": "Persons", "type": PERSON}),
        (FOLDER, {"DBID": 2, "name": "North", "type": PERSON, "parentID": {"DBID": 1, "type": FOLDER}}, 1),
        (FOLDER, {"DBID": 3, "name": "South", "type": PERSON, "parentID": {"DBID": 1, "type": FOLDER}}, 1),
        (PERSON, {"DBID": 7, "userName": "u"}, 2),
    )


def test_members_and_paths() -> None:
    cache = nested()
    assert cache.members_of(1) == [(FOLDER, 2), (FOLDER, 3)]
    assert cache.members_of(2) == [(PERSON, 7)]
    assert cache.members_of(99) == []
    assert cache.path_of(PERSON, 7) == ["Persons", "North"]
    assert cache.path_of(FOLDER, 2) == ["Persons"]
    assert cache.path_of(FOLDER, 1) == []
    assert cache.path_of(PERSON, 99) == []
    assert cache.folder_of(PERSON, 7) == 2
    assert cache.folder_of(99, 7) == 0


def test_a_path_begins_below_a_folder_that_is_not_there_and_does_not_go_round() -> None:
    cache = cache_of(
        (FOLDER, {"DBID": 2, "name": "b"}, 9), (FOLDER, {"DBID": 3, "name": "c"}, 3), (PERSON, {"DBID": 7}, 2)
    )
    assert cache.path_of(PERSON, 7) == ["b"]
    assert cache.path_of(FOLDER, 3) == ["c"]


def test_a_folder_is_composed_when_it_is_read() -> None:
    cache = nested()
    assert folder_members(cache, 1) == [{"DBID": 2, "type": FOLDER}, {"DBID": 3, "type": FOLDER}]
    assert folder_members(cache, 3) is None
    stored = cache.get(FOLDER, 2)
    assert stored is not None
    assert "objectIDs" not in codec.decode(stored)
    assert codec.decode(cache.compose(FOLDER, stored))["objectIDs"] == [{"DBID": 7, "type": PERSON}]
    assert cache.compose(PERSON, b"anything") == b"anything"


def test_a_composed_folder_follows_moves_creations_deletions_and_its_own_changes() -> None:
    cache = nested()
    person = {"DBID": 8, "userName": "v"}
    steps = [
        (updated(FOLDER, 3, {"objectIDs": {"added": [{"DBID": 7, "type": PERSON}]}}), None, [7]),
        (created(PERSON, person, folder=3), None, [7, 8]),
        (updated(PERSON, 8, {"lastName": "x"}, folder=2), [8], [7]),
        (
            change(Action.UPDATED, PERSON, 7, object=encode_object(SCHEMA.types[PERSON], {"DBID": 7}), folder=2),
            [7, 8],
            None,
        ),
        (deleted(PERSON, 7), [8], None),
        (updated(FOLDER, 2, {"name": "East"}), [8], None),
    ]
    for step, in_two, in_three in steps:
        cache.apply([step])
        for dbid, expected in ((2, in_two), (3, in_three)):
            assert folder_members(cache, dbid) == (expected and [{"DBID": m, "type": PERSON} for m in expected])
    assert codec.decode(collect(cache.select(FOLDER, {"dbid": 2})).objects[0])["name"] == "East"
    cache.apply([deleted(FOLDER, 2)])
    assert cache.path_of(PERSON, 8) == []


def test_a_move_changes_the_folder_beside_the_object_and_nothing_in_it() -> None:
    cache = nested()
    before = cache.get(PERSON, 7), cache.get(FOLDER, 3)
    cache.apply([updated(FOLDER, 3, {"objectIDs": {"added": [{"DBID": 7, "type": PERSON}]}})])
    assert (cache.get(PERSON, 7), cache.get(FOLDER, 3)) == before
    assert cache.path_of(PERSON, 7) == ["Persons", "South"]


def test_one_delta_moves_members_and_changes_attributes() -> None:
    cache = nested()
    cache.apply([updated(FOLDER, 3, {"name": "West", "objectIDs": {"added": [{"DBID": 7, "type": PERSON}]}})])
    assert cache.path_of(PERSON, 7) == ["Persons", "West"]


def test_members_that_are_not_here_are_passed_over() -> None:
    cache = nested()
    absent = [{"DBID": 99, "type": PERSON}, {"DBID": 7, "type": DN}, {"DBID": 1, "type": 44}, {"DBID": 3}]
    cache.apply([updated(FOLDER, 3, {"objectIDs": {"added": absent}})])
    assert cache.members_of(3) == []


def test_a_folder_added_to_itself_stays_where_it_is() -> None:
    cache = nested()
    cache.apply([updated(FOLDER, 3, {"objectIDs": {"added": [{"DBID": 3, "type": FOLDER}]}})])
    assert cache.folder_of(FOLDER, 3) == 1


def test_composed_members_are_encoded_like_any_map() -> None:
    rng = random.Random(5)
    for _ in range(20):
        persons = sorted(
            {*rng.sample(range(1, 300), 40), *rng.sample(range(1, 70_000), 40), *rng.sample(range(1, 2**31), 40)}
        )
        folder = {"DBID": 4, "name": "n"}
        composed = compose_folder(
            codec.encode(folder), [(PERSON, persons), (FOLDER, [127, 128, 255, 256, 65535, 65536])]
        )
        members = [{"DBID": dbid, "type": PERSON} for dbid in persons]
        members += [{"DBID": dbid, "type": FOLDER} for dbid in (127, 128, 255, 256, 65535, 65536)]
        assert composed == codec.encode({**folder, "objectIDs": members})


def test_composing_does_not_depend_on_the_byte_order_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = compose_folder(codec.encode({"DBID": 4}), [(PERSON, [5])])
    monkeypatch.setattr("sys.byteorder", "big")
    assert compose_folder(codec.encode({"DBID": 4}), [(PERSON, [5])]) != plain, "a swap would be wrong there"


def test_members_are_taken_out_of_a_composed_folder() -> None:
    folder = {"DBID": 4, "name": "objectIDs"}
    stored = encode_object(SCHEMA.types[FOLDER], folder)
    assert without_members(compose_folder(stored, [(PERSON, [5])])) == stored
    assert without_members(stored) is stored
    plain = encode_object(SCHEMA.types[FOLDER], {"DBID": 4})
    assert without_members(plain) is plain


@pytest.mark.parametrize(
    ("number", "dbid", "tenants"),
    [
        (TENANT, 5, (5,)),
        (TENANT, 99, (99,)),
        (PERSON, 1, (5,)),
        (PERSON, 2, (1,)),
        (PERSON, 99, (1,)),
        (DN, 1, (6,)),
        (DN, 2, (5,)),
        (DN, 3, (1,)),
        (ENUMERATOR_VALUE, 1, (1,)),
        (IVR_PORT, 1, (5,)),
        (5, 1, (6,)),
        (APPLICATION, 1, (5, 6)),
        (APPLICATION, 2, (1,)),
        (SERVICE, 1, (6,)),
        (HOST, 1, (1,)),
        (SCHEDULED_TASK, 1, (1,)),
        (FOLDER, 1, (5,)),
        (FOLDER, 2, (5,)),
        (FOLDER, 3, (1,)),
        (FOLDER, 4, (1,)),
        (FOLDER, 5, (1,)),
        (FOLDER, 6, (1,)),
    ],
)
def test_tenants_of_an_object(number: int, dbid: int, tenants: tuple[int, ...]) -> None:
    cache = cache_of(
        (TENANT, {"DBID": 5, "name": "t"}),
        (SWITCH, {"DBID": 1, "tenantDBID": 5, "name": "s"}),
        (PERSON, {"DBID": 1, "tenantDBID": 5}),
        (PERSON, {"DBID": 2}),
        (DN, {"DBID": 1, "tenantDBID": 6, "switchDBID": 1}),
        (DN, {"DBID": 2, "switchDBID": 1}),
        (DN, {"DBID": 3, "switchDBID": 77}),
        (ENUMERATOR_VALUE, {"DBID": 1}),
        (IVR, {"DBID": 3, "tenantDBID": 5}),
        (IVR_PORT, {"DBID": 1, "IVRDBID": 3}),
        (5, {"DBID": 1, "groupInfo": {"tenantDBID": 6}}),
        (APPLICATION, {"DBID": 1, "tenantDBIDs": [6, 5]}),
        (APPLICATION, {"DBID": 2}),
        (SERVICE, {"DBID": 1, "assignedTenantDBID": 6}),
        (HOST, {"DBID": 1}),
        (SCHEDULED_TASK, {"DBID": 1}),
        (FOLDER, {"DBID": 1, "ownerID": {"DBID": 5, "type": TENANT}}),
        (FOLDER, {"DBID": 2, "ownerID": {"DBID": 1, "type": SWITCH}}),
        (FOLDER, {"DBID": 3, "ownerID": {"DBID": 1, "type": FOLDER}}),
        (FOLDER, {"DBID": 4}),
        (FOLDER, {"DBID": 5, "ownerID": {"DBID": 9, "type": 200}}),
        (FOLDER, {"DBID": 6, "ownerID": {"DBID": 99, "type": SWITCH}}),
        (PLACE, {"DBID": 1}),
    )
    assert cache.tenants_of(number, dbid) == tenants


def test_a_composed_folder_is_kept_until_it_is_forgotten() -> None:
    membership = Membership()
    membership.add(5, PERSON, 1)
    stored = codec.encode({"DBID": 5})
    first = membership.compose(5, stored)
    assert membership.compose(5, stored) is first
    membership.forget(5)
    again = membership.compose(5, stored)
    assert again == first
    assert again is not first
