"""Objects that come with DBIDs of another master: links become keys, and nothing is lost or guessed."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.containers import FOLDER, TENANT
from csproxy.core.files.batches import batches
from csproxy.core.files.checks import check
from csproxy.core.files.keys import Key, full_text, tenant_key
from csproxy.core.files.numbered import read_numbered
from csproxy.core.files.planning import Workspace, make_plan
from csproxy.core.files.reading import FileObject
from csproxy.core.model import SCHEMA
from csproxy.core.model.enumerations import CfgResourceType
from csproxy.errors import ConfigurationError
from tests.core.files.bench import Bench, words

Row = tuple[int, dict[str, Any], int]

HOME = tenant_key("Environment")
ENVIRONMENT: Row = (TENANT, {"DBID": 1, "name": "Environment", "state": 1}, 0)
ADA = {"DBID": 501, "tenantDBID": 1, "employeeID": "ada", "userName": "ada", "state": 1}
ZONE, PORT = int(CfgResourceType.CFGRTTimeZone), int(CfgResourceType.CFGRTContract)
OWNER = {"type": TENANT, "DBID": 1}


def row(word: str, obj: dict[str, Any], folder: int = 0) -> Row:
    return SCHEMA.object_type(word).number, obj, folder


def objects(*rows: Row) -> list[FileObject]:
    """The objects of a source beside the tenant; there must be no warnings."""
    (_, *found), warnings = read_numbered([ENVIRONMENT, *rows])
    assert not warnings
    return found


def warned(*rows: Row) -> tuple[list[FileObject], list[str]]:
    (_, *found), warnings = read_numbered([ENVIRONMENT, *rows])
    return found, warnings


def findings(*rows: Row) -> Any:
    found, _ = read_numbered([ENVIRONMENT, *rows])
    return check(Workspace(found, Bench().directory()))


@pytest.fixture
def bench() -> Bench:
    return Bench()


# links


def test_links_of_every_sort_become_keys() -> None:
    ada, place, skill, group, inner, _ = objects(
        row("person", {**ADA, "agentInfo": {"placeDBID": 7, "skillLevels": [{"skillDBID": 11, "level": 5}]}}),
        row("place", {"DBID": 7, "name": "p", "tenantDBID": 1}),
        row("skill", {"DBID": 11, "name": "s", "tenantDBID": 1}),
        row("agentGroup", {"DBID": 31, "groupInfo": {"DBID": 31, "name": "g", "tenantDBID": 1}, "agentDBIDs": [501]}),
        row("accessGroup", {"DBID": 32, "groupInfo": {"name": "a", "tenantDBID": 1}, "memberIDs": [
            {"DBID": 501, "type": 3}, {"DBID": 33, "type": 21}]}),
        row("accessGroup", {"DBID": 33, "groupInfo": {"name": "b", "tenantDBID": 1}}),
    )  # fmt: skip
    assert ada.key == Key(3, (HOME, "ada"))
    assert ada.values["tenantDBID"] == HOME
    assert ada.values["agentInfo"] == {"placeDBID": place.key, "skillLevels": [{"skillDBID": skill.key, "level": 5}]}
    assert group.values == {"groupInfo": {"name": "g", "tenantDBID": HOME}, "agentDBIDs": [ada.key]}
    assert inner.values["memberIDs"] == [
        {"DBID": ada.key, "type": 3},
        {"DBID": Key(21, (HOME, "b")), "type": 21},
    ]


def test_a_number_with_its_type_beside_it_becomes_a_key() -> None:
    _, group, host, zone, odd = warned(
        row("campaign", {"DBID": 5, "name": "c", "tenantDBID": 1}),
        row("campaignGroup", {"DBID": 6, "name": "cg", "campaignDBID": 5, "groupDBID": 31, "groupType": 5}),
        row("host", {"DBID": 71, "name": "h", "resources": [{"resourceType": ZONE, "objectDBID": 8}]}),
        row("timeZone", {"DBID": 8, "name": "z", "tenantDBID": 1}),
        row("host", {"DBID": 72, "name": "i", "resources": [{"resourceType": PORT, "objectDBID": 8}]}),
        row("agentGroup", {"DBID": 31, "groupInfo": {"name": "g", "tenantDBID": 1}}),
    )[0][:5]
    assert group.values["groupDBID"] == Key(5, (HOME, "g"))
    assert group.key == Key(38, (Key(27, (HOME, "c")), "cg"))
    assert host.values["resources"] == [{"resourceType": ZONE, "objectDBID": zone.key}]
    assert odd.values["resources"] == [{"resourceType": PORT, "objectDBID": 8}]


def test_a_number_of_which_nothing_says_what_it_means_is_told() -> None:
    _, warnings = warned(row("host", {"DBID": 72, "name": "i", "resources": [{"resourceType": PORT, "objectDBID": 8}]}))
    assert warnings == [
        "nothing says what CfgHost.resources.objectDBID with resourceType 2 refers to: "
        "the number is taken over as it is (1 object)"
    ]


@pytest.mark.parametrize("number", [0, 44, 99])
def test_a_link_to_a_type_that_does_not_exist_is_refused(number: int) -> None:
    members = [{"DBID": 8, "type": number}]
    group = row("accessGroup", {"DBID": 32, "groupInfo": {"name": "a", "tenantDBID": 1}, "memberIDs": members})
    with pytest.raises(ConfigurationError, match=f"CfgAccessGroup 32, memberIDs.DBID: .* type {number}"):
        read_numbered([group])


def test_what_the_source_does_not_hold_is_a_missing_dependency_with_object_and_attribute() -> None:
    info = {"placeDBID": 7, "agentLogins": [{"agentLoginDBID": 9}]}
    sub = {**ADA, "tenantDBID": 101, "userProperties": {"s": {"o": 1}}, "agentInfo": info}
    group = {"DBID": 31, "groupInfo": {"name": "g", "tenantDBID": 1, "managerDBIDs": [8]}, "agentDBIDs": [501]}
    found = findings(row("person", sub, 55), row("agentGroup", group))
    assert found.missing_dependencies == {
        "person [#101/ada]": [
            "agentlogin [#9] (agentInfo.agentLogins.agentLoginDBID)",
            "folder [#55] (folder)",
            "place [#7] (agentInfo.placeDBID)",
            "tenant [#101] (tenantDBID)",
        ],
        "agentgroup [Environment/g]": ["person [#8] (groupInfo.managerDBIDs)"],
    }
    assert found.sentences()[0].startswith("person [#101/ada] refers to agentlogin [#9] (agentInfo.agentLogins.")


# names


def test_an_object_that_lacks_a_part_of_its_name_is_told_and_can_be_referred_to() -> None:
    login = {"DBID": 21, "loginCode": "4711"}
    found = findings(
        row("agentLogin", login),
        row("person", {**ADA, "agentInfo": {"agentLogins": [{"agentLoginDBID": 21}]}}),
        row("agentGroup", {"DBID": 31, "groupInfo": {}}),
        row("folder", {"DBID": 41, "type": 3, "ownerID": OWNER}),
        row("agentLogin", {"DBID": 22, "loginCode": "4711"}),
    )
    assert found.missing_properties == {
        "agentlogin [#21]": ["switch"],
        "agentgroup [#31]": ["group.name", "group.tenant"],
        "folder [#41]": ["name"],
        "agentlogin [#22]": ["switch"],
    }
    assert not found.missing_dependencies


def test_a_dn_needs_no_name_and_a_voice_prompt_no_switch() -> None:
    switch, dn, prompt, office = objects(
        row("switch", {"DBID": 41, "name": "east", "tenantDBID": 1, "physSwitchDBID": 51}),
        row("dn", {"DBID": 61, "tenantDBID": 1, "switchDBID": 41, "type": 1, "number": "5001", "routeType": 1}),
        row("voicePrompt", {"DBID": 62, "tenantDBID": 1, "name": "hello"}),
        row("physicalSwitch", {"DBID": 51, "name": "office", "type": 1}),
    )
    assert dn.key == Key(2, (HOME, switch.key, "5001", 1, ""))
    assert prompt.key == Key(31, (HOME, None, "hello"))
    assert not any(each.lacks for each in (switch, dn, prompt, office))


def test_of_two_objects_with_one_name_the_first_counts() -> None:
    found, warnings = warned(
        row("format", {"DBID": 1, "name": "f", "tenantDBID": 1}),
        row("format", {"DBID": 2, "name": "f", "tenantDBID": 1, "description": "other"}),
        row("format", {"DBID": 1, "name": "g", "tenantDBID": 1}),
        row("filter", {"DBID": 3, "name": "x", "tenantDBID": 1, "formatDBID": 2}),
    )
    assert [full_text(each.key) for each in found] == ["format [Environment/f]", "filter [Environment/x]"]
    assert "description" not in found[0].values
    assert found[1].values["formatDBID"] == found[0].key
    assert warnings == [
        "CfgFormat 1 is there twice: the first counts",
        "CfgFormat 2: format [Environment/f] is CfgFormat 1 already: the first counts",
    ]


def test_objects_without_a_number_are_told_apart_by_their_names() -> None:
    one, two = objects(row("host", {"name": "a"}), row("host", {"name": "b"}))
    assert (one.key, two.key) == (Key(10, ("a",)), Key(10, ("b",)))
    assert one.where == "CfgHost"


# what is not taken over


def test_last_logins_passwords_and_unknown_attributes_are_left_out_and_told() -> None:
    person = {**ADA, "password": "swordfish", "newer": 5, "agentInfo": {"newer": {}}}
    found, warnings = warned(
        row("person", person),
        row("person", {**ADA, "DBID": 502, "employeeID": "bob", "newer": 6, "password": ""}),
        row("personLastLogin", {"DBID": 9, "personDBID": 501}),
        row("personLastLogin", {"DBID": 10, "personDBID": 501}),
    )
    assert found[0].values["agentInfo"] == {}
    assert not {"password", "newer", "DBID"} & found[0].values.keys()
    assert warnings == [
        "CfgPerson.newer is not known to this release: it is left out (2 objects)",
        "CfgPerson.agentInfo.newer is not known to this release: it is left out (1 object)",
        "passwords are never taken over: 1 are left out, set them anew",
        "last-login records are no configuration: 2 are left out",
    ]
    assert "swordfish" not in "".join(warnings)


def test_what_a_server_sets_is_never_changed_by_an_import(bench: Bench) -> None:
    dbid = bench.create("person", {**ADA, "DBID": 0, "password": "first"})
    before = bench.get("person", dbid)
    password = {"passwordHashAlgorithm": 7, "PasswordUpdatingDate": 5}
    found = objects(row("person", {**ADA, "isAgent": 2, **password, "emailAddress": "a@b.c"}))
    bench.bring_objects(found)
    assert bench.get("person", dbid) == {**before, "emailAddress": "a@b.c"}
    assert not bench.bring_objects(found).operations


def test_attributes_without_a_property_of_the_json_form_are_taken_over(bench: Bench) -> None:
    prototype = {"DBID": 5, "name": "p", "type": 1, "version": "8"}
    server = {"backupServerDBID": 0, "hostDBID": 71, "port": "4000"}
    application = {
        "DBID": 6, "name": "a", "appPrototypeDBID": 5, "type": 1, "version": "8.1", "startupType": 2,
        "serverInfo": server, "commandLine": "run", "workDirectory": "/",
        "resources": [{"resourceType": 1, "description": "kept"}],
    }  # fmt: skip
    host = {"DBID": 71, "name": "h", "type": 1, "LCAPort": "1", "OSinfo": {"OStype": 1}}
    bench.bring_objects(objects(row("appPrototype", prototype), row("application", application), row("host", host)))
    made = bench.get("application", 101)
    assert (made["version"], made["startupType"], made["serverInfo"]["port"]) == ("8.1", 2, "4000")
    assert made["resources"] == [{"resourceType": 1, "description": "kept"}]


# what is required


def test_an_absent_attribute_is_required_only_where_its_default_is_no_value() -> None:
    found = findings(
        row("host", {"DBID": 71, "name": "h", "LCAPort": "1"}),
        row("field", {"DBID": 1, "name": "f", "tenantDBID": 1, "type": 1, "fieldType": 1}),
        row("switch", {"DBID": 41, "name": "east", "tenantDBID": 1, "physSwitchDBID": 0}),
        row("gvpCustomer", {"DBID": 42, "name": "c", "tenantDBID": 1}),
        row("alarmCondition", {"DBID": 43, "name": "a", "alarmDetectEvent": {}, "category": 1}),
        row("alarmCondition", {"DBID": 44, "name": "b", "category": 1}),
        row("campaign", {"DBID": 5, "name": "c", "tenantDBID": 1}),
        row("campaignGroup", {"DBID": 6, "name": "cg", "campaignDBID": 5}),
    )
    assert found.missing_properties == {
        "host [h]": ["type"],
        "switch [Environment/east]": ["physicalSwitch"],
        "alarmcondition [b]": ["alarmDetectEvent"],
        "campaigngroup [name: 'cg', campaign: 'Environment/c']": ["group"],
    }


# folders


def test_the_folder_is_said_by_the_object_or_by_the_folder() -> None:
    persons = {"DBID": 3, "name": "Persons", "type": 3, "ownerID": OWNER}
    team = {"DBID": 201, "name": "Team", "type": 3, "ownerID": OWNER, "parentID": {"DBID": 3, "type": FOLDER}}
    held = {**team, "objectIDs": [{"type": 3, "DBID": 501}, {"type": 3, "DBID": 502}]}
    bob = {**ADA, "DBID": 502, "employeeID": "bob"}
    folder, ada, other = objects(
        row("folder", persons), row("folder", held, 3), row("person", ADA), row("person", bob, 3)
    )
    assert folder.key == Key(FOLDER, (HOME, 3, ("Persons", "Team")))
    assert folder.folder == Key(FOLDER, (HOME, 3, ("Persons",)))
    assert "objectIDs" not in folder.values
    assert ada.folder == folder.key
    assert other.folder == folder.folder, "what the object says counts"


def test_default_folders_that_a_server_makes_itself_are_left_to_it(bench: Bench) -> None:
    state = {"state": 1, "folderClass": 1}
    sub = {"type": TENANT, "DBID": 101}
    rows = [
        (TENANT, {"DBID": 101, "name": "Sub", "state": 1}, 0),
        row("folder", {"DBID": 200, "name": "Persons", "type": 3, "ownerID": sub, **state}),
        row("folder", {"DBID": 201, "name": "Skills", "type": 13, "ownerID": sub, **state, "description": "ours"}),
        row("folder", {"DBID": 202, "name": "Hosts", "type": 10, "ownerID": OWNER, **state}),
        row("folder", {"DBID": 203, "name": "Hosts", "type": 10, "ownerID": sub, **state}),
        row("skill", {"DBID": 11, "name": "s", "tenantDBID": 101}, 201),
    ]
    found = objects(*rows)
    assert [full_text(each.key) for each in found] == [
        "tenant [Sub]",
        "folder [type: 'skill', owner: 'tenant/Sub', path: 'Skills']",
        "folder [type: 'host', owner: 'tenant/Sub', path: 'Hosts']",
        "skill [Sub/s]",
    ]
    plan = make_plan(Workspace(found, bench.directory()))
    assert words(plan.operations) == ["create tenant Sub", "create folder ('Hosts',)", "create skill s"]
    assert [each.key.parts[-1] for each in plan.late] == [("Skills",)]


def test_a_folder_at_the_top_that_is_no_default_folder_goes_where_a_server_puts_it(bench: Bench) -> None:
    rows = [
        row("folder", {"DBID": 200, "name": "Team", "type": 3, "ownerID": OWNER, "parentID": {"type": 7, "DBID": 1}}),
        row("folder", {"DBID": 201, "name": "Inner", "type": 3, "ownerID": OWNER}, 200),
    ]
    team, inner = objects(*rows)
    assert team.key.parts[2] == ("Persons", "Team")
    assert inner.key.parts[2] == ("Persons", "Team", "Inner")
    bench.bring_objects([team, inner])
    assert not bench.bring_objects(objects(*rows)).operations


def test_folders_in_a_circle_and_folders_of_nobody_are_told(bench: Bench) -> None:
    one = {"DBID": 200, "name": "a", "type": 3, "ownerID": OWNER, "parentID": {"type": FOLDER, "DBID": 201}}
    two = {"DBID": 201, "name": "b", "type": 3, "ownerID": OWNER, "parentID": {"type": FOLDER, "DBID": 200}}
    work = Workspace(objects(row("folder", one), row("folder", two)), bench.directory())
    with pytest.raises(ConfigurationError, match="these objects need each other"):
        make_plan(work)
    lost = findings(
        row("folder", {"DBID": 202, "name": "c", "type": 3, "ownerID": {"type": 1, "DBID": 9}}),
        row("folder", {"DBID": 203, "name": "d", "type": 3, "ownerID": OWNER, "parentID": {"type": FOLDER, "DBID": 9}}),
    )
    assert list(lost.missing_dependencies.values()) == [
        ["folder [type: 'person', owner: 'switch/#9', path: 'Persons']", "switch [#9] (ownerID.DBID)"],
        ["folder [#9] (folder)"],
    ]


# members of roles


def test_members_of_roles_are_whoever_has_the_number(bench: Bench) -> None:
    members = [{"objectDBID": number} for number in (501, 31, 7, 8)] + [{"objectDBID": 7, "objectType": 21}]
    role = {"DBID": 1, "name": "r", "tenantDBID": 1, "state": 1, "members": members}
    group = {"groupInfo": {"name": "g", "tenantDBID": 1}}
    found, warnings = warned(
        row("role", role),
        row("person", ADA),
        row("person", {**ADA, "DBID": 7, "employeeID": "bob", "userName": "bob"}),
        row("accessGroup", {"DBID": 7, **group}),
        row("accessGroup", {"DBID": 31, "groupInfo": {"name": "h", "tenantDBID": 1}}),
    )
    ada, group_g, group_h = Key(3, (HOME, "ada")), Key(21, (HOME, "g")), Key(21, (HOME, "h"))
    assert found[0].values["members"] == [{"objectDBID": key} for key in (ada, group_h, group_g)]
    assert warnings == [
        "CfgRole 1, members: 7 means person [Environment/bob] or accessgroup [Environment/g]: it is left out",
        "CfgRole 1, members: 8 means nobody who is known: it is left out",
    ]
    plan = make_plan(Workspace(found, bench.directory()))
    first, second = batches(plan.operations)
    assert words(tuple(second)) == ["create role r"]
    assert len(first) == 4
    bench.bring_objects(found)
    made = {bench.directory().find(key) for key in (ada, group_g, group_h)}
    assert {member["objectDBID"] for member in bench.get("role", 101)["members"]} == made


@pytest.mark.parametrize("given", [3, "3", "CFGPerson", "person"])
def test_the_type_of_a_member_may_be_a_number_or_a_name(given: Any) -> None:
    member = {"objectDBID": 501, "objectType": given}
    role, _ = objects(row("role", {"DBID": 1, "name": "r", "members": [member]}), row("person", ADA))
    assert role.values["members"] == [{"objectDBID": Key(3, (HOME, "ada"))}]


def test_a_member_of_a_type_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"CfgRole 1, members.objectType: 'wombat' is no CfgObjectType"):
        objects(row("role", {"DBID": 1, "name": "r", "members": [{"objectDBID": 1, "objectType": "wombat"}]}))
