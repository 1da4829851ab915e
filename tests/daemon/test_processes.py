"""Real processes: master, proxy and tool as an operator starts them, and what happens when they die."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from csproxy.core.model import CfgFlag, CfgObjectState, CfgPerson
from csproxy.errors import ConnectionLostError
from csproxy.transport.client import ConfigClient
from tests.daemon.servers import DEADLINE_S, PASSWORD, Running, Site, answer, tool, tool_environment

KILL_ROUNDS = 20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A master and a proxy that run for all tests of this module."""
    made = Site(tmp_path_factory.mktemp("site"), agents=200)
    with made.master() as made.running_master, made.proxy() as made.running_proxy:  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def own(tmp_path: Path) -> Site:
    """A small site of the test's own; it starts what it needs."""
    return Site(tmp_path)


# reading


def test_a_read_at_the_proxy_shows_what_the_master_holds(site: Site) -> None:
    at_proxy = answer("read", "person", port=site.proxy_ports["CSProxy_1"])
    at_master = answer("read", "persons", port=site.port)
    assert at_proxy == at_master
    assert len(at_proxy) == 201
    default = next(each for each in at_proxy if each["DBID"] == 100)
    assert (default["userName"], default["state"], default["isAgent"]) == ("default", "CFGEnabled", "CFGFalse")


def test_a_read_takes_filter_keys_and_prints_lines(site: Site) -> None:
    port = site.proxy_ports["CSProxy_1"]
    done = tool("read", "CfgPerson", "is_agent=true", "state=CFGEnabled", "--output", "jsonl", port=port)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(lines)) == (0, 200)
    (one,) = answer("read", "person", f"user_name={lines[7]['userName']}", port=port)
    assert one == lines[7]
    assert answer("read", "person", "user_name=nobody", port=port) == []
    assert tool("read", "person", "user_name=nobody", "--output", "jsonl", port=port).stdout == ""


def test_a_table_is_plain_text_off_a_terminal(site: Site) -> None:
    done = tool("read", "application", port=site.proxy_ports["CSProxy_1"])
    assert done.returncode == 0
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["DBID", "Name", "Type", "Version", "Port", "Tenant", "State", "Folder"]
    row = next(row for row in rows if "CSProxy_1" in row)
    assert all(word in row for word in ("ConfigServer", "Environment", "enabled", "Applications"))
    assert "\x1b" not in done.stdout


def test_status_names_role_and_readiness(site: Site) -> None:
    master = answer("status", "--wait", "10", port=site.port)
    proxy = answer("status", port=site.proxy_ports["CSProxy_1"])
    assert (master["role"], master["name"], master["ready"]) == ("master", "confserv", True)
    assert (proxy["role"], proxy["name"], proxy["ready"]) == ("proxy", "CSProxy_1", True)
    assert proxy["upstream"]["state"] == "live"
    assert proxy["epoch"] == master["epoch"] < 2**53


def test_flags_stand_before_the_command_too(site: Site) -> None:
    done = tool("--port", str(site.port), "read", "tenant", "--output", "json")
    assert [each["name"] for each in json.loads(done.stdout)] == ["Environment"]


def test_a_reader_that_closes_the_pipe_ends_the_command_quietly(site: Site) -> None:
    read = f"{sys.executable} -m csproxy.daemon.tool read dn --output jsonl --port {site.port}"
    command = f"{read} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        env={"CSPROXY_PASSWORD": PASSWORD, "PYTHONPATH": str(Path.cwd()), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    first, status = done.stdout.splitlines()
    assert json.loads(first)["DBID"]
    assert (status, done.stderr) == ("0", "")


# refusals


def test_a_wrong_password_is_refused_with_status_1(site: Site) -> None:
    for port in (site.port, site.proxy_ports["CSProxy_1"]):
        done = tool("read", "person", port=port, password="wrong")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(
            "csproxy read: user name or password is wrong; user 'default' (--user) with the pass"
        )


def test_no_password_and_no_terminal_is_wrong_usage(site: Site) -> None:
    done = tool("read", "person", port=site.port, password=None)
    assert done.returncode == 2
    assert "--password-file" in done.stderr


