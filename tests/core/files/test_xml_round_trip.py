"""What is written as XML is read again, for every type; what cannot be written is named."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core.files.xml import read_xml, write_xml
from csproxy.core.model import SCHEMA
from csproxy.core.model.canonical import canonical, encode_object
from csproxy.errors import ErrorCode, ModelError
from tests.core.model.strategies import object_types, plain_objects

PERSON = SCHEMA.object_type("person")
PERSON_NUMBER = PERSON.number
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def written(*objects: tuple[int, dict[str, Any], int], encoding: str = "utf-8") -> bytes:
    return b"".join(write_xml(objects, encoding=encoding))


def read(data: bytes, *, encoding: str = "utf-8") -> list[tuple[int, dict[str, Any], int]]:
    return [tuple(found) for found in read_xml(io.BytesIO(data), encoding=encoding)]


def round_trip(obj: dict[str, Any], *, encoding: str = "utf-8") -> dict[str, Any]:
    ((kind, found, _),) = read(written((PERSON_NUMBER, obj, 0), encoding=encoding), encoding=encoding)
    assert kind == PERSON_NUMBER
    return found


@settings(max_examples=150)
@given(st.data())
def test_objects_of_every_type_survive(data: st.DataObject) -> None:
    objects = []
    for kind in data.draw(st.lists(object_types(), max_size=4)):
        obj = data.draw(plain_objects(kind, unknown=data.draw(st.booleans())))
        objects.append((kind.number, obj, data.draw(st.integers(0, 3))))
    file = written(*objects)
    found = read(file)
    assert found == [(number, canonical(SCHEMA.types[number], obj), folder) for number, obj, folder in objects]
    assert written(*found) == file


@pytest.mark.parametrize("number", SCHEMA.types)
def test_a_full_object_of_each_type_survives(number: int) -> None:
    kind = SCHEMA.types[number]

    @settings(max_examples=5)
    @given(plain_objects(kind, unknown=True))
    def check(obj: dict[str, Any]) -> None:
        ((_, found, _),) = read(written((number, obj, 0)))
        assert encode_object(kind, found) == encode_object(kind, obj)

    check()


@settings(max_examples=200)
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, st.binary(max_size=20))
def test_any_text_and_bytes_survive(name: str, section: str, option: str, content: bytes) -> None:
    obj = {"firstName": name or "x", "userProperties": {section: {option: name, option + "2": content}}}
    assert round_trip(obj) == canonical(PERSON, obj)


@settings(max_examples=50)
@given(
    ANY_TEXT,
    st.sampled_from(
        [
            "utf-16",
            "utf-16-le",
            "iso-8859-1",
            "us-ascii",
            "windows-1251",
            "gb18030",
            "euc-jp",
            "hz",
            "cp037",
            "johab",
            "shift_jisx0213",
            "iso-2022-jp",
        ]
    ),
)
def test_any_text_survives_in_any_encoding(name: str, encoding: str) -> None:
    obj = {"firstName": name or "x", "newer": name or "x"}
    assert round_trip(obj, encoding=encoding) == obj


@pytest.mark.parametrize("encoding", ["euc-jp", "shift_jis", "johab", "shift_jisx0213", "iso-2022-jp-2", "big5hkscs"])
def test_characters_that_an_encoding_mixes_up_survive(encoding: str) -> None:
    obj = {"firstName": "\\ ¥ ‾ ~ ₩ — Ê̄ é"}
    assert round_trip(obj, encoding=encoding) == obj


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        True,
        None,
        {"a": [1, {"b": None}]},
        b"\x00",
        {"a": b"\xff"},
        {1: 2},
        float("inf"),
        "\x00",
        2**64 - 1,
        -(2**63),
    ],
    ids=repr,
)
def test_an_attribute_of_a_newer_release_survives_whatever_it_holds(value: Any) -> None:
    obj = {"DBID": 1, "newer \x01": value, "agentInfo": {"newer": value}}
    assert encode_object(PERSON, round_trip(obj)) == encode_object(PERSON, obj)


def test_structures_and_sections_that_hold_nothing_stay() -> None:
    obj = {"DBID": 1, "agentInfo": {}, "userProperties": {"empty": {}}}
    assert round_trip(obj) == obj


def test_the_form_is_that_of_the_document() -> None:
    person = {
        "DBID": 101,
        "userName": "jdoe",
        "agentInfo": {"placeDBID": 7, "skillLevels": [{"skillDBID": 3, "level": 5}]},
        "userProperties": {"desktop": {"theme": "dark & <deep>", "size": 3, "icon": b"\x00"}},
    }
    group = {"DBID": 5, "groupInfo": {"name": "a"}, "agentDBIDs": [101]}
    file = written((PERSON_NUMBER, person, 103), (5, group, 0)).decode()
    assert file == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ConfData xmlns:csproxy="urn:csproxy:confdata:1" xmlns:base64="urn:csproxy:base64">\n'
        '  <CfgPerson DBID="101" userName="jdoe" csproxy:folder="103">\n'
        '    <agentInfo placeDBID="7">\n'
        "      <skillLevels>\n"
        '        <CfgSkillLevel skillDBID="3" level="5"/>\n'
        "      </skillLevels>\n"
        "    </agentInfo>\n"
        "    <userProperties>\n"
        '      <list_pair key="desktop">\n'
        '        <bin_pair key="icon" value="AA=="/>\n'
        '        <int_pair key="size" value="3"/>\n'
        '        <str_pair key="theme" value="dark &amp; &lt;deep&gt;"/>\n'
        "      </list_pair>\n"
        "    </userProperties>\n"
        "  </CfgPerson>\n"
        '  <CfgAgentGroup DBID="5">\n'
        '    <groupInfo name="a"/>\n'
        "    <agentDBIDs>\n"
        '      <DBID value="101"/>\n'
        "    </agentDBIDs>\n"
        "  </CfgAgentGroup>\n"
        "</ConfData>\n"
    )


def test_the_example_of_the_document_is_what_is_read_and_written() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "xml-format.md"
    example = page.read_text(encoding="utf-8").partition("```xml\n")[2].partition("```")[0].encode()
    assert written(*read(example)) == example


@settings(max_examples=30)
@given(st.data())
def test_another_xml_library_can_read_it(data: st.DataObject) -> None:
    kind = data.draw(object_types())
    obj = {"DBID": 7, **data.draw(plain_objects(kind, unknown=True))}
    (element,) = ElementTree.fromstring(written((kind.number, obj, 0)))
    assert element.tag == kind.name
    assert element.get("DBID", "0") == str(obj["DBID"])


def test_a_large_file_is_written_and_read_in_pieces() -> None:
    objects = [(PERSON_NUMBER, {"DBID": dbid, "lastName": "x" * 500}, 0) for dbid in range(1, 2001)]
    pieces = list(write_xml(objects))
    assert len(pieces) > 10
    assert max(map(len, pieces)) < 100_000
    assert read(b"".join(pieces)) == objects


def test_objects_come_before_the_end_of_the_file_is_read() -> None:
    stream = io.BytesIO(
        written(*((PERSON_NUMBER, {"DBID": dbid, "lastName": "x" * 500}, 0) for dbid in range(1, 5001)))
    )
    next(read_xml(stream))
    assert stream.read(1)


@pytest.mark.parametrize(
    ("obj", "path", "words"),
    [
        ({"DBID": 7, "firstName": 5}, "firstName", "must be text, not int"),
        ({"DBID": 7, "firstName": "a\ud800"}, "firstName", "character 1 is half of a surrogate pair"),
        ({"DBID": 7, "state": "1"}, "state", "must be a whole number, not str"),
        ({"DBID": 7, "state": True}, "state", "must be a whole number, not bool"),
        ({"DBID": 7, "state": 2**64}, "state", "up to 64 bits"),
        ({"DBID": 7, "agentInfo": {"skillLevels": [{"level": 1.5}]}}, "agentInfo.skillLevels.level", "not float"),
        ({"DBID": 7, "userProperties": {"s": {"o": 1.5}}}, "userProperties.s/o", "not float"),
        ({"DBID": 7, "userProperties": {"s": {"o": "\udfff"}}}, "userProperties.s/o", "surrogate"),
        ({"DBID": 7, "newer": object()}, "newer", "nothing that an object can hold"),
        ({"DBID": 7, "newer": {"a": "\ud800"}}, "newer", "nothing that an object can hold"),
    ],
)
def test_what_cannot_be_written_is_named(obj: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        written((PERSON_NUMBER, obj, 0))
    assert caught.value.code is ErrorCode.OBJECT_PACKING_ERROR
    assert (caught.value.object_type, caught.value.property_name) == (PERSON_NUMBER, path)
    assert f"CfgPerson 7 attribute {path} cannot be written" in str(caught.value)
    assert words in str(caught.value)


def test_an_object_type_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ModelError, match="no object type 99") as caught:
        written((99, {}, 0))
    assert caught.value.code is ErrorCode.UNSUPPORTED_OBJECT


@pytest.mark.parametrize("encoding", ["", "klingon", "rot13", "hex", "punycode", "unicode_escape", 'a"b', "utf-7"])
def test_what_is_no_encoding_is_refused_at_once(encoding: str) -> None:
    with pytest.raises(ModelError) as caught:
        write_xml([], encoding=encoding)
    assert caught.value.code is ErrorCode.UNSUPPORTED_ENCODING
    with pytest.raises(ModelError):
        list(read_xml(io.BytesIO(b"<ConfData/>"), encoding=encoding))
