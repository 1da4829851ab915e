"""Access control lists: who inherits what, and what an account may do in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change, Position
from csproxy.core.identities import identities, is_super_administrator
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.permissions import (
    DEFAULT_ACL,
    MAX_ENTRIES,
    Permission,
    acl_of,
    checked_acl,
    container_of,
    existing_name,
    mask_of,
    own_acl,
    planned_acls,
)
from csproxy.core.security_records import Acl, AclEntry, encode_acl
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import ErrorCode, ModelError

SWITCH, DN, PERSON, TENANT, SKILL, ACCESS_GROUP, FOLDER, LAST_LOGIN = 1, 2, 3, 7, 13, 21, 22, 38
ENVIRONMENT = (TENANT, 1)
GROUP = (ACCESS_GROUP, 201)
OUTER, INNER, DNS = 301, 302, 303
JOHN = (PERSON, 102)


def folder(dbid: int, *, parent: int = 0, owner: tuple[int, int] = ENVIRONMENT, kind: int = FOLDER) -> dict[str, Any]:
    item = {"DBID": dbid, "name": f"f{dbid}", "type": kind, "ownerID": {"type": owner[0], "DBID": owner[1]}}
    return {**item, "parentID": {"DBID": parent, "type": FOLDER}} if parent else item


def group(dbid: int, *members: tuple[int, int], state: int = 1) -> dict[str, Any]:
    info = {"DBID": dbid, "tenantDBID": 1, "name": f"g{dbid}", "state": state}
    return {
        "DBID": dbid,
        "groupInfo": info,
        "type": 1,
        "memberIDs": [{"type": number, "DBID": member} for number, member in members],
    }


def person(dbid: int) -> dict[str, Any]:
    return {"DBID": dbid, "tenantDBID": 1, "employeeID": str(dbid), "userName": f"u{dbid}", "state": 1}


def world(
    *more: tuple[int, dict[str, Any], int], acls: Mapping[tuple[int, int], Acl] | None = None
) -> ConfigurationCache:
    """The well-known objects; skill 101 in folder INNER in OUTER; DN 101 in folder DNS of switch 101."""
    objects = [
        *well_known_objects(),
        (FOLDER, folder(OUTER), 0),
        (FOLDER, folder(INNER, parent=OUTER), OUTER),
        (SKILL, {"DBID": 101, "tenantDBID": 1, "name": "s", "state": 1}, INNER),
        (SKILL, {"DBID": 102, "tenantDBID": 1, "name": "t", "state": 1}, SKILL),
        (SWITCH, {"DBID": 101, "tenantDBID": 1, "name": "sw", "state": 1}, SWITCH),
        (FOLDER, folder(DNS, owner=(SWITCH, 101), kind=DN), 0),
        (DN, {"DBID": 101, "switchDBID": 101, "number": "7001", "state": 1}, DNS),
        (PERSON, person(101), PERSON),
        (PERSON, person(102), PERSON),
        (ACCESS_GROUP, group(201, (PERSON, 101)), ACCESS_GROUP),
        (ACCESS_GROUP, group(202, GROUP), ACCESS_GROUP),
        (ACCESS_GROUP, group(203, (PERSON, 101), state=2), ACCESS_GROUP),
        *more,
    ]
    builder = CacheBuilder(None)
    for number, obj, where in sorted(objects, key=lambda item: (item[0], item[1]["DBID"])):
        builder.add(number, [encode_object(SCHEMA.types[number], obj)], [where])
    for (number, dbid), entries in (acls or {}).items():
        builder.add(1000 + number, [encode_acl(dbid, entries)], [0])
    return builder.finish(Position(1, 1))


CACHE = world()


def acl(*entries: tuple[int, int, int]) -> Acl:
    return tuple(sorted(AclEntry(*entry) for entry in entries))


READERS = acl((PERSON, 101, 1))


@pytest.mark.parametrize(
    ("id", "chain"),
    [
        ((SKILL, 101), [(FOLDER, INNER), (FOLDER, OUTER), ENVIRONMENT]),
        ((DN, 101), [(FOLDER, DNS), (SWITCH, 101), (FOLDER, SWITCH), ENVIRONMENT]),
        ((PERSON, 100), [(FOLDER, PERSON), ENVIRONMENT]),
        (ENVIRONMENT, []),
        ((LAST_LOGIN, 5), [ENVIRONMENT]),
        ((FOLDER, OUTER), [ENVIRONMENT]),
    ],
)
def test_an_object_inherits_from_its_folders_and_their_owner(id: tuple[int, int], chain: list[tuple[int, int]]) -> None:
    steps = []
    step = container_of(CACHE, id)
    while step is not None:
        steps.append(step)
        step = container_of(CACHE, step)
    assert steps == chain


def test_without_any_list_the_built_in_one_holds_everywhere() -> None:
    assert acl_of(CACHE, (SKILL, 101)) == (DEFAULT_ACL, (0, 0))
    assert mask_of(CACHE, (SKILL, 101), (PERSON, 100)) == Permission.FULL
    assert mask_of(CACHE, (SKILL, 101), (PERSON, 101)) == 0
    assert mask_of(CACHE, (SKILL, 101), (ACCESS_GROUP, 98)) == Permission.FULL


@pytest.mark.parametrize("holder", [ENVIRONMENT, (FOLDER, OUTER), (FOLDER, INNER), (SKILL, 101)])
def test_the_nearest_list_holds(holder: tuple[int, int]) -> None:
    cache = world(acls={ENVIRONMENT: acl((PERSON, 102, 127)), holder: READERS})
    assert acl_of(cache, (SKILL, 101)) == (READERS, holder)
    assert mask_of(cache, (SKILL, 101), (PERSON, 101)) == Permission.READ
    assert mask_of(cache, (SKILL, 101), JOHN) == 0


def test_an_empty_list_forbids_everything_but_its_repair() -> None:
    cache = world(acls={(SKILL, 101): ()})
    assert mask_of(cache, (SKILL, 101), JOHN) == 0
    super_administrator = (PERSON, 100)
    repair = Permission.READ_PERMISSIONS | Permission.CHANGE_PERMISSIONS
    assert mask_of(cache, (SKILL, 101), super_administrator) == repair


def test_an_entry_without_propagation_holds_for_the_object_alone() -> None:
    alone = Permission.READ | Permission.NO_PROPAGATION
    cache = world(acls={(FOLDER, OUTER): acl((PERSON, 101, alone), (PERSON, 102, 2))})
    assert mask_of(cache, (FOLDER, OUTER), (PERSON, 101)) == Permission.READ
    assert mask_of(cache, (FOLDER, INNER), (PERSON, 101)) == 0
    assert mask_of(cache, (SKILL, 101), JOHN) == Permission.CREATE


def test_an_account_is_itself_its_enabled_groups_their_groups_and_everyone() -> None:
    everyone = (ACCESS_GROUP, 97)
    assert identities(CACHE, (PERSON, 101)) == {(PERSON, 101), GROUP, (ACCESS_GROUP, 202), everyone}
    assert identities(CACHE, JOHN) == {JOHN, everyone, (ACCESS_GROUP, 94)}  # default access
    assert is_super_administrator(CACHE, 100)
    assert not is_super_administrator(CACHE, 101)


def test_groups_that_hold_each_other_end() -> None:
    cache = world((ACCESS_GROUP, group(204, (ACCESS_GROUP, 205)), 21), (ACCESS_GROUP, group(205, (21, 204), JOHN), 21))
    assert identities(cache, JOHN) == {JOHN, (21, 204), (21, 205), (21, 97)}


@pytest.mark.parametrize(("value", "has_it"), [("1", False), (1, False), ("0", True), ("", True)])
def test_default_access_is_for_persons_of_no_group_unless_the_option_says_otherwise(
    value: str | int, has_it: bool
) -> None:
    cache = world()
    confserv = cache.stored(9, 99) or {}
    confserv["options"] = {"security": {"no-default-access": value}}
    stored = encode_object(SCHEMA.types[9], confserv)
    change = Change(action=Action.UPDATED, type=9, dbid=99, position=Position(1, 2), frame=b"", object=stored)
    cache.apply([change])
    users = (ACCESS_GROUP, 94)
    assert (users in identities(cache, JOHN)) is has_it
    assert users not in identities(cache, (PERSON, 101))
    assert users not in identities(cache, GROUP)


def test_folders_that_hold_each_other_end_in_the_built_in_list() -> None:
    cache = world((FOLDER, folder(401, parent=402), 402), (FOLDER, folder(402, parent=401), 401))
    assert acl_of(cache, (FOLDER, 401)).acl == DEFAULT_ACL


def test_the_masks_of_all_identities_are_united() -> None:
    cache = world(acls={(SKILL, 101): acl((PERSON, 101, 1), (*GROUP, 4), (ACCESS_GROUP, 203, 64), (21, 97, 8))})
    assert mask_of(cache, (SKILL, 101), (PERSON, 101)) == 1 + 4 + 8
    assert mask_of(cache, (SKILL, 101), JOHN) == 8


def test_a_plan_says_whose_own_list_becomes_another() -> None:
    cache = world(acls={(SKILL, 101): READERS})
    assert planned_acls(cache, (FOLDER, OUTER), (), recursive=True) == {(SKILL, 101): None, (FOLDER, OUTER): ()}
    assert planned_acls(cache, (SKILL, 101), READERS, recursive=True) == {}


def test_a_recursive_update_spares_what_lies_elsewhere() -> None:
    cache = world(acls=dict.fromkeys([(SKILL, 101), (SKILL, 102), (DN, 101), (FOLDER, INNER)], READERS))
    changed = planned_acls(cache, (FOLDER, OUTER), None, recursive=True)
    assert changed == {(SKILL, 101): None, (FOLDER, INNER): None}
    assert planned_acls(cache, (SWITCH, 101), None, recursive=True) == {(DN, 101): None}


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([(SKILL, 101, 1)], ErrorCode.INCORRECT_REFERENCES),
        ([(999, 101, 1)], ErrorCode.INCORRECT_REFERENCES),
        ([(PERSON, 999, 1)], ErrorCode.INCORRECT_REFERENCES),
        ([(PERSON, 101, 256)], ErrorCode.VALUE_OUT_OF_RANGE),
        ([(PERSON, 101, -1)], ErrorCode.VALUE_OUT_OF_RANGE),
        ([(PERSON, 101, 1), (PERSON, 101, 2)], ErrorCode.UNIQUENESS_VIOLATION),
        ([(PERSON, 101, 1)] * (MAX_ENTRIES + 1), ErrorCode.VALUE_OUT_OF_RANGE),
    ],
)
def test_a_wrong_list_is_refused(entries: list[tuple[int, int, int]], code: ErrorCode) -> None:
    with pytest.raises(ModelError) as caught:
        checked_acl(CACHE, [AclEntry(*entry) for entry in entries], object_type=SKILL)
    assert (caught.value.code, caught.value.object_type, caught.value.property_name) == (code, SKILL, "entries")


IDS = [ENVIRONMENT, (FOLDER, OUTER), (FOLDER, INNER), (SKILL, 101), (SKILL, 102), (FOLDER, SKILL), (DN, 101)]
ACLS = st.lists(
    st.tuples(st.sampled_from([PERSON, ACCESS_GROUP]), st.sampled_from([101, 201]), st.integers(0, 255)), max_size=3
).map(lambda entries: acl(*{entry[:2]: entry for entry in entries}.values()))


@given(st.dictionaries(st.sampled_from(IDS), ACLS), st.sampled_from(IDS), ACLS)
def test_after_a_recursive_update_everything_below_has_the_list_without_its_unpropagated_entries(
    explicit: dict[tuple[int, int], Acl], id: tuple[int, int], new: Acl
) -> None:
    cache = world(acls=explicit)
    before = {other: acl_of(cache, other) for other in IDS}
    after = {**explicit, **planned_acls(cache, id, new, recursive=True)}
    cache = world(acls={other: entries for other, entries in after.items() if entries is not None})
    for other in IDS:
        chain = [other]
        while (step := container_of(CACHE, chain[-1])) is not None:
            chain.append(step)
        if other == id:
            assert acl_of(cache, other) == (new, id)
        elif id in chain:
            assert acl_of(cache, other) == (tuple(e for e in new if e.mask < 128), id)
        else:
            assert acl_of(cache, other) == before[other]


def test_an_update_that_is_not_recursive_leaves_the_lists_below() -> None:
    cache = world(acls={(SKILL, 101): READERS})
    assert planned_acls(cache, (FOLDER, OUTER), (), recursive=False) == {(FOLDER, OUTER): ()}
    assert own_acl(cache, (FOLDER, OUTER)) is None
    assert own_acl(cache, (SKILL, 101)) == READERS


def test_what_is_not_there_has_no_name() -> None:
    assert existing_name(CACHE, (SKILL, 101)) == "skill 101 's'"
    for id, code in (((SKILL, 999), ErrorCode.OBJECT_NOT_FOUND), ((999, 1), ErrorCode.UNSUPPORTED_OBJECT)):
        with pytest.raises(ModelError) as caught:
            existing_name(CACHE, id)
        assert caught.value.code == code


def test_a_list_is_kept_in_the_order_of_its_accounts() -> None:
    entries = [AclEntry(ACCESS_GROUP, 201, 255), AclEntry(PERSON, 102, 0), AclEntry(PERSON, 101, 1)]
    assert checked_acl(CACHE, entries, object_type=SKILL) == tuple(reversed(entries))