def test_a_proxy_refuses_writes_and_says_where_to_write(site: Site) -> None:
    done = tool("update", "person", "100", "firstName=X", "--output", "json", port=site.proxy_ports["CSProxy_1"])
    assert done.returncode == 1
    assert "read-only: write to the master" in done.stderr
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["name"], error["type"]) == (8, "ACCESS_DENIED", "CfgPerson")


def test_a_second_master_on_the_database_is_refused(site: Site) -> None:
    with Running("confserv", "-c", str(site.folder / "confserv.conf")) as second:
        refusal = second.line(containing="confserv:")
        assert f"is in use by 'confserv' at 127.0.0.1:{site.port}: stop that server first" in refusal
        assert second.process.wait(10) == 1


def test_a_proxy_of_a_proxy_is_refused(site: Site) -> None:
    port = site.proxy_ports["CSProxy_1"]
    with Running("confserv", "-host", "127.0.0.1", "-port", str(port), "-app", "CSProxy_1") as second:
        assert "proxy of a proxy" in second.line(containing="confserv:")
        assert second.process.wait(10) == 1


def test_an_application_that_does_not_exist_is_refused_by_name(site: Site) -> None:
    with Running("confserv", "-host", "127.0.0.1", "-port", str(site.port), "-app", "Nobody") as proxy:
        assert "'Nobody'" in proxy.line(containing="confserv:")
        assert proxy.process.wait(10) == 1


def test_an_occupied_port_is_named(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path)
    conf = (other.folder / "confserv.conf").read_text().replace(str(other.port), str(site.port))
    (other.folder / "confserv.conf").write_text(conf)
    with Running("confserv", "-c", str(other.folder / "confserv.conf")) as second:
        assert f"cannot listen on 127.0.0.1:{site.port}" in second.line(containing="confserv:")
        assert second.process.wait(10) == 1


@pytest.mark.parametrize("words", [("-proxy-persistent-mode",), ("-frob",), ("-host", "h")])
def test_a_wrong_command_line_ends_with_2(words: tuple[str, ...]) -> None:
    with Running("confserv", *words) as process:
        process.line(containing="confserv: ")
        assert process.process.wait(10) == 2


# changes


def test_a_watcher_at_the_proxy_sees_a_change_at_the_master_within_the_second(site: Site) -> None:
    port = site.proxy_ports["CSProxy_1"]
    with Running("tool", "watch", "person", "--port", str(port), "--count", "3") as watcher:
        watcher.told(containing="from UEN")
        new = {"tenantDBID": 1, "userName": "ada", "employeeID": "ada", "isAgent": "CFGFalse", "state": 1}
        created = answer("create", "person", port=site.port, stdin=json.dumps(new))
        seen = json.loads(watcher.line(timeout_s=1.0))
        assert seen == created | {"from_history": False}
        assert (seen["action"], seen["type"], seen["user"]) == ("created", "CfgPerson", "default")
        assert seen["object"]["userName"] == "ada"
        dbid = str(created["dbid"])
        answer("update", "person", dbid, "state=CFGDisabled", "userProperties.desk.a.b=7", port=site.port)
        seen = json.loads(watcher.line(timeout_s=1.0))
        assert seen["delta"] == {"state": "CFGDisabled", "userProperties": {"added": {"desk": {"a.b": "7"}}}}
        assert answer("update", "person", dbid, "state=CFGDisabled", port=site.port)["action"] == "unchanged"
        answer("delete", "person", dbid, port=site.port)
        seen = json.loads(watcher.line(timeout_s=1.0))
        assert (seen["action"], seen["former"]["userName"], seen["last"]) == ("deleted", "ada", True)
        assert watcher.process.wait(10) == 0


def test_history_is_replayed_from_a_uen(site: Site) -> None:
    before = answer("status", port=site.port)["uen"]
    for name in ("One", "Two"):
        answer("update", "person", "100", f"firstName={name}", port=site.port)
    done = tool("watch", "all", "--from-uen", str(before), "--count", "2", port=site.proxy_ports["CSProxy_1"])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["uen"] for line in lines] == [before + 1, before + 2]
    assert [line["from_history"] for line in lines] == [True, True]
    future = tool("watch", "all", "--from-uen", str(before + 1000), port=site.port)
    assert future.returncode == 1
    assert "is in the future" in future.stderr


