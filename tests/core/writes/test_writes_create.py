"""Creations: what the server sets, what it refuses, and where the new object goes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from desk import NOW_MS, Desk, code_of

from csproxy.core.changes import Action, ObjectCreated
from csproxy.core.model import SCHEMA
from csproxy.errors import ErrorCode, ModelError


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refusal(desk: Desk, word: str, obj: dict[str, Any], *, folder: int = 0) -> ModelError:
    """The error of a creation; a refusal leaves the desk as it was."""
    before = dict(desk.counters), desk.cache.counts()
    with pytest.raises(ModelError) as caught:
        desk.create(word, obj, folder=folder)
    assert (desk.counters, desk.cache.counts()) == before
    return caught.value


def test_the_server_sets_dbid_state_tenant_and_agent_flag(desk: Desk) -> None:
    dbid = desk.create("person", {"userName": "joe", "employeeID": "7"})
    assert dbid == 101
    assert desk.get("person", dbid) == {
        "DBID": 101,
        "tenantDBID": 1,
        "employeeID": "7",
        "userName": "joe",
        "isAgent": 1,
        "state": 1,
    }
    assert desk.folder_of("person", dbid) == 3


def test_a_person_with_agent_info_is_an_agent(desk: Desk) -> None:
    assert desk.get("person", desk.person("joe", agentInfo={}))["isAgent"] == 2


def test_a_person_created_as_agent_gets_agent_info(desk: Desk) -> None:
    assert desk.get("person", desk.person("joe", isAgent=2))["agentInfo"] == {}


def test_a_dbid_and_read_only_attributes_from_the_client_are_not_taken(desk: Desk) -> None:
    switch = desk.switch()
    dbid = desk.dn(switch, "100", DBID=77, tenantDBID=55)
    assert dbid == 101
    assert desk.get("dn", dbid)["tenantDBID"] == 1


def test_a_group_carries_its_own_dbid_and_state(desk: Desk) -> None:
    dbid = desk.group("night shift")
    assert desk.get("agentGroup", dbid)["groupInfo"] == {
        "DBID": dbid,
        "tenantDBID": 1,
        "name": "night shift",
        "state": 1,
    }


def test_a_group_without_group_info_is_incomplete(desk: Desk) -> None:
    error = refusal(desk, "agentGroup", {"agentDBIDs": []})
    assert error.code is ErrorCode.INCOMPLETE_OBJECT_DATA
    assert error.property_name == "groupInfo"


def test_an_application_takes_type_and_version_from_its_prototype(desk: Desk) -> None:
    made = desk.get("application", desk.create("application", {"name": "stat", "appPrototypeDBID": 97}))
    assert made["type"] == 107
    assert made["version"] == "1.0"
    assert (made["isServer"], made["isPrimary"], made["startupType"], made["autoRestart"]) == (2, 2, 1, 1)
    assert made["serverInfo"] == {}


def test_an_application_keeps_what_it_says_itself(desk: Desk) -> None:
    given = {
        "name": "a",
        "appPrototypeDBID": 97,
        "version": "2.0",
        "isPrimary": 1,
        "startupType": 3,
        "serverInfo": {"port": "9"},
    }
    made = desk.get("application", desk.create("application", given))
    assert (made["version"], made["isPrimary"], made["startupType"], made["serverInfo"]) == ("2.0", 1, 3, {"port": "9"})


def test_an_application_of_a_user_interface_is_no_server(desk: Desk) -> None:
    made = desk.get("application", desk.create("application", {"name": "gui", "appPrototypeDBID": 100}))
    assert made["isServer"] == 1
    assert "serverInfo" not in made


def test_an_application_without_prototype_needs_type_and_version(desk: Desk) -> None:
    error = refusal(desk, "application", {"name": "bare"})
    assert error.code is ErrorCode.INCOMPLETE_OBJECT_DATA
    assert "type, version" in str(error)


def test_a_switch_has_the_type_of_its_switching_office(desk: Desk) -> None:
    assert desk.get("switch", desk.switch())["type"] == 3


def test_containers_come_with_default_folders_and_lend_their_tenant(desk: Desk) -> None:
    tenant = desk.create("tenant", {"name": "North", "isServiceProvider": 2})
    assert desk.get("tenant", tenant)["isServiceProvider"] == 1
    switch = desk.switch("north", tenant=tenant)
    dn = desk.dn(switch, "100")
    assert desk.get("dn", dn)["tenantDBID"] == tenant
    folder = desk.get("folder", desk.folder_of("dn", dn))
    assert (folder["name"], folder["ownerID"]) == ("DNs", {"DBID": switch, "type": 1})
    names = {desk.get("folder", dbid)["name"] for dbid in desk.cache.dbids(22) if dbid > 100}
    assert {"Persons", "Switches", "Agent Groups", "DNs", "Agent Logins"} <= names
    assert not names & {"Hosts", "Applications", "Tenants", "Folders"}


def test_a_voice_prompt_takes_the_tenant_of_its_switch_or_environment(desk: Desk) -> None:
    tenant = desk.create("tenant", {"name": "North"})
    switch = desk.switch(tenant=tenant)
    assert (
        desk.get("voicePrompt", desk.create("voicePrompt", {"name": "a", "switchDBID": switch}))["tenantDBID"] == tenant
    )
    assert desk.get("voicePrompt", desk.create("voicePrompt", {"name": "a"}))["tenantDBID"] == 1


def test_an_enumerator_value_must_be_in_the_tenant_of_its_enumerator(desk: Desk) -> None:
    tenant = desk.create("tenant", {"name": "North"})
    enumerator = desk.create("enumerator", {"name": "media", "displayName": "Media", "tenantDBID": 1})
    value = {"name": "chat", "displayName": "Chat", "enumeratorDBID": enumerator}
    error = refusal(desk, "enumeratorValue", {**value, "tenantDBID": tenant})
    assert error.code is ErrorCode.INCORRECT_REFERENCES
    assert desk.get("enumeratorValue", desk.create("enumeratorValue", value))["tenantDBID"] == 1


def test_a_container_that_does_not_exist_is_refused(desk: Desk) -> None:
    error = refusal(desk, "dn", {"switchDBID": 999, "number": "1", "type": 1})
    assert error.code is ErrorCode.INCORRECT_REFERENCES
    assert "switch 999, which does not exist" in str(error)


def test_the_answer_is_the_stored_object_with_its_author(desk: Desk) -> None:
    plan = desk.planner.create(13, {"name": "english", "tenantDBID": 1})
    (change,) = plan.changes
    payload = msgspec.msgpack.decode(change.payload, type=ObjectCreated)
    assert change.action is Action.CREATED
    assert bytes(payload.object) == change.stored
    assert (payload.folder, payload.user, payload.application, payload.time_ms) == (13, "jane", "sce", NOW_MS)


def test_dbids_are_not_reused_after_deletion(desk: Desk) -> None:
    first = desk.skill("english")
    desk.delete("skill", first)
    assert desk.skill("french") == first + 1


def test_an_unknown_type_is_refused(desk: Desk) -> None:
    with pytest.raises(ModelError) as caught:
        desk.planner.create(99, {"name": "x"})
    assert code_of(caught) is ErrorCode.UNSUPPORTED_OBJECT


@pytest.mark.parametrize(
    ("obj", "code", "name"),
    [
        ({"userName": "joe"}, ErrorCode.INCOMPLETE_OBJECT_DATA, "employeeID"),
        ({"userName": "joe", "employeeID": "x" * 65}, ErrorCode.VALUE_OUT_OF_RANGE, "employeeID"),
        ({"userName": "joe", "employeeID": "1", "nickname": "j"}, ErrorCode.UNSUPPORTED_PROPERTY, "nickname"),
        ({"userName": "joe", "employeeID": "1", "state": 3}, ErrorCode.VALUE_OUT_OF_RANGE, "state"),
        ({"userName": "joe", "employeeID": "1", "password": "a\0"}, ErrorCode.VALUE_OUT_OF_RANGE, "password"),
        ({"userName": "joe", "employeeID": "1", "tenantDBID": 9}, ErrorCode.INCORRECT_REFERENCES, "tenantDBID"),
        ({"userName": "default", "employeeID": "1"}, ErrorCode.UNIQUENESS_VIOLATION, "userName"),
        ({"userName": "joe", "employeeID": "0"}, ErrorCode.UNIQUENESS_VIOLATION, "employeeID"),
        (
            {"userName": "joe", "employeeID": "1", "agentInfo": {"skillLevels": [{"level": 3}]}},
            ErrorCode.INCOMPLETE_OBJECT_DATA,
            "agentInfo.skillLevels.skillDBID",
        ),
        (
            {"userName": "joe", "employeeID": "1", "agentInfo": {"skillLevels": [{"skillDBID": 5}]}},
            ErrorCode.INCORRECT_REFERENCES,
            "agentInfo.skillLevels.skillDBID",
        ),
    ],
)
def test_a_bad_person_is_refused_with_the_published_code(
    desk: Desk, obj: dict[str, Any], code: ErrorCode, name: str
) -> None:
    error = refusal(desk, "person", obj)
    assert (error.code, error.property_name, error.object_type) == (code, name, 3)


def test_a_uniqueness_refusal_names_the_other_object(desk: Desk) -> None:
    desk.person("joe")
    assert "person 101 'joe'" in str(refusal(desk, "person", {"userName": "joe", "employeeID": "other"}))


def test_names_are_unique_within_their_tenant_only(desk: Desk) -> None:
    tenant = desk.create("tenant", {"name": "North"})
    desk.skill("english")
    desk.skill("english", tenant=tenant)
    assert refusal(desk, "skill", {"name": "english", "tenantDBID": tenant}).code is ErrorCode.UNIQUENESS_VIOLATION


def test_objects_of_other_tenants_cannot_be_referred_to_but_those_above_can(desk: Desk) -> None:
    north = desk.create("tenant", {"name": "North"})
    arctic = desk.create("tenant", {"name": "Arctic", "parentTenantDBID": north})
    shared, skill = desk.skill("shared"), desk.skill("english", tenant=north)
    for n, (tenant, used) in enumerate([(north, skill), (arctic, skill), (arctic, shared)]):
        desk.person(f"ok{n}", tenantDBID=tenant, agentInfo={"skillLevels": [{"skillDBID": used, "level": 1}]})
    error = refusal(
        desk, "person", {"userName": "no", "employeeID": "no", "agentInfo": {"skillLevels": [{"skillDBID": skill}]}}
    )
    assert error.code is ErrorCode.INCORRECT_REFERENCES
    assert f"belongs to tenant {north}" in str(error)


def test_access_groups_take_members_of_any_tenant_but_only_accounts(desk: Desk) -> None:
    tenant = desk.create("tenant", {"name": "North"})
    person = desk.person("joe", tenantDBID=tenant)
    info = {"groupInfo": {"name": "g", "tenantDBID": 1}}
    desk.create("accessGroup", {**info, "memberIDs": [{"DBID": person, "type": 3}]})
    error = refusal(
        desk, "accessGroup", {"groupInfo": {"name": "h", "tenantDBID": 1}, "memberIDs": [{"DBID": 1, "type": 10}]}
    )
    assert error.code is ErrorCode.INCORRECT_REFERENCES
    error = refusal(desk, "accessGroup", {"groupInfo": {"name": "h", "tenantDBID": 1}, "memberIDs": [{"DBID": 1}]})
    assert error.code is ErrorCode.INCORRECT_REFERENCES


def test_a_campaign_group_needs_its_group(desk: Desk) -> None:
    campaign = desk.create("campaign", {"name": "c", "tenantDBID": 1})
    obj = {"campaignDBID": campaign, "name": "g", "dialMode": 1, "operationMode": 1, "optMethod": 1}
    assert refusal(desk, "campaignGroup", obj).property_name == "groupDBID"
    group = desk.group("agents")
    dbid = desk.create("campaignGroup", {**obj, "groupDBID": group, "groupType": 5})
    assert desk.get("campaignGroup", dbid)["tenantDBID"] == 1
    assert desk.get("folder", desk.folder_of("campaignGroup", dbid))["ownerID"] == {"DBID": campaign, "type": 27}


def test_a_mandatory_number_or_enumeration_may_be_zero_where_zero_means_something(desk: Desk) -> None:
    assert desk.create("treatment", {"name": "busy", "tenantDBID": 1}) == 101


def test_a_last_login_record_is_in_no_folder(desk: Desk) -> None:
    assert desk.folder_of("personLastLogin", desk.create("personLastLogin", {"personDBID": 100})) == 0


def test_a_password_never_reaches_the_object_and_is_planned_for_hashing(desk: Desk) -> None:
    plan = desk.planner.create(3, {"userName": "joe", "employeeID": "1", "password": "secret"})
    assert plan.passwords == {(3, 101): "secret"}
    assert b"secret" not in plan.changes[0].payload
    stored = msgspec.msgpack.decode(plan.changes[0].stored or b"")
    assert (stored["passwordHashAlgorithm"], stored["PasswordUpdatingDate"]) == (1, NOW_MS // 1000)


def test_passwords_that_nothing_checks_are_not_kept(desk: Desk) -> None:
    plan = desk.planner.create(7, {"name": "North", "password": "secret"})
    assert plan.passwords == {}
    assert all(b"secret" not in change.payload for change in plan.changes)


def test_every_type_that_can_be_in_a_folder_has_one_in_environment(desk: Desk) -> None:
    for kind in SCHEMA.types.values():
        if kind.container is None and kind.name not in ("CfgFolder", "CfgPersonLastLogin"):
            assert desk.get("folder", kind.number)["name"] == kind.folder_name
