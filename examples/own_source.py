"""A source of one's own: a server whose skills come from a text file, one name a line.

    python examples/own_source.py skills.txt --port 2020 --password ...

Whatever can give a complete set of objects can be a source: the server finds the difference and tells subscribers.
"""

from __future__ import annotations

import argparse
import secrets
from dataclasses import dataclass
from pathlib import Path

import anyio

from csproxy import ConfigurationServer, Listener, Position
from csproxy.core.changes import Epoch
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.canonical import encode_object
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.replica import ReplicaSink
from csproxy.core.sessions import Account
from csproxy.core.wellknown import DEFAULT_PERSON, FIRST_FREE_DBID, InitialObject, well_known_objects
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.listener import ListenPort
from csproxy.transport.server import ReadOnlyWriter

SKILL = int(CfgObjectType.CFGSkill)


async def follow(path: Path, sink: ReplicaSink) -> None:
    """Put the file's skills in place, and again whenever it has changed. A skill keeps its DBID while it runs."""
    epoch = Epoch(secrets.randbits(52) or 1, 1)  # a new history each time: clients that come back notice
    dbids: dict[str, int] = {}
    shown: set[str] | None = None
    while True:
        names = set((await anyio.Path(path).read_text("utf-8")).splitlines()) - {""}
        if names != shown:
            shown = names
            objects = well_known_objects()
            for name in sorted(names):
                dbid = dbids.setdefault(name, FIRST_FREE_DBID + len(dbids))
                objects.append(InitialObject(SKILL, {"DBID": dbid, "tenantDBID": 1, "name": name, "state": 1}, SKILL))
            builder = CacheBuilder(sink.cache)
            for kind, plain, folder in objects:
                builder.add(kind, [encode_object(SCHEMA.types[kind], plain)], [folder])
            sink.replace(builder, Position(epoch.epoch, sink.position.uen + 1), [epoch])
        await anyio.sleep(0.5)


@dataclass
class OneUser:
    """Lets the user ``default`` in."""

    password: str

    async def authenticate(self, user: str, password: str) -> Account:  # noqa: D102 - as the server demands
        if user != "default" or not secrets.compare_digest(password.encode(), self.password.encode()):
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, "the user name or the password is wrong")
        return Account(DEFAULT_PERSON, user)


async def serve(path: Path, port: int, password: str) -> None:
    """Serve the file until interrupted."""
    log_in, writer = OneUser(password), ReadOnlyWriter("change the file")
    server = ConfigurationServer(role="master", name="confserv", authenticator=log_in, writer=writer)
    async with server, Listener([ListenPort("default", "127.0.0.1", port)], server.connect):
        await follow(path, server)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve the skills that a file names.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=2020)
    parser.add_argument("--password", required=True)
    given = parser.parse_args()
    anyio.run(serve, given.file, given.port, given.password)
