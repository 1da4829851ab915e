"""Objects and deltas as JSON, and ``attr=value`` on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from csproxy.core.model import SCHEMA
from csproxy.daemon.assignments import apply_assignments, parse_assignment
from csproxy.daemon.plain import delta_to_json, enumeration_value, object_from_json, object_to_json
from csproxy.daemon.tables import object_columns, object_row
from csproxy.errors import ConfigurationError, ModelError

PERSON = SCHEMA.object_type("person")
APPLICATION = SCHEMA.object_type("application")
STORED: dict[str, Any] = {
    "DBID": 101,
    "userName": "ada",
    "isAgent": 2,
    "state": 1,
    "agentInfo": {"skillLevels": [{"skillDBID": 5, "level": 3}]},
    "appRanks": [{"appType": 1, "appRank": 2}],
    "userProperties": {"section": {"text": "t", "number": 7, "binary": b"\x00\xff"}},
}


def test_enumerations_are_shown_by_name_at_every_depth() -> None:
    shown = object_to_json(PERSON, STORED)
    assert (shown["isAgent"], shown["state"]) == ("CFGTrue", "CFGEnabled")
    assert shown["appRanks"][0]["appType"] == "CFGTServer"
    assert shown["agentInfo"] == STORED["agentInfo"]
    assert list(shown) == list(STORED)


def test_bytes_have_a_form_in_json_and_everything_comes_back() -> None:
    shown = object_to_json(PERSON, STORED)
    assert shown["userProperties"]["section"]["binary"] == {"$base64": "AP8="}
    assert object_from_json(PERSON, json.loads(json.dumps(shown))) == STORED


def test_what_this_release_does_not_know_is_shown_as_it_is() -> None:
    shown = object_to_json(PERSON, {"DBID": 1, "isAgent": 4711, "newThing": [b"x"]})
    assert shown == {"DBID": 1, "isAgent": 4711, "newThing": [{"$base64": "eA=="}]}


def test_a_delta_keeps_its_parts() -> None:
    delta = {
        "state": 2,
        "agentInfo": {"skillLevels": {"added": [{"skillDBID": 6}], "deleted": [{"skillDBID": 5}]}},
        "appRanks": {"changed": [{"appType": 1, "appRank": 3}]},
        "userProperties": {"deleted": {"section": []}, "added": {"s": {"o": b"\x01"}}},
    }
    shown = delta_to_json(PERSON, delta)
    assert shown["state"] == "CFGDisabled"
    assert shown["agentInfo"] == delta["agentInfo"]
    assert shown["appRanks"]["changed"][0]["appType"] == "CFGTServer"
    assert shown["userProperties"] == {"deleted": {"section": []}, "added": {"s": {"o": {"$base64": "AQ=="}}}}


@pytest.mark.parametrize(("value", "number"), [("CFGTServer", 1), ("1", 1), (1, 1), ("4711", 4711)])
def test_an_enumeration_is_given_by_name_or_number(value: object, number: int) -> None:
    assert enumeration_value("CfgAppType", value, where="type") == number


@pytest.mark.parametrize("value", ["CFGTServr", True, 1.5, [], "x"])
def test_a_wrong_enumeration_value_is_refused_with_suggestions(value: object) -> None:
    with pytest.raises(ModelError, match=r"type: .*CfgAppType"):
        enumeration_value("CfgAppType", value, where="type")


def test_a_misspelt_attribute_is_refused_with_the_right_one() -> None:
    with pytest.raises(ModelError, match="CfgPerson has no attribute 'usrName'; is userName meant"):
        object_from_json(PERSON, {"usrName": "x"})
    with pytest.raises(ModelError, match=r"CfgPerson\.agentInfo has no attribute 'skilLevels'; is skillLevels"):
        object_from_json(PERSON, {"agentInfo": {"skilLevels": []}})
    with pytest.raises(ModelError, match=r"a CfgPerson is a JSON object"):
        object_from_json(PERSON, [1])
    with pytest.raises(ModelError, match="is not base64"):
        object_from_json(PERSON, {"userProperties": {"s": {"o": {"$base64": "?"}}}})


def assign(type_: Any, stored: dict[str, Any], *texts: str) -> dict[str, Any]:
    return apply_assignments(type_, stored, [parse_assignment(text) for text in texts])


def test_values_fit_the_attribute() -> None:
    after = assign(
        PERSON,
        STORED,
        "firstName=123",
        'lastName="quoted \\u00e4"',
        "state=CFGDisabled",
        "isAgent=1",
        "agentInfo.placeDBID=9",
        'appRanks=[{"appType": "CFGStatServer", "appRank": 1}]',
    )
    assert (after["firstName"], after["lastName"], after["state"], after["isAgent"]) == ("123", "quoted ä", 2, 1)
    assert after["agentInfo"] == {"skillLevels": [{"skillDBID": 5, "level": 3}], "placeDBID": 9}
    assert after["appRanks"] == [{"appType": 2, "appRank": 1}]
    assert STORED["state"] == 1


def test_options_are_texts_and_their_names_may_hold_dots() -> None:
    after = assign(APPLICATION, {}, "options.log.verbose=all", "options.desk.agent.last-login.enabled=true")
    assert after["options"] == {"log": {"verbose": "all"}, "desk": {"agent.last-login.enabled": "true"}}
    assert assign(APPLICATION, {}, "options.a.b=7")["options"] == {"a": {"b": "7"}}
    assert assign(APPLICATION, {}, 'options.a.b="7 \\u00e4"')["options"] == {"a": {"b": "7 ä"}}
    assert assign(APPLICATION, {}, 'options={"a.b": {"c": 1}}')["options"] == {"a.b": {"c": 1}}


def test_null_clears() -> None:
    after = assign(PERSON, STORED, "userName=null", "agentInfo.skillLevels=null", "userProperties.section.text=null")
    assert "userName" not in after
    assert after["agentInfo"] == {}
    assert "text" not in after["userProperties"]["section"]
    emptied = assign(APPLICATION, {"options": {"a": {"b": "c"}}}, "options.a.b=null", "options.x.y=null")
    assert emptied["options"] == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("usrName=x", "no attribute 'usrName'; is userName meant"),
        ("agentInfo.plac=1", "no attribute 'agentInfo.plac'; is placeDBID meant"),
        ("appRanks.appType=1", r"appRanks is no structure; give its whole value as JSON, as appRanks=\[…\]"),
        ("userProperties.lonely=1", r"userProperties\.section\.option=value"),
        ("tenantDBID=many", "tenantDBID: 'many' is not a number"),
        ("agentInfo=x", "is not a JSON object"),
        ("appRanks=x", "is not a JSON list of objects"),
        ("state=CFGEnabld", "is no CfgObjectState; such as CFGEnabled"),
    ],
)
def test_a_wrong_assignment_names_the_attribute_and_what_is_valid(text: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        assign(PERSON, STORED, text)


@pytest.mark.parametrize("text", ["userName", "=x", ""])
def test_an_assignment_has_an_equals_sign(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not of the form attribute=value"):
        parse_assignment(text)


def test_a_table_shows_what_identifies_the_object() -> None:
    assert object_columns(PERSON) == ["DBID", "User name", "Name", "Employee ID", "Agent", "Tenant", "State", "Folder"]
    stored = {**STORED, "tenantDBID": 1, "firstName": "Ada", "lastName": "L", "employeeID": "7"}
    row = object_row(PERSON, stored, tenants={1: "Environment"}, path=["Configuration", "Persons"])
    assert row == ["101", "ada", "Ada L", "7", "yes", "Environment", "enabled", "Configuration / Persons"]


@pytest.mark.parametrize("number", sorted(SCHEMA.types))
def test_every_type_has_a_table(number: int) -> None:
    type_ = SCHEMA.types[number]
    columns = object_columns(type_)
    assert 2 <= len(columns) <= 8
    assert len(object_row(type_, {"DBID": 5}, tenants={}, path=None)) == len(columns)
