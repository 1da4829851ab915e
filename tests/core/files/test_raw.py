"""The RAW form: the JSON that mutagen makes of the vendor's XML, written and read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core.files.keys import Directory
from csproxy.core.files.raw import read_raw, write_raw
from csproxy.core.model import SCHEMA, AttributeKind
from csproxy.core.model.canonical import canonical
from csproxy.errors import ConfigurationError, ModelError
from tests.core.model.strategies import plain_objects

METADATA = {"formatName": "RAW", "formatVersion": "1.1.1"}
PERSON, PLACE, APPLICATION, DN_GROUP = 3, 4, 9, 17


def written(number: int, *objects: dict[str, Any], folder: int = 0) -> str:
    directory = Directory()
    directory.add(number, objects, [folder] * len(objects))
    return "".join(write_raw(directory))


def one_written(number: int, obj: dict[str, Any]) -> dict[str, Any]:
    document = json.loads(written(number, obj))
    (found,) = document[SCHEMA.types[number].name.replace("Cfg", "CFG")]
    assert isinstance(found, dict)
    return found


def read(**types: Any) -> list[tuple[int, dict[str, Any], int]]:
    """The objects of a document; there must be no warnings."""
    warnings: list[str] = []
    found = [tuple(each) for each in read_raw(json.dumps({"__metadata__": METADATA, **types}).encode(), warnings)]
    assert not warnings
    return found


def one_read(kind: str, item: Any) -> dict[str, Any]:
    ((_, obj, _),) = read(**{kind: item})
    return obj


# writing


def test_all_types_but_last_logins_are_there_by_name_even_when_empty() -> None:
    document = json.loads(written(PERSON))
    assert document.pop("__metadata__") == METADATA
    assert list(document) == sorted(document)
    assert len(document) == len(SCHEMA.types) - 1
    assert not any(document.values())
    assert {"CFGAccessGroup", "CFGGVPIVRProfile", "CFGVoicePrompt"} <= document.keys()


def test_an_object_is_its_xml_element_as_json() -> None:
    person = {
        "DBID": 101,
        "userName": "42",
        "state": 1,
        "agentInfo": {"placeDBID": 7, "skillLevels": [{"skillDBID": 4, "level": 5}, {"skillDBID": 3, "level": 1}]},
        "userProperties": {"desktop": {"theme": "dark", "size": 3}, "empty": {}},
        "appRanks": [{"appType": 5, "appRank": 2}],
    }
    assert one_written(PERSON, person) == {
        "DBID": 101,
        "agentInfo": {
            "placeDBID": 7,
            "skillLevels": {"CfgSkillLevel": [{"level": 1, "skillDBID": 3}, {"level": 5, "skillDBID": 4}]},
        },
        "appRanks": {"CfgPersonRank": {"appRank": 2, "appType": 5}},
        "state": 1,
        "userName": "42",
        "userProperties": {
            "list_pair": [
                {
                    "int_pair": {"key": "size", "value": 3},
                    "key": "desktop",
                    "str_pair": {"key": "theme", "value": "dark"},
                },
                {"key": "empty"},
            ]
        },
    }


def test_properties_are_sorted_and_objects_stand_by_dbid() -> None:
    text = written(PLACE, {"DBID": 102, "name": "b", "DNDBIDs": [1, 2]}, {"DBID": 101, "name": "a", "DNDBIDs": [9]})
    document = json.loads(text, object_pairs_hook=lambda pairs: pairs)
    places = dict(document)["CFGPlace"]
    assert places == [
        [("DBID", 101), ("DNDBIDs", [("DBID", 9)]), ("name", "a")],
        [("DBID", 102), ("DNDBIDs", [("DBID", [1, 2])]), ("name", "b")],
    ]


def test_the_folder_and_an_empty_structure_survive() -> None:
    person = {"DBID": 101, "agentInfo": {}}
    text = written(PERSON, person, folder=7)
    assert json.loads(text)["CFGPerson"] == [{"DBID": 101, "agentInfo": "", "csproxy:folder": 7}]
    assert [tuple(each) for each in read_raw(text.encode(), [])] == [(PERSON, person, 7)]


def test_what_cannot_be_written_is_named() -> None:
    with pytest.raises(ModelError, match="CfgPerson 1 attribute firstName cannot be written: it must be text"):
        written(PERSON, {"DBID": 1, "firstName": 5})


# reading


@pytest.mark.parametrize("number", [number for number in SCHEMA.types if number != 44])
def test_objects_of_every_type_survive(number: int) -> None:
    kind = SCHEMA.types[number]

    @settings(max_examples=10)
    @given(st.lists(plain_objects(kind, unknown=True), max_size=3), st.integers(0, 3))
    def check(drawn: list[dict[str, Any]], folder: int) -> None:
        objects = [{**obj, "DBID": index} for index, obj in enumerate(drawn, 1)]
        text = written(number, *objects, folder=folder)
        warnings: list[str] = []
        found = list(read_raw(text.encode(), warnings))
        assert found == [(number, canonical(kind, obj), folder) for obj in objects]
        assert not warnings
        assert written(number, *(each.object for each in found), folder=folder) == text

    check()


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.binary(max_size=9))
def test_any_text_and_bytes_survive(text: str, content: bytes) -> None:
    obj = {"DBID": 1, "firstName": text or "x", "userProperties": {text: {text: text, text + "2": content}}}
    ((_, found, _),) = read_raw(written(PERSON, obj).encode(), [])
    assert found == canonical(SCHEMA.types[PERSON], obj)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("42", "42"),
        ("8.10", "8.10"),
        ("1e400", "1e400"),
        ("-0", "-0"),
        ("true", "true"),
        ("false", "false"),
        ("null", "null"),
        ('"42"', "42"),
    ],
)
def test_a_text_that_became_a_number_or_a_word_of_json_is_its_text(given: str, text: str) -> None:
    document = f'{{"__metadata__": {json.dumps(METADATA)}, "CFGSkill": [{{"DBID": 1, "name": {given}}}]}}'
    ((_, skill, _),) = read_raw(document.encode(), [])
    assert skill == {"DBID": 1, "name": text}
    option = f'{{"str_pair": {{"key": {given}, "value": {given}}}, "key": {given}}}'
    document = (
        f'{{"__metadata__": {json.dumps(METADATA)}, "CFGSkill": {{"userProperties": {{"list_pair": {option}}}}}}}'
    )
    ((_, skill, _),) = read_raw(document.encode(), [])
    assert skill["userProperties"] == {text: {text: text}}


def test_one_item_may_stand_alone_or_in_an_array() -> None:
    alone = {"skillLevels": {"CfgSkillLevel": {"skillDBID": 3, "level": "5"}}}
    listed = {"skillLevels": {"CfgSkillLevel": [{"skillDBID": 3, "level": 5}]}}
    assert one_read("CFGPerson", {"agentInfo": alone}) == one_read("CFGPerson", [{"agentInfo": listed}])
    for links in (7, [7], {"value": 7}, "7"):
        assert one_read("CFGPlace", {"DNDBIDs": {"DBID": links}}) == {"DNDBIDs": [7]}
    for name in ("CfgConnectionInfo", "CfgConnInfo"):
        application = one_read("CFGApplication", {"appServerDBIDs": {name: {"id": "a"}}})
        assert application == {"appServerDBIDs": [{"id": "a"}]}


def test_an_element_with_nothing_in_it_is_an_empty_text() -> None:
    empty = {"agentInfo": "", "userProperties": "", "appRanks": "", "userName": ""}
    assert one_read("CFGPerson", empty) == {"agentInfo": {}, "userProperties": {}, "appRanks": [], "userName": ""}
    assert one_read("CFGDNGroup", {"DNs": {"CfgGroupDN": ["", {"DNDBID": 2}]}}) == {"DNs": [{}, {"DNDBID": 2}]}
    assert one_read("CFGPerson", "") == {}


def test_numbers_may_be_texts_and_enumerations_names() -> None:
    assert one_read("CFGSkill", {"DBID": "101", "state": "CFGDisabled"}) == {"DBID": 101, "state": 2}


def test_an_attribute_of_a_newer_release_is_kept_as_text() -> None:
    role = {"DBID": 5, "newer": 7, "more": {"deep": [{"er": 1}]}, "members": {"CfgRoleMember": {"objectType": 3}}}
    assert one_read("CFGRole", role) == {"DBID": 5, "newer": "7", "more": None, "members": [{"objectType": "3"}]}


def test_types_that_do_not_exist_are_told() -> None:
    warnings: list[str] = []
    data = json.dumps({"__metadata__": METADATA, "CFGWombat": [{}], "CFGSkill": []}).encode()
    assert list(read_raw(data, warnings)) == []
    assert warnings == ["there is no object type 'CFGWombat': it is ignored"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff", "not UTF-8: byte 0"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "format None"),
        (b'{"__metadata__": {"formatName": "RAW", "formatVersion": "2.0"}}', "format RAW 2.0; this reads RAW 1.x"),
    ],
)
def test_what_is_no_raw_file_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        list(read_raw(data, []))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"DBID": "x"}, r"CFGPerson\[1\]: CfgPerson x, DBID: it must be a whole number"),
        ({"DBID": 5, "state": 1.5}, r"CfgPerson 5, state: it must be a whole number of up to 64 bits, not '1.5'"),
        ({"agentInfo": 5}, "agentInfo: it is written as an element"),
        ({"userName": {"a": 1}}, "userName: it is written as an XML attribute"),
        ({"agentInfo": {"skillLevels": {"CfgSkill": {}}}}, "here may be CfgSkillLevel, not 'CfgSkill'"),
        ({"userProperties": {"list_pair": {"key": "s", "odd_pair": {"key": "a", "value": 1}}}}, "not 'odd_pair'"),
        ({"userProperties": {"list_pair": {"key": "s", "str_pair": {"key": "a"}}}}, "has the XML attributes key and"),
    ],
)
def test_what_does_not_belong_where_it_is_is_named(item: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read(CFGPerson=[{}, item])


def test_no_name_is_a_single_value_here_and_an_element_there() -> None:
    """What the reader of JSON relies on, because "" does not say which of the two it is."""
    kinds: dict[str, set[AttributeKind]] = {}
    for holder in (*SCHEMA.types.values(), *SCHEMA.structures.values()):
        for name, attribute in holder.attributes.items():
            kinds.setdefault(name, set()).add(attribute.kind)
    nested = {AttributeKind.STRUCT, AttributeKind.STRUCT_LIST, AttributeKind.LINK_LIST, AttributeKind.KV}
    assert all(len(found) == 1 for found in kinds.values() if found & nested)
