"""Corners of files: values that are left open or say nothing, links that lead nowhere, states of groups."""

from __future__ import annotations

import json
from typing import Any

import pytest

from csproxy.core.files.batches import batches
from csproxy.core.files.keys import Directory, Key, full_text, tenant_key
from csproxy.core.files.kinds import KINDS, kind_of
from csproxy.core.files.operations import CREATE, Operation
from csproxy.core.files.ordering import Step, in_order
from csproxy.core.files.reading import FileObject, read_file
from csproxy.core.files.writing import write_file
from csproxy.core.rules import state_path
from tests.core.files.bench import Bench, words

T = "Environment"
HERE = tenant_key(T)
FOLDER = 22


@pytest.fixture
def bench() -> Bench:
    return Bench()


def one(kind: str, **properties: Any) -> FileObject:
    (found,), warnings = read_file(json.dumps({kind: [properties]}).encode(), {})
    assert not warnings
    return found


# kinds and their states


def test_every_kind_has_a_state() -> None:
    assert {state_path(kind.type) for kind in KINDS} == {"state", "groupInfo.state"}


def test_a_kind_shows_itself_by_its_name_in_files() -> None:
    assert repr(kind_of(5)) == "<Kind agentGroups>"


def test_a_change_of_the_state_of_a_group_is_a_transaction_of_its_own(bench: Bench) -> None:
    bench.bring({"agentGroups": [{"group": {"name": name, "tenant": T}} for name in "abcd"]})
    noted = {"tenant": T, "userProperties": {"s": {"o": "v"}}}
    groups = [{"name": "a", **noted}, {"name": "b", **noted}, {"name": "c", "tenant": T, "state": "disabled"}]
    document = {"agentGroups": [{"group": group} for group in [*groups, {"name": "d", **noted, "state": "enabled"}]]}
    cut = [words(tuple(batch)) for batch in batches(bench.plan(document).operations)]
    assert cut == [["update agentgroup a", "update agentgroup b"], ["update agentgroup c"], ["update agentgroup d"]]
    bench.bring(document)
    assert [bench.get("agentGroup", dbid)["groupInfo"]["state"] for dbid in (101, 102, 103, 104)] == [1, 1, 2, 1]


# what is required, and what must exist


@pytest.mark.parametrize(
    ("given", "missing"),
    [({}, {"application [a]": ["appPrototype"]}), ({"appPrototype": ""}, {})],
)
def test_an_application_without_a_prototype_is_not_asked_for_what_servers_need(
    bench: Bench, given: dict[str, str], missing: dict[str, list[str]]
) -> None:
    app = {"name": "a", "autoRestart": True, "redundancyType": "htnohatype", **given}
    assert bench.findings({"applications": [app]}).missing_properties == missing


@pytest.mark.parametrize(
    ("owner", "missing"),
    [
        ({"type": "tenant", "name": T}, {}),
        ({"type": "tenant", "name": "Nowhere"}, {"skill [Environment/s]": ["tenant [Nowhere]"]}),
    ],
)
def test_at_the_top_of_an_owner_it_is_the_owner_that_must_exist(
    bench: Bench, owner: dict[str, str], missing: dict[str, list[str]]
) -> None:
    skill = {"name": "s", "tenant": T, "folder": {"type": "skill", "owner": owner, "path": []}}
    assert bench.findings({"skills": [skill]}).missing_dependencies == missing


# values


def test_null_in_a_nested_structure_is_the_same_as_absent() -> None:
    host = one("hosts", name="h", osInfo={"type": "windows", "version": None})
    assert set(host.values["OSinfo"]) == {"OStype"}


@pytest.mark.parametrize(("given", "number"), [("5", 5), ("-5", -5), (5, 5)])
def test_a_whole_number_may_be_given_as_a_text(given: str | int, number: int) -> None:
    assert one("scripts", name="s", tenant=T, index=given).values["index"] == number


def test_the_group_of_a_campaign_group_given_by_name_alone_is_an_agent_group() -> None:
    values = one("campaignGroups", campaign="c", tenant=T, name="n", group="g").values
    assert values["groupDBID"] == Key(5, (HERE, "g"))
    assert values["groupType"] == 5


# what a directory does not hold


def test_a_directory_knows_the_types_that_were_added() -> None:
    directory = Directory()
    assert directory.types == frozenset()
    directory.add(3, [], [])
    assert directory.types == {3}


def test_objects_of_a_directory_are_replaced_by_what_is_made_of_them() -> None:
    directory = Directory()
    directory.add(3, [{"DBID": 100, "userName": "a"}, {"DBID": 101, "userName": "b"}], [0, 0])
    assert directory.replace(lambda obj: {**obj, "userName": "a"}) == 1
    assert [obj["userName"] for obj in directory.objects(3).values()] == ["a", "a"]


def test_what_is_not_in_a_directory_is_named_by_its_number(bench: Bench) -> None:
    directory = bench.directory()
    assert full_text(directory.key(4, 999)) == "place [#999]"
    assert full_text(directory.key(FOLDER, 777)) == "folder [#777]"
    assert not directory.find(directory.key(4, 999))


def test_links_to_what_cannot_be_read_are_written_by_number(bench: Bench) -> None:
    directory = bench.directory()
    person = {"DBID": 500, "tenantDBID": 1, "employeeID": "e", "agentInfo": {"placeDBID": 999}}
    directory.add(3, [person], [777])
    written = json.loads("".join(write_file(directory)))
    (found,) = (each for each in written["persons"] if each["employeeId"] == "e")
    assert found["agentInfo"] == {"place": "#999"}
    assert found["folder"]["path"] == ["#777"]


def test_no_object_is_called_as_one_that_is_known_by_its_number(bench: Bench) -> None:
    bench.create("host", {"name": "#999", "type": 1, "LCAPort": "1"})
    directory = bench.directory()
    number = directory.key(10, 999)
    assert full_text(number) == full_text(Key(10, ("#999",))) == "host [#999]"
    assert number != Key(10, ("#999",))
    assert not directory.find(number)


def test_a_number_may_stand_where_a_text_is_expected() -> None:
    found = one("dns", number=7001, switch="east", type="acdposition", tenant=T)
    assert found.key.parts[2] == "7001" or "7001" in found.key.parts
    place = one("places", name=5, tenant=T, dns=[{"number": 7001, "switch": "east", "type": "acdposition"}])
    assert place.values["name"] == "5"
    assert "7001" in place.values["DNDBIDs"][0].parts


def test_a_step_that_needs_what_nobody_creates_is_not_held_up() -> None:
    step = Step(Operation(CREATE, one("skills", name="a", tenant=T), {}), frozenset({tenant_key("elsewhere")}))
    assert in_order([step]) == [step.operation]
