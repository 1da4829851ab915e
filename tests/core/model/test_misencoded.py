"""Texts that are not UTF-8 are found wherever they stand, and nothing else is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core import codec
from csproxy.core.model import SCHEMA
from csproxy.core.model.misencoded import MOST_VALUES, find_misencoded, text_error
from csproxy.core.model.typed import decode_object
from csproxy.core.records import reader
from csproxy.errors import ErrorCode, ModelError

MARK = "\x00?\x00"
WRONG = {
    b"ab\xff": (2, 0xFF, "invalid start byte"),
    b"\xe4\xb8": (0, 0xE4, "unexpected end of data"),
    b"\xc0\xaf": (0, 0xC0, "invalid start byte"),
    b"x\xed\xa0\xbd": (1, 0xED, "invalid continuation byte"),
    b"\xf4\x90\x80\x80": (0, 0xF4, "invalid continuation byte"),
    b"caf\xe9": (3, 0xE9, "unexpected end of data"),
}
"""Wrong start, truncated, overlong, half a surrogate pair, beyond U+10FFFF, Latin-1."""


def packed(value: Any, wrong: bytes = b"ab\xff") -> bytes:
    """The value in msgpack, ``wrong`` in place of the text MARK."""
    data = codec.encode(value).replace(codec.encode(MARK), bytes((0xA0 | len(wrong),)) + wrong)
    with pytest.raises(UnicodeDecodeError):
        codec.decode(data)
    return data


@pytest.mark.parametrize("wrong", WRONG)
def test_the_place_is_that_of_the_first_wrong_byte(wrong: bytes) -> None:
    data = packed({"type": 13, "object": {"name": MARK}}, wrong)
    found = find_misencoded(data)
    assert found is not None
    assert (found.in_text, found.byte, found.reason) == WRONG[wrong]
    assert data[found.offset] == found.byte
    assert data[found.offset - found.in_text :].startswith(wrong)


@pytest.mark.parametrize(
    ("value", "path", "object_type", "attribute", "is_name"),
    [
        ({"type": 3, "object": {"userName": MARK}}, "object.userName", 3, "userName", False),
        ({"type": 3, "dbid": 5, "delta": {"a": {"b": MARK}}}, "delta.a.b", 3, "a.b", False),
        ({"type": 3, "objects": [{"n": "x"}, {"n": MARK}]}, "objects[1].n", 3, "n", False),
        ({"type": 3, "object": {"l": [{"x": 1}, {"x": MARK}]}}, "object.l[1].x", 3, "l[1].x", False),
        ({"type": 3, "object": {"userProperties": {"s": {MARK: "v"}}}}, "object.userProperties.s", 3,
         "userProperties.s", True),
        ({"type": 3, "object": {MARK: 1}}, "object", 3, "", True),
        ({"type": 3, "filter": {"user_name": MARK}}, "filter.user_name", 3, "filter.user_name", False),
        ({"changes": [{"type": 3, "object": {}}, {"type": 13, "object": {"name": MARK}}]}, "changes[1].object.name", 13,
         "name", False),
        ({"type": 13, "name": MARK}, "name", 0, "", False),
        ({"type": 127, "object": {"name": MARK}}, "object.name", 0, "", False),
        ({"type": 3000, "object": {"name": MARK}}, "object.name", 0, "", False),
        ({"object": {"name": MARK}, "type": 3}, "object.name", 0, "", False),
        ({"records": [{"user": MARK}]}, "records[0].user", 0, "", False),
        (MARK, "", 0, "", False),
    ],
)  # fmt: skip
def test_what_is_known_of_the_place_is_told(
    value: Any, path: str, object_type: int, attribute: str, is_name: bool
) -> None:
    found = find_misencoded(packed(value))
    assert found is not None
    assert (found.path, found.object_type, found.attribute, found.is_name) == (path, object_type, attribute, is_name)


def test_every_form_of_msgpack_is_passed_over() -> None:
    before = [
        None, True, False, 0, 127, -1, -32, 200, 2**16 - 1, 2**32 - 1, 2**63, -100, -(2**15), -(2**31), -(2**63), 1.5,
        "é" * 5, "é" * 20, "é" * 200, "é" * 40_000, b"\xff" * 3, b"\xff" * 300, b"\xff" * 70_000,
        [0] * 20, {str(n): n for n in range(20)}, [[]] * 3, {},
        *(msgspec.msgpack.Ext(5, b"\xff" * size) for size in (1, 2, 4, 8, 16, 3, 300, 70_000)),
    ]  # fmt: skip
    found = find_misencoded(packed([*before, b"\xca", MARK]))
    assert found is not None
    assert found.path == f"[{len(before) + 1}]"
    float32 = b"\x92\xca\xff\xff\xff\xff\xa1\xff"
    assert find_misencoded(float32) is not None
    wide = b"\xdd\x00\x00\x00\x01\xdf\x00\x00\x00\x01\xa1a\xdb\x00\x00\x00\x01\xff"
    found = find_misencoded(wide)
    assert found is not None
    assert (found.path, found.offset) == ("[0].a", len(wide) - 1)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_right_values_have_no_such_text(value: Any) -> None:
    assert find_misencoded(codec.encode(value)) is None


@given(st.binary(max_size=60))
def test_any_bytes_are_walked_without_an_error_and_agree_with_the_decoder(data: bytes) -> None:
    found = find_misencoded(data)
    wrong = None
    try:
        codec.decode(data)
    except UnicodeDecodeError as e:
        wrong = e.object[e.start], e.reason
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError):
        return
    assert (None if found is None else (found.byte, found.reason)) == wrong


@given(values, st.sampled_from(sorted(WRONG)))
def test_a_wrong_text_behind_any_value_is_found(value: Any, wrong: bytes) -> None:
    found = find_misencoded(packed([value, MARK], wrong))
    assert found is not None
    assert (found.path, found.in_text) == ("[1]", WRONG[wrong][0])


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x81", b"\x91" * 100_000, b"\xa5ab\xff", b"\x81\x81\xa1a\x01\x01", b"\xdc\xff\xff"],
    ids=["nothing", "never", "no key", "deep", "cut off", "a map as a key", "a short list"],
)
def test_nonsense_has_no_place(data: bytes) -> None:
    assert find_misencoded(data) is None


def test_the_work_is_bounded() -> None:
    assert find_misencoded(packed([*itertools.repeat(0, MOST_VALUES - 2), MARK])) is not None
    assert find_misencoded(packed([*itertools.repeat(0, MOST_VALUES), MARK])) is None


def error_of(data: bytes) -> UnicodeDecodeError:
    with pytest.raises(UnicodeDecodeError) as caught:
        codec.decode(data)
    return caught.value


def test_the_error_says_what_where_and_which_byte() -> None:
    data = packed({"type": 3, "dbid": 101, "delta": {"userProperties": {"a.b": {"c": MARK}}}})
    error = text_error("UpdateObject (8)", data, error_of(data))
    assert (error.code, error.object_type) == (ErrorCode.UNSUPPORTED_ENCODING, 3)
    assert error.property_name == "userProperties.a.b.c"
    offset = len(data) - 1
    assert str(error) == (
        "UpdateObject (8): CfgPerson.userProperties.a.b.c is not UTF-8: byte 0xff at offset 2 of the text, "
        f"offset {offset} of the whole (invalid start byte)"
    )
    data = packed({"type": 3, "object": {MARK: 1}})
    assert "a name in CfgPerson is not" in str(text_error("CreateObject (7)", data, error_of(data)))
    data = packed({"user": MARK})
    error = text_error("RegisterClient (3)", data, error_of(data))
    assert (error.object_type, error.property_name) == (0, "user")
    assert str(error).startswith("RegisterClient (3): user is not UTF-8: byte 0xff at offset 2 of the text")
    data = packed({"name": MARK})
    error = text_error("an object", data, error_of(data), object_type=13)
    assert (str(error)[:24], error.property_name) == ("an object: CfgSkill.name", "name")


def test_a_text_too_far_back_is_reported_without_its_place() -> None:
    data = packed([*itertools.repeat(0, MOST_VALUES), MARK])
    error = text_error("ReadObjects (10)", data, error_of(data), object_type=3)
    assert str(error) == (
        "ReadObjects (10): a text is not UTF-8: byte 0xff at offset 2 of the text (invalid start byte)"
    )
    assert error.object_type == 3


@pytest.mark.parametrize("path", ["name", "tenantDBID"])
def test_an_object_with_a_wrong_text_is_refused_by_every_reader(path: str) -> None:
    kind = SCHEMA.object_type("skill")
    stored = codec.encode({"DBID": 101, "tenantDBID": 1, "name": "x-text"}).replace(b"x-text", b"x-\xee\xeext")
    readers: list[Callable[[bytes], object]] = [
        lambda data: decode_object(kind, data),
        reader(kind.number, (path, "name")).decode,
        lambda data: reader(kind.number, (path, "name")).decode_many([data]),
    ]
    for read in readers:
        with pytest.raises(ModelError) as caught:
            read(stored)
        assert caught.value.code is ErrorCode.UNSUPPORTED_ENCODING
        assert caught.value.object_type == kind.number


def test_an_object_is_refused_by_those_who_decode_it() -> None:
    wrong = packed({"DBID": 1, "userName": MARK})
    with pytest.raises(ModelError, match=r"CfgPerson\.userName is not UTF-8: byte 0xff at offset 2") as caught:
        decode_object(SCHEMA.types[3], wrong)
    assert (caught.value.code, caught.value.property_name) == (ErrorCode.UNSUPPORTED_ENCODING, "userName")
    newer = packed({"DBID": 1, "addedLater": MARK})
    with pytest.raises(ModelError, match=r"CfgPerson\.addedLater is not UTF-8"):
        decode_object(SCHEMA.types[3], newer)
    right = codec.encode({"DBID": 1, "userName": "ada"})
    users = reader(3, ("userName",))
    with pytest.raises(ModelError, match=r"CfgPerson\.userName is not UTF-8: byte 0xff at offset 2") as caught:
        users.decode(wrong)
    assert caught.value.code is ErrorCode.UNSUPPORTED_ENCODING
    with pytest.raises(ModelError, match=r"CfgPerson\.userName is not UTF-8") as caught:
        users.decode_many([right, wrong])
    assert f"offset {1 + len(right) + len(wrong) - 1} of the whole" in str(caught.value)
