"""Names in every script, from the command line through master, proxy, database, files and log and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from csproxy.core.model import CfgPerson
from csproxy.errors import LoginIncorrectError, UniquenessViolationError
from csproxy.transport.client import ConfigClient
from tests.daemon.servers import _ENVIRONMENT, PASSWORD, Running, Site, answer, tool

NAMES = {
    "Chinese": "张伟 客服部",
    "Arabic, right to left": "محمد عبد الله ‏(القاهرة)",
    "emoji joined to one": "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈",
    "composed": unicodedata.normalize("NFC", "Zoë Ångström ế"),
    "decomposed": unicodedata.normalize("NFD", "Zoë Ångström ế"),
}
assert len(set(NAMES.values())) == len(NAMES)
assert unicodedata.normalize("NFC", NAMES["decomposed"]) == NAMES["composed"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A master and a proxy, restarted by nobody."""
    made = Site(tmp_path_factory.mktemp("site"))
    with made.master(), made.proxy():
        yield made


def person(name: str, *, prefix: str = "") -> dict[str, Any]:
    """A person all of whose texts are this name."""
    user = prefix + name
    return {
        "tenantDBID": 1,
        "userName": user,
        "employeeID": user,
        "firstName": name,
        "lastName": prefix,
        "password": f"pass {name}",
        "userProperties": {f"section {name}": {f"option {name}": f"value {name}"}},
    }


def create(site: Site, name: str, prefix: str) -> dict[str, Any]:
    made: dict[str, Any] = answer("create", "person", port=site.port, stdin=json.dumps(person(name, prefix=prefix)))
    return made


@pytest.mark.parametrize("script", NAMES)
def test_a_name_is_created_watched_found_and_changed_as_it_was_written(site: Site, script: str) -> None:
    name, port = NAMES[script], site.proxy_ports["CSProxy_1"]
    with Running("tool", "watch", "person", "--port", str(port), "--count", "2") as watcher:
        watcher.told(containing="from UEN")
        folder = {"name": f"folder {name}", "type": "CFGPerson", "ownerID": {"DBID": 1, "type": "CFGTenant"}}
        made = answer("create", "folder", port=site.port, stdin=json.dumps(folder))
        words = ("create", "person", "--folder", str(made["dbid"]))
        dbid = answer(*words, port=site.port, stdin=json.dumps(person(name, prefix="1 ")))["dbid"]
        assert json.loads(watcher.line())["object"]["userName"] == f"1 {name}"
        for where in (site.port, port):
            for key in (f"user_name=1 {name}", f"employee_id=1 {name}", f"first_name={name}"):
                found = [each for each in answer("read", "person", key, port=where) if each["DBID"] == dbid]
                assert [each["firstName"] for each in found] == [name]
            assert found[0]["userProperties"] == {f"section {name}": {f"option {name}": f"value {name}"}}
            assert f"folder {name}" in tool("read", "person", f"user_name=1 {name}", port=where).stdout
        option = f"userProperties.section {name}.option {name}=new {name}"
        answer("update", "person", str(dbid), f"lastName=last {name}", option, port=site.port)
        delta = json.loads(watcher.line())["delta"]
        assert delta == {
            "lastName": f"last {name}",
            "userProperties": {"changed": {f"section {name}": {f"option {name}": f"new {name}"}}},
        }
    (after,) = answer("read", "person", f"last_name=last {name}", port=port)
    assert after["userProperties"] == {f"section {name}": {f"option {name}": f"new {name}"}}


def test_composed_and_decomposed_are_two_names_and_the_same_one_is_refused(site: Site) -> None:
    composed, decomposed = create(site, NAMES["composed"], "2 "), create(site, NAMES["decomposed"], "2 ")
    assert composed["dbid"] != decomposed["dbid"]
    for key in ("composed", "decomposed"):
        done = tool("create", "person", port=site.port, stdin=json.dumps(person(NAMES[key], prefix="2 ")))
        assert done.returncode == 1
        found = answer("read", "person", f"user_name=2 {NAMES[key]}", port=site.proxy_ports["CSProxy_1"])
        assert [each["userName"] for each in found] == [f"2 {NAMES[key]}"]


