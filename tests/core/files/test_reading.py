"""Reading configuration files: variables, repetitions, kinds of values, and what is told about mistakes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from csproxy.core.files.keys import Key, full_text, tenant_key
from csproxy.core.files.reading import FileObject, read_file
from csproxy.errors import ConfigurationError

HERE = tenant_key("Environment")


def read(document: Any, **environment: str) -> tuple[list[FileObject], list[str]]:
    text = document if isinstance(document, str) else json.dumps(document, ensure_ascii=False)
    return read_file(text.encode(), environment)


def one(kind: str, **properties: Any) -> FileObject:
    objects, warnings = read({kind: [properties]})
    assert not warnings
    (found,) = objects
    return found


def test_an_object_has_its_key_and_its_attributes_with_keys_for_links() -> None:
    person = one(
        "persons",
        tenant="Environment",
        employeeId="e1",
        agent=True,
        appRanks={"advisors": "user"},
        agentInfo={
            "place": "P1",
            "skillLevels": {"english": 5},
            "agentLogins": [{"agentLogin": {"loginCode": "77", "switch": "east"}, "wrapupTime": 9}],
        },
        folder={"type": "person", "owner": {"type": "tenant", "name": "Environment"}, "path": ["Persons", "Team"]},
    )
    assert person.key == Key(3, (HERE, "e1"))
    assert person.folder == Key(22, (HERE, 3, ("Persons", "Team")))
    assert person.values["isAgent"] == 2
    assert person.values["appRanks"][0]["appRank"] == 1
    info = person.values["agentInfo"]
    assert info["placeDBID"] == Key(4, (HERE, "P1"))
    assert info["skillLevels"] == [{"skillDBID": Key(13, (HERE, "english")), "level": 5}]
    login = Key(15, (Key(1, (HERE, "east")), "77"))
    assert info["agentLogins"] == [{"agentLoginDBID": login, "wrapupTime": 9}]


@pytest.mark.parametrize(
    ("kind", "properties", "text"),
    [
        ("skills", {"name": "english", "tenant": "Environment"}, "skill [Environment/english]"),
        ("hosts", {"name": "h"}, "host [h]"),
        (
            "dns",
            {"number": "1", "switch": "s", "type": "Extension", "name": "n", "tenant": "T"},
            "dn [number: '1', switch: 's', type: 'extension', name: 'n', tenant: 'T']",
        ),
        (
            "actionCodes",
            {"name": "a", "type": "transfer", "tenant": "T"},
            "actioncode [name: 'a', type: 'transfer', tenant: 'T']",
        ),
        ("agentGroups", {"group": {"name": "g", "tenant": "T"}}, "agentgroup [T/g]"),
        (
            "folders",
            {
                "name": "f",
                "type": "person",
                "folder": {"type": "person", "owner": {"type": "tenant", "name": "T"}, "path": ["Persons"]},
            },
            "folder [type: 'person', owner: 'tenant/T', path: 'Persons/f']",
        ),
        (
            "enumeratorValues",
            {"enumerator": "e", "name": "v", "tenant": "T"},
            "enumeratorvalue [name: 'v', enumerator: 'T/e']",
        ),
        ("agentLogins", {"loginCode": "7", "switch": "s", "tenant": "T"}, "agentlogin [loginCode: '7', switch: 'T/s']"),
        (
            "campaignGroups",
            {"campaign": {"name": "c", "tenant": "T"}, "name": "g"},
            "campaigngroup [name: 'g', campaign: 'T/c']",
        ),
    ],
)
def test_an_object_is_named_in_results_by_its_reference(kind: str, properties: dict[str, Any], text: str) -> None:
    assert full_text(one(kind, **properties).key) == text


def test_the_tenant_of_a_reference_is_that_of_the_object_that_holds_it() -> None:
    assert one("tenants", name="T", defaultCapacityRule="r").values["defaultCapacityRuleDBID"] == Key(
        12, (tenant_key("T"), "r")
    )
    group = one("agentGroups", group={"name": "g", "tenant": "T", "managers": ["0"]}).values["groupInfo"]
    assert group["managerDBIDs"] == [Key(3, (tenant_key("T"), "0"))]
    alarm = one("alarmConditions", name="a", alarmDetectScript={"name": "s", "tenant": "T"})
    assert alarm.values["alarmDetectScriptDBID"] == Key(12, (tenant_key("T"), "s"))
    with pytest.raises(ConfigurationError, match="has no tenant: name the tenant in it"):
        one("alarmConditions", name="a", alarmDetectScript="s")


def test_a_campaign_group_says_the_type_of_its_group() -> None:
    given = one("campaignGroups", campaign="c", tenant="T", name="n", group={"groupType": "placegroup", "name": "g"})
    assert given.values["groupDBID"] == Key(6, (tenant_key("T"), "g"))
    assert given.values["groupType"] == 6


def test_option_values_keep_their_kind() -> None:
    options = one("hosts", name="h", userProperties={"s": {"a": 1, "b": "1", "c": {"$base64": "AAE="}}})
    assert options.values["userProperties"] == {"s": {"a": 1, "b": "1", "c": b"\0\1"}}


def test_null_is_the_same_as_absent() -> None:
    assert "state" not in one("hosts", name="h", state=None).values


def test_variables_come_from_the_environment_in_texts_and_for_numbers() -> None:
    objects, _ = read('{"hosts": [{"name": "${H}", "lcaPort": "${P}"}], "scripts": []}', H='a "quoted" ☃', P="4999")
    assert objects[0].values["name"] == 'a "quoted" ☃'
    (script,), _ = read('{"scripts": [{"name": "s", "tenant": "T", "index": ${I}}]}', I="5")
    assert script.values["index"] == 5
    (host,), _ = read('{"hosts": [{"name": "\\u0024{H}"}]}')
    assert host.values["name"] == "${H}", "an escaped dollar sign is no variable"
    with pytest.raises(ConfigurationError, match=r"line 2: the environment has no variable NOBODY"):
        read('{"hosts": [\n{"name": "${NOBODY}"}]}')


def test_the_same_key_twice_counts_once() -> None:
    objects, warnings = read({"hosts": [{"name": "h", "ipAddress": "1"}, {"name": "h", "ipAddress": "2"}]})
    assert [each.values["IPaddress"] for each in objects] == ["1"]
    assert warnings == ["hosts[1]: host [h] stands in the file already: the first counts"]


def test_what_is_not_known_is_ignored_with_a_warning() -> None:
    objects, warnings = read(
        {
            "tenants": [{"name": "T", "serviceProvider": True}],
            "applications": [{"name": "a", "serverInfo": {"port": "1", "timeout": 2}}],
            "wombats": [{}],
        }
    )
    assert len(objects) == 2
    assert warnings == [
        "tenants[0] has no property serviceProvider: it is ignored",
        "applications[0].serverInfo has no property port: it is ignored",
        "there is no kind of objects 'wombats': it is ignored",
    ]
    assert not read({"roles": [{"name": "r", "tenant": "T", "members": ["person/0"]}]})[1]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[]", "not a JSON object"),
        ("{", "not JSON"),
        ({"__metadata__": {"formatName": "RAW"}}, "format RAW"),
        ({"__metadata__": {"formatVersion": "2.0.0"}}, "2.0.0"),
        ({"__metadata__": 1}, "__metadata__"),
        ({"hosts": {}}, "hosts is not a list"),
        ({"hosts": [1]}, r"hosts\[0\] is not an object"),
        ({"hosts": [{}]}, r"hosts\[0\] has no name"),
        ({"skills": [{"name": "s"}]}, r"skills\[0\] has no tenant"),
        ({"skills": [{"name": "s", "tenant": 5}]}, "tenant: 5 is not a name"),
        ({"hosts": [{"name": "h", "state": "on"}]}, r"hosts\[0\].state: 'on' is no CfgObjectState"),
        ({"hosts": [{"name": "h", "osInfo": "x"}]}, "osInfo is not an object"),
        ({"hosts": [{"name": ["h", 1]}]}, "is not a text"),
        ({"hosts": [{"name": "h", "userProperties": {"s": 1}}]}, "object of sections"),
        ({"hosts": [{"name": "h", "userProperties": {"s": {"o": 1.5}}}]}, "s.o: 1.5 is neither"),
        ({"hosts": [{"name": "h", "userProperties": {"s": {"o": {"$base64": "?"}}}}]}, "not base64"),
        ({"scripts": [{"name": "s", "tenant": "T", "index": "x"}]}, "index: 'x' is not a whole number"),
        ({"persons": [{"tenant": "T", "employeeId": "e", "agent": "perhaps"}]}, "neither true nor false"),
        ({"persons": [{"tenant": "T", "employeeId": "e", "appRanks": []}]}, "appRanks is not an object"),
        ({"places": [{"tenant": "T", "name": "p", "dns": "5"}]}, "dns is not a list"),
        ({"places": [{"tenant": "T", "name": "p", "dns": ["5"]}]}, "is an object of switch, number, type, name"),
        ({"places": [{"tenant": "T", "name": "p", "dns": [{"number": "5"}]}]}, "has no switch"),
        ({"places": [{"tenant": "T", "name": "p", "site": "x"}]}, "a folder is an object of type, owner and path"),
        ({"folders": [{"name": "f"}]}, "has no folder"),
        ({"gvpResellers": [{"name": "g", "tenant": "T", "startDate": "soon"}]}, "'soon' is no date"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_saying_where(document: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read(document)


def test_another_encoding_is_refused_with_the_position_of_the_byte() -> None:
    with pytest.raises(ConfigurationError, match="not UTF-8: byte 20 is 0xe9"):
        read_file(b'{"hosts": [{"name": \xe9}]}', {})
    objects, _ = read_file('\ufeff{"hosts": [{"name": "é"}]}'.encode(), {})
    assert objects[0].values["name"] == "é"


def test_dates_are_moments_or_milliseconds() -> None:
    def start(value: Any) -> Any:
        return one("gvpResellers", name="g", tenant="T", startDate=value).values["startDate"]

    assert start("2025-01-31T00:00:00.000+0000") == start("2025-01-31") == start(1738281600000) == 1738281600
