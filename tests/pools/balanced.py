"""A pool of proxies behind a real HAProxy, with the configuration that `csproxy lb-config` makes for it."""

from __future__ import annotations

import csv
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import anyio
import anyio.to_thread

from csproxy.transport.client import ConfigClient
from tests.daemon.servers import PASSWORD, Running, Site, answer, tool
from tests.own_ports import free_ports
from tests.pools import members

POOL: Final = "Desktop Pool"
MEMBERS: Final = ("member1", "member2", "member3", "member4")
"""The last one is no member at first."""


class Balancer:
    """HAProxy with the configuration as it is in the master now; ``sources`` are its addresses towards members."""

    def __init__(self, site: Site, folder: Path, clients: int, sources: Sequence[str]) -> None:
        self.site = site
        self.clients = clients
        self.sources = sources
        self.path = folder / "haproxy.cfg"
        self._socket = folder / "haproxy.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or take over from the one that runs, which goes on with the connections that it has."""
        words = ("lb-config", "haproxy", "--clients", str(self.clients), "--check-interval", "1", "--proxy-protocol")
        for source in self.sources:
            words += ("--source", source)
        made = tool(*words, port=self.site.port)
        assert made.returncode == 0, made.stderr
        # how the checks went is asked here
        self.path.write_text(made.stdout.replace("global\n", f"global\n    stats socket {self._socket}\n", 1))
        old = self.process
        taking_over = ("-sf", str(old.pid)) if old is not None else ()
        self.process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(self.path), *taking_over], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.former = old

    async def checked(self, name: str) -> tuple[str, str]:
        """Whether a member is UP or DOWN and how its last check went (L4OK, L7OK, L7RSP, ...), once there was one."""
        with anyio.fail_after(60):
            while True:
                found = await anyio.to_thread.run_sync(self._asked, name)
                if found is not None and found[1] not in ("", "INI"):
                    return found
                await anyio.sleep(0.1)

    def _asked(self, name: str) -> tuple[str, str] | None:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(self._socket))
                sock.sendall(b"show stat\n")
                text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        except OSError:
            return None  # it is only starting
        for row in csv.DictReader(text.removeprefix("# ").splitlines()):
            if row["svname"] == name:
                return row["status"].split()[0], row["check_status"].removeprefix("* ")
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.process, getattr(self, "former", None)):
            if process is not None:
                process.kill()
                process.wait()


class Pool:
    """Master, members and balancer."""

    def __init__(self, folder: Path, clients: int, sources: Sequence[str]) -> None:
        self.site = Site(folder, proxies=MEMBERS)
        self.balancer = Balancer(self.site, folder, clients, sources)
        (self.port,) = free_ports(1)
        self.management = dict(zip(MEMBERS, free_ports(len(MEMBERS)), strict=True))
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
        """Describe one more member at the master."""
        (member,) = answer("read", "application", f"name={name}", port=self.site.port)
        options = (
            f"proxy-cluster-name={POOL}",
            f"balancer-addresses={', '.join(self.balancer.sources or ['127.0.0.1'])}",
        )
        assignments = [f"options.csproxy.{option}" for option in options]
        done = tool("update", "application", str(member["DBID"]), *assignments, port=self.site.port)
        assert done.returncode == 0, done.stderr

    def start_member(self, name: str) -> None:
        """Start a member and wait until it is ready."""
        if name in self.members:
            self.members[name].kill()  # it has ended; its pipe is closed now
        words = ("-host", "127.0.0.1", "-port", str(self.site.port), "-app", name)
        environment = members.environment(self.management[name])
        self.members[name] = Running("confserv", *words, cwd=self.site.folder, environment=environment)
        self.members[name].line(containing="ready on")

    def status(self, name: str) -> dict[str, Any]:
        """What a member says of itself at its management port."""
        return members.status(self.management[name])

    async def until_balanced(self, names: Sequence[str]) -> None:
        """Wait until the balancer leads to each of these members."""
        missing = set(names)
        with anyio.fail_after(60):
            while missing:
                client = ConfigClient(port=self.port, user="default", password=PASSWORD, connect_wait_s=30.0)
                async with client:
                    missing.discard((await client.status())["name"])

    def _create(self, kind: str, obj: dict[str, object]) -> None:
        done = tool("create", kind, port=self.site.port, stdin=json.dumps(obj))
        assert done.returncode == 0, done.stderr


@asynccontextmanager
async def running_pool(
    folder: Path,
    *,
    clients: int,
    started: Sequence[str] = MEMBERS[:3],
    sources: Sequence[str] = (),
    prepare: Callable[[Pool], object] = lambda pool: None,
) -> AsyncIterator[Pool]:
    """Three members, of which some are started, behind a balancer that takes so many clients.

    ``prepare`` is called when the configuration is there and before anything of the pool is started.
    """
    pool = Pool(folder, clients, sources)
    with ExitStack() as stack:
        stack.enter_context(pool.site.master())
        pool.configure()
        prepare(pool)
        try:
            for name in started:
                pool.start_member(name)
            stack.enter_context(pool.balancer).start()
            yield pool
        finally:
            for member in pool.members.values():
                member.kill()
