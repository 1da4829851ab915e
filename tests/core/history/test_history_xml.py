"""Records as XML: well-formed whatever they hold, and everything can be read back."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core import codec
from csproxy.core.history import HistoryRecord
from csproxy.core.history_xml import FOOTER, audit_header, record_xml, time_text
from csproxy.core.model import SCHEMA

NAMES = st.text(max_size=6)
SCALARS = st.integers(-(2**40), 2**40) | st.text(max_size=12) | st.binary(max_size=6)
VALUES = st.recursive(
    SCALARS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def parse(*records: HistoryRecord) -> ElementTree.Element:
    text = audit_header(release="1", database="g", exported_ms=1, since_ms=0)
    text += "".join(record_xml(number, record) for number, record in enumerate(records, 1)) + FOOTER
    return ElementTree.fromstring(text.encode("utf-8"))


def name_of(element: ElementTree.Element) -> str:
    if "name64" in element.attrib:
        return base64.b64decode(element.attrib["name64"]).decode("utf-8")
    return element.attrib["name"]


def read(element: ElementTree.Element) -> Any:
    """The value that an element stands for, as docs/topics/history-log.md says."""
    form, text = element.get("form"), element.text or ""
    if form == "bytes":
        return base64.b64decode(text)
    if form == "base64":
        return base64.b64decode(text).decode("utf-8")
    if form == "number":
        return int(text)
    if form in ("none", "map", "list"):
        return {"none": None, "map": {}, "list": []}[form]
    if "number" in element.attrib:
        return int(element.attrib["number"])
    if len(element) == 0:
        return text
    if element[0].tag == "item":
        return [read(item) for item in element]
    return {name_of(item): read(item) for item in element}


@given(st.dictionaries(NAMES, VALUES, max_size=4), NAMES)
def test_any_value_can_be_read_back(value: dict[str, Any], user: str) -> None:
    record = HistoryRecord(
        action=16, time_ms=1, type=4711, dbid=5, user=user, former=msgspec.Raw(codec.encode(value)), delta=value
    )
    (element,) = parse(record)
    for part in ("former", "delta"):
        found = element.find(part)
        assert found is not None
        assert {name_of(item): read(item) for item in found} == value
    if "user64" in element.attrib:
        assert base64.b64decode(element.attrib["user64"]).decode("utf-8") == user
    else:
        assert element.attrib["user"] == user


def test_a_change_names_its_object_and_its_enumerations() -> None:
    record = HistoryRecord(
        action=75,
        time_ms=1_746_360_000_123,
        uen=9,
        epoch=5,
        user="ada",
        application="sce",
        type=3,
        dbid=101,
        folder=7,
        former_folder=6,
        delta={"state": 2, "agentInfo": {"skillLevels": {"added": [{"skillDBID": 1, "level": 3}]}}, "ranks": None},
        former_values={"appRanks": {"changed": [{"appType": 19, "appRank": 1}]}, "state": 99},
    )
    (element,) = parse(record)
    assert element.tag == "change"
    assert element.attrib == {
        "number": "1",
        "time": "2025-05-04T12:00:00.123Z",
        "action": "updated",
        "uen": "9",
        "epoch": "5",
        "type": "CfgPerson",
        "dbid": "101",
        "user": "ada",
        "application": "sce",
        "folder": "7",
        "former-folder": "6",
    }
    state = element.find("delta/value[@name='state']")
    assert state is not None
    assert (state.text, state.get("number")) == ("CFGDisabled", "2")
    level = element.find("delta/value[@name='agentInfo']/value[@name='skillLevels']/value[@name='added']/item")
    assert level is not None
    assert read(level) == {"skillDBID": 1, "level": 3}
    rank = element.find("former-values/value[@name='appRanks']/value[@name='changed']/item/value[@name='appType']")
    assert rank is not None
    assert rank.get("number") == "19"
    assert (rank.text or "").startswith("CFG")
    unknown = element.find("former-values/value[@name='state']")
    assert unknown is not None
    assert (unknown.text, unknown.get("form")) == ("99", "number")


def test_what_was_moved_stands_with_the_folder_before() -> None:
    (element,) = parse(HistoryRecord(action=75, time_ms=0, type=22, dbid=9, moved_from=[(3, 101, 8), (4711, 5, 6)]))
    assert [moved.attrib for moved in element.findall("moved")] == [
        {"type": "CfgPerson", "dbid": "101", "former-folder": "8"},
        {"type": "4711", "dbid": "5", "former-folder": "6"},
    ]


def test_links_of_a_delta_are_numbers() -> None:
    place = SCHEMA.object_type("place").number
    (element,) = parse(HistoryRecord(action=75, time_ms=0, type=place, delta={"DNDBIDs": {"added": [101, 102]}}))
    added = element.find("delta/value[@name='DNDBIDs']/value[@name='added']")
    assert added is not None
    assert read(added) == [101, 102]


@pytest.mark.parametrize(("action", "word"), [(1, "opened"), (2, "closed")])
def test_a_session_is_one_empty_element(action: int, word: str) -> None:
    record = HistoryRecord(action=action, time_ms=0, uen=4, user="ada", application="x", host="[::1]:5", server="p")
    (element,) = parse(record)
    assert (element.tag, len(element), element.text) == ("session", 0, None)
    assert element.attrib == {
        "number": "1",
        "time": "1970-01-01T00:00:00.000Z",
        "action": word,
        "uen": "4",
        "user": "ada",
        "application": "x",
        "host": "[::1]:5",
        "server": "p",
    }


def test_an_action_that_is_not_known_keeps_its_number() -> None:
    (element,) = parse(HistoryRecord(action=99, time_ms=0))
    assert (element.tag, element.get("action"), element.get("type")) == ("change", "99", "0")


def test_the_document_says_where_it_comes_from_and_what_it_covers() -> None:
    text = audit_header(release="1.0", database="<g>", exported_ms=1_746_360_000_000, since_ms=1_746_273_600_000)
    root = ElementTree.fromstring(text + FOOTER)
    assert root.attrib == {
        "version": "1",
        "release": "1.0",
        "database": "<g>",
        "exported": "2025-05-04T12:00:00.000Z",
        "since": "2025-05-03T12:00:00.000Z",
    }
    assert time_text(7) == "1970-01-01T00:00:00.007Z"
