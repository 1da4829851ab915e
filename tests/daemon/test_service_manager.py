"""What a server tells the service manager that has started it, at a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from csproxy.daemon.systemd import ServiceManager
from tests.daemon.servers import DEADLINE_S, Running, Site


class Manager:
    """A service manager's socket: in the file system, or an abstract one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(DEADLINE_S)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)

    def told(self, *, but: str = "") -> str:
        """The next datagram, those equal to ``but`` left out."""
        while True:
            text = self._socket.recv(65536).decode()
            if text != but:
                return text

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify") if request.param == "file" else f"@csproxy-test-{os.getpid()}")
    yield manager
    manager.close()


def test_a_server_says_that_it_is_ready_alive_and_stopping(manager: Manager, tmp_path: Path) -> None:
    site = Site(tmp_path, proxies=())
    environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "200000"}
    with Running("confserv", "-c", str(site.folder / "confserv.conf"), environment=environment) as master:
        line = master.line(containing="ready on")
        assert manager.told(but="WATCHDOG=1") == f"READY=1\nSTATUS={line}"
        assert [manager.told() for _ in range(3)] == ["WATCHDOG=1"] * 3
        assert master.stop() == 0
        assert manager.told(but="WATCHDOG=1") == "STOPPING=1"


def test_a_proxy_without_a_master_is_alive_but_not_ready(manager: Manager, tmp_path: Path) -> None:
    site = Site(tmp_path)
    environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "200000"}
    words = ("-host", "127.0.0.1", "-port", str(site.port), "-app", "CSProxy_1")
    with Running("confserv", *words, cwd=site.folder, environment=environment) as proxy:
        assert [manager.told() for _ in range(3)] == ["WATCHDOG=1"] * 3
        assert proxy.stop() == 0
        assert manager.told(but="WATCHDOG=1") == "STOPPING=1"


@pytest.mark.parametrize(
    "environment",
    [
        {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": str(os.getppid())},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {},
    ],
)
@pytest.mark.anyio
async def test_nobody_who_does_not_watch_is_told_of_life(manager: Manager, environment: dict[str, str]) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": manager.name, **environment})
    stop = anyio.Event()
    async with service.informed(stop.wait):
        await anyio.wait_all_tasks_blocked()
        service.ready("ready on 127.0.0.1:2020\nREADY=0")
        stop.set()
        await anyio.wait_all_tasks_blocked()
    assert manager.told() == "READY=1\nSTATUS=ready on 127.0.0.1:2020"
    assert manager.told() == "STOPPING=1"


@pytest.mark.anyio
async def test_a_manager_that_is_gone_stops_no_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    service.ready("ready")
    assert "cannot be told READY=1" in caplog.text
    caplog.clear()
    async with ServiceManager({}).informed(anyio.sleep_forever):
        ServiceManager({}).ready("ready")
    assert not caplog.text
