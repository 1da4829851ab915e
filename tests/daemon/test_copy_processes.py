"""The local copy of a real proxy: kill -9, a full disk, and clients that go on across it."""

from __future__ import annotations

import json
import os
import resource
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from csproxy.core.changes import Position
from csproxy.core.model import CfgApplication, CfgAppType, CfgPerson
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_changes import ObjectChange
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import Status
from tests.daemon.servers import DEADLINE_S, PASSWORD, Running, Site, answer, tool

NAME = "CSProxy_1"
WATCHER = {"type": "CFGGenericServer", "name": "watcher", "version": "1", "state": 1}


@pytest.fixture
def own(tmp_path: Path) -> Site:
    """A site of the test's own."""
    return Site(tmp_path)


def client(site: Site) -> ConfigClient:
    """A server application at the proxy: it has no user, so nobody must check a password."""
    return ConfigClient(
        port=site.proxy_ports[NAME], application="watcher", application_type=int(CfgAppType.CFGGenericServer),
        request_timeout_s=5.0,
    )  # fmt: skip


def add_watcher(site: Site) -> None:
    """Create the Application of `client` at the master."""

    async def create() -> None:
        async with ConfigClient(port=site.port, user="default", password=PASSWORD) as at_master:
            (prototype,) = await at_master.read("app_prototype", app_type=int(CfgAppType.CFGGenericServer))
            await at_master.create(CfgApplication(name="watcher", appPrototypeDBID=prototype.DBID))

    anyio.run(create)


def rename(site: Site, name: str) -> None:
    """One change, at the master."""
    answer("update", "person", "100", f"firstName={name}", port=site.port)


def proxy_status(site: Site) -> dict[str, Any]:
    """What the proxy says of itself to a client without a user."""

    async def ask() -> dict[str, Any]:
        async with client(site) as connected:
            frame = await connected._link.ask(MessageId.READ_STATUS, b"", minimum=Position(0, 0), on_answer=None)
            return dict(decode_payload(Status, frame.payload).status)

    return anyio.run(ask)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what a file shows."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # files tell nobody


def journal_grows_after(site: Site, act: Callable[[], None]) -> None:
    """Do it, and wait until the copy holds it: its journal is written with the next interval."""
    (journal,) = site.folder.glob(f"{NAME}.journal-*")
    before = journal.stat().st_size
    act()
    wait_for(lambda: journal.stat().st_size > before)


def snapshot_is_there(site: Site) -> None:
    wait_for((site.folder / f"{NAME}.snapshot").exists)


