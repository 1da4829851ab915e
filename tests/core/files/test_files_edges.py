"""Corners of configuration files: circles through folders, references with open parts, objects without an owner."""

from __future__ import annotations

import json
from typing import Any

import pytest

from csproxy.core.containers import FOLDER
from csproxy.core.files.keys import Directory, Key, full_text, tenant_key
from csproxy.core.files.reading import FileObject, read_file
from csproxy.core.files.writing import write_file, write_object
from csproxy.errors import ConfigurationError
from tests.core.files.bench import Bench

T = "Environment"
HERE = tenant_key(T)
STRAY = {"type": FOLDER, "DBID": 101}
EAST = {"type": "switch", "name": "east", "tenant": T}


def one(kind: str, **properties: Any) -> FileObject:
    (found,), warnings = read_file(json.dumps({kind: [properties]}).encode(), {})
    assert not warnings
    return found


# ordering


def test_a_switch_in_a_folder_of_its_own_is_refused_because_neither_can_be_created_first() -> None:
    inside = {"type": "folder", "owner": EAST, "path": ["Inner"]}
    document = {
        "physicalSwitches": [{"name": "office", "type": "fujitsu"}],
        "switches": [{"name": "east", "tenant": T, "physicalSwitch": "office", "folder": inside}],
        "folders": [{"name": "Inner", "type": "folder", "folder": {**inside, "path": []}}],
    }
    with pytest.raises(ConfigurationError) as refused:
        Bench().plan(document)
    assert str(refused.value) == (
        "these objects need each other to be created: "
        "folder [type: 'folder', owner: 'switch/Environment/east', path: 'Inner'], switch [Environment/east]"
    )


# reading


def test_an_object_of_a_file_shows_its_reference_when_it_is_printed() -> None:
    assert repr(one("skills", name="english", tenant=T)) == "<FileObject skill [Environment/english]>"


def test_in_a_solution_references_without_a_tenant_belong_to_the_assigned_tenant() -> None:
    place = {"type": "folder", "owner": {"type": "switch", "name": "east"}, "path": ["Inner"]}
    solution = one("services", name="s", assignedTenant=T, folder=place)
    assert solution.folder == Key(FOLDER, (Key(1, (HERE, "east")), FOLDER, ("Inner",)))


def test_a_tenant_may_be_given_as_an_object_with_its_name() -> None:
    given = one("places", name="p", tenant={"name": T}, capacityRule="r")
    assert given.key == Key(4, (HERE, "p"))
    assert given.values["capacityRuleDBID"] == Key(12, (HERE, "r"))


def test_a_type_that_is_part_of_the_key_and_not_given_is_the_one_a_server_sets() -> None:
    code = one("actionCodes", name="break", tenant=T)
    assert code.key == one("actionCodes", name="break", tenant=T, type="noactioncode").key
    assert full_text(code.key) == "actioncode [name: 'break', type: 'noactioncode', tenant: 'Environment']"


def test_a_reference_to_a_voice_prompt_may_leave_the_switch_open() -> None:
    prompt = {"type": "voiceprompt", "name": "hello"}
    (member,) = one("accessGroups", group={"name": "g", "tenant": T}, members=[prompt]).values["memberIDs"]
    free = one("voicePrompts", name="hello", tenant=T)
    assert member["DBID"] == free.key


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"hosts": [{"name": "h", "state": True}]}, r"hosts\[0\].state: True is no CfgObjectState"),
        ({"places": [{"name": "p", "tenant": T, "capacityRule": True}]}, "capacityRule: True is not a name"),
        (
            {"skills": [{"name": "s", "tenant": T, "folder": {"type": "skill", "owner": EAST, "path": "Skills"}}]},
            r"folder.path is not a list of names",
        ),
        (
            {"skills": [{"name": "s", "tenant": T, "folder": {"type": "wombat", "owner": EAST, "path": []}}]},
            r"folder.type: .*wombat",
        ),
    ],
)
def test_a_value_or_reference_of_another_kind_is_refused_saying_where(document: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_file(json.dumps(document).encode(), {})


# writing


def test_a_folder_that_has_no_owner_is_written_as_one_of_environment_and_can_be_imported() -> None:
    directory = Directory()
    kept = {"type": FOLDER, "state": 1, "folderClass": 1}
    stray, inner = {"DBID": 101, "name": "stray"}, {"DBID": 102, "name": "in", "parentID": STRAY}
    directory.add(FOLDER, [{**kept, **stray}, {**kept, **inner}], [0, 101])
    text = "".join(write_file(directory))
    stray, inner = json.loads(text)["folders"]
    assert stray["folder"] == {"type": "folder", "owner": {"type": "tenant", "name": T}, "path": []}
    assert inner["folder"]["path"] == ["stray"]
    bench = Bench()
    bench.bring(text)
    assert not bench.bring(text).operations
    assert json.loads(bench.export())["folders"] == json.loads(text)["folders"]


def test_a_folder_belongs_to_the_owner_of_the_folder_that_it_is_in() -> None:
    directory = Directory()
    directory.add(7, [{"DBID": 1, "name": "Home"}, {"DBID": 101, "name": "Sub"}], [0, 0])
    owned = {"DBID": 101, "name": "stray", "ownerID": {"type": 7, "DBID": 101}}
    inner = {"DBID": 102, "name": "in", "parentID": STRAY}
    directory.add(FOLDER, [owned, inner, {"DBID": 103, "name": "x"}], [0, 101, 0])
    assert directory.key(FOLDER, 102) == Key(FOLDER, (tenant_key("Sub"), FOLDER, ("stray", "in")))
    assert directory.key(FOLDER, 103) == Key(FOLDER, (tenant_key("Home"), FOLDER, ("x",)))


def test_a_member_that_cannot_be_read_is_written_by_its_number() -> None:
    directory = Bench().directory()
    members = [{"type": 3, "DBID": 998}, {"type": 21, "DBID": 999}]
    directory.add(21, [{"DBID": 500, "groupInfo": {"name": "g", "tenantDBID": 1}, "memberIDs": members}], [0])
    groups = json.loads("".join(write_file(directory)))["accessGroups"]
    (written,) = (each["members"] for each in groups if each["group"]["name"] == "g")
    assert written == [{"type": "accessgroup", "name": "#999"}, {"type": "person", "name": "#998"}]


def test_an_object_that_is_in_a_file_only_is_written_as_it_was_given() -> None:
    given = {"name": "p", "tenant": "Sub", "capacityRule": {"name": "r", "tenant": T}, "state": "enabled"}
    place = one("places", **given)
    assert write_object(place.kind, place.values, place.key, Directory()) == given
    mine = one("places", **{**given, "capacityRule": "r"})
    assert write_object(mine.kind, mine.values, mine.key, Directory())["capacityRule"] == "r"