@pytest.mark.parametrize("script", NAMES)
def test_who_has_such_a_name_and_password_logs_in_and_works_with_the_sdk(site: Site, script: str) -> None:
    name = NAMES[script]
    create(site, name, "3 ")

    async def main(port: int, *, master: bool) -> None:
        with pytest.raises(LoginIncorrectError):
            async with ConfigClient(port=port, user=f"3 {name}", password=f"pass {name}."):
                pass
        async with ConfigClient(port=port, user=f"3 {name}", password=f"pass {name}") as client:
            (found,) = await client.read(CfgPerson, user_name=f"3 {name}")
            assert (found.firstName, found.employeeID) == (name, f"3 {name}")
            assert found.userProperties == {f"section {name}": {f"option {name}": f"value {name}"}}
        if not master:
            return
        async with ConfigClient(port=port, user="default", password=PASSWORD) as client:
            with pytest.raises(UniquenessViolationError):
                await client.create(CfgPerson(tenantDBID=1, userName=f"3 {name}", employeeID="other"))
            async with client.subscribe(CfgPerson, dbid=found.DBID) as changes:
                after = await client.get(CfgPerson, found.DBID)
                after.emailAddress = f"{name}@example.org"
                await client.update(found, after)
                async for change in changes:
                    assert change.delta is not None
                    assert change.delta.emailAddress == f"{name}@example.org"
                    break

    anyio.run(lambda: main(site.port, master=True))
    anyio.run(lambda: main(site.proxy_ports["CSProxy_1"], master=False))


def test_normalisation_of_a_password_counts(site: Site) -> None:
    created = create(site, NAMES["composed"], "4 ")
    user = created["object"]["userName"]
    other = f"pass {NAMES['decomposed']}"
    done = tool("read", "tenant", "--user", user, port=site.port, password=other)
    assert (done.returncode, "is wrong" in done.stderr) == (1, True)
    assert tool("read", "tenant", "--user", user, port=site.port, password=f"pass {NAMES['composed']}").returncode == 0


