"""`csproxy config` with XML and RAW files, against running masters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csproxy.core.files.xml import write_xml
from tests.daemon.servers import _ENVIRONMENT, PASSWORD, Site, answer, tool

ENVIRONMENT = (7, {"DBID": 1, "name": "Environment", "state": 1}, 0)
RAW = {"formatName": "RAW", "formatVersion": "1.1.1"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A master that the tests of this module share; each uses names of its own."""
    site = Site(tmp_path_factory.mktemp("forms"), proxies=())
    with site.master():
        yield site.port


def xml(folder: Path, *objects: tuple[int, dict[str, Any], int], encoding: str = "utf-8") -> str:
    """A file with these objects of tenant Environment."""
    path = folder / "file.xml"
    path.write_bytes(b"".join(write_xml([ENVIRONMENT, *objects], encoding=encoding)))
    return str(path)


def raw(**types: Any) -> str:
    return json.dumps({"__metadata__": RAW, "CFGTenant": [{"DBID": 1, "name": "Environment"}], **types})


@pytest.mark.slow
def test_each_form_brings_the_same_configuration_to_an_empty_master(tmp_path: Path) -> None:
    full = Site(tmp_path / "full", agents=100, proxies=())
    files = {form: tmp_path / f"site.{form}" for form in ("json", "raw", "xml")}
    with full.master():
        for form, path in files.items():
            done = tool("config", "export", str(path), "--format", form, port=full.port)
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert tool("config", "export", "--format", "raw", port=full.port).stdout == files["raw"].read_text("utf-8")
        for form in ("raw", "xml"):
            again = answer("config", "diff", str(files[form]), port=full.port)
            assert (again["created"], again["updated"]) == (0, 0), "a server has what it has exported"
    for form in ("raw", "xml"):
        empty = Site(tmp_path / form, proxies=())
        with empty.master():
            made = answer("config", "import", str(files[form]), "--yes", port=empty.port)
            assert made["result"] == "ok"
            assert tool("config", "export", port=empty.port).stdout == files["json"].read_text("utf-8")
            again = answer("config", "import", str(files[form]), "--yes", port=empty.port)
            assert (again["created"], again["updated"]) == (0, 0)


def test_a_file_that_mutagen_wrote_is_imported(port: int) -> None:
    skill = {"DBID": 11, "name": 2024, "tenantDBID": 1, "state": 1, "userProperties": ""}
    level = {"skillLevels": {"CfgSkillLevel": {"skillDBID": 11, "level": 7}}}
    person = {"DBID": 5, "tenantDBID": 1, "employeeID": 42, "userName": "true", "state": 1, "agentInfo": level}
    option = {"list_pair": {"key": "s", "str_pair": {"key": "o", "value": 8.5}}}
    document = raw(CFGSkill=[skill], CFGPerson=[{**person, "userName": True, "userProperties": option}])
    made = answer("config", "import", "-", "--yes", port=port, stdin=document)
    assert (made["created"], made["skipped"]) == (2, 1)
    (read,) = answer("read", "person", "employee_id=42", port=port)
    (made_skill,) = answer("read", "skill", "name=2024", port=port)
    assert read["userName"] == "true"
    assert read["userProperties"] == {"s": {"o": "8.5"}}
    assert read["agentInfo"]["skillLevels"] == [{"skillDBID": made_skill["DBID"], "level": 7}]


def test_what_the_json_form_has_no_property_for_arrives_and_is_shown(port: int, tmp_path: Path) -> None:
    host = {"DBID": 71, "name": "shown", "type": 1, "LCAPort": "1", "OSinfo": {"OStype": 1}, "state": 1}
    zone = {"DBID": 8, "name": "shown", "tenantDBID": 1, "nameNetscape": "n", "nameMSExplorer": "m", "state": 1}
    tool("config", "import", xml(tmp_path, (10, host, 0), (30, zone, 0)), "--yes", port=port)
    linked = {**host, "resources": [{"resourceType": 1, "objectDBID": 8, "description": "d"}], "password": "swordfish"}
    path = xml(tmp_path, (10, {**linked, "userProperties": {"s": {"b": b"\0"}}}, 0), (30, zone, 0))
    done = tool("config", "diff", path, port=port)
    assert done.stdout.splitlines() == [
        "~ host [shown]",
        '    userProperties.s.b.$base64: "AA=="',
        '    resources: [{"resourceType": "CFGRTTimeZone", "objectDBID": "timezone [Environment/shown]", '
        '"description": "d"}]',
        "= tenant [Environment]",
        "= timezone [Environment/shown]",
    ]
    tool("config", "import", path, "--yes", port=port)
    (read,) = answer("read", "host", "name=shown", port=port)
    (made,) = answer("read", "timeZone", "name=shown", port=port)
    (resource,) = read["resources"]
    assert resource["objectDBID"] == made["DBID"]


def test_a_link_to_nothing_is_told_with_object_and_attribute(port: int, tmp_path: Path) -> None:
    place = {"DBID": 7, "name": "never", "tenantDBID": 101, "capacityRuleDBID": 4}
    done = tool("config", "import", xml(tmp_path, (4, place, 0)), "--yes", "--output", "json", port=port)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["result"] == "refused"
    assert document["missing_dependencies"] == {
        "place [#101/never]": ["script [#4] (capacityRuleDBID)", "tenant [#101] (tenantDBID)"]
    }
    assert "Traceback" not in done.stderr


