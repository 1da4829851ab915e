"""A master on a database and proxies of it, all checking passwords as the daemon does, in simulated time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from csproxy.auth.passwords import Cost, hash_password, verify_password
from csproxy.auth.proxies import ProxyAuthenticator
from csproxy.core.credentials import CredentialBook
from csproxy.core.failover import Endpoint
from csproxy.core.lease import Holder
from csproxy.core.model import CfgAppType
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.replica import ReplicaSink
from csproxy.core.security_options import RULES
from csproxy.core.sessions import Author
from csproxy.core.wellknown import FIRST_FREE_DBID, well_known_objects
from csproxy.daemon.passwords import Passwords
from csproxy.daemon.runtime_options import RuntimeOptions
from csproxy.daemon.settings import RuntimeLayers
from csproxy.errors import ServerError
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport.connection import Connection
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.local_copy import LocalCopy
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire.registration import ClientRegistered, RegisterClient
from csproxy.transport.wire.writes import CreateObject, DeleteObject, UpdateObject

PERSON, TENANT, APPLICATION = 3, 7, 9
ADMIN = Author("default", "sce", 100)
CHEAP = Cost(ln=4, r=1)
APP_PASSWORD = "of the proxy"
PROXIES = ("proxy1", "proxy2")

cheap_hash = partial(hash_password, cost=CHEAP)


class Server:
    """A server and what checks its passwords."""

    def __init__(self, name: str, server: ConfigurationServer, passwords: Passwords) -> None:
        self.name = name
        self.server = server
        self.passwords = passwords

    @property
    def book(self) -> CredentialBook:
        return self.passwords.book


class Proxy(Server):
    source: UpstreamSource


class PasswordSite:
    """A master, which can be stopped and started again on its database, and proxies."""

    def __init__(self, simulation: Simulation, network: MemoryNetwork, path: Path) -> None:
        self.simulation = simulation
        self.network = network
        self.url = sqlite_url(path)
        self.master: Server
        self.database: DatabaseMaster
        self._epoch = 10

    def options(self, **options: object) -> RuntimeOptions:
        """Options by ``section__name``."""
        layers = RuntimeOptions(RuntimeLayers(fixed={}, file={}))
        sections: dict[str, dict[str, object]] = {}
        for key, value in options.items():
            section, _, name = key.partition("__")
            sections.setdefault(section, {})[name.replace("_", "-")] = str(value)
        layers.apply_application(sections)
        return layers

    @asynccontextmanager
    async def running_master(self, **options: object) -> AsyncIterator[Server]:
        self._epoch += 1
        epoch = self._epoch
        async with (
            self._server("master", "confserv") as server,
            DatabaseMaster(
                self.url,
                server,
                holder=Holder("test"),
                random_epoch=lambda: epoch,
                hash_password=cheap_hash,
                verify_password=verify_password,
                wall_clock=self.simulation.wall_clock,
            ) as database,
        ):
            passwords = Passwords(server, self.options(**options), database.book, wall_clock=self.simulation.wall_clock)
            async with passwords.serve(database):
                server.writer = database
                server.trust = ProxyAuthenticator(database.credentials)
                self.database, self.master = database, Server("master", server, passwords)
                listener = self.network.listen("master", 2020, server.connect)
                yield self.master
                listener.close()
                await server.stop(grace_s=1.0)

    @asynccontextmanager
    async def running_proxy(
        self,
        name: str = "proxy1",
        *,
        app_password: str = APP_PASSWORD,
        book: CredentialBook | None = None,
        waits: bool = True,
        folder: Path | None = None,
        **options: object,
    ) -> AsyncIterator[Proxy]:
        """``folder``: it keeps a local copy there, and starts from it."""
        kept = CredentialBook() if book is None else book
        async with self._server("proxy", name) as server, AsyncExitStack() as stack:
            sink: ReplicaSink = server
            if folder is not None:
                sink = copy = self._copy(server, folder, kept)
                is_loaded = await copy.load()
                await stack.enter_async_context(copy)
            passwords = Passwords(
                server, self.options(**options), kept, is_filled=len(kept) > 0, wall_clock=self.simulation.wall_clock
            )
            async with (
                UpstreamSource(
                    sink,
                    self.network.connector(name),
                    [Endpoint("master", 2020)],
                    name,
                    app_password=app_password,
                    random=self.simulation.rng.random,
                    from_copy=folder is not None and is_loaded,
                ) as source,
                passwords.follow(source),
            ):
                listener = self.network.listen(name, 2020, server.connect)
                proxy = Proxy(name, server, passwords)
                proxy.source = source
                if waits:
                    await (source.wait_data() if folder is not None else source.wait_live())
                    await anyio.sleep(0.5)
                yield proxy
                listener.close()
                await server.stop(grace_s=1.0)

    def _copy(self, server: ConfigurationServer, folder: Path, book: CredentialBook) -> LocalCopy:
        return LocalCopy(
            server,
            server.replica,
            folder,
            server.name,
            is_current=lambda: True,
            random_bytes=self.simulation.random_bytes,
            wall_clock=self.simulation.wall_clock,
            clock=self.simulation.now,
            book=book,
        )

    def _server(self, role: str, name: str) -> ConfigurationServer:
        nobody: Any = None
        return ConfigurationServer(
            role=role,
            name=name,
            authenticator=nobody,
            writer=ReadOnlyWriter("read-only for this test"),
            random=self.simulation.rng.random,
            random_bytes=self.simulation.random_bytes,
            clock=self.simulation.now,
        )

    # what happens

    async def take_master_away(self) -> None:
        """Nobody reaches the master any more."""
        self.network.refuse("master", 2020)
        self.network.cut("master")
        await anyio.sleep(1)

    async def bring_master_back(self, proxy: Proxy) -> None:
        self.network.refuse("master", 2020, on=False)
        await proxy.source.wait_live()

    async def log_in(self, where: Server, user: str, password: str, *, new_password: str = "") -> ClientRegistered:
        """Register a client, and leave again. Raises the refusal."""
        channel = await self.network.connector("desk")(where.name, 2020)
        connection = await Connection.open(channel, "default", timeout_s=5.0)
        try:
            return await connection.register(
                RegisterClient(
                    type=int(CfgAppType.CFGSCE),
                    name="default",
                    user=user,
                    password=password,
                    new_password=new_password,
                ),
                timeout_s=20.0,
            )
        finally:
            await connection.aclose()

    async def refusal(self, where: Server, user: str, password: str) -> ServerError:
        try:
            await self.log_in(where, user, password)
        except ServerError as e:
            return e
        raise AssertionError(f"{user} was let in at {where.name}")

    async def create_person(self, name: str, password: str) -> int:
        person = {"userName": name, "employeeID": name, "tenantDBID": 1, "password": password}
        changes = await self.database.write(CreateObject(type=PERSON, object=person), ADMIN)
        return changes[0].dbid

    async def set_password(self, dbid: int, password: str) -> None:
        await self.database.write(UpdateObject(type=PERSON, dbid=dbid, delta={"password": password}), ADMIN)

    async def delete_person(self, dbid: int) -> None:
        await self.database.write(DeleteObject(type=PERSON, dbid=dbid), ADMIN)

    async def set_rules(self, **rules: object) -> None:
        """The rules of Environment."""
        section = {name.replace("_", "-"): str(value) for name, value in rules.items()}
        delta = {"userProperties": {"added": {RULES: section}}}
        await self.database.write(UpdateObject(type=TENANT, dbid=1, delta=delta), ADMIN)


def assert_equal(one: Server, other: Server) -> None:
    """Both books hold the same."""
    assert one.book.digests() == other.book.digests()


def run_site(
    path: Path, scenario: Callable[[PasswordSite], Coroutine[Any, Any, None]], *, seed: int = 1, limit_s: float = 1e7
) -> None:
    """Run a scenario with a new database, in which the default user has the password ``secret``."""
    proxies = [(name, 2021 + number) for number, name in enumerate(PROXIES)]
    hashes = {(PERSON, 100): cheap_hash("secret")}
    hashes |= {(APPLICATION, FIRST_FREE_DBID + number): cheap_hash(APP_PASSWORD) for number in range(len(PROXIES))}
    create_configuration(
        sqlite_url(path), well_known_objects(proxies=proxies), release="1", password_hashes=hashes, time_ms=1
    )

    async def main(simulation: Simulation) -> None:
        async with MemoryNetwork(simulation.rng, latency_s=(0.001, 0.01)) as network:
            await scenario(PasswordSite(simulation, network, path))

    run_simulated(main, seed=seed, time_limit_s=limit_s)