def test_an_interrupted_watch_is_quiet(site: Site) -> None:
    with Running("tool", "watch", "all", "--port", str(site.port)) as watcher:
        watcher.told(containing="from UEN")
        assert watcher.stop(signal.SIGINT) == 130
        assert watcher.process.stderr is not None
        assert watcher.process.stderr.read() == b""


def test_options_of_system_take_effect_at_once_and_need_serialize(own: Site) -> None:
    system = "options.system."
    with own.master() as master:
        answer("update", "application", "99", "options.log.verbose=all", port=own.port)
        answer("update", "application", "99", f"{system}throttle-updates-interval=1500", port=own.port)
        master.line(containing="they need serialize-write-transactions")
        assert answer("status", port=own.port)["loads"] == 0
        answer("update", "application", "99", f"{system}serialize-write-transactions=true", port=own.port)
        master.line(containing="serialize-write-transactions of [system] is now true")
        before = time.monotonic()
        for name in ("one", "two"):
            answer("create", "skill", port=own.port, stdin=json.dumps({"tenantDBID": 1, "name": name}))
        assert time.monotonic() - before >= 1.5


def test_an_option_of_the_application_object_takes_effect_at_once(site: Site) -> None:
    (proxy,) = answer("read", "application", "name=CSProxy_1", port=site.port)
    dbid = str(proxy["DBID"])
    answer(
        "update", "application", dbid, "options.log.verbose=trace", "options.csproxy.packet-size=big", port=site.port
    )
    running: Running = site.running_proxy  # type: ignore[attr-defined]
    assert "packet-size" in running.line(containing="'big' is not valid")
    assert "Trc 04110" in running.line(containing="option verbose")
    answer("update", "application", dbid, "options=null", port=site.port)


# stopping and dying


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_an_orderly_way(own: Site, number: signal.Signals) -> None:
    with own.master() as master, own.proxy() as proxy:
        assert proxy.stop(number) == 0
        assert master.stop(number) == 0


def test_a_proxy_waits_for_its_master_and_opens_no_port_before(own: Site) -> None:
    with own.proxy(wait=False) as proxy:
        proxy.line(containing="04502")
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", own.proxy_ports["CSProxy_1"])) != 0
        with own.master():
            proxy.line(containing="ready on")
            assert len(answer("read", "person", port=own.proxy_ports["CSProxy_1"])) == 1


def test_a_proxy_that_waits_for_its_master_can_be_stopped(own: Site) -> None:
    with own.proxy(wait=False) as proxy:
        proxy.line(containing="04502")
        assert proxy.stop() == 0


def test_a_proxy_survives_loss_and_return_of_the_master_with_a_client_watching(own: Site) -> None:
    port = own.proxy_ports["CSProxy_1"]
    with own.master() as master, own.proxy() as proxy:
        with Running("tool", "watch", "person", "--port", str(port), "--count", "2") as watcher:
            watcher.told(containing="from UEN")
            answer("update", "person", "100", "firstName=Before", port=own.port)
            assert json.loads(watcher.line())["delta"] == {"firstName": "Before"}
            answer("status", port=port)  # a log-in that the master accepts is remembered by the proxy
            master.kill()
            (person,) = answer("read", "person", "dbid=100", port=port)
            assert person["firstName"] == "Before"
            with own.master():
                answer("update", "person", "100", "firstName=After", port=own.port)
                assert json.loads(watcher.line())["delta"] == {"firstName": "After"}
                assert watcher.process.wait(10) == 0
                status = answer("status", port=port)
                assert (status["upstream"]["loads"], status["upstream"]["resumes"]) == (1, 1)
        assert proxy.stop() == 0


