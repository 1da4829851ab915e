"""The management port of real processes: health, readiness, status, stop; and what strangers send to it."""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from csproxy.daemon.health import LastErrors
from csproxy.daemon.management import Access, token_file
from csproxy.errors import ConnectionLostError
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_states import ClientEvent, ClientEvents, ClientState
from tests.daemon.servers import DEADLINE_S, PASSWORD, Running, Site, tool
from tests.own_ports import free_ports


class Port:
    """A management port, as a program without csproxy sees it."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        (self.number,) = free_ports(1)
        self.address = address
        self.file = token_file(folder, self.number)
        self.environment = {
            "CSPROXY_CSPROXY__MANAGEMENT_PORT": str(self.number),
            "CSPROXY_CSPROXY__MANAGEMENT_ADDRESS": address,
        }

    @property
    def token(self) -> str:
        return self.file.read_text().strip()

    def ask(self, path: str, method: str = "GET", *, token: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.number, timeout=DEADLINE_S)
        try:
            connection.request(method, path, headers={} if token is None else {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        code, content = self.ask("/status.json")
        assert code == 200
        document: dict[str, Any] = json.loads(content)
        return document

    def tool(self, *words: str) -> Any:
        return tool(*words, "--management", f"127.0.0.1:{self.number}", "--token-file", str(self.file), password=None)


def managed_proxy(site: Site, port: Port) -> Running:
    words = ("-host", "127.0.0.1", "-port", str(site.port), "-app", "CSProxy_1", "-log-standard", "stdout")
    proxy = Running("confserv", *words, cwd=site.folder, environment=port.environment)
    proxy.line(containing=f"management at {port.address}:{port.number}")
    return proxy


def managed_master(site: Site, port: Port) -> Running:
    words = ("-c", str(site.folder / "confserv.conf"), "-log-standard", "stdout")
    master = Running("confserv", *words, cwd=site.folder, environment=port.environment)
    master.line(containing="ready on")
    return master


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def port(site: Site) -> Port:
    return Port(site.folder)


@pytest.fixture
def master(site: Site, port: Port) -> Iterator[Running]:
    with managed_master(site, port) as running:
        yield running


def test_a_proxy_answers_while_its_master_is_away_and_is_ready_when_it_has_come(site: Site, port: Port) -> None:
    with managed_proxy(site, port) as proxy:
        assert port.ask("/healthz") == (200, "alive\n")
        until = time.monotonic() + DEADLINE_S
        while f"not ready: loading: the master 127.0.0.1:{site.port} is " not in (text := port.ask("/readyz")[1]):
            assert text == "not ready: loading\n", "the port is open before it is known what is followed"
            assert time.monotonic() < until
        assert port.ask("/readyz")[0] == 503
        status = port.status()
        assert (status["role"], status["ready"]) == ("proxy", False)
        done = port.tool("status", "--output", "json")
        assert (done.returncode, json.loads(done.stdout)["ready"]) == (1, False)
        assert "CSProxy_1 is not ready: loading" in done.stderr

        with site.master() as master:
            proxy.line(containing="ready on")
            assert port.ask("/readyz") == (200, "ready\n")
            assert port.tool("status", "--wait", "30").returncode == 0
            status = port.status()
            assert status["replication"] == {"state": "live", "master_uen": status["uen"], "lag_changes": 0}
            assert status["process"]["pid"] == proxy.process.pid
            assert status["process"]["rss_bytes"] > 10_000_000
            assert {"congested", "unregistered", "fan_out"} <= status["queues"].keys()
            master.process.send_signal(signal.SIGKILL)
            proxy.line(containing="lost")
            code, text = port.ask("/readyz")
            assert code == 200
            assert text.startswith("ready; warning: the master ")
            assert any("lost" in error["text"] for error in port.status()["last_errors"])
        assert proxy.stop() == 0
    assert not port.file.exists()


@pytest.mark.anyio
async def test_stop_ends_the_server_and_its_clients_are_told(site: Site, port: Port, master: Running) -> None:
    async with ConfigClient(port=site.port, user="default", password=PASSWORD) as client:
        events = client.events()
        done = await anyio.to_thread.run_sync(port.tool, "stop")
        assert (done.returncode, done.stderr) == (0, "stopped\n")
        assert master.process.wait(DEADLINE_S) == 0
        with anyio.fail_after(DEADLINE_S):
            reasons = [event.reason async for event in _until_suspended(events)]
        assert isinstance(reasons[-1], ConnectionLostError)
        assert "stop" in str(reasons[-1])


async def _until_suspended(events: ClientEvents) -> AsyncIterator[ClientEvent]:
    async for event in events:
        yield event
        if event.state is ClientState.SUSPENDED:
            return


def test_stop_needs_the_token(site: Site, port: Port, master: Running, tmp_path: Path) -> None:
    assert stat.S_IMODE(port.file.stat().st_mode) == 0o600
    for token in (None, "", "wrong", port.token[:-1], port.token + "x"):
        code, _ = port.ask("/stop", "POST", token=token)
        assert code == 401
    (tmp_path / "wrong").write_text("wrong\n")
    for words in ((), ("--token-file", str(tmp_path / "wrong"))):
        done = tool("stop", "--management", f"127.0.0.1:{port.number}", *words, password=None)
        assert done.returncode == 1
        assert "refuses the token" in done.stderr
    assert port.ask("/stop", token=port.token)[0] == 405
    assert port.ask("/nothing")[0] == 404
    assert port.ask("/readyz") == (200, "ready\n")
    assert port.token not in "".join(master.seen)
    assert master.stop() == 0


def test_at_an_address_that_is_not_loopback_everything_needs_the_token(site: Site) -> None:
    port = Port(site.folder, "0.0.0.0")
    with managed_master(site, port) as master:
        for path in ("/healthz", "/readyz", "/status.json", "/nothing"):
            assert port.ask(path)[0] == 401
        assert port.ask("/healthz", token=port.token) == (200, "alive\n")
        assert port.tool("status").returncode == 0
        assert master.stop() == 0


def test_a_backup_master_is_not_ready_until_it_is_primary(tmp_path: Path) -> None:
    numbers = free_ports(2)
    words = ["--password", PASSWORD, "--master-port", str(numbers[0]), "--backup-master", str(numbers[1])]
    assert tool("init", str(tmp_path / "d"), *words).returncode == 0
    port = Port(tmp_path)
    primary_words = ("-c", str(tmp_path / "d" / "confserv.conf"))
    backup_words = ("-c", str(tmp_path / "d" / "backup" / "confserv.conf"), "-app", "confserv_backup")
    with Running("confserv", *primary_words) as primary:
        primary.line(containing="ready on")
        with Running("confserv", *backup_words, cwd=tmp_path, environment=port.environment) as backup:
            backup.line(containing="standing by on")
            code, text = port.ask("/readyz")
            assert code == 503
            assert "is a backup at UEN" in text
            assert port.status()["role"] == "backup"
            assert primary.stop() == 0
            backup.line(containing="ready on")
            assert port.ask("/readyz") == (200, "ready\n")
            assert backup.stop() == 0


def test_persistent_mode_is_ready_with_a_warning(site: Site, port: Port) -> None:
    with site.master() as master:
        assert master.stop() == 0
    words = ("-host", "127.0.0.1", "-port", str(site.port), "-app", "CSProxy_1", "-proxy-persistent-mode")
    words += ("-cs-persistent-failover-tmout", "1")
    with Running("confserv", *words, cwd=site.folder, environment=port.environment) as proxy:
        proxy.line(containing="ready on")
        code, text = port.ask("/readyz")
        assert code == 200
        assert text.startswith("ready; warning: ")
        assert "persistent mode" in text
        assert port.tool("status").returncode == 0
        assert proxy.stop() == 0


GARBAGE = (
    b"\x00\xff\x16\x03\x01" * 50,
    b"GET /readyz HTTP/9.9\r\n\r\n",
    b"GET " + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /stop HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    b"POST /stop HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET /readyz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
)


def test_garbage_and_many_connections_disturb_nobody(site: Site, port: Port, master: Running) -> None:
    for data in GARBAGE:
        with socket.create_connection(("127.0.0.1", port.number), DEADLINE_S) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            received = b""
            try:
                while piece := sock.recv(65536):
                    received += piece
            except ConnectionResetError:
                pass
            assert b" 202 " not in received
    idle = [socket.create_connection(("127.0.0.1", port.number), DEADLINE_S) for _ in range(500)]
    try:
        for sock in idle[::2]:
            sock.sendall(b"GET /status.json HTTP/1.1\r\nHost:")
        assert port.ask("/readyz") == (200, "ready\n")
        assert tool("status", port=site.port).returncode == 0
        # those who never end their request do not hold up the end
        assert master.stop() == 0
    finally:
        for sock in idle:
            sock.close()
    assert not any("Traceback" in line for line in rest(master)), master.seen


def rest(running: Running) -> list[str]:
    """Everything that a process that has ended has said."""
    assert running.process.stdout is not None
    return [*running.seen, *running.process.stdout.read().decode().splitlines()]


def test_a_port_in_use_is_named_at_the_start(site: Site, port: Port) -> None:
    with socket.create_server(("127.0.0.1", port.number)):
        words = ("-c", str(site.folder / "confserv.conf"))
        with Running("confserv", *words, cwd=site.folder, environment=port.environment) as master:
            refusal = master.line(containing="confserv:")
            assert f"cannot listen on 127.0.0.1:{port.number} for management" in refusal
            assert master.process.wait(DEADLINE_S) == 1
    assert not port.file.exists()


def test_the_file_names_it_and_the_application_object_only_if_nothing_else_does(site: Site, port: Port) -> None:
    with site.master() as master:
        listed = tool("read", "application", "name=confserv", "--output", "json", port=site.port)
        dbid = str(json.loads(listed.stdout)[0]["DBID"])
        done = tool("update", "application", dbid, f"options.csproxy.management-port={port.number}", port=site.port)
        assert done.returncode == 0, done.stderr
        assert master.stop() == 0
    with site.master() as master:
        assert port.ask("/readyz") == (200, "ready\n")
        assert master.stop() == 0
    (other,) = free_ports(1)
    conf = site.folder / "confserv.conf"
    conf.write_text(conf.read_text().replace("[confserv]\n", f"[confserv]\nmanagement-port = {other}\n", 1))
    with site.master() as master:
        with pytest.raises(ConnectionRefusedError):
            port.ask("/healthz")
        port.number = other
        assert port.ask("/readyz") == (200, "ready\n")
        assert master.stop() == 0


def test_without_its_packages_the_extra_is_named(site: Site, port: Port, tmp_path: Path) -> None:
    (tmp_path / "hypercorn").mkdir()
    (tmp_path / "hypercorn" / "__init__.py").write_text("raise ImportError('no', name='hypercorn')\n")
    environment = port.environment | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.pathsep.join(sys.path)}"}
    words = ("-c", str(site.folder / "confserv.conf"))
    with Running("confserv", *words, cwd=site.folder, environment=environment) as master:
        assert "needs the package hypercorn: pip install 'csproxy[admin]'" in master.line(containing="confserv:")
        assert master.process.wait(DEADLINE_S) == 1


def test_the_tool_says_what_is_wrong(port: Port, tmp_path: Path) -> None:
    done = tool("stop", "--management", f"127.0.0.1:{port.number}", password=None)
    assert done.returncode == 1
    assert f"nothing listens at the management port 127.0.0.1:{port.number}" in done.stderr
    done = tool("stop", "--management", "nowhere", password=None)
    assert done.returncode == 2
    assert "HOST:PORT" in done.stderr
    missing = tool("status", "--management", "127.0.0.1:1", "--token-file", str(tmp_path / "none"), password=None)
    assert missing.returncode == 1
    assert "none cannot be read" in missing.stderr


def test_an_error_that_comes_again_is_counted_and_the_oldest_go() -> None:
    errors = LastErrors()
    with errors.kept():
        log = logging.getLogger("csproxy.test")
        log.info("nothing")
        for number in range(30):
            log.warning("number %d", number)
            log.error("again and again")
        assert len(errors.shown()) == 20
        assert errors.shown()[0]["text"] == "number 11"
        again = errors.shown()[-1]
        assert (again["text"], again["times"], again["level"]) == ("again and again", 30, "error")
    log.warning("afterwards")
    assert errors.shown()[-1] == again


def test_only_reading_is_open_and_only_without_a_token() -> None:
    access = Access("secret", is_open=True)
    assert access.allows("GET", b"")
    assert not access.allows("POST", b"")
    assert not access.allows("DELETE", b"Bearer Secret")
    assert access.allows("POST", b"Bearer secret")
    assert not Access("secret", is_open=False).allows("GET", "Bearer é".encode("latin-1"))
    assert "secret" not in repr(access)
