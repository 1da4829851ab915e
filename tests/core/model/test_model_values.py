"""Values are read by path, and what does not fit the schema is refused with its place."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.model import SCHEMA, CfgFlag
from csproxy.core.model.values import check_delta, check_object, values
from csproxy.errors import ErrorCode, ModelError

PERSON = SCHEMA.object_type("person")
GROUP = SCHEMA.object_type("agentGroup")
OBJ = {
    "DBID": 5,
    "agentInfo": {"placeDBID": 3, "skillLevels": [{"skillDBID": 7, "level": 1}, {"skillDBID": 8}]},
    "userProperties": {"s": {"o": 1}},
    "address": None,
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("DBID", [5]),
        ("agentInfo.placeDBID", [3]),
        ("agentInfo.skillLevels.skillDBID", [7, 8]),
        ("agentInfo.skillLevels.level", [1]),
        ("agentInfo.agentLogins.agentLoginDBID", []),
        ("firstName", []),
        ("address.line", []),
        ("DBID.deeper", []),
        ("userProperties.s.o", [1]),
    ],
)
def test_values_by_path(path: str, expected: list[Any]) -> None:
    assert values(OBJ, path) == expected


def test_values_of_a_list_of_links_are_flattened() -> None:
    assert values({"agentDBIDs": [1, 2]}, "agentDBIDs") == [1, 2]


@pytest.mark.parametrize(
    "obj",
    [
        OBJ,
        {"firstName": "x" * 64, "state": CfgFlag.CFGTrue, "PasswordUpdatingDate": -(2**31)},
        {"userProperties": {"s": {"text": "t", "number": -1, "bytes": b"\xff"}, "empty": {}}},
        {"agentInfo": {}},
    ],
)
def test_valid_objects_pass(obj: dict[str, Any]) -> None:
    check_object(PERSON, obj)


WRONG_VALUES: list[tuple[dict[str, Any], str, str, int]] = [
    ({"frstName": "A"}, "frstName", "did you mean firstName", 31),
    ({"agentInfo": {"zzz": 1}}, "agentInfo.zzz", "it has placeDBID, skillLevels", 31),
    ({"address": {"line": "x"}}, "address.line", "it has none", 31),
    ({5: 1}, "5", "is not an attribute", 31),  # type: ignore[dict-item]
    ({"firstName": 5}, "firstName", "must be text, not int", 17),
    ({"firstName": "x" * 65}, "firstName", "may have 64 characters, not 65", 17),
    ({"firstName": "a\ud800"}, "firstName", "not valid Unicode at character 1", 17),
    ({"state": "enabled"}, "state", "number of a member of CfgObjectState, not str", 17),
    ({"state": True}, "state", "not bool", 17),
    ({"state": 99}, "state", "99 is none", 17),
    ({"tenantDBID": -1}, "tenantDBID", "must be from 0 to 2147483647, not -1", 17),
    ({"passwordHashAlgorithm": 2**31}, "passwordHashAlgorithm", "must be from -2147483648", 17),
    ({"passwordHashAlgorithm": True}, "passwordHashAlgorithm", "whole number, not bool", 17),
    ({"passwordHashAlgorithm": 1.5}, "passwordHashAlgorithm", "whole number, not float", 17),
    ({"agentInfo": []}, "agentInfo", "must be a map of attributes, not list", 17),
]
WRONG_OPTIONS: list[tuple[Any, str, str]] = [
    ([], "userProperties", "must be a map"),
    ({"s": 1}, "userProperties", "must be a map"),
    ({"": {}}, "userProperties", "without a name"),
    ({"s": {"": 1}}, "userProperties", "without a name"),
    ({"s": {5: 1}}, "userProperties", "must be text"),
    ({"s": {"o": None}}, "userProperties.s/o", "must be text, not NoneType"),
    ({"s": {"o": 2**31}}, "userProperties.s/o", "must be from"),
    ({"s": {"o": True}}, "userProperties.s/o", "not bool"),
]
WRONG_ITEMS: list[tuple[Any, str, str]] = [
    ({"skillDBID": 1}, "agentInfo.skillLevels", "must be a list, not dict"),
    ([1], "agentInfo.skillLevels", "must be a map of attributes, not int"),
    ([{"skillDBID": "x"}], "agentInfo.skillLevels.skillDBID", "must be a whole number"),
]


@pytest.mark.parametrize(("obj", "where", "says", "code"), WRONG_VALUES)
def test_wrong_values_are_refused_in_objects_and_deltas(obj: dict[str, Any], where: str, says: str, code: int) -> None:
    for check in (check_object, check_delta):
        with pytest.raises(ModelError, match=f"^CfgPerson.{where} .*{says}") as caught:
            check(PERSON, obj)
        assert (caught.value.code, caught.value.property_name, caught.value.object_type) == (code, where, 3)


@pytest.mark.parametrize(("value", "where", "says"), WRONG_OPTIONS)
def test_wrong_options_are_refused(value: Any, where: str, says: str) -> None:
    for check, obj in (
        (check_object, value),
        (check_delta, {"added": value}),
        (check_delta, {"changed": value}),
    ):
        with pytest.raises(ModelError, match=says) as caught:
            check(PERSON, {"userProperties": obj})
        assert (caught.value.code, caught.value.property_name) == (ErrorCode.VALUE_OUT_OF_RANGE, where)


@pytest.mark.parametrize(("value", "where", "says"), WRONG_ITEMS)
def test_wrong_list_items_are_refused(value: Any, where: str, says: str) -> None:
    for check, obj in ((check_object, value), (check_delta, {"added": value}), (check_delta, {"deleted": value})):
        with pytest.raises(ModelError, match=says) as caught:
            check(PERSON, {"agentInfo": {"skillLevels": obj}})
        assert (caught.value.code, caught.value.property_name) == (ErrorCode.VALUE_OUT_OF_RANGE, where)


@pytest.mark.parametrize("dbids", [{"a": 1}, [0], ["1"], [2**31]])
def test_wrong_links_are_refused(dbids: Any) -> None:
    for check, obj in ((check_object, dbids), (check_delta, {"added": dbids})):
        with pytest.raises(ModelError) as caught:
            check(GROUP, {"agentDBIDs": obj})
        assert (caught.value.code, caught.value.property_name) == (ErrorCode.VALUE_OUT_OF_RANGE, "agentDBIDs")


def test_times_reach_beyond_2038() -> None:
    table = SCHEMA.object_type("objectiveTable")
    check_object(table, {"timeEnd": 2**32 - 1})
    with pytest.raises(ModelError, match="must be from"):
        check_object(table, {"timeEnd": 2**32})


def test_two_items_with_one_key_are_refused() -> None:
    with pytest.raises(ModelError) as caught:
        check_object(PERSON, {"appRanks": [{"appType": 1, "appRank": 1}, {"appType": 1, "appRank": 2}]})
    assert (caught.value.code, caught.value.property_name) == (ErrorCode.UNIQUENESS_VIOLATION, "appRanks")


def test_an_object_must_be_a_map() -> None:
    with pytest.raises(ModelError, match=r"^CfgPerson must be a map of attributes, not list"):
        check_object(PERSON, [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("delta", "where"),
    [
        ({"userProperties": {"removed": {}}}, "userProperties"),
        ({"appRanks": {"removed": []}}, "appRanks"),
    ],
)
def test_a_part_that_does_not_exist_is_refused(delta: dict[str, Any], where: str) -> None:
    with pytest.raises(ModelError, match="its parts are added, changed, deleted") as caught:
        check_delta(PERSON, delta)
    assert (caught.value.code, caught.value.property_name) == (ErrorCode.UNSPECIFIED_MODIFICATION, where)


@pytest.mark.parametrize(
    "deleted", [[], {"": []}, {"s": "o"}, {"s": [""]}, {"s": [5]}], ids=["list", "no name", "text", "empty", "number"]
)
def test_wrong_names_of_deleted_options_are_refused(deleted: Any) -> None:
    with pytest.raises(ModelError) as caught:
        check_delta(PERSON, {"userProperties": {"deleted": deleted}})
    assert (caught.value.code, caught.value.property_name) == (ErrorCode.VALUE_OUT_OF_RANGE, "userProperties")


def test_a_change_of_a_list_or_structure_must_be_a_map() -> None:
    with pytest.raises(ModelError, match="must be a map of added, changed, deleted, not list"):
        check_delta(PERSON, {"appRanks": []})
    with pytest.raises(ModelError, match="must be a map of added, deleted, not list"):
        check_delta(GROUP, {"agentDBIDs": []})


def test_valid_deltas_pass() -> None:
    check_delta(
        PERSON,
        {
            "firstName": "",
            "address": None,
            "agentInfo": {"placeDBID": 0, "skillLevels": {"changed": [{"skillDBID": 1}]}},
            "userProperties": {"added": {"s": {"o": b""}}, "deleted": {"t": [], "u": ["o"]}},
        },
    )
    check_delta(GROUP, {"agentDBIDs": {"added": [1], "deleted": [2]}})
