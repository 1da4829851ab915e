"""Persistent mode: a proxy that starts without its master serves the database, and takes up the master again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from csproxy.core.model import CfgPerson, CfgSkill
from csproxy.daemon import persistent
from csproxy.daemon.persistent import PersistentMode
from csproxy.daemon.settings import DatabaseSettings, PersistentSettings, load_settings
from csproxy.errors import ConfigurationError
from csproxy.transport.client import ConfigClient
from tests.daemon.servers import PASSWORD, Running, Site, answer, tool

NAME = "CSProxy_1"
QUICKLY = ("-proxy-persistent-mode", "-cs-persistent-failover-tmout", "1", "-db-persistent-failover-tmout", "1")


@pytest.fixture
def own(tmp_path: Path) -> Site:
    """A site whose master has been running once."""
    site = Site(tmp_path)
    with site.master() as master:
        create_skill(site, "english")
        assert master.stop() == 0
    return site


def create_skill(site: Site, name: str) -> None:
    answer("create", "skill", port=site.port, stdin=json.dumps({"tenantDBID": 1, "name": name}))


def skills(site: Site) -> set[str]:
    return {skill["name"] for skill in answer("read", "skill", port=site.proxy_ports[NAME])}


def status(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = answer("status", port=site.proxy_ports[NAME])
    return found


def set_option(site: Site, option: str) -> None:
    (own,) = answer("read", "application", f"name={NAME}", port=site.port)
    answer("update", "application", str(own["DBID"]), f"options.csproxy.{option}", port=site.port)


def test_without_a_master_the_database_is_served_for_reading_only(own: Site) -> None:
    with own.proxy(NAME, *QUICKLY) as proxy:
        assert skills(own) == {"english"}  # the log-in was checked with the database's hashes
        wrong = tool("read", "skill", port=own.proxy_ports[NAME], password="wrong")
        assert (wrong.returncode, "user name or password is wrong" in wrong.stderr) == (1, True)
        now = status(own)
        assert (now["persistent"], now["data"]["source"], now["role"]) == (True, "database", "proxy")
        refused = tool("delete", "skill", "101", port=own.proxy_ports[NAME])
        assert refused.returncode == 1
        assert "persistent mode" in refused.stderr
        proxy.line(containing="persistent mode: the master is away")
        assert proxy.stop() == 0


def test_when_the_master_returns_clients_stay_and_hear_of_everything_since(own: Site) -> None:
    with own.proxy(NAME, *QUICKLY) as proxy, Running("tool", "watch", "skill", *_at(own)) as watcher:
        watcher.told(containing="from UEN")
        with own.master():
            create_skill(own, "german")
            assert "german" in watcher.line(containing="german")
            proxy.line(containing="persistent mode ends")
            now = status(own)
            assert (now["persistent"], now["data"]["source"], now["upstream"]["state"]) == (False, "master", "live")
            refused = tool("delete", "skill", "101", port=own.proxy_ports[NAME])
            assert "write to the master" in refused.stderr


def _at(site: Site) -> tuple[str, ...]:
    return "--port", str(site.proxy_ports[NAME]), "--timeout", "60"


def test_without_resync_only_a_new_start_leaves_the_mode(own: Site) -> None:
    with own.master() as master:
        set_option(own, "persistent-resync=off")
        assert master.stop() == 0
    with own.proxy(NAME, *QUICKLY) as proxy:
        proxy.line(containing="only a new start ends this")
        with own.master():
            create_skill(own, "german")
            assert skills(own) == {"english"}
            assert status(own)["persistent"]
            assert proxy.stop() == 0
    with own.master(), own.proxy(NAME, *QUICKLY):
        assert skills(own) == {"english", "german"}
        assert "persistent" not in status(own)


def test_a_master_that_is_there_makes_it_an_ordinary_start(own: Site) -> None:
    with own.master(), own.proxy(NAME, "-proxy-persistent-mode"):
        assert "persistent" not in status(own)
        assert status(own)["upstream"]["resumes"] == 1


def test_without_master_and_database_the_local_copy_is_served(own: Site) -> None:
    with own.master() as master, own.proxy(NAME) as proxy:
        assert proxy.stop() == 0
        assert master.stop() == 0
    database = own.folder / "config.db"
    database.rename(own.folder / "elsewhere.db")
    with own.proxy(NAME, *QUICKLY) as proxy:
        assert any("cannot be read: there is no database" in line for line in proxy.seen)
        proxy.line(containing="serving the local copy")
        assert proxy.stop() == 0


def test_with_nothing_to_serve_the_start_fails_and_says_what_was_tried(own: Site) -> None:
    (own.folder / "config.db").unlink()
    with own.proxy(NAME, *QUICKLY, wait=False) as proxy:
        sentence = proxy.line(containing="there is nothing to serve")
        assert all(part in sentence for part in ("no master", "no database", "no local copy"))
        assert proxy.process.wait(10) == 1


def test_a_database_that_no_master_has_served_is_none(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.proxy(NAME, *QUICKLY, wait=False) as proxy:
        proxy.line(containing="no master has ever served it")
        assert proxy.process.wait(10) == 1


def test_a_daemon_that_subscribed_goes_on_without_a_gap(own: Site) -> None:
    """The same client object, through database, return of the master, and its loss."""

    async def main() -> None:
        port = own.proxy_ports[NAME]
        with own.proxy(NAME, *QUICKLY):
            async with ConfigClient(port=port, user="default", password=PASSWORD) as client:
                async with client.subscribe(CfgSkill) as changes:
                    with own.master():
                        await anyio.to_thread.run_sync(create_skill, own, "german")
                        with anyio.fail_after(30):
                            change = await anext(aiter(changes))
                        assert change.object is not None
                        assert change.object.name == "german"
                    assert (await client.get(CfgPerson, 100)).DBID == 100
                assert client.statistics().reconnects == 0

    anyio.run(main)


# settings


def test_the_mode_needs_confserv_conf(tmp_path: Path) -> None:
    words = ["-host", "h", "-port", "1", "-app", "a", "-proxy-persistent-mode"]
    with pytest.raises(ConfigurationError, match="needs for the database"):
        load_settings(words, directory=tmp_path)
    (tmp_path / "confserv.cfg").write_text(
        "[confserv]\nserver=db\n[db]\ndbname=x.db\n[csproxy]\ncs-persistent-failover-tmout=4\n"
    )
    found = load_settings([*words, "-db-persistent-failover-tmout", "5"], directory=tmp_path)
    assert found.database is None
    assert found.persistent is not None
    assert found.persistent.database.shown == str(tmp_path / "x.db")
    assert (found.persistent.master_s, found.persistent.database_s) == (4.0, 5.0)
    assert load_settings(words[:-1], directory=tmp_path).persistent is None


# the event


@pytest.mark.anyio
async def test_the_event_is_repeated(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistent, "REPEAT_S", 0.01)
    from csproxy.core.cache import ConfigurationCache

    cache = ConfigurationCache()
    settings = PersistentSettings(
        database=DatabaseSettings(url="", shown="the file", reconnect_s=1.0), master_s=0, database_s=0
    )
    mode = PersistentMode(settings, "database", lambda: cache)
    assert repr(mode) == "<PersistentMode on, from the database>"
    with anyio.move_on_after(2.0):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mode.announce)
            while len(caplog.records) < 3:  # noqa: ASYNC110 - a log tells nobody
                await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()
    assert len(caplog.records) >= 3
    assert {record.message for record in caplog.records} == {caplog.records[0].message}
    assert "the file at UEN 0" in caplog.records[0].message