def test_members_of_a_new_role_come_a_transaction_before_it(port: int, tmp_path: Path) -> None:
    person = {"DBID": 501, "tenantDBID": 1, "employeeID": "member", "userName": "member", "state": 1}
    role = {"DBID": 1, "name": "role", "tenantDBID": 1, "state": 1, "members": [{"objectDBID": 501}]}
    path = xml(tmp_path, (43, role, 0), (3, person, 0))
    refused = tool("config", "import", path, "--yes", "--atomic", port=port)
    assert refused.returncode == 1
    assert "role [role] has the member person [Environment/member], which must exist before it" in refused.stderr
    assert answer("config", "import", path, "--yes", port=port)["created"] == 2
    (made,) = answer("read", "person", "user_name=member", port=port)
    (read,) = answer("read", "role", "name=role", port=port)
    assert read["members"] == [{"objectDBID": made["DBID"]}]


def test_warnings_name_what_is_left_out(port: int) -> None:
    last_login = {"DBID": 1, "personDBID": 5}
    skill = {"DBID": 1, "name": "warned", "tenantDBID": 1, "newer": 5}
    document = raw(CFGPersonLastLogin=[last_login], CFGSkill=[skill, {**skill, "DBID": 2}], CFGWombat=[])
    done = tool("config", "validate", "-", port=port, stdin=document)
    assert (done.returncode, done.stdout) == (0, "valid\n")
    assert done.stderr.splitlines() == [
        "warning: there is no object type 'CFGWombat': it is ignored",
        "warning: CfgSkill 2: skill [Environment/warned] is CfgSkill 1 already: the first counts",
        "warning: CfgSkill.newer is not known to this release: it is left out (2 objects)",
        "warning: last-login records are no configuration: 1 are left out",
    ]


# encodings


def test_xml_is_written_and_read_in_a_named_encoding(port: int, tmp_path: Path) -> None:
    answer("config", "import", xml(tmp_path, (13, {"name": "größe", "tenantDBID": 1}, 0)), "--yes", port=port)
    path = tmp_path / "export.xml"
    words = ("config", "export", str(path), "--format", "xml", "--encoding", "ISO-8859-1")
    assert tool(*words, port=port).returncode == 0
    assert "größe".encode("iso-8859-1") in path.read_bytes()
    refused = tool("config", "validate", str(path), port=port)
    assert refused.returncode == 1
    assert "(0xF6) is not valid in utf-8" in refused.stderr
    assert "byte " in refused.stderr
    assert tool("config", "validate", str(path), "--encoding", "iso-8859-1", port=port).stdout == "valid\n"


def test_utf_16_is_recognised_as_xml_and_refused_unless_it_is_named(port: int, tmp_path: Path) -> None:
    path = xml(tmp_path, (13, {"name": "wide", "tenantDBID": 1}, 0), encoding="utf-16")
    refused = tool("config", "validate", path, port=port)
    assert refused.returncode == 1
    assert "byte 0 (0xFF) is not valid in utf-8" in refused.stderr
    assert "it begins like UTF-16" in refused.stderr
    assert answer("config", "validate", path, "--encoding", "utf-16", port=port)["created"] == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("export", "--format", "raw", "--encoding", "utf-16"), "a file of the form raw is UTF-8"),
        (("export", "--encoding", "utf-16"), "a file of the form json is UTF-8"),
        (("import", "f", "--yes", "--format", "json", "--encoding", "utf-16"), "a file of the form json is UTF-8"),
        (("export", "--db", "sqlite:///x"), "config export writes a file: it has no --db"),
        (("export", "--report", "x"), "config export writes a file: it has no --report"),
        (("import", "f", "--mapping", "m"), "--mapping is for a vendor's database: name it with --db URL"),
        (("diff", "f", "--report", "r"), "--report is for a vendor's database"),
        (("diff", "f", "--db", "sqlite:///x"), "give --db, or a FILE, not both"),
        (("diff", "--format", "xml", "--db", "sqlite:///x"), "give --db, or --format, not both"),
        (("diff", "--encoding", "utf-8", "--db", "sqlite:///x"), "give --db, or --encoding, not both"),
    ],
)
def test_flags_that_do_not_go_together_are_wrong_usage(words: tuple[str, ...], sentence: str) -> None:
    done = tool("config", *words)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_an_encoding_for_a_file_that_is_not_xml_is_wrong_usage(port: int) -> None:
    done = tool("config", "validate", "-", "--encoding", "utf-16", port=port, stdin=raw())
    assert done.returncode == 2
    assert "this is a file of the form raw" in done.stderr


# what cannot be read or written


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<ConfData><CfgSkill/>", "not well-formed"),
        ('<ConfData><CfgSkill nam="x"/></ConfData>', "nam: there is no such attribute: did you mean name?"),
        (raw(CFGSkill=[{"DBID": "x"}]), "CFGSkill[0]: CfgSkill x, DBID: it must be a whole number"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(port: int, content: str, words: str) -> None:
    done = tool("config", "validate", "-", port=port, stdin=content)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("form", ["json", "raw", "xml"])
def test_an_export_that_breaks_off_leaves_no_file(port: int, tmp_path: Path, form: str) -> None:
    words = f"config export site --format {form} --port {port}"
    # coverage's own file would not fit either
    environment = {name: value for name, value in _ENVIRONMENT.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 2; exec {sys.executable} -m csproxy.daemon.tool {words}"],
        cwd=tmp_path,
        env=environment | {"CSPROXY_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == "csproxy config: site cannot be written: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_an_encoding_that_does_not_exist_is_refused_before_anything_is_read(port: int, tmp_path: Path) -> None:
    path = tmp_path / "site.xml"
    done = tool("config", "export", str(path), "--format", "xml", "--encoding", "klingon", port=port)
    assert done.returncode == 1
    assert "there is no text encoding 'klingon'" in done.stderr
    assert not path.exists()
