"""`csproxy verify` and `csproxy read --consistent` against real servers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.servers import Running, Site, answer, tool


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"), agents=300)
    with made.master(), made.proxy():
        yield made


def proxy_port(site: Site) -> int:
    return site.proxy_ports["CSProxy_1"]


def test_a_proxy_is_equal_to_its_master_and_says_so(site: Site) -> None:
    found = answer("verify", port=proxy_port(site))
    assert list(found) == ["compared_with", "epoch", "uen", "equal", "types"]
    assert found["equal"]
    assert found["compared_with"] == f"the master 127.0.0.1:{site.port}"
    persons = next(each for each in found["types"] if each["type"] == "CfgPerson")
    assert persons == {"type": "CfgPerson", "objects": 301, "state": "equal"}
    status = answer("status", port=proxy_port(site))["upstream"]
    assert status["digest_checks"] >= 1
    assert status["digest_differences"] == status["digest_healed"] == 0
    assert status["digest_last_check_s"] < 60


def test_a_table_shows_the_same(site: Site) -> None:
    done = tool("verify", port=proxy_port(site))
    assert done.returncode == 0
    assert any(line.split() == ["CfgPerson", "301", "equal"] for line in done.stdout.splitlines())


def test_two_servers_are_compared_from_outside(site: Site) -> None:
    found = answer("verify", "--master", f"127.0.0.1:{site.port}", port=proxy_port(site))
    assert found["equal"]
    assert len(found["types"]) == 44
    done = tool("verify", "--master", "nowhere", port=proxy_port(site))
    assert done.returncode == 2
    assert "--master 'nowhere' is not of the form HOST:PORT" in done.stderr


def test_a_master_is_compared_with_its_database(tmp_path: Path) -> None:
    own = Site(tmp_path)
    with own.master():
        assert answer("verify", port=own.port)["compared_with"] == "its database"
        with sqlite3.connect(own.folder / "config.db") as database:
            database.execute("delete from objects where type = 3 and dbid = 100")
        database.close()
        done = tool("verify", "--output", "json", port=own.port)
        assert done.returncode == 1
        assert "different: CfgPerson" in done.stderr
        assert not json.loads(done.stdout)["equal"]


def test_a_consistent_read_shows_every_write_at_once_and_needs_the_master(tmp_path: Path) -> None:
    own = Site(tmp_path)
    master: Running
    with own.master() as master, own.proxy():
        port = proxy_port(own)
        for n in range(3):
            made = tool("create", "skill", port=own.port, stdin=json.dumps({"tenantDBID": 1, "name": f"s{n}"}))
            assert made.returncode == 0, made.stderr
            assert len(answer("read", "skill", "--consistent", port=port)) == n + 1
        master.kill()
        done = tool("read", "skill", "--consistent", port=port)
        assert done.returncode == 1
        assert "the master" in done.stderr
        assert len(answer("read", "skill", port=port)) == 3