def test_a_proxy_killed_with_9_serves_from_its_copy_and_follows_when_the_master_returns(own: Site) -> None:
    with own.master() as master:
        add_watcher(own)
        with own.proxy() as proxy:
            snapshot_is_there(own)
            journal_grows_after(own, lambda: rename(own, "Before"))
            proxy.kill()
        master.kill()
    for path in own.folder.glob(f"{NAME}.*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    with own.proxy() as proxy:
        told = next(line for line in proxy.seen if "serving from the local copy" in line)
        assert "Std" in told
        assert "at UEN 2 of epoch" in told
        assert "not confirmed by the master" in told
        status = proxy_status(own)
        assert (status["ready"], status["uen"], status["data"]["source"]) == (True, 2, "copy")
        assert status["data"]["age_s"] < 60
        assert status["upstream"]["state"] != "live"
        (person,) = answer("read", "person", "dbid=100", port=own.proxy_ports[NAME])
        assert person["firstName"] == "Before", "the user has logged in"
        done = tool("read", "person", port=own.proxy_ports[NAME], password="wrong")
        assert "user name or password is wrong" in done.stderr
        with own.master():
            proxy.line(containing="following")
            (person,) = answer("read", "person", "dbid=100", port=own.proxy_ports[NAME])
            assert person["firstName"] == "Before"
            status = answer("status", port=own.proxy_ports[NAME])
            assert status["data"] == {"source": "master"}
            assert (status["upstream"]["loads"], status["upstream"]["resumes"]) == (0, 1)
            assert proxy.stop() == 0


def test_a_subscriber_gets_exactly_what_it_missed_across_kill_9_of_the_proxy(own: Site) -> None:
    """Its place is before the end of the copy: the rest comes from the copy, then from the master."""

    async def take(count: int, since: Position | None) -> tuple[list[ObjectChange], Position]:
        async with client(own) as connected, connected.subscribe(CfgPerson, since=since) as changes:
            with anyio.fail_after(DEADLINE_S):
                if since is None:
                    await anyio.to_thread.run_sync(rename, own, "First")
                got = [await anext(changes) for _ in range(count)]
            return got, changes.position

    with own.master() as master:
        add_watcher(own)
        with own.proxy() as proxy:
            snapshot_is_there(own)
            seen, stands = anyio.run(take, 1, None)
            for number in range(3):
                journal_grows_after(own, lambda number=number: rename(own, f"Missed{number}"))  # type: ignore[misc]
            proxy.kill()
        master.kill()
    with own.proxy() as proxy:
        missed, stands = anyio.run(take, 3, stands)
        with own.master():
            rename(own, "After")
            after, _ = anyio.run(take, 1, stands)
    names = [change.delta.firstName for change in [*seen, *missed, *after] if change.delta is not None]  # type: ignore[attr-defined]
    assert names == ["First", "Missed0", "Missed1", "Missed2", "After"]
    uens = [change.position.uen for change in [*seen, *missed, *after]]
    assert uens == list(range(uens[0], uens[0] + 5))


def test_a_full_disk_is_reported_once_and_the_proxy_serves_on(own: Site) -> None:
    with own.master() as master, own.proxy(wait=False) as proxy:
        # in the child, so that only its files are limited; the snapshot is larger
        resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
        proxy.line(containing="ready on")
        told = proxy.line(containing="cannot be written")
        assert "File too large" in told
        rename(own, "Served")
        port = own.proxy_ports[NAME]
        wait_for(lambda: answer("read", "person", "dbid=100", port=port)[0].get("firstName") == "Served")
        wait_for(lambda: answer("status", port=port)["copy"]["failures"] >= 2)
        assert answer("status", port=port)["copy"]["last_error"] == "File too large"
        assert proxy.stop() == 0
        assert sum("cannot be written" in line for line in proxy.seen) == 1
        assert not (own.folder / f"{NAME}.snapshot").exists()
        assert master.stop() == 0


def test_a_damaged_copy_is_kept_aside_and_the_proxy_starts_as_without_one(own: Site) -> None:
    snapshot = own.folder / f"{NAME}.snapshot"
    with own.master():
        with own.proxy() as proxy:
            snapshot_is_there(own)
            assert proxy.stop() == 0
        data = bytearray(snapshot.read_bytes())
        data[len(data) // 3] ^= 1
        snapshot.write_bytes(data)
        with own.proxy() as proxy:
            told = next(line for line in proxy.seen if "the local copy is not used" in line)
            assert str(snapshot) in told
            assert "wrong checksum" in told
            assert (own.folder / f"{NAME}.snapshot.damaged-1").read_bytes() == data
            assert answer("status", port=own.proxy_ports[NAME])["upstream"]["loads"] == 1


def test_the_option_switches_the_copy_off(own: Site) -> None:
    with own.master():
        (application,) = answer("read", "application", f"name={NAME}", port=own.port)
        answer("update", "application", str(application["DBID"]), "options.csproxy.proxy-snapshot=off", port=own.port)
        with own.proxy() as proxy:
            assert answer("status", port=own.proxy_ports[NAME])["copy"]["enabled"] is False
            answer(
                "update", "application", str(application["DBID"]), "options.csproxy.proxy-snapshot=on", port=own.port
            )
            snapshot_is_there(own)
            answer(
                "update", "application", str(application["DBID"]), "options.csproxy.proxy-snapshot=off", port=own.port
            )
            wait_for((own.folder / f"{NAME}.snapshot.off").exists)
            assert proxy.stop() == 0
    with own.proxy(wait=False) as proxy:
        proxy.line(containing="04502")
        assert not any("local copy" in line for line in proxy.seen), "without a copy it waits for its master"
        assert proxy.stop() == 0


def test_a_proxy_that_is_refused_leaves_no_files_behind(own: Site) -> None:
    with own.master():
        words = ("-host", "127.0.0.1", "-port", str(own.port), "-app", "Nobody")
        with Running("confserv", *words, cwd=own.folder) as proxy:
            assert proxy.process.wait(DEADLINE_S) == 1
    assert not list(own.folder.glob("Nobody*"))
    assert json.dumps(os.listdir(own.folder)).count("Nobody") == 0
