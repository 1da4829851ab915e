"""apply(a, compute(a, b)) is b, for every type; a delta that does not fit is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from csproxy.core import codec
from csproxy.core.model import SCHEMA, ObjectType
from csproxy.core.model.delta import apply_delta, canonical, compute_delta, encode_object
from csproxy.core.model.values import check_delta
from csproxy.errors import ErrorCode, ModelError
from tests.core.model.strategies import plain_objects

PERSON = SCHEMA.object_type("person")
GROUP = SCHEMA.object_type("agentGroup")
EVERY_TYPE = pytest.mark.parametrize("object_type", SCHEMA.types.values(), ids=lambda t: t.name)


@EVERY_TYPE
@pytest.mark.parametrize("unknown", [False, True], ids=["known", "newer"])
def test_what_is_computed_leads_from_one_object_to_the_other(object_type: ObjectType, unknown: bool) -> None:
    @settings(max_examples=25, deadline=None)
    @given(plain_objects(object_type, unknown=unknown), plain_objects(object_type, unknown=unknown))
    def check(a: dict[str, Any], b: dict[str, Any]) -> None:
        before = canonical(object_type, a)
        bytes_before = codec.encode(before)
        # Over the wire: what a subscriber receives is what was computed.
        delta = codec.decode_map(codec.encode(compute_delta(object_type, a, b)))
        bytes_delta = codec.encode(delta)
        if not unknown:
            check_delta(object_type, delta)
        after = apply_delta(object_type, before, delta)
        assert encode_object(object_type, after) == encode_object(object_type, b)
        assert (codec.encode(before), codec.encode(delta)) == (bytes_before, bytes_delta)
        assert (delta == {}) == (encode_object(object_type, a) == encode_object(object_type, b))

    check()


@EVERY_TYPE
def test_every_object_can_be_made_of_nothing_and_cleared_again(object_type: ObjectType) -> None:
    @settings(max_examples=5, deadline=None)
    @given(plain_objects(object_type, unknown=True))
    def check(obj: dict[str, Any]) -> None:
        made = apply_delta(object_type, {}, compute_delta(object_type, {}, obj))
        assert encode_object(object_type, made) == encode_object(object_type, obj)
        assert apply_delta(object_type, made, compute_delta(object_type, obj, {})) == {}

    check()


def test_a_value_that_did_not_change_is_absent_and_a_cleared_one_is_present() -> None:
    before = {"DBID": 1, "firstName": "A", "lastName": "B", "state": 1, "isAgent": 2}
    assert compute_delta(PERSON, before, {"DBID": 1, "firstName": "", "lastName": "B", "state": 2}) == {
        "firstName": "",
        "state": 2,
        "isAgent": 0,
    }


@pytest.mark.parametrize(
    ("before", "after", "delta"),
    [
        ({}, {"agentInfo": {}}, {"agentInfo": {}}),
        ({"agentInfo": {}}, {}, {"agentInfo": None}),
        ({"agentInfo": {}}, {"agentInfo": {"placeDBID": 5}}, {"agentInfo": {"placeDBID": 5}}),
        ({"agentInfo": {"placeDBID": 5}}, {"agentInfo": {}}, {"agentInfo": {"placeDBID": 0}}),
        (
            {"agentInfo": {"skillLevels": [{"skillDBID": 1, "level": 1}, {"skillDBID": 2, "level": 1}]}},
            {"agentInfo": {"skillLevels": [{"skillDBID": 3}, {"skillDBID": 2, "level": 9}]}},
            {
                "agentInfo": {
                    "skillLevels": {
                        "added": [{"skillDBID": 3}],
                        "changed": [{"skillDBID": 2, "level": 9}],
                        "deleted": [{"skillDBID": 1}],
                    }
                }
            },
        ),
        (
            {
                "userProperties": {
                    "gone": {"o": 1},
                    "kept": {"same": "x", "other": 1, "dropped": 1},
                    "emptied": {"o": 1},
                }
            },
            {"userProperties": {"new": {}, "kept": {"same": "x", "other": "1", "fresh": b"1"}, "emptied": {}}},
            {
                "userProperties": {
                    "added": {"kept": {"fresh": b"1"}, "new": {}},
                    "changed": {"kept": {"other": "1"}},
                    "deleted": {"gone": [], "emptied": ["o"], "kept": ["dropped"]},
                }
            },
        ),
        ({"newer": 1, "same": [1]}, {"other": {"a": 1}, "same": [1]}, {"newer": None, "other": {"a": 1}}),
        ({"newer": 1}, {"newer": True}, {"newer": True}),
    ],
)
def test_deltas_look_as_documented(before: dict[str, Any], after: dict[str, Any], delta: dict[str, Any]) -> None:
    assert compute_delta(PERSON, before, after) == delta
    assert encode_object(PERSON, apply_delta(PERSON, canonical(PERSON, before), delta)) == encode_object(PERSON, after)


def test_links_are_added_and_deleted() -> None:
    assert compute_delta(GROUP, {"agentDBIDs": [1, 2]}, {"agentDBIDs": [3, 2]}) == {
        "agentDBIDs": {"added": [3], "deleted": [1]}
    }


def test_an_item_may_be_deleted_and_added_in_one_delta() -> None:
    before = {"appRanks": [{"appType": 1, "appRank": 2}], "userProperties": {"s": {"a": 1}}}
    delta = {
        "appRanks": {"deleted": [{"appType": 1, "appRank": 9}], "added": [{"appType": 1, "appRank": 3}]},
        "userProperties": {"deleted": {"s": []}, "added": {"s": {"b": 2}}},
    }
    after = {"appRanks": [{"appType": 1, "appRank": 3}], "userProperties": {"s": {"b": 2}}}
    assert apply_delta(PERSON, before, delta) == after


def test_parts_that_are_null_or_empty_change_nothing() -> None:
    before = {"appRanks": [{"appType": 1}], "userProperties": {"s": {}}}
    delta = {"appRanks": {"added": None, "changed": []}, "userProperties": {"changed": {"s": None}, "deleted": None}}
    assert apply_delta(PERSON, before, delta) == before


def test_unknown_attributes_are_set_as_they_are_and_their_defaults_take_them_away() -> None:
    delta = {"newer": {"added": [1]}, "gone": None, "zero": 0, "text": "", "list": [], "map": {}}
    before = {"gone": 1, "zero": 1, "text": "t", "list": [1]}
    assert apply_delta(PERSON, before, delta) == {"newer": {"added": [1]}, "map": {}}


SKILLS = {"agentInfo": {"skillLevels": [{"skillDBID": 1, "level": 1}]}}
OPTIONS = {"userProperties": {"s": {"o": 1}}}


@pytest.mark.parametrize(
    ("before", "delta", "where", "code"),
    [
        (SKILLS, {"agentInfo": {"skillLevels": {"deleted": [{"skillDBID": 2}]}}}, "agentInfo.skillLevels", 11),
        (SKILLS, {"agentInfo": {"skillLevels": {"changed": [{"skillDBID": 2}]}}}, "agentInfo.skillLevels", 11),
        (SKILLS, {"agentInfo": {"skillLevels": {"added": [{"skillDBID": 1}]}}}, "agentInfo.skillLevels", 12),
        (OPTIONS, {"userProperties": {"deleted": {"t": []}}}, "userProperties", 11),
        (OPTIONS, {"userProperties": {"deleted": {"s": ["p"]}}}, "userProperties", 11),
        (OPTIONS, {"userProperties": {"changed": {"t": {}}}}, "userProperties", 11),
        (OPTIONS, {"userProperties": {"changed": {"s": {"p": 1}}}}, "userProperties", 11),
        (OPTIONS, {"userProperties": {"added": {"s": {"o": 1}}}}, "userProperties", 12),
        (OPTIONS, {"userProperties": {"added": {"s": {}}}}, "userProperties", 12),
        (OPTIONS, {"userProperties": {"replaced": {}}}, "userProperties", 18),
        (SKILLS, {"appRanks": {"replaced": []}}, "appRanks", 18),
        (SKILLS, {"agentInfo": {"skillLevels": []}}, "agentInfo.skillLevels", 20),
        (SKILLS, {"agentInfo": {"skillLevels": {"added": {}}}}, "agentInfo.skillLevels", 20),
        (SKILLS, {"agentInfo": {"skillLevels": {"added": [1]}}}, "agentInfo.skillLevels", 20),
        (SKILLS, {"agentInfo": {"skillLevels": {"added": [{"skillDBID": [1]}]}}}, "agentInfo.skillLevels", 20),
        (SKILLS, {"agentInfo": {"skillLevels": {"added": [{"skillDBID": "x"}]}}}, "agentInfo.skillLevels", 20),
        (SKILLS, {"agentInfo": []}, "agentInfo", 20),
        (OPTIONS, {"userProperties": []}, "userProperties", 20),
        (OPTIONS, {"userProperties": {"added": {"t": 5}}}, "userProperties", 20),
        (OPTIONS, {"userProperties": {"deleted": {"s": "o"}}}, "userProperties", 20),
        (OPTIONS, {"userProperties": {"deleted": {"s": [{}]}}}, "userProperties", 20),
        ({}, {"firstName": None}, "firstName", 20),
        ({}, {"state": "enabled"}, "state", 20),
        ({}, {"tenantDBID": True}, "tenantDBID", 20),
    ],
)
def test_a_delta_that_does_not_fit_is_refused(
    before: dict[str, Any], delta: dict[str, Any], where: str, code: int
) -> None:
    with pytest.raises(ModelError, match=f"CfgPerson.{where}") as caught:
        apply_delta(PERSON, before, delta)
    assert (caught.value.code, caught.value.property_name, caught.value.object_type) == (code, where, 3)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"added": [1]}, ErrorCode.UNIQUENESS_VIOLATION),
        ({"deleted": [2]}, ErrorCode.LIST_ITEM_NOT_FOUND),
        ({"changed": [1]}, ErrorCode.UNSPECIFIED_MODIFICATION),
        ({"added": ["2"]}, ErrorCode.WRONG_API_PARAMETERS),
        ({"added": [True]}, ErrorCode.WRONG_API_PARAMETERS),
        ([2], ErrorCode.WRONG_API_PARAMETERS),
    ],
)
def test_a_change_of_links_that_does_not_fit_is_refused(change: Any, code: ErrorCode) -> None:
    with pytest.raises(ModelError) as caught:
        apply_delta(GROUP, {"agentDBIDs": [1]}, {"agentDBIDs": change})
    assert (caught.value.code, caught.value.property_name) == (code, "agentDBIDs")
