"""A pair of masters and two proxies as processes, each behind a fault proxy, and the disk they write to."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio

from csproxy.core import codec
from csproxy.core.model import SCHEMA, CfgHAType
from csproxy.core.model.canonical import encode_object
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.wellknown import CONFSERV
from csproxy.testing import FaultProxy
from csproxy.testing.histories import ObjectKey
from tests.daemon.servers import Running
from tests.own_ports import free_ports
from tests.postgresql import PostgresServer
from tests.simulation.template import PROXIES, Template

MASTERS = ("confserv", "confserv_backup")
LEASE_S = 3
START_S = 100.0
_APPLICATION = 9
_BACKUP_DBID = 90_000


class Servers:
    """Made in ``folder``, on SQLite or in a database of ``postgres``; so many ``clients`` may connect.

    ``disks``: folders for what the masters write, and the proxies, if not in ``folder``.
    ``running`` are the processes by name (the names of their Applications), ``doors`` the fault proxies through
    which everybody reaches them, ``database_doors`` those through which the masters reach PostgreSQL.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clients: int,
        postgres: PostgresServer | None = None,
        disks: tuple[Path, Path] | None = None,
    ) -> None:
        masters, proxies = disks or (folder, folder)
        self._folders = dict.fromkeys(MASTERS, masters) | dict.fromkeys(PROXIES, proxies)
        names = (*MASTERS, *PROXIES)
        self._door_ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        template = Template(clients=clients, ports=tuple(self._ports[name] for name in PROXIES))
        self.known = template.known
        self.objects, self.folders = dict(template.objects), dict(template.folders)
        self._make_pair()
        self.postgres = postgres
        self.database = masters / "config.db" if postgres is None else Path(postgres.new_database())
        self.url = f"sqlite:///{self.database}" if postgres is None else postgres.tcp_url(self.database.name)
        rows = [(kind, codec.decode_map(raw), self.folders[kind, dbid]) for (kind, dbid), raw in self.objects.items()]
        create_configuration(self.url, rows, release="1.0")
        self.doors: dict[str, FaultProxy] = {}
        self.database_doors: dict[str, FaultProxy] = {}
        self.running: dict[str, Running] = {}

    def _make_pair(self) -> None:
        """The Applications of the two masters; they are where their doors are."""
        key: ObjectKey = (_APPLICATION, CONFSERV)
        primary = codec.decode_map(self.objects[key])
        warm: dict[str, Any] = {"redundancyType": int(CfgHAType.CFGHTWarmStanby)}
        for name, dbid, backup in zip(MASTERS, (CONFSERV, _BACKUP_DBID), (_BACKUP_DBID, 0), strict=True):
            port = str(self._door_ports[name])
            server = {**primary["serverInfo"], "port": port, "backupServerDBID": backup}
            ports = [{"id": "default", "port": port}]
            obj = {**primary, **warm, "name": name, "DBID": dbid, "serverInfo": server, "portInfos": ports}
            self.objects[_APPLICATION, dbid] = encode_object(SCHEMA.types[_APPLICATION], obj)
            self.folders[_APPLICATION, dbid] = self.folders[key]

    def start(self, name: str, *, until: str = "ready on") -> None:
        """Start a server that is not running, and wait until it says so."""
        where = self._folders[name] / name
        where.mkdir(exist_ok=True)
        if name in MASTERS:
            conf = where / "confserv.conf"
            conf.touch(mode=0o600)
            conf.write_text(self._conf(name))
            words = ["-c", str(conf), "-app", name]
        else:
            door = self.doors[MASTERS[0]]
            words = ["-host", door.host, "-port", str(door.port), "-app", name]
        # the log in a file: its lines are many, and nobody reads the pipe
        self.running[name] = Running("confserv", *words, "-log-all", str(where / "log"), cwd=where)
        self.running[name].line(containing=until, timeout_s=START_S)

    def _conf(self, name: str) -> str:
        own = f"[{name}]\nport={self._ports[name]}\naddress=127.0.0.1\nlease-time={LEASE_S}\nserver=dbserver\n"
        database = "[dbserver]\nreconnect-timeout=1\n"
        if self.postgres is None:
            return f"{own}{database}dbengine=sqlite\ndbname={self.database}\n"
        door = self.database_doors[name]
        address = f"dbserver={door.host}\ndbport={door.port}\ndbname={self.database}\n"
        return f"{own}{database}dbengine=postgre\n{address}username=csproxy\npassword=secret\n"

    async def run(self, name: str, *, until: str = "ready on") -> None:
        """`start`, while others go on."""
        await anyio.to_thread.run_sync(lambda: self.start(name, until=until))

    async def told(self, name: str, containing: str) -> None:
        """Wait until a running server says on its standard output what it has become."""
        await anyio.to_thread.run_sync(lambda: self.running[name].line(containing=containing, timeout_s=START_S))

    def kill(self, name: str) -> None:
        """kill -9."""
        self.running[name].kill()

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end."""
        pid = self.running[name].process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def endpoint(self, name: str) -> tuple[str, int]:
        """Where everybody connects to a server."""
        return "127.0.0.1", self._door_ports[name]

    def name_of(self, port: int) -> str:
        """Whose door that is."""
        return next(name for name, door in self._door_ports.items() if door == port)

    @asynccontextmanager
    async def all_running(self) -> AsyncIterator[None]:
        """Everything is started, the backup as backup, and ends whatever happened."""
        async with AsyncExitStack() as stack:
            for name, port in self._ports.items():
                door = FaultProxy("127.0.0.1", port, port=self._door_ports[name])
                self.doors[name] = await stack.enter_async_context(door)
            if self.postgres is not None:
                for name in MASTERS:
                    door = FaultProxy("127.0.0.1", self.postgres.port)
                    self.database_doors[name] = await stack.enter_async_context(door)
            try:
                await self.run(MASTERS[0])
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(lambda: self.run(MASTERS[1], until="standing by on"))
                    for name in PROXIES:
                        tasks.start_soon(self.run, name)
                yield
            finally:
                for running in self.running.values():
                    running.kill()

    async def stop_all(self) -> None:
        """Stop everything in good order; each must succeed."""
        for name in (*PROXIES, *MASTERS):
            assert await anyio.to_thread.run_sync(self.running[name].stop) == 0, name


class Disk:
    """A folder on a file system of its own that can be full: a small tmpfs for root, else a limit on files' sizes.

    Both make a write fail: with ENOSPC, or with EFBIG (RLIMIT_FSIZE).
    """

    def __init__(self, folder: Path, *, is_mounted: bool) -> None:
        self.folder = folder
        self._is_mounted = is_mounted

    @contextmanager
    def full(self, *processes: Running) -> Iterator[None]:
        """There is no room for one byte more for ``processes``, until the end."""
        with self._filled() if self._is_mounted else _limited(processes):
            yield

    @contextmanager
    def _filled(self) -> Iterator[None]:
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            ballast.unlink()


@contextmanager
def _limited(processes: Sequence[Running]) -> Iterator[None]:
    before = [resource.prlimit(each.process.pid, resource.RLIMIT_FSIZE) for each in processes]
    try:
        for each, (_, hard) in zip(processes, before, strict=True):
            resource.prlimit(each.process.pid, resource.RLIMIT_FSIZE, (1, hard))
        yield
    finally:
        for each, limits in zip(processes, before, strict=True):
            resource.prlimit(each.process.pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """16 MiB at ``folder``."""
    folder.mkdir()
    is_mounted = os.geteuid() == 0 and _succeeds("mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder))
    try:
        yield Disk(folder, is_mounted=is_mounted)
    finally:
        if is_mounted:
            assert _succeeds("umount", str(folder))


def _succeeds(*words: str) -> bool:
    return shutil.which(words[0]) is not None and subprocess.run(words, capture_output=True).returncode == 0
