"""The history log as an operator sees it: real servers, `csproxy history`, the XML export."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from csproxy.core.history import HistoryAction, HistoryRecord
from csproxy.daemon.history import history_document
from csproxy.transport.client import ConfigClient
from tests.daemon.servers import _ENVIRONMENT, DEADLINE_S, PASSWORD, Running, Site, answer, tool


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def master(site: Site) -> Iterator[Running]:
    with site.master() as running:
        yield running


def history(site: Site, *words: str, port: int | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer("history", *words, port=port or site.port)
    return found


def eventually(site: Site, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The record that fits, as soon as it is there: sessions are written a moment later."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for record in history(site):
            if wanted(record):
                return record
        time.sleep(0.2)
    raise AssertionError("there is no such record")


def person(name: str, **more: Any) -> str:
    return json.dumps({"userName": name, "employeeID": name, "tenantDBID": 1, **more})


def export(site: Site, target: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "csproxy.daemon.confserv", "-c", str(site.folder / "confserv.conf"),
         "-dumpauditxml", str(target), *words],
        env=_ENVIRONMENT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_who_what_when_and_the_former_value(site: Site, master: Running) -> None:
    created = answer("create", "person", port=site.port, stdin=person("ada", firstName="Ada"))
    answer("update", "person", str(created["dbid"]), "firstName=Eve", port=site.port)
    answer("delete", "person", str(created["dbid"]), port=site.port)
    first, second, third = [
        record for record in history(site, "--since", str(created["uen"] - 1)) if record.get("dbid") == created["dbid"]
    ]
    assert (first["action"], first["type"], first["object"]["userName"]) == ("created", "CfgPerson", "ada")
    assert (first["user"], first["application"], first["time"][:2], first["uen"]) == (
        "default",
        "default",
        "20",
        created["uen"],
    )
    assert first["epoch"] == created["epoch"]
    assert (second["action"], second["delta"], second["former_values"]) == (
        "updated",
        {"firstName": "Eve"},
        {"firstName": "Ada"},
    )
    assert (third["action"], third["former"]["firstName"]) == ("deleted", "Eve")
    assert "object" not in third
    since = history(site, "--since", str(second["uen"]))
    assert [record["uen"] for record in since if record["action"] == "updated" and record["dbid"] == 100] == []
    assert min(record["uen"] for record in since if "dbid" in record) == third["uen"]


def test_a_password_stands_nowhere_in_the_log(site: Site, master: Running, tmp_path: Path) -> None:
    answer("create", "person", port=site.port, stdin=person("secretive", password="geheimnis"))
    assert export(site, tmp_path / "a.xml").returncode == 0
    assert "geheimnis" not in json.dumps(history(site))
    assert "geheimnis" not in (tmp_path / "a.xml").read_text()
    assert b"geheimnis" not in (site.folder / "config.db").read_bytes()
    assert b"geheimnis" not in (site.folder / "config.db-wal").read_bytes()


def test_the_table_shows_what_changed(site: Site, master: Running) -> None:
    created = answer("create", "skill", port=site.port, stdin=json.dumps({"name": "Chinese 中文", "tenantDBID": 1}))
    answer("update", "skill", str(created["dbid"]), "name=Arabic", "state=CFGDisabled", port=site.port)
    done = tool("history", "--since", str(created["uen"] - 1), port=site.port)
    assert done.returncode == 0, done.stderr
    assert f"CfgSkill {created['dbid']}" in done.stdout
    assert "Chinese 中文" in done.stdout
    assert "name: Chinese 中文 → Arabic" in done.stdout
    lines = tool("history", "--output", "jsonl", port=site.port).stdout.splitlines()
    assert all(json.loads(line)["number"] for line in lines)


def test_sessions_at_master_and_proxy_are_in_the_log_and_a_proxy_reads_it(site: Site, master: Running) -> None:
    with site.proxy() as proxy:
        port = site.proxy_ports["CSProxy_1"]
        opened = eventually(site, lambda r: r["action"] == "opened" and r["application"] == "CSProxy_1")
        assert (opened["user"], opened["server"], opened["host"][:10]) == ("", "confserv", "127.0.0.1:")
        assert answer("read", "tenant", port=port)
        for action in ("opened", "closed"):
            record = eventually(site, lambda r, action=action: (r["action"], r.get("server")) == (action, "CSProxy_1"))
            assert (record["user"], record["application"], record["host"][:10]) == ("default", "default", "127.0.0.1:")
        at_proxy = history(site, port=port)
        changes = [record for record in history(site) if "dbid" in record]
        assert changes
        assert [record for record in at_proxy if "dbid" in record] == changes
        assert proxy.stop() == 0
    assert eventually(site, lambda r: r["action"] == "closed" and r["application"] == "CSProxy_1")


def test_the_export_is_well_formed_and_complete(site: Site, master: Running, tmp_path: Path) -> None:
    options = {"sect & <ion>": {'a"b': "tab\tcr\rlf\n]]>", "bell": "\x07", "n": 5}}
    created = answer(
        "create", "person", port=site.port, stdin=person("марія 🌷", userProperties=options, isAgent="CFGTrue")
    )
    answer("update", "person", str(created["dbid"]), "userProperties.more.new=1", "state=CFGDisabled", port=site.port)
    done = export(site, tmp_path / "audit.xml")
    assert done.returncode == 0, done.stderr
    root = ElementTree.parse(tmp_path / "audit.xml").getroot()
    assert (root.tag, root.get("version"), root.get("since")) == ("history-log", "1", None)
    assert f"{len(root)} records" in done.stderr
    assert (tmp_path / "audit.xml").stat().st_mode & 0o777 == 0o600
    listed = [record for record in history(site) if "epoch" in record]
    changes = root.findall("change")
    assert [int(change.get("number", "")) for change in changes] == [record["number"] for record in listed]
    ada = ("CfgPerson", str(created["dbid"]))
    made, changed = [each for each in changes if (each.get("type"), each.get("dbid")) == ada]
    assert (made.get("action"), made.get("type"), made.get("user")) == ("created", "CfgPerson", "default")
    assert made.findtext("object/value[@name='userName']") == "марія 🌷"
    assert made.findtext("object/value[@name='isAgent']") == "CFGTrue"
    section = made.find("object/value[@name='userProperties']/value")
    assert section is not None
    assert section.get("name") == "sect & <ion>"
    assert {item.get("name"): (item.get("form"), item.text) for item in section} == {
        'a"b': (None, "tab\tcr\rlf\n]]>"),
        "bell": ("base64", "Bw=="),
        "n": ("number", "5"),
    }
    assert changed.findtext("delta/value[@name='state']") == "CFGDisabled"
    assert changed.findtext("former-values/value[@name='state']") == "CFGEnabled"
    assert changed.findtext("former-values/value[@name='userProperties']/value[@name='deleted']/value/") is None


def test_the_export_can_be_of_the_last_days_and_names_what_is_wrong(
    site: Site, master: Running, tmp_path: Path
) -> None:
    answer("create", "skill", port=site.port, stdin=json.dumps({"name": "of today", "tenantDBID": 1}))
    assert export(site, tmp_path / "a.xml", "-last", "1").returncode == 0
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert root.get("since") is not None
    assert root.findall("change")
    with sqlite3.connect(site.folder / "config.db") as database:
        database.execute("UPDATE history SET time_ms = time_ms - 3 * 86400000 WHERE kind = 1")
    database.close()
    assert export(site, tmp_path / "a.xml", "-last", "2").returncode == 0
    assert ElementTree.parse(tmp_path / "a.xml").getroot().findall("change") == []
    assert export(site, tmp_path / "a.xml", "-last", "4").returncode == 0
    assert ElementTree.parse(tmp_path / "a.xml").getroot().findall("change")
    refused = export(site, tmp_path / "nowhere" / "a.xml")
    assert refused.returncode == 1
    assert "nowhere/a.xml cannot be written: No such file or directory" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.xml"]


def test_options_of_the_application_object_rule_the_log_and_a_broken_table_fails_no_change(tmp_path: Path) -> None:
    site = Site(tmp_path, proxies=())
    with site.master() as running:
        first = answer("create", "skill", port=site.port, stdin=json.dumps({"name": "one", "tenantDBID": 1}))
        answer("update", "application", "99", "options.history-log.write-former-value=false", port=site.port)
        answer("update", "skill", str(first["dbid"]), "name=two", port=site.port)
        answer("update", "application", "99", "options.history-log.active=false", port=site.port)
        answer("update", "skill", str(first["dbid"]), "name=three", port=site.port)
        records = [record for record in history(site) if record.get("type") == "CfgSkill"]
        assert [(record["action"], record.get("delta"), record.get("former_values")) for record in records] == [
            ("created", None, None),
            ("updated", {"name": "two"}, None),
        ]
        answer("update", "application", "99", "options.history-log.active=true", port=site.port)
        answer("update", "application", "99", "options.history-log.audit-expiration=5", port=site.port)
        running.line(containing="audit-expiration=5 of [history-log] must exceed expiration=30")
        with sqlite3.connect(site.folder / "config.db") as database:
            database.execute("ALTER TABLE history RENAME TO gone")
        database.close()
        answer("update", "skill", str(first["dbid"]), "name=four", port=site.port)
        running.line(
            containing=" 22138 the history log could not be written, 1 records are missing in it: no such table"
        )
        assert answer("read", "skill", port=site.port)[0]["name"] == "four"
        refused = tool("history", port=site.port)
        assert refused.returncode == 1
        assert "the database failed while reading the history log" in refused.stderr
        with sqlite3.connect(site.folder / "config.db") as database:
            database.execute("ALTER TABLE gone RENAME TO history")
        database.close()
        answer("update", "skill", str(first["dbid"]), "name=five", port=site.port)
        last = [record for record in history(site) if record.get("type") == "CfgSkill"][-1]
        assert last["former_values" if "former_values" in last else "delta"] == {"name": "five"}


def test_permissions_accounts_the_mode_and_passwords_are_shown_and_exported(
    site: Site, master: Running, tmp_path: Path
) -> None:
    created = answer("create", "person", port=site.port, stdin=person("vera", password="erst geheim"))
    dbid = int(created["dbid"])
    answer("update", "person", str(dbid), "password=dann geheim", port=site.port)

    async def administer() -> None:
        async with ConfigClient(port=site.port, user="default", password=PASSWORD) as client:
            await client.administration.update_permissions("person", dbid, {(3, dbid): 127})
            await client.administration.update_permissions("person", dbid, None)
            await client.administration.set_account(100, (3, dbid))
            await client.administration.set_operational_mode(2)
            await client.administration.set_operational_mode(1)

    anyio.run(administer)
    found = [record for record in history(site) if record["uen"] > created["uen"] and "epoch" in record]
    changed, given, taken, account, closed, opened = found
    assert (changed["action"], changed["password_changed"]) == ("updated", True)
    entries = [{"type": "CfgPerson", "dbid": dbid, "mask": 127}]
    assert (given["action"], given["permissions"]) == ("permissions", {"inherits": False, "entries": entries})
    assert given["former_permissions"] == {"inherits": True, "entries": []} == taken["permissions"]
    assert (account["action"], account["dbid"]) == ("account", 100)
    assert account["account"] == {"type": "CfgPerson", "dbid": dbid}
    assert account["former_account"] == {"type": "CfgAccessGroup", "dbid": 98}
    assert (closed["mode"], closed["former_mode"]) == ("CFGOperationalReadOnlyMode", "CFGOperationalFullMode")
    assert (opened["action"], opened["mode"], "type" in opened) == ("mode", "CFGOperationalFullMode", False)
    assert {record["user"] for record in found} == {"default"}
    table = tool("history", "--since", str(created["uen"]), port=site.port).stdout
    assert f"inherits → CfgPerson {dbid}: 127" in table
    assert f"CfgAccessGroup 98 → CfgPerson {dbid}" in table
    assert "CFGOperationalFullMode → CFGOperationalReadOnlyMode" in table
    assert "password" in table
    assert export(site, tmp_path / "a.xml").returncode == 0
    text = (tmp_path / "a.xml").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert [change.get("action") for change in root.findall("change")][-6:] == [
        "updated", "permissions", "permissions", "account", "mode", "mode",
    ]  # fmt: skip
    assert root.findall("change")[-6].get("password") == "changed"
    assert "geheim" not in text + json.dumps(history(site))


def test_the_file_rules_the_log_until_the_application_object_says_otherwise(tmp_path: Path) -> None:
    site = Site(tmp_path, proxies=())
    with (site.folder / "confserv.conf").open("a", encoding="utf-8") as file:
        file.write("\n[history-log]\nactive = false\n")
    with site.master():
        created = answer("create", "skill", port=site.port, stdin=json.dumps({"name": "one", "tenantDBID": 1}))
        assert history(site) == []
        answer("update", "application", "99", "options.history-log.active=true", port=site.port)
        answer("update", "skill", str(created["dbid"]), "name=two", port=site.port)
        assert [record["delta"] for record in history(site) if record.get("type") == "CfgSkill"] == [{"name": "two"}]


def test_an_old_database_and_a_missing_one_are_told(tmp_path: Path) -> None:
    site = Site(tmp_path, proxies=())
    with sqlite3.connect(site.folder / "config.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    database.close()
    done = export(site, tmp_path / "a.xml")
    assert (done.returncode, "start a master of this release on it first" in done.stderr) == (1, True)
    assert not (tmp_path / "a.xml").exists()


def test_records_of_unknown_kinds_are_shown_as_they_are() -> None:
    document = history_document(7, HistoryRecord(action=99, time_ms=1, type=4711, dbid=3, delta={"x": 1}))
    assert (document["action"], document["type"], document["delta"]) == ("99", 4711, {"x": 1})
    moved = HistoryRecord(action=75, time_ms=1, type=22, dbid=3, moved_from=[(3, 101, 8), (4711, 1, 2)])
    assert history_document(7, moved)["moved_from"] == [
        {"type": "CfgPerson", "dbid": 101, "folder": 8},
        {"type": 4711, "dbid": 1, "folder": 2},
    ]
    session = history_document(8, HistoryRecord(action=int(HistoryAction.SESSION_OPENED), time_ms=1, host="h"))
    assert (session["action"], session["host"], "dbid" in session) == ("opened", "h", False)
