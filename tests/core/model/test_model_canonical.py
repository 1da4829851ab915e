"""Two objects mean the same exactly when their canonical encodings are equal."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core import codec
from csproxy.core.model import SCHEMA, ObjectType
from csproxy.core.model.canonical import canonical, encode_object
from csproxy.core.model.values import check_object
from csproxy.errors import ErrorCode, ModelError
from tests.core.model.strategies import object_types, plain_objects

PERSON = SCHEMA.object_type("person")
GROUP = SCHEMA.object_type("agentGroup")


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same value with maps and lists in another order."""
    if isinstance(value, dict):
        items = [(name, shuffled(item, rng)) for name, item in value.items()]
        rng.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return rng.sample([shuffled(item, rng) for item in value], len(value))
    return value


@settings(max_examples=150, deadline=None)
@given(st.data(), st.randoms(use_true_random=False))
def test_order_of_maps_and_lists_means_nothing(data: st.DataObject, rng: random.Random) -> None:
    object_type = data.draw(object_types())
    obj = data.draw(plain_objects(object_type))
    assert encode_object(object_type, shuffled(obj, rng)) == encode_object(object_type, obj)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_canonical_is_a_fixed_point_that_decoding_keeps(data: st.DataObject) -> None:
    object_type = data.draw(object_types())
    normal = canonical(object_type, data.draw(plain_objects(object_type, unknown=True)))
    assert canonical(object_type, normal) == normal
    assert list(canonical(object_type, normal)) == list(normal)
    assert codec.decode_map(encode_object(object_type, normal)) == normal


@pytest.mark.parametrize("object_type", SCHEMA.types.values(), ids=lambda t: t.name)
def test_generated_objects_are_valid(object_type: ObjectType) -> None:
    @settings(max_examples=10, deadline=None)
    @given(plain_objects(object_type))
    def check(obj: dict[str, Any]) -> None:
        check_object(object_type, obj)

    check()


def test_defaults_are_left_out_and_an_empty_structure_stays() -> None:
    obj = {
        "DBID": 5,
        "firstName": "",
        "isAgent": 0,
        "appRanks": [],
        "userProperties": {},
        "address": None,
        "agentInfo": {"placeDBID": 0, "skillLevels": [{"skillDBID": 7, "level": 0}]},
        "phones": {},
    }
    assert canonical(PERSON, obj) == {"DBID": 5, "phones": {}, "agentInfo": {"skillLevels": [{"skillDBID": 7}]}}


def test_attributes_stand_in_schema_order_and_unknown_ones_after_them_by_name() -> None:
    obj = {"zeta": 1, "userName": "u", "alpha": {}, "DBID": 1, "beta": 0, "gamma": None, "delta": []}
    assert list(canonical(PERSON, obj)) == ["DBID", "userName", "alpha", "zeta"]


def test_lists_are_sorted_by_key_and_options_by_name() -> None:
    obj = {
        "groupInfo": {"managerDBIDs": [9, 3, 9], "userProperties": {"b": {"y": 1, "x": b"2"}, "a": {}}},
        "agentDBIDs": [2, 1],
    }
    normal = canonical(GROUP, obj)
    assert normal["agentDBIDs"] == [1, 2]
    assert normal["groupInfo"]["managerDBIDs"] == [3, 9]
    assert list(normal["groupInfo"]["userProperties"]) == ["a", "b"]
    assert list(normal["groupInfo"]["userProperties"]["b"]) == ["x", "y"]


def test_an_empty_section_is_kept() -> None:
    assert canonical(PERSON, {"userProperties": {"s": {}}}) == {"userProperties": {"s": {}}}


def test_a_list_item_that_is_there_twice_counts_once() -> None:
    item = {"skillDBID": 7, "level": 2}
    assert canonical(PERSON, {"agentInfo": {"skillLevels": [item, dict(item)]}}) == {
        "agentInfo": {"skillLevels": [item]}
    }


def test_two_items_with_one_key_are_refused() -> None:
    skills = [{"skillDBID": 7, "level": 2}, {"skillDBID": 7, "level": 3}]
    with pytest.raises(ModelError, match=r"CfgPerson.agentInfo.skillLevels holds two different items") as caught:
        canonical(PERSON, {"agentInfo": {"skillLevels": skills}})
    assert caught.value.code is ErrorCode.UNIQUENESS_VIOLATION
    assert caught.value.property_name == "agentInfo.skillLevels"
    assert caught.value.object_type == 3


@pytest.mark.parametrize(
    ("obj", "where"),
    [
        ({"agentInfo": 5}, "agentInfo"),
        ({"appRanks": {"appType": 1}}, "appRanks"),
        ({"appRanks": [5]}, "appRanks"),
        ({"appRanks": [{"appType": 1}, {"appType": "1"}]}, "appRanks"),
        ({"userProperties": [1]}, "userProperties"),
        ({"userProperties": {"s": 5}}, "userProperties"),
        ({"userProperties": {"s": {}, 5: {}}}, "userProperties"),
    ],
)
def test_other_shapes_are_refused(obj: dict[str, Any], where: str) -> None:
    with pytest.raises(ModelError, match=f"CfgPerson.{where} must be") as caught:
        canonical(PERSON, obj)
    assert (caught.value.code, caught.value.property_name) == (ErrorCode.OBJECT_PACKING_ERROR, where)


@pytest.mark.parametrize("dbids", [5, "12", [1, {}], [1, "2"]])
def test_links_of_another_shape_are_refused(dbids: Any) -> None:
    with pytest.raises(ModelError, match=r"CfgAgentGroup.agentDBIDs must be a list of DBIDs"):
        canonical(GROUP, {"agentDBIDs": dbids})


def test_the_input_is_not_changed() -> None:
    obj = {"agentInfo": {"skillLevels": [{"skillDBID": 9}, {"skillDBID": 7}]}}
    before = msgspec.msgpack.encode(obj)
    normal = canonical(PERSON, obj)
    normal["agentInfo"]["skillLevels"][0]["level"] = 5
    assert msgspec.msgpack.encode(obj) == before


def test_an_object_that_is_no_map_is_refused() -> None:
    with pytest.raises(ModelError, match="CfgPerson must be a map of attributes, not list") as caught:
        canonical(PERSON, [])  # type: ignore[arg-type]
    assert caught.value.property_name == ""
