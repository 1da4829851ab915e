"""Typed objects and deltas: nothing is lost on the way in and out, not even what is unknown."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from msgspec import UNSET

from csproxy.core import codec
from csproxy.core.model import SCHEMA, CfgFlag, CfgPerson, ObjectType, UnknownAttributes
from csproxy.core.model.base import CfgObject
from csproxy.core.model.delta import compute_delta, encode_object
from csproxy.core.model.deltas import CfgDeltaPerson
from csproxy.core.model.structures import CfgAgentInfo, CfgSkillLevel
from csproxy.core.model.typed import decode_object, delta_from_plain, encode_typed, from_plain, to_plain
from csproxy.errors import ErrorCode, ModelError
from tests.core.model.strategies import plain_objects

PERSON = SCHEMA.object_type("person")
EVERY_TYPE = pytest.mark.parametrize("object_type", SCHEMA.types.values(), ids=lambda t: t.name)


def person(plain: dict[str, Any]) -> CfgPerson:
    obj = decode_object(PERSON, codec.encode(plain))
    assert isinstance(obj, CfgPerson)
    return obj


@EVERY_TYPE
@pytest.mark.parametrize("unknown", [False, True], ids=["known", "newer"])
def test_stored_objects_survive_decoding_and_encoding(object_type: ObjectType, unknown: bool) -> None:
    @settings(max_examples=15, deadline=None)
    @given(plain_objects(object_type, unknown=unknown))
    def check(obj: dict[str, Any]) -> None:
        stored = encode_object(object_type, obj)
        typed = decode_object(object_type, stored)
        assert type(typed) is object_type.cls
        assert encode_typed(typed) == stored
        assert from_plain(object_type, to_plain(typed)) == typed

    check()


@EVERY_TYPE
def test_deltas_survive_as_typed_ones(object_type: ObjectType) -> None:
    @settings(max_examples=15, deadline=None)
    @given(plain_objects(object_type, unknown=True), plain_objects(object_type, unknown=True))
    def check(a: dict[str, Any], b: dict[str, Any]) -> None:
        delta = compute_delta(object_type, {**a, "DBID": 1}, {**b, "DBID": 1})
        typed = delta_from_plain(object_type, delta)
        assert type(typed) is object_type.delta_cls
        assert to_plain(typed) == delta

    check()


def test_an_object_is_typed_all_through() -> None:
    obj = person({"DBID": 4, "isAgent": 2, "agentInfo": {"skillLevels": [{"skillDBID": 7, "level": 3}]}})
    assert obj == CfgPerson(
        DBID=4, isAgent=CfgFlag.CFGTrue, agentInfo=CfgAgentInfo(skillLevels=[CfgSkillLevel(skillDBID=7, level=3)])
    )
    assert obj.isAgent is CfgFlag.CFGTrue
    assert (obj.firstName, obj.userProperties, obj.address) == ("", {}, None)


def test_unknown_attributes_are_reachable_where_they_were() -> None:
    plain = {
        "firstName": "A",
        "newer": {"x": [1]},
        "agentInfo": {"level": "gold", "skillLevels": [{"skillDBID": 1, "since": 5}]},
        "address": {"line1": "Main St"},
    }
    obj = person(plain)
    assert obj.unknown == {"newer": {"x": [1]}}
    assert obj.agentInfo is not None
    assert obj.agentInfo.unknown["level"] == "gold"
    assert obj.agentInfo.skillLevels[0].unknown["since"] == 5
    assert obj.address is not None
    assert dict(obj.address.unknown) == {"line1": "Main St"}
    assert to_plain(obj) == plain


def test_unknown_attributes_survive_a_changed_copy() -> None:
    obj = msgspec.structs.replace(person({"newer": 1, "firstName": "A"}), firstName="B")
    assert to_plain(obj) == {"newer": 1, "firstName": "B"}
    for twin in (copy.deepcopy(obj), pickle.loads(pickle.dumps(obj))):
        assert twin == obj
        assert encode_typed(twin) == encode_typed(obj)
    assert repr(obj) == "CfgPerson(unknown=UnknownAttributes({'newer': 1}), firstName='B')"


def test_unknown_attributes_never_hide_known_ones() -> None:
    obj = CfgPerson(firstName="A", unknown=UnknownAttributes({"firstName": "B", "newer": 1}))
    assert to_plain(obj) == {"firstName": "A", "newer": 1}


def test_an_object_without_unknown_attributes_has_none() -> None:
    assert len(person({"DBID": 1}).unknown) == 0


@pytest.mark.parametrize("name", ["?", "unknown"])
def test_an_attribute_may_have_the_name_of_the_place_for_unknown_ones(name: str) -> None:
    plain = {"DBID": 1, name: {"firstName": "B"}}
    obj = person(plain)
    assert obj.unknown[name] == {"firstName": "B"}
    assert encode_typed(obj) == codec.encode(plain)


def test_an_unknown_enumeration_number_survives() -> None:
    obj = person({"state": 77})
    assert obj.state.name == "UNKNOWN_77"
    assert encode_typed(obj) == codec.encode({"state": 77})


def test_bytes_in_options_survive() -> None:
    plain = {"userProperties": {"s": {"o": b"\xff", "t": "x", "n": 1}}}
    assert to_plain(person(plain)) == plain


@pytest.mark.parametrize(
    "stored",
    [
        b"\xc1",
        b"\x81\xa4DBID",
        codec.encode([1]),
        codec.encode({5: 1}),
        codec.encode({"DBID": "x"}),
        codec.encode({"firstName": None}),
        codec.encode({"agentInfo": 5}),
        codec.encode({"appRanks": 5}),
        codec.encode({"appRanks": [5]}),
        codec.encode({"userProperties": {"s": 5}}),
        codec.encode({"newer": 1, "DBID": "x"}),
    ],
)
def test_what_is_no_person_is_refused(stored: bytes) -> None:
    with pytest.raises(ModelError, match="this is no CfgPerson") as caught:
        decode_object(PERSON, stored)
    assert (caught.value.code, caught.value.object_type) == (ErrorCode.OBJECT_PACKING_ERROR, 3)


def test_a_delta_tells_unchanged_from_cleared_and_removed() -> None:
    delta = delta_from_plain(PERSON, {"firstName": "", "agentInfo": None, "state": 0})
    assert isinstance(delta, CfgDeltaPerson)
    assert (delta.firstName, delta.agentInfo, delta.state) == ("", None, 0)
    assert delta.lastName is UNSET
    assert to_plain(CfgDeltaPerson(firstName="")) == {"firstName": ""}


@pytest.mark.parametrize(
    "delta", [{"firstName": 5}, {"appRanks": []}, {"appRanks": {"added": 5}}, {"appRanks": {"removed": []}}]
)
def test_what_is_no_delta_is_refused(delta: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="this is no CfgPerson") as caught:
        delta_from_plain(PERSON, delta)
    assert caught.value.code is ErrorCode.OBJECT_PACKING_ERROR


def test_a_known_attribute_is_decoded_on_the_fast_path_only_once_per_type() -> None:
    assert isinstance(decode_object(PERSON, b"\x80"), CfgObject)
    assert decode_object(PERSON, b"\x80") == CfgPerson()
