"""The kinds of objects in files are those of the published format, and the remaining types beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csproxy.core.files.kinds import KINDS, key_parts, kind_named, kind_of, structure_properties
from csproxy.core.files.words import number_of, word_of
from csproxy.core.model import SCHEMA
from csproxy.errors import ConfigurationError

SPEC = Path(__file__).parents[4] / "shared" / "spec" / "configuration-files.json"


def test_every_type_but_last_logins_has_one_kind() -> None:
    assert sorted(kind.type.number for kind in KINDS) == sorted(set(SCHEMA.types) - {44})
    assert len({kind.name.lower() for kind in KINDS}) == len(KINDS)


@pytest.mark.skipif(not SPEC.exists(), reason="the description of the format is not beside the project")
def test_the_thirty_published_kinds_have_exactly_their_properties_and_rules() -> None:
    spec = json.loads(SPEC.read_text(encoding="utf-8"))
    assert [kind.name for kind in KINDS[:30]] == list(spec["kinds"])
    for kind in KINDS[:30]:
        row = spec["kinds"][kind.name]
        own_form = {"folder"}  # every object has it, and no attribute stands behind it
        assert kind.type.name == row["type"]
        assert [each.name for each in kind.properties] == [name for name in row["properties"] if name not in own_form]
        assert list(kind.required) == [name.split(" ")[0] for name in row["required"]]
        assert list(kind.unchangeable) == [name.split(" ")[0] for name in row["unchangeable"]]
    for name, row in spec["nested"].items():
        assert [each.name for each in structure_properties(f"Cfg{name}")] == list(row), name


def test_the_other_types_name_their_links_without_dbid() -> None:
    kind = kind_named("agentlogins")
    assert kind is not None
    assert [each.name for each in kind.properties[:3]] == ["switch", "tenant", "loginCode"]
    names = {each.name for each in kind_of(26).properties}
    assert {"tableAccess", "filter", "treatments", "logTableAccess"} <= names
    assert "dn" in {each.name for each in kind_of(32).properties}


def test_a_key_is_the_first_unique_key_by_property_names() -> None:
    assert [part.name for part in key_parts(3)] == ["tenant", "employeeId"]
    assert [part.name for part in key_parts(5)] == ["group.tenant", "group.name"]
    assert [part.name for part in key_parts(2)] == ["tenant", "switch", "number", "type", "name"]
    assert [part.name for part in key_parts(24)] == ["tenant", "name"], "formats have no unique key"


@pytest.mark.parametrize(
    ("enumeration", "word", "number"),
    [
        ("CfgObjectState", "enabled", 1),
        ("CfgHAType", "htcoldstanby", 1),
        ("CfgTransactionType", "calldata", 1),
        ("CfgDNRegisterFlag", "true", 2),
        ("CfgFolderClass", "site", 2),
        ("CfgIVRProfileType", "inbound", 1000),
        ("CfgRouteType", "default", 1),
    ],
)
def test_enumerations_are_words_without_prefix(enumeration: str, word: str, number: int) -> None:
    assert word_of(enumeration, number) == word
    for given in (word, word.upper(), word.capitalize(), number):
        assert number_of(enumeration, given, where="x") == number


def test_every_member_of_every_enumeration_is_read_as_it_is_written() -> None:
    for name, enumeration in SCHEMA.enumerations.items():
        for number in {int(member) for member in enumeration}:
            assert number_of(name, word_of(name, number), where=name) == number


def test_a_word_that_is_none_is_refused_with_what_comes_close() -> None:
    with pytest.raises(
        ConfigurationError, match=r"persons\[0\].state: 'enabeld' is no CfgObjectState; such as enabled"
    ):
        number_of("CfgObjectState", "enabeld", where="persons[0].state")
    assert word_of("CfgObjectState", 77) == 77, "a number of a newer release stays a number"
