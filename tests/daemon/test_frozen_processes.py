"""A process that is frozen (SIGSTOP) keeps its connections open and says nothing: keep-alive finds it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from csproxy import ClientState, ConfigClient, KeepAlive
from csproxy.core.model import CfgPerson
from tests.daemon.servers import PASSWORD, Running, Site, answer, tool

pytestmark = pytest.mark.anyio
FAST = KeepAlive(timeout_s=0.5, remote_timeout_s=0.5)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the frozen side is a process; the other side is tested on every loop elsewhere


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def master(site: Site) -> Iterator[Running]:
    with site.master() as running:
        yield running


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not await anyio.to_thread.run_sync(condition):  # noqa: ASYNC110 - other processes tell nothing
            await anyio.sleep(0.05)


async def test_a_client_leaves_a_frozen_master_and_is_back_when_it_goes_on(site: Site, master: Running) -> None:
    async with ConfigClient(port=site.port, user="default", password=PASSWORD, keep_alive=FAST) as client:
        master.process.send_signal(signal.SIGSTOP)
        with anyio.fail_after(60):
            await client.wait_for(ClientState.SUSPENDED)
            master.process.send_signal(signal.SIGCONT)
            await client.wait_for(ClientState.CONNECTED)
        assert (await client.get(CfgPerson, 100)).userName == "default"


async def test_a_master_cuts_off_a_frozen_client(site: Site, master: Running) -> None:
    script = (
        "import anyio, csproxy\n"
        "async def main():\n"
        f"    async with csproxy.ConfigClient(port={site.port}, user='default', password={PASSWORD!r},\n"
        "            keep_alive=csproxy.KeepAlive(remote_timeout_s=0.5)):\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    process = await anyio.open_process([sys.executable, "-c", script], stdout=None, stderr=None)
    try:
        await until(lambda: answer("status", port=site.port)["clients"] == 2)
        process.send_signal(signal.SIGSTOP)
        await until(lambda: answer("status", port=site.port)["clients"] == 1)
    finally:
        process.kill()
        await process.wait()


async def test_a_proxy_watches_as_its_connection_object_says_from_when_it_is_changed(
    site: Site, master: Running
) -> None:
    def state() -> str:
        return str(answer("status", port=port)["upstream"]["state"])

    with site.proxy():
        [port] = site.proxy_ports.values()
        [own] = answer("read", "application", "name=CSProxy_1", port=site.port)
        [server] = answer("read", "application", "name=confserv", port=site.port)
        watch = {"appServerDBID": server["DBID"], "connProtocol": "addp", "timoutLocal": 1, "timoutRemote": 1}
        done = tool("update", "application", str(own["DBID"]), f"appServerDBIDs={json.dumps([watch])}", port=site.port)
        assert done.returncode == 0, done.stderr
        await until(lambda: answer("read", "application", "name=CSProxy_1", port=port)[0].get("appServerDBIDs"))
        assert state() == "live"
        master.process.send_signal(signal.SIGSTOP)
        with anyio.fail_after(30):  # without the Connection it would be a minute
            await until(lambda: state() != "live")
        master.process.send_signal(signal.SIGCONT)
        await until(lambda: state() == "live")
