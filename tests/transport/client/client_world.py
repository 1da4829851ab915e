"""A real server on a memory network, with a writer that knows no rules, for tests of the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from csproxy.core import codec
from csproxy.core.changes import Action, Change
from csproxy.core.sessions import Author
from csproxy.errors import ErrorCode, ServerError
from csproxy.testing import MemoryNetwork
from csproxy.transport.client import ConfigClient
from csproxy.transport.server import ReadOnlyWriter
from csproxy.transport.wire.writes import CreateObject, UpdateObject, WriteRequest
from tests.transport.upstream.upstream_world import Item, Master, base_objects, skill

PERSON, SKILL, FOLDER = 3, 13, 22


class PlainWriter(ReadOnlyWriter):
    """Carries out every write at once; no transactions."""

    def __init__(self, master: Master) -> None:
        super().__init__("this writer takes one change at a time")
        self._master = master
        self._last_dbid = 5000
        self.is_slow = False

    async def write(self, request: WriteRequest, author: Author) -> Sequence[Change]:
        if self.is_slow:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        if isinstance(request, CreateObject):
            self._last_dbid += 1
            return self._master.publish((Action.CREATED, request.type, {**request.object, "DBID": self._last_dbid}))
        stored = self._master.server.cache.get(request.type, request.dbid)
        if stored is None:
            raise ServerError.from_code(ErrorCode.OBJECT_NOT_FOUND, "there is no such object")
        if isinstance(request, UpdateObject):
            return self._master.publish((Action.UPDATED, request.type, {"DBID": request.dbid, **request.delta}))
        return self._master.publish((Action.DELETED, request.type, codec.decode_map(stored)))


class ClientWorld:
    """A master that listens at ``master:2020`` and clients on host ``client``."""

    def __init__(self, network: MemoryNetwork, master: Master) -> None:
        self.network = network
        self.master = master
        self.writer = PlainWriter(master)
        master.server.writer = self.writer

    def client(self, **options: Any) -> ConfigClient:
        defaults: dict[str, Any] = {
            "user": "default",
            "password": "secret",
            "connector": self.network.connector("client"),
            "random": lambda: 0.1,
        }
        return ConfigClient("master", 2020, **(defaults | options))

    def restart(self) -> None:
        """Forget all sessions, as a server that was started anew."""
        sessions = self.master.server.sessions
        for session in [*sessions, *sessions._detached.values()]:
            session.application = "forgotten"
        self.network.cut("master")


@asynccontextmanager
async def make_world(
    *, skills: int = 5, network: MemoryNetwork | None = None, **master_options: Any
) -> AsyncIterator[ClientWorld]:
    """A world with the well-known objects and some skills."""
    objects: list[Item] = [*base_objects(), *((SKILL, skill(1000 + n), SKILL) for n in range(skills))]
    async with network or MemoryNetwork() as net:
        master = Master(**master_options)
        async with master.server:
            master.fill(objects)
            net.listen("master", 2020, master.server.connect)
            yield ClientWorld(net, master)
