"""Files that are broken or malicious are refused with the place and a sentence."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core.files import xml_read
from csproxy.core.files.xml import MAX_OBJECT_BYTES, read_xml, write_xml
from csproxy.errors import ErrorCode, ModelError

HEAD = '<ConfData xmlns:csproxy="urn:csproxy:confdata:1" xmlns:base64="urn:csproxy:base64" xmlns:other="urn:o">'


def refused(data: bytes | str, *, encoding: str = "utf-8") -> ModelError:
    content = data.encode() if isinstance(data, str) else data
    with pytest.raises(ModelError) as caught:
        list(read_xml(io.BytesIO(content), encoding=encoding))
    return caught.value


def file(objects: str) -> str:
    return f"{HEAD}\n{objects}\n</ConfData>"


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE ConfData [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE ConfData [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE ConfData [<!ENTITY % a SYSTEM "http://127.0.0.1/x">%a;]>',
        '<!DOCTYPE ConfData [<!ATTLIST CfgPerson state CDATA "1">]>',
        '<!DOCTYPE ConfData SYSTEM "http://127.0.0.1/x.dtd">',
        "<!DOCTYPE ConfData>",
    ],
)
def test_document_type_declarations_are_refused_and_with_them_all_entities(declaration: str) -> None:
    error = refused(f'{declaration}<ConfData><CfgPerson userName="&b;"/></ConfData>')
    assert error.code is ErrorCode.XML_PARSE_ERROR
    assert "DOCTYPE" in str(error)


def test_a_bomb_of_entities_is_not_lit() -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 50}">' for n in range(1, 9))
    bomb = f'<!DOCTYPE x [<!ENTITY e0 "{"x" * 5000}">{entities}]><ConfData><CfgPerson userName="&e8;"/></ConfData>'
    started = time.process_time()
    assert "DOCTYPE" in str(refused(bomb))
    assert time.process_time() - started < 0.5


def test_an_entity_that_nobody_declared_is_refused() -> None:
    assert "undefined entity" in str(refused(file('<CfgPerson userName="&b;"/>')))


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ("<CfgPersn/>", "line 2, column 1: 'CfgPersn' is no object type: did you mean CfgPerson"),
        (
            '<CfgPerson DBID="7" userNam="x"/>',
            "CfgPerson 7, userNam: there is no such attribute: did you mean userName",
        ),
        (
            "<CfgPerson><agentinfo/></CfgPerson>",
            "CfgPerson, agentinfo: there is no such attribute: did you mean agentInfo",
        ),
        ('<CfgPerson agentInfo="x"/>', "agentInfo: it is written as an element"),
        ("<CfgPerson><userName/></CfgPerson>", "userName: it is written as an XML attribute"),
        ('<CfgPerson state="x1"/>', "state: 'x1' is no member of CfgObjectState"),
        ('<CfgPerson state="1.5"/>', "state: it must be a whole number"),
        ('<CfgPerson state=""/>', "state: it must be a whole number"),
        ('<CfgPerson state="99999999999999999999"/>', "up to 64 bits"),
        ('<CfgPerson state="1" state="1"/>', "duplicate attribute"),
        ("<CfgPerson><agentInfo/><agentInfo/></CfgPerson>", "agentInfo: it is there twice"),
        ("<CfgPerson>text</CfgPerson>", "there may be no text between elements: 'text'"),
        ('<CfgPerson csproxy:folder="x"/>', "folder: it must be a whole number"),
        ('<CfgPerson csproxy:other="x"/>', "no XML attribute 'urn:csproxy:confdata:1 other' here"),
        ('<CfgPerson other:name="x"/>', "no XML attribute 'urn:o name' here"),
        ("<CfgPerson><other:x/></CfgPerson>", "there is no such attribute"),
        ('<CfgPerson base64:userName="?"/>', "userName: this is not base64"),
        ('<CfgPerson base64:userName="ÿ"/>', "userName: this is not base64"),
        ('<CfgPerson base64:userName="/w=="/>', "userName: its base64 is not UTF-8 at byte 0"),
        ('<CfgPerson userName="a" base64:userName="YQ=="/>', "userName: it is there twice, plain and as base64"),
        ('<CfgPerson><appRanks x="1"/></CfgPerson>', "appRanks: there may be no XML attribute 'x' here"),
        ("<CfgPerson><appRanks><CfgSkillLevel/></appRanks></CfgPerson>", "appRanks: here may be CfgAppRank"),
        ("<CfgAgentGroup><agentDBIDs><x/></agentDBIDs></CfgAgentGroup>", "agentDBIDs: here may be DBID, not 'x'"),
        (
            "<CfgAgentGroup><agentDBIDs><DBID/></agentDBIDs></CfgAgentGroup>",
            "has the XML attributes value, here are none",
        ),
        (
            '<CfgAgentGroup><agentDBIDs><DBID value="1"><a/></DBID></agentDBIDs></CfgAgentGroup>',
            "there may be no element 'a' here",
        ),
        ("<CfgPerson><userProperties><str_pair/></userProperties></CfgPerson>", "here may be list_pair"),
        ("<CfgPerson><userProperties><list_pair/></userProperties></CfgPerson>", "has the XML attributes key"),
        (
            '<CfgPerson><userProperties><list_pair key="a"/><list_pair key="a"/></userProperties></CfgPerson>',
            "section 'a' is there twice",
        ),
        (
            '<CfgPerson><userProperties><list_pair key="s"><str_pair key="a" value=""/><str_pair key="a" value=""/>'
            "</list_pair></userProperties></CfgPerson>",
            "option 'a' is there twice",
        ),
        (
            '<CfgPerson><userProperties><list_pair key="s"><list_pair key="a" value=""/></list_pair></userProperties>'
            "</CfgPerson>",
            "userProperties.s.a: an option is str_pair, int_pair or bin_pair, not 'list_pair'",
        ),
        ("<CfgPerson><csproxy:unknown/></CfgPerson>", "an unknown attribute has a name"),
        ('<CfgPerson><csproxy:unknown name="a"/></CfgPerson>', "name, and json or msgpack"),
        ('<CfgPerson><csproxy:unknown name="a" json="1" msgpack=""/></CfgPerson>', "name, and json or msgpack"),
        ('<CfgPerson><csproxy:unknown name="a" msgpack="" x=""/></CfgPerson>', "name, and json or msgpack"),
        ('<CfgPerson><csproxy:unknown name="state" json="1"/></CfgPerson>', "has the name of another one"),
        ('<CfgPerson><csproxy:unknown name="a" json="{"/></CfgPerson>', "a: its JSON cannot be read"),
        ('<CfgPerson><csproxy:unknown name="a" json="NaN"/></CfgPerson>', "NaN is not JSON"),
        ('<CfgPerson><csproxy:unknown name="a" json="1e999999"/></CfgPerson>', None),
        ('<CfgPerson><csproxy:unknown name="a" json="99999999999999999999999"/></CfgPerson>', "cannot be read"),
        ('<CfgPerson><csproxy:unknown name="a" json="&quot;\\ud800&quot;"/></CfgPerson>', "cannot be read"),
        (f'<CfgPerson><csproxy:unknown name="a" json="{"[" * 100_000}"/></CfgPerson>', "cannot be read"),
        ('<CfgPerson><csproxy:unknown name="a" msgpack="wQ=="/></CfgPerson>', "a: its msgpack cannot be read"),
        ("<CfgPerson>" * 100_000, "there is no such attribute"),
        ("<CfgPerson", "not well-formed"),
        ("</CfgPerson>", "mismatched tag"),
    ],
)
def test_what_does_not_belong_there_is_named(objects: str, words: str | None) -> None:
    if words is None:
        assert list(read_xml(io.BytesIO(file(objects).encode())))
        return
    error = refused(file(objects))
    assert error.code is ErrorCode.XML_PARSE_ERROR
    assert words in str(error)


def test_the_error_carries_type_and_attribute() -> None:
    error = refused(file('<CfgPerson DBID="7"><agentInfo placeDBID="x"/></CfgPerson>'))
    assert (error.object_type, error.property_name) == (3, "agentInfo.placeDBID")
    assert str(error).startswith("line 2, column 21: CfgPerson 7, agentInfo.placeDBID: ")


@pytest.mark.parametrize("data", ["", "   ", "<ConfData>", "<Other/>", "<ConfData/><ConfData/>", "{}"])
def test_what_is_no_such_document_is_refused(data: str) -> None:
    assert refused(data).code is ErrorCode.XML_PARSE_ERROR


def test_enumerations_may_be_written_by_name() -> None:
    (found,) = read_xml(io.BytesIO(file('<CfgPerson state="CFGEnabled" isAgent="2"/>').encode()))
    assert found.object == {"state": 1, "isAgent": 2}


def test_comments_and_processing_instructions_say_nothing() -> None:
    (found,) = read_xml(io.BytesIO(file("<!-- a --><?b c?><CfgPerson><!-- d --></CfgPerson>").encode()))
    assert found == (3, {}, 0)


@pytest.mark.parametrize(
    ("data", "encoding", "words"),
    [
        (b'<ConfData><CfgPerson userName="\xe9"/></ConfData>', "utf-8", "byte 31 (0xE9) is not valid in utf-8"),
        (b"<ConfData>" + b" " * 300_000 + b"\xff", "utf-8", "byte 300010 (0xFF)"),
        (b"<ConfData>" + b" " * (262_144 - 11) + b"\xe2\x28", "utf-8", "byte 262143 (0xE2)"),
        (
            "<ConfData/>".encode("utf-16"),
            "utf-8",
            "byte 0 (0xFF) is not valid in utf-8 (invalid start byte): it begins like UTF-16",
        ),
        (b"<ConfData/>\xe2\x82", "utf-8", "byte 11 (0xE2)"),
        (
            b'<?xml version="1.0" encoding="ISO-8859-1"?><ConfData/>',
            "utf-8",
            "declares the encoding 'ISO-8859-1' (byte 30)",
        ),
        (b'<?xml version="1.0" encoding="klingon"?><ConfData/>', "utf-8", "declares the encoding 'klingon' (byte 30)"),
        (b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-16"?><ConfData/>', "utf-8", "'utf-16' (byte 33)"),
        (b'<?xml version="1.0" encoding="ISO-8859-15"?><ConfData/>', "iso-8859-1", "'ISO-8859-15' (byte 30)"),
        ("<ConfData>".encode("utf-16-le") + b"\x00\xd8", "utf-16-le", "byte 20"),
    ],
)
def test_another_encoding_is_refused_with_the_byte_position(data: bytes, encoding: str, words: str) -> None:
    error = refused(data, encoding=encoding)
    assert error.code is ErrorCode.UNSUPPORTED_ENCODING
    assert words in str(error)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"\xef\xbb\xbf<ConfData/>", "utf-8"),
        (b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><ConfData/>', "utf-8"),
        (b'<?xml version="1.0" encoding="us-ascii"?><ConfData/>', "utf-8"),
        ('<?xml version="1.0" encoding="utf-16"?><ConfData/>'.encode("utf-16-be"), "utf-16-be"),
        ("<ConfData/>".encode("utf-16"), "utf-16"),
    ],
)
def test_marks_and_declarations_that_fit_are_accepted(data: bytes, encoding: str) -> None:
    assert list(read_xml(io.BytesIO(data), encoding=encoding)) == []


class Endless:
    """A file that begins with ``head`` and goes on for ever."""

    def __init__(self, head: str, more: str) -> None:
        self.fed = 0
        self._parts = self._generate(head.encode(), more.encode())

    @staticmethod
    def _generate(head: bytes, more: bytes) -> Iterator[bytes]:
        yield head
        while True:
            yield more * (262_144 // len(more))

    def read(self, size: int, /) -> bytes:
        part = next(self._parts)
        assert len(part) <= size
        self.fed += len(part)
        return part


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (f'{HEAD}<CfgPerson userName="', "x"),
        (f"{HEAD}<CfgPerson>", "\n"),
        (f"{HEAD}<!--", "x"),
        (f"{HEAD}<CfgAgentGroup><agentDBIDs>", '<DBID value="1"/>'),
    ],
    ids=["attribute", "white space", "comment", "list"],
)
def test_an_object_without_end_is_refused_when_it_is_too_large(
    head: str, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xml_read, "MAX_OBJECT_BYTES", 2 * 1_048_576)
    stream = Endless(head, more)
    with pytest.raises(ModelError, match="longer than 2 MiB"):
        list(read_xml(stream))
    assert stream.fed < 3 * 1_048_576


def test_much_white_space_between_objects_is_no_object() -> None:
    stream = io.BytesIO(HEAD.encode() + b" " * (MAX_OBJECT_BYTES + 1_000_000) + b"</ConfData>")
    assert list(read_xml(stream)) == []


@settings(max_examples=150)
@given(st.data())
def test_damaged_files_give_an_error_or_objects_and_nothing_else(data: st.DataObject) -> None:
    person = {
        "DBID": 7,
        "userName": "Zoë",
        "agentInfo": {},
        "userProperties": {"s": {"o": b"1", "p": "\x00"}},
        "newer": 1,
    }
    whole = bytearray(b"".join(write_xml([(3, person, 5)])))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(ModelError):
        list(read_xml(io.BytesIO(whole)))
