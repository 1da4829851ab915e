"""Filters are checked, and what is wrong is said by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from csproxy.core.filter_keys import COMMON_KEYS, FILTER_KEYS
from csproxy.core.filter_rules import Equal, FilterKey, ValueKind
from csproxy.core.filter_values import parse_filter, value_from_text
from csproxy.core.model import SCHEMA
from csproxy.core.records import reader
from csproxy.errors import ErrorCode, ModelError
from scripts.generate_filter_reference import TARGET, reference
from tests.core.cache.world import APPLICATION, FOLDER, PERSON, TENANT


def refusal(number: int, asked: dict[str, Any]) -> ModelError:
    with pytest.raises(ModelError) as refused:
        parse_filter(number, asked)
    assert refused.value.code is ErrorCode.WRONG_API_PARAMETERS
    assert refused.value.object_type == number
    return refused.value


def values_of(number: int, **asked: Any) -> list[Any]:
    return [condition.value for condition in parse_filter(number, asked).conditions]


def test_every_published_key_is_defined_and_no_other() -> None:
    common = {key.name for key in COMMON_KEYS}
    for number, object_type in SCHEMA.types.items():
        keys = set(FILTER_KEYS[number])
        assert object_type.filter_names <= keys
        assert keys - object_type.filter_names <= common


def test_every_key_has_a_sentence_and_enumerations_exist() -> None:
    for keys in FILTER_KEYS.values():
        for key in keys.values():
            assert key.sentence.endswith(".")
            assert (key.kind is ValueKind.ENUM) == bool(key.enumeration)
            assert not key.enumeration or key.enumeration in SCHEMA.enumerations


def test_every_path_of_an_attribute_exists() -> None:
    for number, keys in FILTER_KEYS.items():
        for key in keys.values():
            if isinstance(key.rule, Equal):
                for path in key.rule.paths:
                    assert reader(number, (path,)).columns[0].path == path


def test_the_reference_is_what_the_code_says() -> None:
    assert Path(TARGET).read_text(encoding="utf-8") == reference(), "run scripts/generate_filter_reference.py"


def test_an_unknown_key_is_refused_with_what_comes_close_and_what_is_valid() -> None:
    error = refusal(PERSON, {"username": "x"})
    assert error.property_name == "username"
    assert "CfgPerson has no filter key 'username'; did you mean user_name" in str(error)
    assert "Valid keys: state, tenant_dbid, user_name," in str(error)
    assert "'zzz'. Valid keys" in str(refusal(PERSON, {"zzz": "x"}))


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ModelError) as refused:
        parse_filter(99, {})
    assert refused.value.code is ErrorCode.UNSUPPORTED_OBJECT


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("tenant_dbid", "1", "wants a whole number, not '1'"),
        ("tenant_dbid", True, "wants a whole number, not True"),
        ("tenant_dbid", 1.0, "wants a whole number"),
        ("user_name", 5, "wants text, not 5"),
        ("user_name", None, "wants text, not None"),
        ("state", "Sleeping", "wants a number or a name of CfgObjectState, not 'Sleeping'"),
        ("state", True, "wants a number or a name of CfgObjectState"),
        ("is_agent", 3, "wants True, False or a CfgFlag number, not 3"),
        ("is_agent", "perhaps", "wants True, False or a CfgFlag number"),
        ("is_agent", 2.0, "wants True, False or a CfgFlag number"),
        ("no_place_dbid", "1", "wants True, False or a number"),
        ("no_place_dbid", [], "wants True, False or a number"),
        ("dbid", "7", "filter key dbid of CfgPerson wants a whole number"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(key: str, value: Any, wanted: str) -> None:
    error = refusal(PERSON, {key: value})
    assert wanted in str(error)
    assert error.property_name == key


def test_an_enumeration_is_given_by_number_or_name() -> None:
    for value in (1, "CFGEnabled", "cfgenabled", "Enabled", "ENABLED"):
        assert values_of(PERSON, state=value) == [1]
    assert values_of(PERSON, state=77) == [77], "a newer release may have more members"


def test_a_flag_is_given_as_truth_or_by_number_or_name() -> None:
    for value in (True, 2, "CFGTrue", "true"):
        assert values_of(PERSON, is_agent=value) == [{2}]
    for value in (False, 0, 1, "CFGFalse", "noflag"):
        assert values_of(PERSON, is_agent=value) == [{0, 1}]


def test_a_switch_that_is_off_is_as_if_it_were_absent() -> None:
    for value in (False, 0):
        assert values_of(PERSON, no_place_dbid=value) == []
    for value in (True, 1, -1, 7):
        assert values_of(PERSON, no_place_dbid=value) == [True]
    assert values_of(TENANT, all_tenants=True) == []
    assert values_of(TENANT, all_tenants=0) == [False]


def test_a_port_is_a_number_or_text() -> None:
    assert values_of(APPLICATION, port=2020) == values_of(APPLICATION, port="2020") == ["2020"]
    assert "whole number, or text" in str(refusal(APPLICATION, {"port": True}))


def test_an_object_in_a_folder_needs_dbid_and_type() -> None:
    assert values_of(FOLDER, object_dbid=5, object_type="Person") == [(3, 5)]
    assert "object_dbid of CfgFolder needs object_type too" in str(refusal(FOLDER, {"object_dbid": 5}))
    assert "object_type of CfgFolder needs object_dbid too" in str(refusal(FOLDER, {"object_type": 3}))


def test_options_are_told_apart_from_conditions() -> None:
    query = parse_filter(
        PERSON,
        {
            "object_path": 1,
            "read_folder_dbid": True,
            "cmp_insensitive": 1,
            "exclude_bytecode": 1,
            "exclude_longstrings": 1,
            "delegate_dbid": 100,
            "delegate_type": "Person",
        },
    )
    assert query.conditions == ()
    assert query.want_folders
    assert query.want_paths
    assert query.ignore_case
    assert query.exclude_bytecode
    assert query.exclude_longstrings
    assert parse_filter(PERSON, {})[1:] == (None, (), False, False, False, False, False)


def test_the_dbid_leaves_other_keys_without_effect_but_checked() -> None:
    query = parse_filter(PERSON, {"dbid": 7, "user_name": "x"})
    assert (query.dbid, query.conditions) == (7, ())
    refusal(PERSON, {"dbid": 7, "user_name": 5})


@pytest.mark.parametrize(
    ("number", "key", "text", "value"),
    [
        (PERSON, "dbid", "17", 17),
        (PERSON, "dbid", "-17", -17),
        (PERSON, "user_name", "17", "17"),
        (PERSON, "user_name", "true", "true"),
        (APPLICATION, "port", "2020", "2020"),
        (PERSON, "state", "enabled", "enabled"),
        (PERSON, "state", "1", 1),
        (PERSON, "is_agent", "yes", True),
        (PERSON, "is_agent", "False", False),
        (PERSON, "no_place_dbid", "1", 1),
    ],
)
def test_typed_text_becomes_a_value(number: int, key: str, text: str, value: Any) -> None:
    found = value_from_text(number, key, text)
    assert (found, type(found)) == (value, type(value))
    parse_filter(number, {key: found})


@pytest.mark.parametrize(
    ("key", "text"), [("dbid", "x"), ("dbid", "1²"), ("state", "x"), ("nothing", "1"), ("is_agent", "7")]
)
def test_typed_text_that_fits_no_value_is_refused(key: str, text: str) -> None:
    with pytest.raises(ModelError) as refused:
        value_from_text(PERSON, key, text)
    assert refused.value.property_name == key


def test_a_key_says_what_it_wants() -> None:
    assert FILTER_KEYS[PERSON]["state"].wanted == "a number or a name of CfgObjectState"
    assert FilterKey("k", ValueKind.TEXT, Equal(("name",)), "A sentence.").wanted == "text"
