"""Logs of real servers: options of the Application object at run time, a kill, and a full disk."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from tests.daemon.servers import DEADLINE_S, Running, Site, answer, tool
from tests.faults.servers import small_disk

SKILL = json.dumps({"tenantDBID": 1, "name": "english"})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def set_options(site: Site, **options: str) -> None:
    (own,) = answer("read", "application", "name=confserv", port=site.port)
    words = [f"options.{name.replace('__', '.').replace('_', '-')}={value}" for name, value in options.items()]
    answer("update", "application", str(own["DBID"]), *words, port=site.port)


def until(path: Path, pattern: str, running: Running) -> str:
    """Read a file until it matches; the thread that writes it is not this one's to wait for."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        text = path.read_text() if path.exists() else ""
        if re.search(pattern, text, re.MULTILINE):
            return text
        assert running.process.poll() is None, "the server has ended"
        assert time.monotonic() < deadline, f"no {pattern!r} in:\n{text}"


def test_the_log_follows_the_options_of_the_application_object(site: Site, tmp_path: Path) -> None:
    boot, log = tmp_path / "boot.log", tmp_path / "server.log"
    with site.master("-log-verbose", "trace", "-log-all", str(boot)) as master:
        until(boot, r"Std 31001 master confserv, ready", master)
        set_options(site, log__all=str(log), log__format="json", log__verbose="standard")
        until(boot, r"Std 24201 CfgApplication 99 'confserv' changed by user 'default' with 'default', UEN 1$", master)
        dbid = answer("create", "skill", port=site.port, stdin=SKILL)["dbid"]
        events = [json.loads(line) for line in until(log, "24200.*\n", master).splitlines()]
        (created,) = [event for event in events if event["event"] == "21-24200"]
        assert created["text"] == f"CfgSkill {dbid} 'english' created by user 'default' with 'default', UEN 2"
        assert {event["level"] for event in events[1:]} == {"standard"}
        fields = {"object_type": "CfgSkill", "object_dbid": dbid, "user": "default", "by_application": "default"}
        assert created["fields"].items() >= fields.items()
        set_options(
            site,
            log__format="text",
            log__verbose="trace",
            log_extended__level_reassign_4520="alarm",
            log_extended__level_reassign_4541="none",
            log__x_stat_print_interval="1",
            log__segment="enormous",
        )
        answer("read", "skill", port=site.port)
        text = until(log, r"Trc 24215 1 objects of type CfgSkill sent to", master)
        assert re.search(r"00-31004.*option segment of \[log\] .*'enormous' is not valid, the value 100 MB stays", text)
        assert re.search(r"Trc 04110 option x-stat-print-interval of \[log\] is now 1$", text, re.MULTILINE)
        assert re.search(r"Alr 04520 client connected: 127\.0\.0\.1:\d+ at port default", text)
        assert re.search(r"Trc 04542 \w+ \(\d+\) to ", text)
        assert " 04541 " not in text
        found = until(tmp_path / "server_stat.log", r"objects", master).splitlines()[-1]
        assert json.loads(found)["role"] == "master"
        master.kill()
    assert log.read_bytes().endswith(b"\n"), "what a killed server has logged is whole"


def test_a_server_whose_log_disk_is_full_goes_on_and_says_what_is_missing(site: Site, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        log = disk.folder / "server.log"
        with site.master("-log-all", f"{log},stdout") as master:
            until(log, "Std 31001 ", master)
            with disk.full(master):
                # longer than what may be left of the file's last page
                assert tool("read", "skill", "--user", "x" * 5_000, port=site.port).returncode == 1
                told = master.line(containing=" 31010 ")
                assert f"Std 31010 log output {log} cannot be written: " in told
                assert answer("read", "skill", port=site.port) == [], "the server goes on"
            answer("read", "skill", port=site.port)
            assert master.stop() == 0
        text = log.read_text()
        assert text.endswith("Std 31002 stopped\n")
        assert " 31010 " in text, "what was kept meanwhile is written when there is space"
        assert all(re.match(r"\d\d:\d\d:\d\d\.\d\d\d (Alr|Std|Trc) ", line) for line in text.splitlines())
