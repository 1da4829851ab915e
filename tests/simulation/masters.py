"""The simulated masters: one on its database, or a pair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import anyio

from csproxy.core.admission import AdmissionSettings
from csproxy.core.changes import Epoch
from csproxy.core.connections import partner
from csproxy.core.lease import Holder
from csproxy.core.persistence.records import KeepPolicy
from csproxy.core.persistence.store import Store
from csproxy.transport import database_follower, database_roles
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.database_peer import is_primary
from csproxy.transport.load_control import SerializedWriter
from csproxy.transport.master_administration import MasterAdministration
from tests.simulation.processes import PORT, Process, own_host
from tests.transport.trusting import AllTrusted

KEEP_ALL = KeepPolicy(max_bytes=1 << 40)
APPLICATIONS = {"master": "confserv", "backup": "confserv_backup"}
"""The Applications of the masters, by host; the names of the hosts say who begins as what."""


class Master(Process):
    """A master on its database; alone, or one of a pair."""

    def __init__(self, host: str, url: str, *args: Any) -> None:
        super().__init__(host, *args)
        self.url = url
        self.takeovers = 0
        self.database: DatabaseMaster | None = None

    @property
    def commit_errors(self) -> float:
        return self.plan.commit_errors

    @property
    def process_name(self) -> str:
        """What others find in the lease to see whether this run of it lives."""
        return f"{self.host} {self.starts}"

    @property
    def is_primary(self) -> bool:
        return self.database is not None and self.database.is_primary

    async def run(self, stop: anyio.Event) -> None:
        name = APPLICATIONS[self.host]
        try:
            async with (
                self.make_server("master", name) as server,
                DatabaseMaster(
                    self.url,
                    server,
                    holder=Holder(name, self.process_name, self.host, PORT),
                    random_epoch=lambda: self.rng.randint(1, 2**53),
                    hash_password=lambda password: password,
                    wall_clock=self.sim.wall_clock,
                    keep=KEEP_ALL,
                    settle_s=2.0,
                    lease_s=self.plan.lease_s,
                    reconnect_s=1.0,
                ) as self.database,
            ):
                server.writer = SerializedWriter(self.database, server.load_control)
                if self.plan.limited:
                    server.administration = await MasterAdministration.open(
                        self.database, lambda: server.cache, turn=server.load_control.write_turn
                    )
                if self.plan.load_max:
                    server.load_control.settings = AdmissionSettings(serialize=True, load_max=self.plan.load_max)
                server.trust = AllTrusted()
                server.standby = self._standby
                server.primary = lambda: self.database and self.database.primary
                self.database.on_role = self._role_changed
                self.database.is_replaced = lambda: is_primary(
                    self.network.connector(self.host), partner(server.cache, name), name
                )
                async with self.listening(server):
                    await stop.wait()
                await server.stop(grace_s=2.0)
        finally:
            self.database = None

    def _standby(self) -> str | None:
        if self.database is None or self.database.is_primary:
            return None
        return f"{self.host} is a backup: {self.database.primary} has the database"

    def _role_changed(self) -> None:
        if self.is_primary:
            self.takeovers += 1
        elif self.server is not None:
            self.server.dismiss("another master has the database")


@contextmanager
def on_machines(masters: list[Master], *, same: bool) -> Iterator[None]:
    """While entered, masters see whether a process of their own machine lives that had the database; all are on the
    ``same`` one, or each on its own."""

    def is_alive(process: str) -> bool | None:
        if not same and process.split(" ")[0] != own_host.get():
            return None
        return any(master.is_running and master.process_name == process for master in masters)

    with (
        mock.patch.object(database_follower, "is_alive", is_alive),
        mock.patch.object(database_roles, "is_alive", is_alive),
    ):
        yield


def read_database(url: str) -> tuple[list[Any], list[Epoch], dict[tuple[int, int], bytes], dict[tuple[int, int], int]]:
    """Change records, epochs, objects and folders of a database that no master has."""
    with Store.open(url) as store:
        records = [record for part in store.history() for record in part]
        objects, folders = {}, {}
        for part in store.load():
            for dbid, body, folder in zip(part.dbids, part.bodies, part.folders, strict=True):
                objects[part.type, dbid] = body
                folders[part.type, dbid] = folder
        return records, store.epochs(), objects, folders
