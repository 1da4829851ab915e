"""Transactions take effect as a whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache, Footprint
from csproxy.core.changes import Action, Change, Position
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.errors import ErrorCode, ModelError
from tests.core.cache.world import (
    DN,
    FOLDER,
    PERSON,
    SWITCH,
    TENANT,
    cache_of,
    change,
    collect,
    created,
    deleted,
    updated,
)

NAMED = codec.encode({"DBID": 5, "userName": "x"})


def world() -> ConfigurationCache:
    return cache_of(
        (PERSON, {"DBID": 1, "tenantDBID": 1, "userName": "a", "agentInfo": {"skillLevels": [{"skillDBID": 4}]}}, 6),
        (PERSON, {"DBID": 2, "tenantDBID": 2, "userName": "b"}),
        (FOLDER, {"DBID": 6, "name": "f"}),
    )


def everything(cache: ConfigurationCache) -> Any:
    """All that can be read: objects, folders, indexes (by filters and referrers), digests, position."""
    return (
        {number: dict(cache.objects(number)) for number in SCHEMA.types},
        {number: cache.folders(number) for number in SCHEMA.types},
        [collect(cache.select(PERSON, asked)) for asked in ({"user_name": "a"}, {"skill_dbid": 4}, {"folder_dbid": 6})],
        cache.referrers(TENANT, 1),
        cache.members_of(6),
        [cache.digest(number) for number in SCHEMA.types],
        cache.position,
    )


def test_a_transaction_creates_updates_and_deletes() -> None:
    cache = world()
    applied = cache.apply(
        [
            created(PERSON, {"DBID": 3, "tenantDBID": 2, "userName": "c"}, folder=6, uen=2),
            updated(PERSON, 1, {"userName": "z", "agentInfo": {"skillLevels": {"deleted": [{"skillDBID": 4}]}}}, uen=3),
            deleted(PERSON, 2, uen=4),
        ]
    )
    assert applied.footprints == [Footprint((2,)), Footprint((1,)), Footprint((2,))]
    assert cache.position == Position(1, 4)
    assert cache.stored(PERSON, 1) == {"DBID": 1, "tenantDBID": 1, "userName": "z", "agentInfo": {}}
    assert cache.get(PERSON, 2) is None
    assert cache.members_of(6) == [(PERSON, 1), (PERSON, 3)]
    assert cache.find(PERSON, userName="z") == 1
    assert cache.find(PERSON, userName="a") is None
    assert cache.find(PERSON, userName="b") is None
    assert collect(cache.select(PERSON, {"skill_dbid": 4})).dbids == []


def test_an_updated_object_is_canonical() -> None:
    cache = world()
    cache.apply([updated(PERSON, 2, {"lastName": "n", "firstName": "m", "tenantDBID": 0})])
    assert cache.get(PERSON, 2) == encode_object(
        SCHEMA.types[PERSON], {"userName": "b", "firstName": "m", "lastName": "n", "DBID": 2}
    )


def test_a_complete_object_replaces_the_former() -> None:
    cache = world()
    cache.apply([change(Action.UPDATED, PERSON, 1, object=codec.encode({"DBID": 1, "userName": "n"}))])
    assert cache.stored(PERSON, 1) == {"DBID": 1, "userName": "n"}
    assert cache.folder_of(PERSON, 1) == 6
    assert cache.referrers(TENANT, 1) == []


def test_a_footprint_names_the_tenants_before_and_after() -> None:
    cache = world()
    assert cache.apply([updated(PERSON, 1, {"tenantDBID": 3})]).footprints == [Footprint((1, 3))]


def test_later_changes_of_a_transaction_see_the_earlier_ones() -> None:
    cache = world()
    applied = cache.apply(
        [
            created(SWITCH, {"DBID": 1, "tenantDBID": 7}),
            created(DN, {"DBID": 1, "switchDBID": 1}),
            updated(DN, 1, {"number": "7000"}),
            created(FOLDER, {"DBID": 9, "ownerID": {"DBID": 1, "type": SWITCH}}),
            updated(FOLDER, 9, {"objectIDs": {"added": [{"DBID": 1, "type": DN}]}}),
            created(PERSON, {"DBID": 3}),
            deleted(PERSON, 3),
            deleted(PERSON, 2),
            created(PERSON, {"DBID": 2, "tenantDBID": 9}),
        ]
    )
    tenants = [footprint.tenants for footprint in applied.footprints]
    assert tenants == [
        (7,),
        (7,),
        (7,),
        (7,),
        (7,),
        (1,),
        (1,),
        (2,),
        (9,),
    ]
    assert cache.stored(DN, 1) == {"DBID": 1, "switchDBID": 1, "number": "7000"}
    assert cache.path_of(DN, 1) == [""]
    assert cache.get(PERSON, 3) is None
    assert cache.stored(PERSON, 2) == {"DBID": 2, "tenantDBID": 9}


def test_an_empty_transaction_changes_nothing() -> None:
    cache = world()
    view = cache.view()
    assert cache.apply([]).footprints == []
    assert cache.position == Position(1, 1)
    assert cache.view() is view


def test_an_update_that_says_nothing_is_one() -> None:
    cache = world()
    before = cache.get(PERSON, 1)
    assert cache.apply([updated(PERSON, 1, {})]).footprints == [Footprint((1,))]
    assert cache.get(PERSON, 1) == before
    assert cache.position == Position(1, 2)


@pytest.mark.parametrize(
    ("wrong", "code", "message"),
    [
        (created(PERSON, {"DBID": 1}), ErrorCode.UNIQUENESS_VIOLATION, "created CfgPerson 1.* is there"),
        (change(Action.CREATED, PERSON, 5), ErrorCode.INCOMPLETE_OBJECT_DATA, "without saying what"),
        (change(Action.CREATED, PERSON, 4, object=NAMED), ErrorCode.VALUE_OUT_OF_RANGE, "the DBID 5"),
        (change(Action.CREATED, PERSON, 0, object=b"\x80"), ErrorCode.VALUE_OUT_OF_RANGE, "the DBID 0"),
        (created(PERSON, {"DBID": 2**31}), ErrorCode.VALUE_OUT_OF_RANGE, "the DBID 2147483648"),
        (change(Action.CREATED, PERSON, 5, object=b"\xc1"), ErrorCode.OBJECT_PACKING_ERROR, "cannot be decoded"),
        (created(PERSON, {"DBID": 5}, folder=-1), ErrorCode.VALUE_OUT_OF_RANGE, "folder -1"),
        (created(PERSON, {"DBID": 5}, folder=2**31), ErrorCode.VALUE_OUT_OF_RANGE, "folder 2147483648"),
        (updated(PERSON, 5, {"userName": "x"}), ErrorCode.OBJECT_NOT_FOUND, "updated CfgPerson 5.* not there"),
        (deleted(PERSON, 5), ErrorCode.OBJECT_NOT_FOUND, "deleted CfgPerson 5.* not there"),
        (deleted(99, 5), ErrorCode.UNSUPPORTED_OBJECT, "object type 99, which does not exist"),
        (change(Action.UPDATED, PERSON, 1), ErrorCode.UNSPECIFIED_MODIFICATION, "without saying how"),
        (change(Action.UPDATED, PERSON, 1, object=NAMED), ErrorCode.VALUE_OUT_OF_RANGE, "the DBID 5"),
        (updated(PERSON, 1, {"DBID": 9}), ErrorCode.VALUE_OUT_OF_RANGE, "the DBID 9"),
        (updated(PERSON, 1, {"userName": 5}), ErrorCode.WRONG_API_PARAMETERS, "userName"),
        (
            updated(PERSON, 1, {"agentInfo": {"skillLevels": {"deleted": [{"skillDBID": 99}]}}}),
            ErrorCode.LIST_ITEM_NOT_FOUND,
            "skillLevels",
        ),
        (
            updated(FOLDER, 6, {"objectIDs": {"deleted": [{"DBID": 1, "type": 3}]}}),
            ErrorCode.UNSPECIFIED_MODIFICATION,
            "out of a folder",
        ),
        (
            updated(FOLDER, 6, {"objectIDs": {"changed": [{"DBID": 1, "type": 3}]}}),
            ErrorCode.UNSPECIFIED_MODIFICATION,
            "out of a folder",
        ),
        (updated(FOLDER, 6, {"objectIDs": {"moved": []}}), ErrorCode.UNSPECIFIED_MODIFICATION, "moved"),
        (updated(FOLDER, 6, {"objectIDs": [1]}), ErrorCode.VALUE_OUT_OF_RANGE, "objectIDs"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_and_nothing_of_its_transaction_remains(
    wrong: Change, code: ErrorCode, message: str
) -> None:
    cache = world()
    before = everything(cache)
    good = [
        created(PERSON, {"DBID": 77, "userName": "a"}, folder=6),
        updated(PERSON, 2, {"userName": "a"}),
        updated(FOLDER, 6, {"objectIDs": {"added": [{"DBID": 2, "type": PERSON}]}}),
    ]
    with pytest.raises(ModelError, match=message) as refused:
        cache.apply([*good, wrong, deleted(PERSON, 1)])
    assert refused.value.code is code
    assert refused.value.object_type == wrong.type
    assert everything(cache) == before
    cache.apply(good)
    assert everything(cache) != before


def test_composed_folders_are_stored_without_their_members() -> None:
    cache = world()
    composed = codec.encode({"DBID": 8, "name": "g", "objectIDs": [{"DBID": 1, "type": PERSON}]})
    cache.apply([change(Action.CREATED, FOLDER, 8, object=composed)])
    assert cache.stored(FOLDER, 8) == {"DBID": 8, "name": "g"}
    assert cache.members_of(8) == []


def test_a_correction_holds_whatever_was_there() -> None:
    cache = world()
    right = codec.encode({"DBID": 1, "userName": "right"})
    new = codec.encode({"DBID": 5, "userName": "x"})
    cache.apply(
        [
            change(Action.CREATED, PERSON, 1, 1, object=right, folder=0, correction=True),
            change(Action.UPDATED, PERSON, 5, 1, object=new, folder=6, correction=True),
            change(Action.DELETED, PERSON, 2, 1, correction=True),
            change(Action.DELETED, PERSON, 77, 1, correction=True),
        ]
    )
    assert list(cache.dbids(PERSON)) == [1, 5]
    assert (cache.get(PERSON, 1), cache.get(PERSON, 5)) == (right, new)
    assert (cache.folder_of(PERSON, 1), cache.folder_of(PERSON, 5)) == (6, 6)


def test_a_correction_says_what_the_object_is() -> None:
    with pytest.raises(ModelError, match="without saying what it is") as caught:
        world().apply([change(Action.UPDATED, PERSON, 1, 2, delta={"userName": "y"}, correction=True)])
    assert caught.value.code is ErrorCode.INCOMPLETE_OBJECT_DATA
