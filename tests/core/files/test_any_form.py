"""The form of a file is told by its content; all forms bring the same configuration."""

from __future__ import annotations

import codecs
import json

import pytest

from csproxy.core.files.any_form import FORMS, form_of, read_form, write_form
from csproxy.core.files.keys import full_text
from csproxy.errors import ConfigurationError, ModelError
from tests.core.files.bench import Bench
from tests.core.files.test_writing import every_kind

RAW = {"__metadata__": {"formatName": "RAW", "formatVersion": "1.1.1"}}


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"<ConfData/>", "xml"),
        (b"\n <ConfData/>", "xml"),
        (codecs.BOM_UTF8 + b"<ConfData/>", "xml"),
        ("<ConfData/>".encode("utf-16"), "xml"),
        (codecs.BOM_UTF16_BE + "<ConfData/>".encode("utf-16-be"), "xml"),
        ("<ConfData/>".encode("utf-16-le"), "xml"),
        (b"", "json"),
        (b"{}", "json"),
        (json.dumps(RAW).encode(), "raw"),
        (json.dumps({"skills": [], **RAW}, indent=2).encode(), "raw"),
        (codecs.BOM_UTF8 + json.dumps(RAW).encode(), "raw"),
        (json.dumps({"skills": [{"userProperties": RAW}]}).encode(), "json"),
        (json.dumps([RAW]).encode(), "json"),
        (b'{"__metadata__": 5, "x": {"formatName": "RAW"}}', "json"),
        (b'{"__metadata__": {"formatName": "RAW"}, "hosts": [{"name": ${X}}]}', "json"),
        (b'{"formatName": "RAW", "x": ' + b"[" * 100_000, "json"),
    ],
)
def test_the_form_is_told_by_the_content(data: bytes, form: str) -> None:
    assert form_of(data) == form


@pytest.mark.parametrize("form", FORMS)
def test_one_object_or_more_of_every_kind_survives_in_each_form(form: str) -> None:
    bench = Bench()
    bench.bring(json.dumps(every_kind()).replace("${", "\\u0024{"))
    file = b"".join(write_form(bench.directory(), form))
    objects, warnings = read_form(file, {})
    assert not warnings
    other = Bench()
    other.bring_objects(objects)
    assert other.export() == bench.export()
    assert not other.bring(file).operations
    assert form_of(file) == form


@pytest.mark.parametrize("form", FORMS)
def test_objects_are_counted_while_they_are_written(form: str) -> None:
    directory = Bench().directory()
    told: list[int] = []
    b"".join(write_form(directory, form, on_object=told.append))
    assert told == list(range(1, len(told) + 1))
    everything = sum(len(directory.objects(number)) for number in directory.types)
    assert (len(told) == everything) == (form != "json"), "JSON leaves default folders out"


def test_xml_is_written_and_read_in_another_encoding() -> None:
    bench = Bench()
    bench.bring({"skills": [{"name": "größe 日", "tenant": "Environment"}]})
    file = b"".join(write_form(bench.directory(), "xml", encoding="iso-8859-1"))
    assert "größe &#26085;".encode("iso-8859-1") in file
    with pytest.raises(ModelError, match=r"byte \d+ \(0xF6\) is not valid in utf-8"):
        read_form(file, {})
    objects, _ = read_form(file, {}, encoding="iso-8859-1")
    assert "skill [Environment/größe 日]" in [full_text(each.key) for each in objects]


def test_a_form_that_is_named_is_not_guessed() -> None:
    with pytest.raises(ConfigurationError, match="format RAW"):
        read_form(json.dumps(RAW).encode(), {}, form="json")
    with pytest.raises(ModelError, match="not well-formed"):
        read_form(b"{}", {}, form="xml")
    with pytest.raises(ConfigurationError, match="format None"):
        read_form(b"{}", {}, form="raw")


def test_types_that_do_not_exist_are_told_with_the_other_warnings() -> None:
    logins = {"CFGWombat": [], "CFGPersonLastLogin": [{"DBID": 1}]}
    objects, warnings = read_form(json.dumps({**RAW, **logins}).encode(), {})
    assert not objects
    assert warnings == [
        "there is no object type 'CFGWombat': it is ignored",
        "last-login records are no configuration: 1 are left out",
    ]
