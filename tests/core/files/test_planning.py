"""Plans: the format's own rules, what is created, updated and left, in which order, and cycles."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.files.batches import Numbering, batches, size_of
from csproxy.core.files.planning import make_plan
from csproxy.errors import ConfigurationError, ModelError
from tests.core.files.bench import Bench, words

T = "Environment"
OFFICE = {"name": "office", "type": "fujitsu"}
SWITCH = {"name": "east", "tenant": T, "physicalSwitch": "office"}
DN = {"number": "1", "switch": "east", "tenant": T, "type": "extension", "routeType": "default"}
PLACE = {"name": "desk", "tenant": T, "dns": [{"number": "1", "switch": "east", "type": "extension"}]}
SITE = {"places": [PLACE], "dns": [DN], "switches": [SWITCH], "physicalSwitches": [OFFICE]}


@pytest.fixture
def bench() -> Bench:
    return Bench()


# the rules


def test_what_is_required_is_asked_of_new_objects_only(bench: Bench) -> None:
    document = {"switches": [{"name": "east", "tenant": T}]}
    assert bench.findings(document).missing_properties == {"switch [Environment/east]": ["physicalSwitch"]}
    bench.bring({"switches": [SWITCH], "physicalSwitches": [OFFICE]})
    assert not bench.findings(document)


def test_nested_requirements_are_named_with_their_path(bench: Bench) -> None:
    found = bench.findings({"alarmConditions": [{"name": "a", "alarmDetectEvent": {"selectionMode": "smbyany"}}]})
    assert found.missing_properties == {"alarmcondition [a]": ["alarmDetectEvent.logEventID", "category"]}
    found = bench.findings({"alarmConditions": [{"name": "a"}]})
    assert found.missing_properties == {"alarmcondition [a]": ["alarmDetectEvent", "category"]}


def test_a_server_needs_a_command_line_and_a_client_does_not(bench: Bench) -> None:
    app = {"name": "a", "autoRestart": True, "redundancyType": "htnohatype"}
    server = bench.findings({"applications": [{**app, "appPrototype": "Generic Server"}]})
    assert server.missing_properties == {"application [a]": ["commandLine", "workDirectory"]}
    assert not bench.findings({"applications": [{**app, "appPrototype": "Generic Client"}]})
    ours = {"appPrototypes": [{"name": "p", "type": "tserver", "version": "1"}]}
    assert bench.findings({**ours, "applications": [{**app, "appPrototype": "p"}]}).missing_properties


def test_a_value_without_a_tenant_is_told_what_it_needs(bench: Bench) -> None:
    found = bench.findings({"enumeratorValues": [{"enumerator": "e", "name": "v"}]})
    assert found.missing_properties == {"enumeratorvalue [name: 'v', enumerator: '/e']": ["displayName", "tenant"]}
    assert not found.missing_dependencies


def test_what_may_not_change_is_refused_when_it_differs(bench: Bench) -> None:
    bench.bring({"switches": [SWITCH], "physicalSwitches": [OFFICE, {"name": "other", "type": "fujitsu"}]})
    found = bench.findings({"switches": [{**SWITCH, "physicalSwitch": "other"}]})
    assert found.unchangeable_properties == {"switch [Environment/east]": ["physicalSwitch"]}
    assert found.sentences() == ["switch [Environment/east] may not change physicalSwitch"]
    assert not bench.findings({"switches": [SWITCH], "physicalSwitches": [{**OFFICE, "type": "Fujitsu"}]})


def test_a_length_of_zero_counts_as_not_set(bench: Bench) -> None:
    field = {"name": "f", "tenant": T, "type": "dtchar", "fieldType": "ftphone", "length": 9}
    bench.bring({"fields": [{**field, "isNullable": True, "isPrimaryKey": False, "isUnique": False}]})
    assert not bench.findings({"fields": [{**field, "length": 0}]})
    assert bench.findings({"fields": [{**field, "length": 8}]}).unchangeable_properties == {
        "field [Environment/f]": ["length"]
    }


def test_the_folder_of_an_object_may_not_change(bench: Bench) -> None:
    owner = {"type": "tenant", "name": T}
    team = {"name": "Team", "type": "skill", "folder": {"type": "skill", "owner": owner, "path": ["Skills"]}}
    skill = {"name": "english", "tenant": T}
    bench.bring({"skills": [skill], "folders": [team]})
    elsewhere = {**skill, "folder": {"type": "skill", "owner": owner, "path": ["Skills", "Team"]}}
    assert bench.findings({"skills": [elsewhere]}).unchangeable_properties == {
        "skill [Environment/english]": ["folder"]
    }
    assert not bench.findings({"skills": [{**skill, "folder": team["folder"]}]})


def test_what_is_referred_to_must_exist_or_be_in_the_file(bench: Bench) -> None:
    missing = bench.findings({"places": [PLACE], "tenants": [{"name": "T", "defaultCapacityRule": "r"}]})
    assert missing.missing_dependencies == {
        "place [Environment/desk]": ["dn [number: '1', switch: 'east', type: 'extension', tenant: 'Environment']"],
        "tenant [T]": ["script [T/r]"],
    }
    assert "refers to script [T/r], which does not exist" in missing.sentences()[1]
    assert not bench.findings(SITE)
    nobody = bench.findings({"skills": [{"name": "s", "tenant": "Nowhere"}]})
    assert nobody.missing_dependencies == {"skill [Nowhere/s]": ["tenant [Nowhere]"]}


def test_a_site_is_a_folder_and_not_the_top_of_its_owner(bench: Bench) -> None:
    owner = {"type": "tenant", "name": T}
    nowhere = {**PLACE, "site": {"type": "folder", "owner": owner, "path": []}}
    found = bench.findings({**SITE, "places": [nowhere]})
    assert found.missing_dependencies == {
        "place [Environment/desk]": ["folder [type: 'folder', owner: 'tenant/Environment', path: '']"]
    }


# create, update, skip


def test_what_is_referred_to_is_created_first(bench: Bench) -> None:
    assert words(bench.bring(SITE).operations) == [
        "create physicalswitch office",
        "create switch east",
        "create dn ",
        "create place desk",
    ]
    place = bench.get("place", 101)
    assert place["DNDBIDs"] == [101]


def test_a_second_import_leaves_everything_as_it_is(bench: Bench) -> None:
    bench.bring(SITE)
    before = bench.cache.position
    plan = bench.bring(SITE)
    assert plan.operations == ()
    assert len(plan.skipped) == 4
    assert bench.cache.position == before


def test_absent_properties_stay_and_given_ones_replace(bench: Bench) -> None:
    skill = {"name": "english", "tenant": T, "userProperties": {"s": {"number": 456, "string": "def"}}}
    bench.bring({"skills": [skill]})
    bench.bring({"skills": [{"name": "english", "tenant": T, "state": "disabled"}]})
    assert bench.get("skill", 101)["userProperties"] == skill["userProperties"]
    bench.bring({"skills": [{"name": "english", "tenant": T, "userProperties": {"s": {"string": "abc"}}}]})
    assert bench.get("skill", 101)["userProperties"] == {"s": {"string": "abc"}}
    assert bench.get("skill", 101)["state"] == 2


def test_a_nested_structure_is_completed_not_replaced(bench: Bench) -> None:
    host = {"name": "h", "lcaPort": "4999", "type": "networkserver", "osInfo": {"type": "windows", "version": "8"}}
    bench.bring({"hosts": [host]})
    bench.bring({"hosts": [{"name": "h", "osInfo": {"version": "9"}}]})
    assert bench.get("host", 101)["OSinfo"]["OSversion"] == "9"
    assert len(bench.get("host", 101)["OSinfo"]) == 2


def test_a_password_of_a_person_is_set_anew_and_a_tenants_is_not(bench: Bench) -> None:
    document = {
        "persons": [{"tenant": T, "employeeId": "e", "userName": "u", "password": "secret"}],
        "tenants": [{"name": "T", "password": "secret"}],
    }
    bench.bring(document)
    plan = bench.plan(document)
    assert words(plan.operations) == ["update person e"]
    assert [each.kind.name for each in plan.skipped] == ["tenants"]


def test_a_dn_without_a_name_is_the_only_one_with_its_number(bench: Bench) -> None:
    bench.bring(
        {"switches": [SWITCH], "physicalSwitches": [OFFICE], "dns": [{**DN, "name": "front"}], "places": [PLACE]}
    )
    assert bench.get("place", 101)["DNDBIDs"] == [101]
    assert words(bench.plan({"dns": [{**DN, "trunks": 3}]}).operations) == ["update dn front"]
    bench.bring({"dns": [{**DN, "name": "back"}]})
    assert bench.findings({"places": [PLACE]}).missing_dependencies, "two of them: it cannot be told which is meant"


def test_folders_are_found_by_path_and_made_where_they_belong(bench: Bench) -> None:
    owner = {"type": "tenant", "name": T}
    top = {"name": "Site", "type": "folder", "folderClass": "site"}
    bench.bring(
        {
            "folders": [
                {**top, "folder": {"type": "folder", "owner": owner, "path": []}},
                {"name": "inner", "folder": {"type": "person", "owner": owner, "path": ["Persons", "Team"]}},
                {"name": "Team", "folder": {"type": "person", "owner": owner, "path": []}},
            ],
            "places": [{"name": "p", "tenant": T, "site": {"type": "folder", "owner": owner, "path": ["Site"]}}],
        }
    )
    directory = bench.directory()
    texts = {directory.key(22, dbid).parts[2] for dbid in directory.objects(22)}
    assert {("Site",), ("Persons", "Team"), ("Persons", "Team", "inner")} <= texts
    again = {
        "folders": [{"name": "Team", "description": "d", "folder": {"type": "person", "owner": owner, "path": []}}]
    }
    assert words(bench.plan(again).operations) == [f"update folder {('Persons', 'Team')}"]


def test_folders_that_come_with_their_owner_are_not_created(bench: Bench) -> None:
    owner = {"type": "switch", "name": "east", "tenant": T}
    inner = {"name": "Lines", "type": "dn", "folder": {"type": "dn", "owner": owner, "path": ["DNs"]}}
    dns = {"name": "DNs", "type": "dn", "description": "ours", "folder": {"type": "dn", "owner": owner, "path": []}}
    dn = {**DN, "folder": {"type": "dn", "owner": owner, "path": ["DNs", "Lines"]}}
    other = {**DN, "number": "2", "folder": {"type": "dn", "owner": owner, "path": ["DNs"]}}
    plan = bench.bring(
        {"folders": [inner, dns], "dns": [dn, other], "switches": [SWITCH], "physicalSwitches": [OFFICE]}
    )
    assert [each.key.parts[2] for each in plan.late] == [("DNs",)]
    directory = bench.directory()
    paths = [directory.key(22, directory.folder_of(2, dbid)).parts[2] for dbid in sorted(directory.objects(2))]
    assert paths == [("DNs", "Lines"), ("DNs",)]


# cycles


def test_a_cycle_is_broken_by_creating_and_then_updating(bench: Bench) -> None:
    plan = bench.bring(
        {
            "tenants": [{"name": "T", "defaultCapacityRule": "r"}],
            "scripts": [{"name": "r", "tenant": "T", "type": "capacityRule"}],
        }
    )
    assert words(plan.operations) == ["create tenant T", "create script r", "update tenant T"]
    assert bench.get("tenant", 101)["defaultCapacityRuleDBID"] == 101


def test_each_object_of_a_cycle_that_can_wait_waits(bench: Bench) -> None:
    def app(name: str, other: str) -> dict[str, Any]:
        return {
            "name": name,
            "appPrototype": "Generic Server",
            "autoRestart": False,
            "redundancyType": "htnohatype",
            "commandLine": ".",
            "workDirectory": ".",
            "appServers": [{"appServer": other, "id": "default"}, {"appServer": "confserv", "id": "default"}],
        }

    plan = bench.bring({"applications": [app("a", "b"), app("b", "a")]})
    assert [each.action for each in plan.operations] == ["create", "create", "update", "update"]
    directory = bench.directory()
    for dbid, other in ((101, 102), (102, 101)):
        linked = {each["appServerDBID"] for each in directory.objects(9)[dbid]["appServerDBIDs"]}
        assert linked == {99, other}


def test_a_cycle_in_an_agents_structure_keeps_the_structure(bench: Bench) -> None:
    group = {"name": "g", "tenant": T, "managers": ["e"]}
    person = {"tenant": T, "employeeId": "e", "userName": "u", "agent": True, "agentInfo": {"place": "desk"}}
    plan = bench.bring({**SITE, "persons": [person], "agentGroups": [{"group": group, "agents": ["e"]}]})
    assert {each.action for each in plan.operations} == {"create"}, "a group and its agents are no cycle"


def test_a_cycle_in_which_nothing_can_wait_is_refused_with_its_objects(bench: Bench) -> None:
    def tenant(name: str, parent: str) -> dict[str, str]:
        return {"name": name, "parentTenant": parent}

    plan = bench.plan({"tenants": [tenant("a", "b"), tenant("b", "a")]})
    assert [each.action for each in plan.operations] == ["create", "create", "update", "update"]
    formats = {"filters": [{"name": "f", "tenant": T, "format": "x"}], "formats": [{"name": "x", "tenant": T}]}
    assert words(bench.plan(formats).operations) == ["create format x", "create filter f"]


# transactions


def test_a_plan_is_cut_into_transactions_that_count_default_folders(bench: Bench) -> None:
    offices = [{"name": f"o{n}", "type": "fujitsu"} for n in range(400)]
    switches = [{"name": f"s{n}", "tenant": T, "physicalSwitch": f"o{n}"} for n in range(400)]
    work = bench.work({"physicalSwitches": offices, "switches": switches})
    plan = make_plan(work)
    cut = list(batches(plan.operations))
    assert [sum(map(size_of, batch)) <= 1_000 for batch in cut] == [True] * len(cut)
    assert len(cut) == 2
    assert [each for batch in cut for each in batch] == list(plan.operations)
    bench.bring({"physicalSwitches": offices, "switches": switches})
    assert len(bench.directory().objects(1)) == 400


def test_a_change_of_state_is_a_transaction_of_its_own(bench: Bench) -> None:
    bench.bring({"skills": [{"name": name, "tenant": T} for name in "abc"]})
    noted = {"userProperties": {"s": {"o": "v"}}}
    disabled = {"name": "b", "tenant": T, "state": "disabled"}
    plan = bench.plan({"skills": [{"name": "a", "tenant": T, **noted}, disabled, {"name": "c", "tenant": T, **noted}]})
    assert [len(batch) for batch in batches(plan.operations)] == [1, 1, 1]


def test_a_broken_off_import_can_be_repeated(bench: Bench) -> None:
    work = bench.work(SITE)
    plan = make_plan(work)
    numbering = Numbering(work)
    first = list(plan.operations)[:2]
    numbering.done(first, bench._send(numbering.requests(first).complete()))
    rest = bench.bring(SITE)
    assert words(rest.operations) == ["create dn ", "create place desk"]
    assert len(rest.skipped) == 2


def test_requests_can_be_made_while_the_transaction_before_is_on_its_way(bench: Bench) -> None:
    person = {"tenant": T, "employeeId": "1", "userName": "u", "agentInfo": {"place": "desk"}}
    work = bench.work({**SITE, "skills": [{"name": "english", "tenant": T}], "persons": [person]})
    plan = make_plan(work)
    assert words(plan.operations)[2:] == ["create dn ", "create place desk", "create skill english", "create person 1"]
    numbering = Numbering(work)
    first, second = numbering.requests(plan.operations[:4]), numbering.requests(plan.operations[4:])
    answered = bench._send(first.complete())
    assert second.prepare(1)
    assert not second.prepare(5)  # of the person's place nothing is known yet
    numbering.done(first.operations, answered)
    skill, joe = second.complete()
    assert (skill.object["name"], skill.object["DBID"]) == ("english", -1)
    assert joe.object["agentInfo"]["placeDBID"] == answered[3] > 0
    assert bench._send([skill, joe])


def test_what_the_server_refuses_leaves_nothing_behind(bench: Bench) -> None:
    before = bench.cache.position
    same = [{"tenant": T, "employeeId": employee, "userName": "u"} for employee in ("a", "b")]
    with pytest.raises(ModelError, match="change 1: "):
        bench.bring({"persons": same})
    assert bench.cache.position == before


def test_a_number_is_asked_for_only_where_there_is_one(bench: Bench) -> None:
    work = bench.work({"switches": [SWITCH]})
    numbering = Numbering(work)
    with pytest.raises(ConfigurationError, match="neither on the server nor in the file"):
        numbering.requests(make_plan(work).operations).complete()
