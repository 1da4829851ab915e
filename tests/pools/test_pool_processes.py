"""A pool of proxies behind a real HAProxy, with the configuration that `csproxy lb-config` makes for it.

Thousands of clients follow all changes of persons through the balancer while members die, are drained and come: each of
them must receive every change once, in order.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

import anyio
import anyio.to_thread
import pytest

from tests.daemon.servers import Running, Site, answer, tool
from tests.own_ports import free_ports
from tests.pools.crowd import Crowd

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

CLIENTS = 2_000
POOL = "Desktop Pool"
MEMBERS = ("member1", "member2", "member3", "member4")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Balancer:
    """HAProxy with the configuration as it is in the master now."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.path = folder / "haproxy.cfg"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or take over from the one that runs, which goes on with the connections that it has."""
        words = ("lb-config", "haproxy", "--clients", str(CLIENTS + 500), "--check-interval", "1", "--proxy-protocol")
        made = tool(*words, port=self.site.port)
        assert made.returncode == 0, made.stderr
        self.path.write_text(made.stdout)
        old = self.process
        taking_over = ("-sf", str(old.pid)) if old is not None else ()
        self.process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(self.path), *taking_over], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.former = old

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.process, getattr(self, "former", None)):
            if process is not None:
                process.kill()
                process.wait()


class Pool:
    """Master, members and balancer."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder, proxies=MEMBERS)
        self.balancer = Balancer(self.site, folder)
        (self.port,) = free_ports(1)
        self.members: dict[str, Running] = {}

    def configure(self) -> None:
        """Describe the pool of the first three members at the master."""
        host = {"name": "balancer", "IPaddress": "127.0.0.1", "type": "CFGNetworkServer", "LCAPort": "0"}
        self._create("host", host | {"state": "CFGEnabled"})
        (template,) = answer("read", "application", "name=member1", port=self.site.port)
        (balancer,) = answer("read", "host", "name=balancer", port=self.site.port)
        info = {"hostDBID": balancer["DBID"], "port": str(self.port)}
        kept = (
            "type",
            "version",
            "appPrototypeDBID",
            "isServer",
            "state",
            "workDirectory",
            "commandLine",
            "tenantDBIDs",
        )
        external = {key: template[key] for key in kept if key in template}
        self._create("application", external | {"name": POOL, "serverInfo": info})
        for name in MEMBERS[:3]:
            self.join(name)

    def join(self, name: str) -> None:
        (member,) = answer("read", "application", f"name={name}", port=self.site.port)
        options = (f"proxy-cluster-name={POOL}", "balancer-addresses=127.0.0.1")
        assignments = [f"options.csproxy.{option}" for option in options]
        done = tool("update", "application", str(member["DBID"]), *assignments, port=self.site.port)
        assert done.returncode == 0, done.stderr

    def start_member(self, name: str) -> None:
        self.members[name] = self.site.proxy(name)

    def clients_of(self, name: str) -> int:
        found: int = answer("status", port=self.site.proxy_ports[name])["clients"]
        return found - 1  # who asks is one

    def _create(self, kind: str, obj: dict[str, object]) -> None:
        done = tool("create", kind, port=self.site.port, stdin=json.dumps(obj))
        assert done.returncode == 0, done.stderr


@asynccontextmanager
async def running_pool(folder: Path) -> AsyncIterator[Pool]:
    pool = Pool(folder)
    with ExitStack() as stack:
        stack.enter_context(pool.site.master())
        pool.configure()
        try:
            for name in MEMBERS[:3]:
                pool.start_member(name)
            stack.enter_context(pool.balancer).start()
            yield pool
        finally:
            for member in pool.members.values():
                member.kill()


async def test_a_member_is_killed_one_drained_one_added(tmp_path: Path) -> None:
    async with running_pool(tmp_path) as pool:
        crowd = Crowd(pool.site.port, [("127.0.0.1", pool.port)], CLIENTS)

        async def trouble() -> None:
            await anyio.to_thread.run_sync(pool.members["member1"].kill)
            await anyio.sleep(3.0)
            assert await anyio.to_thread.run_sync(pool.members["member2"].stop) == 0
            await anyio.sleep(3.0)
            await anyio.to_thread.run_sync(pool.join, "member4")
            await anyio.to_thread.run_sync(pool.start_member, "member4")
            await anyio.to_thread.run_sync(pool.balancer.start)
            await anyio.to_thread.run_sync(pool.start_member, "member1")
            await anyio.sleep(3.0)

        await crowd.run(trouble)
        assert crowd.wrong() == []
        assert len(crowd.written) > 20