def test_names_survive_restart_export_import_history_and_the_audit(tmp_path: Path) -> None:
    first, second = Site(tmp_path / "first"), Site(tmp_path / "second", proxies=())
    with first.master():
        made = {script: create(first, name, "") for script, name in NAMES.items()}
    with first.master(), first.proxy():
        for port in (first.port, first.proxy_ports["CSProxy_1"]):
            for name in NAMES.values():
                (found,) = answer("read", "person", f"user_name={name}", port=port)
                assert found["userProperties"] == {f"section {name}": {f"option {name}": f"value {name}"}}
            records = {
                record["dbid"]: record["object"]["userName"]
                for record in answer("history", port=port)
                if record["action"] == "created"
            }
            assert {made[script]["dbid"]: name for script, name in NAMES.items()}.items() <= records.items()
        exported = tool("config", "export", port=first.port).stdout
        command = [sys.executable, "-m", "csproxy.daemon.confserv", "-c", str(first.folder / "confserv.conf")]
        audit = tmp_path / "audit.xml"
        done = subprocess.run(
            [*command, "-dumpauditxml", str(audit)], env=_ENVIRONMENT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    names = [value.text for value in ElementTree.parse(audit).getroot().iterfind(".//value[@name='userName']")]
    assert set(NAMES.values()) <= set(names)
    for name in NAMES.values():
        assert name in exported
    path = tmp_path / "all.json"
    path.write_text(exported, encoding="utf-8")
    with second.master():
        assert answer("config", "import", str(path), "--yes", port=second.port)["result"] == "ok"
        for name in NAMES.values():
            (found,) = answer("read", "person", f"user_name={name}", port=second.port)
            assert found["firstName"] == name


# the terminal


def plainly(site: Site, *words: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the tool on a terminal that speaks ASCII."""
    more = {"PYTHONIOENCODING": "ascii", "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return subprocess.run(
        [sys.executable, "-m", "csproxy.daemon.tool", *map(os.fsencode, words), "--port", str(site.port)],
        input=stdin,
        env={**_ENVIRONMENT, "CSPROXY_PASSWORD": PASSWORD, **more, **environment},
        capture_output=True,
        timeout=60,
    )


def test_a_terminal_that_is_not_utf_8_gets_escapes_and_an_aligned_table(site: Site) -> None:
    for name in NAMES.values():
        create(site, name, "5 ")
    done = plainly(site, "read", "person")
    assert (done.returncode, done.stderr) == (0, b"")
    header, *rows = done.stdout.decode("ascii").splitlines()
    row = next(row for row in rows if "5 \\u5f20\\u4f1f" in row)
    assert any("\\U0001f469\\u200d" in row for row in rows)
    assert row[header.index("Agent") :].startswith("no ")
    documents = [json.loads(line) for line in plainly(site, "read", "person", "--output", "jsonl").stdout.splitlines()]
    assert {f"5 {name}" for name in NAMES.values()} <= {document["userName"] for document in documents}
    listed = json.loads(plainly(site, "history", "--output", "json").stdout.decode("ascii"))
    assert any(record.get("object", {}).get("userName") == f"5 {NAMES['Chinese']}" for record in listed)
    assert b"\\u5f20" in plainly(site, "history").stdout


def test_wide_characters_take_two_columns_of_a_table(site: Site) -> None:
    create(site, NAMES["Chinese"], "6 ")
    create(site, "Ada", "6 ")
    header, *rows = tool("read", "person", port=site.port).stdout.splitlines()
    wide = next(row for row in rows if f"6 {NAMES['Chinese']}" in row)
    narrow = next(row for row in rows if "6 Ada" in row)
    columns = sum(2 if unicodedata.east_asian_width(letter) == "W" else 1 for letter in wide[: wide.index(" no ")])
    assert columns == narrow.index(" no ") == header.index("Agent") - 1


def test_input_is_utf_8_whatever_the_terminal_and_bytes_that_are_not_are_refused_by_place(site: Site) -> None:
    new = json.dumps(person(NAMES["Chinese"], prefix="7 "), ensure_ascii=False).encode()
    done = plainly(site, "create", "person", stdin=new)
    assert (done.returncode, done.stderr) == (0, b"")
    assert answer("read", "person", f"user_name=7 {NAMES['Chinese']}", port=site.port)
    done = plainly(site, "create", "person", stdin=b'{"userName": "Z\xfcrich"}')
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"csproxy create: standard input is not UTF-8: byte 0xfc at offset 15\n"
    done = plainly(site, "create", "person", stdin=b'{"userName": "a\\ud83d", "employeeID": "x", "tenantDBID": 1}')
    assert done.returncode == 1
    assert b"character at offset 1 of 2 is half of a surrogate pair (U+D83D)" in done.stderr
    done = plainly(site, "read", "tenant", "--password-stdin", stdin=b"gehe\xedm\n", CSPROXY_PASSWORD="")
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [b"csproxy read: the password on standard input is not UTF-8 at byte 4"],
    )


def test_an_argument_that_is_not_utf_8_is_refused(site: Site) -> None:
    words = [
        sys.executable,
        "-m",
        "csproxy.daemon.tool",
        "read",
        "person",
        b"user_name=Z\xfcrich",
        "--port",
        str(site.port),
    ]
    done = subprocess.run(
        words, env={**_ENVIRONMENT, "CSPROXY_PASSWORD": PASSWORD, "PYTHONUTF8": "1"}, capture_output=True, timeout=60
    )
    assert done.returncode == 1
    assert b"ReadObjects (10) cannot be sent: a text of it is not Unicode" in done.stderr
    assert b"offset 1 of 6 is the byte 0xfc" in done.stderr


def test_a_server_whose_output_is_not_utf_8_starts_and_logs(tmp_path: Path) -> None:
    site = Site(tmp_path / "客服", proxies=())
    command = [sys.executable, "-m", "csproxy.daemon.confserv", "-c", str(site.folder / "confserv.conf")]
    environment = {**_ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, b"")
        ready = next(line for line in lines if b"ready on" in line)
        assert b"\\u5ba2\\u670d" in ready
        process.terminate()
        assert process.wait(30) == 0


# order and encoding


def names_of(site: Site, *, port: int | None = None) -> list[str]:
    """The user names of a table, in its order."""
    rows = tool("read", "person", port=port or site.port).stdout.splitlines()[1:]
    return [row.split()[1] for row in rows]


def brief_names(port: int) -> list[str]:
    async def main() -> list[str]:
        async with ConfigClient(port=port, user="default", password=PASSWORD) as client:
            return [each["userName"] for each in await client.administration.brief(CfgPerson)]

    return anyio.run(main)


def test_tables_and_brief_info_are_in_the_order_of_the_servers_own_locale_from_its_next_start(tmp_path: Path) -> None:
    site = Site(tmp_path)
    port = site.proxy_ports["CSProxy_1"]
    german, swedish = ["ägidius", "default", "Émile", "Zacharias"], ["default", "Émile", "Zacharias", "ägidius"]
    code_points = sorted(german)
    with site.master() as master, site.proxy():
        for name in ("Zacharias", "ägidius", "Émile"):
            create(site, name, "")
        for where in (site.port, port):
            assert names_of(site, port=where) == brief_names(where) == code_points
        listed = answer("read", "person", port=port)
        assert [each["DBID"] for each in listed] == sorted(each["DBID"] for each in listed)
        answer(
            "update",
            "application",
            "99",
            "options.csproxy.locale=de_DE.UTF-8",
            "options.log.verbose=trace",
            port=site.port,
        )
        master.line(containing="option locale of [csproxy] is now de_DE.UTF-8, which counts from the next start on")
        assert brief_names(site.port) == code_points
        answer("update", "application", "101", "options.csproxy.locale=sv_SE", port=site.port)
    with site.master(), site.proxy():
        assert names_of(site) == brief_names(site.port) == german
        assert names_of(site, port=port) == brief_names(port) == swedish
        answer("update", "application", "99", "options.csproxy.locale=de_XX", port=site.port)
    with site.master() as master:  # a server starts whatever its Application object says
        assert any("'de_XX' is not valid" in line for line in master.seen)
        assert brief_names(site.port) == code_points


def test_a_locale_of_the_file_that_cannot_be_had_is_an_error_of_the_start(tmp_path: Path) -> None:
    site = Site(tmp_path, proxies=())
    with (site.folder / "confserv.conf").open("a", encoding="utf-8") as file:
        file.write("\n[csproxy]\nlocale = xx_YY\n")
    with Running("confserv", "-c", str(site.folder / "confserv.conf")) as process:
        line = process.line(containing="confserv: ")
        assert "option locale of [csproxy]: 'xx_YY' is not valid: the language 'xx' is not known; valid: UTF-8" in line
        assert process.process.wait(10) == 1


@pytest.mark.parametrize("encoding", ["GB18030", "ISO-8859-1", "utf-16"])
def test_the_audit_is_written_in_the_encoding_of_the_option(tmp_path: Path, encoding: str) -> None:
    site = Site(tmp_path, proxies=())
    with site.master():
        for name in NAMES.values():
            create(site, name, "")
        answer("update", "application", "99", f"options.csproxy.encoding={encoding}", port=site.port)
    command = [sys.executable, "-m", "csproxy.daemon.confserv", "-c", str(site.folder / "confserv.conf")]
    target = tmp_path / "audit.xml"
    done = subprocess.run([*command, "-dumpauditxml", str(target)], env=_ENVIRONMENT, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = target.read_bytes().decode(encoding)
    assert text.startswith(f'<?xml version="1.0" encoding="{encoding.upper()}"?>\n')
    assert ("&#24352;" in text) is (encoding == "ISO-8859-1")
    root = ElementTree.fromstring(text.partition("\n")[2])
    assert {value.text for value in root.iterfind(".//value[@name='userName']")} == set(NAMES.values())
