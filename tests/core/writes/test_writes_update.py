"""Updates: the delta that is announced, what may not change, states that cascade."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from desk import NOW_MS, Desk

from csproxy.core.changes import Action, ObjectUpdated
from csproxy.core.rules import MAX_CHANGES
from csproxy.errors import ErrorCode, ModelError


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refusal(desk: Desk, word: str, dbid: int, delta: dict[str, Any]) -> ModelError:
    position = desk.cache.position
    with pytest.raises(ModelError) as caught:
        desk.update(word, dbid, delta)
    assert desk.cache.position == position
    return caught.value


def test_an_update_is_announced_with_the_delta_that_was_asked(desk: Desk) -> None:
    person = desk.person("joe")
    (change,) = desk.update("person", person, {"firstName": "Joe", "lastName": ""}).changes
    payload = msgspec.msgpack.decode(change.payload, type=ObjectUpdated)
    assert payload.delta == {"firstName": "Joe", "lastName": ""}
    assert (payload.dbid, payload.folder, payload.user, payload.time_ms) == (person, 0, "jane", NOW_MS)
    assert desk.get("person", person)["firstName"] == "Joe"


def test_values_that_are_there_already_are_an_update_all_the_same(desk: Desk) -> None:
    person = desk.person("joe")
    before = desk.get("person", person)
    (change,) = desk.update("person", person, {"userName": "joe", "isAgent": 1}).changes
    assert change.action is Action.UPDATED
    assert desk.get("person", person) == before


def test_an_object_that_is_not_there_cannot_be_updated(desk: Desk) -> None:
    error = refusal(desk, "person", 555, {"firstName": "x"})
    assert (error.code, str(error)) == (ErrorCode.OBJECT_NOT_FOUND, "there is no person 555")


def test_an_empty_delta_is_refused(desk: Desk) -> None:
    assert refusal(desk, "person", 100, {}).code is ErrorCode.UNSPECIFIED_MODIFICATION


@pytest.mark.parametrize(
    ("delta", "code", "name"),
    [
        ({"DBID": 7}, ErrorCode.UNCHANGEABLE_INFO, "DBID"),
        ({"tenantDBID": 102}, ErrorCode.UNCHANGEABLE_INFO, "tenantDBID"),
        ({"isAgent": 2}, ErrorCode.UNCHANGEABLE_INFO, "isAgent"),
        ({"agentInfo": {}}, ErrorCode.UNCHANGEABLE_INFO, "agentInfo"),
        ({"userName": ""}, ErrorCode.INCOMPLETE_OBJECT_DATA, "userName"),
        ({"userName": "default"}, ErrorCode.UNIQUENESS_VIOLATION, "userName"),
        ({"state": 0}, ErrorCode.INCOMPLETE_OBJECT_DATA, "state"),
        ({"state": 3}, ErrorCode.VALUE_OUT_OF_RANGE, "state"),
        ({"nickname": "x"}, ErrorCode.UNSUPPORTED_PROPERTY, "nickname"),
        ({"appRanks": {"deleted": [{"appType": 1}]}}, ErrorCode.LIST_ITEM_NOT_FOUND, "appRanks"),
    ],
)
def test_a_bad_update_is_refused_with_the_published_code(
    desk: Desk, delta: dict[str, Any], code: ErrorCode, name: str
) -> None:
    person = desk.person("joe")
    error = refusal(desk, "person", person, delta)
    assert (error.code, error.property_name) == (code, name)


def test_a_fixed_attribute_can_be_set_once(desk: Desk) -> None:
    prototype = desk.create("appPrototype", {"name": "p", "type": 107})
    desk.update("appPrototype", prototype, {"version": "1"})
    error = refusal(desk, "appPrototype", prototype, {"version": "2"})
    assert error.code is ErrorCode.UNCHANGEABLE_INFO
    assert "may not change once it is set" in str(error)


def test_the_content_of_a_fixed_structure_may_change(desk: Desk) -> None:
    skill, person = desk.skill(), desk.person("joe", agentInfo={})
    delta = {"agentInfo": {"skillLevels": {"added": [{"skillDBID": skill, "level": 9}]}}}
    desk.update("person", person, delta)
    assert desk.get("person", person)["agentInfo"] == {"skillLevels": [{"skillDBID": skill, "level": 9}]}


def test_the_tenant_of_a_group_may_not_change(desk: Desk) -> None:
    group = desk.group("g")
    tenant = desk.create("tenant", {"name": "North"})
    assert refusal(desk, "agentGroup", group, {"groupInfo": {"tenantDBID": tenant}}).code is ErrorCode.UNCHANGEABLE_INFO


def test_the_tenants_that_may_use_an_application_can_change(desk: Desk) -> None:
    tenant = desk.create("tenant", {"name": "North"})
    desk.update("application", 100, {"tenantDBIDs": {"added": [tenant]}})
    assert desk.get("application", 100)["tenantDBIDs"] == [1, tenant]


def test_an_old_flaw_does_not_hinder_other_changes(desk: Desk) -> None:
    first = desk.create("format", {"name": "f", "tenantDBID": 1})
    flawed = {**desk.get("format", first), "DBID": 102, "name": "", "fieldDBIDs": [999]}
    desk.plant("format", flawed)
    desk.update("format", 102, {"description": "old"})
    assert refusal(desk, "format", 102, {"fieldDBIDs": {"added": [998]}}).code is ErrorCode.INCORRECT_REFERENCES


def test_a_password_is_announced_by_its_date_only(desk: Desk) -> None:
    plan = desk.update("person", 100, {"password": "secret"})
    assert plan.passwords == {(3, 100): "secret"}
    assert plan.changes[0].delta == {"passwordHashAlgorithm": 1, "PasswordUpdatingDate": NOW_MS // 1000}


def test_an_application_password_leaves_no_trace_in_the_object(desk: Desk) -> None:
    plan = desk.update("application", 99, {"password": "secret"})
    assert plan.passwords == {(9, 99): "secret"}
    assert plan.changes[0].delta == {}


def test_disabling_a_container_disables_what_it_owns_dependants_first(desk: Desk) -> None:
    switch = desk.switch()
    dns = [desk.dn(switch, str(n)) for n in range(3)]
    desk.update("dn", dns[0], {"state": 2})
    plan = desk.update("switch", switch, {"state": 2})
    ids = [(change.type, change.dbid) for change in plan.changes]
    assert ids[-1] == (1, switch)
    assert set(ids[:-1]) == {(2, dns[1]), (2, dns[2]), (22, 101), (22, 102)}
    assert ids.index((2, dns[1])) < ids.index((22, 101))
    assert all(change.delta == {"state": 2} for change in plan.changes)
    desk.update("switch", switch, {"state": 1})
    assert [desk.get("dn", dbid)["state"] for dbid in dns] == [1, 1, 1]


def test_the_state_of_a_folder_reaches_groups_in_it(desk: Desk) -> None:
    group = desk.group("g")
    desk.update("folder", 5, {"state": 2})
    assert desk.get("agentGroup", group)["groupInfo"]["state"] == 2


def test_what_has_no_state_is_left_alone_by_a_cascade(desk: Desk) -> None:
    person = desk.person("joe")
    desk.create("personLastLogin", {"personDBID": person})
    assert len(desk.update("person", person, {"state": 2}).changes) == 1


@pytest.mark.parametrize(("word", "dbid"), [("person", 100), ("tenant", 1), ("folder", 3), ("application", 99)])
def test_what_everybody_needs_cannot_be_disabled(desk: Desk, word: str, dbid: int) -> None:
    assert refusal(desk, word, dbid, {"state": 2}).code is ErrorCode.UNCHANGEABLE_INFO


def test_a_cascade_over_too_many_objects_is_refused_with_a_sentence(desk: Desk) -> None:
    switch = desk.switch()
    desk.plant_many(
        "dn",
        [{"switchDBID": switch, "tenantDBID": 1, "number": str(n), "type": 1, "state": 1} for n in range(MAX_CHANGES)],
    )
    error = refusal(desk, "switch", switch, {"state": 2})
    assert error.code is ErrorCode.WRONG_API_PARAMETERS
    assert "switch 101 'east' has too much that depends on it" in str(error)
