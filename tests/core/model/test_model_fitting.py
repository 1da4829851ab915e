"""The short way says yes only to what the long way takes, and yes to everything ordinary."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import object_types, plain_objects

from csproxy.core.model import SCHEMA, ObjectType
from csproxy.core.model.fitting import surely_fits
from csproxy.core.model.values import check_closely
from csproxy.errors import ModelError

PERSON = SCHEMA.object_type("person")
SCALARS = [None, True, -1, 0, 1, 2, 99, 2**31, 2**32, 1.0, "", "x", "x" * 70, "\ud800", b"x"]
LISTS = [[], (), (1,), {1}, [1], [0], [[]], [{}, {}], [{"DBID": 1}, {"DBID": 1}]]
MAPS = [{}, {"": {}}, {"s": {"o": b"x"}}, {"s": {"o": (1,)}}, {5: 5}]
ODD: st.SearchStrategy[Any] = st.sampled_from([*SCALARS, *LISTS, *MAPS])


def fits_closely(object_type: ObjectType, obj: Any) -> bool:
    try:
        check_closely(object_type, obj)
    except ModelError:
        return False
    return True


@given(st.data())
def test_what_surely_fits_fits(data: st.DataObject) -> None:
    object_type = data.draw(object_types())
    obj = data.draw(plain_objects(object_type))
    spoil(data, obj, object_type.attributes)
    if surely_fits(object_type, obj):
        assert fits_closely(object_type, obj)


def spoil(data: st.DataObject, obj: dict[str, Any], attributes: Mapping[str, Any]) -> None:
    """Put an odd value somewhere into the object, or leave it as it is."""
    name = data.draw(st.sampled_from([*attributes, "newer"]))
    inner = obj.get(name)
    inside = inner[0] if isinstance(inner, list) and inner else inner
    if isinstance(inside, dict) and data.draw(st.booleans()):
        spoil(data, inside, dict.fromkeys(inside) or {"s": None})
    elif data.draw(st.booleans()):
        obj[name] = data.draw(ODD)


@pytest.mark.parametrize(
    "obj",
    [
        {"DBID": 5, "firstName": "Zoë", "state": 1, "agentInfo": None, "userProperties": {"s": {"o": 1, "p": ""}}},
        {"agentInfo": {"placeDBID": 3, "skillLevels": [{"skillDBID": 7, "level": 1}, {"skillDBID": 8}]}},
    ],
)
def test_ordinary_objects_surely_fit(obj: Mapping[str, Any]) -> None:
    assert surely_fits(PERSON, obj)


@pytest.mark.parametrize(
    "obj",
    [
        {"userProperties": {"s": {"o": b"bytes"}}},
        {"agentInfo": {"skillLevels": ()}},
        {"agentInfo": {"skillLevels": [{"skillDBID": 7}, {"skillDBID": 7}]}},
        {"firstName": "\ud800"},
        {"newerAttribute": 0},
        MappingProxyType({"firstName": "Zoë"}),
        [],
    ],
)
def test_what_is_not_plainly_right_takes_a_closer_look(obj: Any) -> None:
    assert not surely_fits(PERSON, obj)


def test_lists_of_links_are_looked_at() -> None:
    group = SCHEMA.object_type("agentGroup")
    assert surely_fits(group, {"agentDBIDs": [1, 2]})
    assert not surely_fits(group, {"agentDBIDs": (1, 2)})