@pytest.mark.slow
def test_an_acknowledged_write_survives_kill_9_of_the_master(own: Site) -> None:
    """In each round a client writes as fast as it is answered; the master is killed at another moment."""
    acknowledged: dict[str, int] = {}
    for round_ in range(KILL_ROUNDS):
        with own.master() as master:
            anyio.run(_write_until_killed, own.port, master, round_, acknowledged)
    with own.master():
        stored = {each["userName"]: each["DBID"] for each in answer("read", "person", port=own.port)}
        assert stored.pop("default") == 100
        lost = {name: dbid for name, dbid in acknowledged.items() if stored.get(name) != dbid}
        assert not lost
        # besides those at most the one write of each round whose answer was under way
        assert len(acknowledged) <= len(stored) <= len(acknowledged) + KILL_ROUNDS
        assert answer("status", port=own.port)["uen"] == len(stored)
    assert len(acknowledged) >= 5 * KILL_ROUNDS


async def _write_until_killed(port: int, master: Running, round_: int, acknowledged: dict[str, int]) -> None:
    async with ConfigClient(
        port=port, user="default", password=PASSWORD, request_timeout_s=2.0, attempt_timeout_s=DEADLINE_S
    ) as client:
        began = time.monotonic()
        kill_after_s = 0.05 + 0.01 * round_
        count = 0
        while True:
            if count >= 5 and master.process.poll() is None and time.monotonic() - began > kill_after_s:
                master.process.kill()
            name = f"r{round_}n{count}"
            person = CfgPerson(
                tenantDBID=1,
                userName=name,
                employeeID=name,
                isAgent=CfgFlag.CFGFalse,
                state=CfgObjectState.CFGEnabled,
            )
            try:
                stored = await client.create(person)
            except ConnectionLostError:
                return
            acknowledged[name] = stored.DBID
            count += 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_descriptors_that_are_closed_go_to_nobody_else(tmp_path: Path, closed: str) -> None:
    site = Site(tmp_path)
    words = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-m"]
    confserv = [*words, "csproxy.daemon.confserv", "-c", str(site.folder / "confserv.conf")]
    with subprocess.Popen(
        [*confserv, "-log-standard", str(tmp_path / "log")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=tool_environment(),
    ) as master:  # fmt: skip
        try:
            assert tool("status", "--wait", "30", port=site.port).returncode == 0
            opened = {os.readlink(f"/proc/{master.pid}/fd/{number}") for number in range(3)}
            assert opened == {os.devnull}
            asked = [*words, "csproxy.daemon.tool", "read", "person", "--port", str(site.port)]
            assert subprocess.run(asked, env=tool_environment() | {"CSPROXY_PASSWORD": PASSWORD}).returncode == 0
            master.terminate()
            assert master.wait(DEADLINE_S) == 0
        finally:
            master.kill()


def test_a_watch_whose_reader_has_gone_ends_quietly(site: Site) -> None:
    with Running("tool", "watch", "person", "--port", str(site.port)) as watcher:
        watcher.told(containing="from UEN")
        assert watcher.process.stdout is not None
        watcher.process.stdout.close()
        answer("update", "person", "100", "lastName=Gone", port=site.port)
        assert watcher.process.wait(10) == 0
        assert watcher.process.stderr is not None
        assert watcher.process.stderr.read() == b""
    answer("update", "person", "100", "lastName=null", port=site.port)


def fill(pipe: int) -> None:
    """Leave no room for another byte."""
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    os.set_blocking(pipe, True)


@pytest.mark.parametrize("reader", ["gone", "asleep"])
def test_a_server_whose_standard_output_nobody_reads_serves_on(tmp_path: Path, reader: str) -> None:
    site = Site(tmp_path)
    reads, writes = os.pipe()
    if reader == "gone":
        os.close(reads)
    else:
        fill(writes)
    command = [sys.executable, "-m", "csproxy.daemon.confserv", "-c", str(site.folder / "confserv.conf")]
    with subprocess.Popen(
        [*command, "-log-standard", str(tmp_path / "log")], stdout=writes, env=tool_environment()
    ) as master:
        os.close(writes)
        try:
            deadline = time.monotonic() + DEADLINE_S
            while (done := tool("status", port=site.port)).returncode != 0:
                assert time.monotonic() < deadline, done.stderr
                assert master.poll() is None
            master.terminate()
            assert master.wait(DEADLINE_S) == 0
        finally:
            master.kill()
    if reader == "gone":
        assert "log output stdout cannot be written: Broken pipe" in (tmp_path / "log").read_text()
    else:
        os.close(reads)
