"""What is fuzzed: a server's connections over a real replica, by hand, and the client's protocol object."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from csproxy.core.changelog import WindowLimits
from csproxy.core.changes import Epoch, Position
from csproxy.core.lease import Holder
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.peer_limits import PeerLimits
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.sessions import Account
from csproxy.core.wellknown import DEFAULT_PERSON, well_known_objects
from csproxy.errors import ErrorCode, ServerError
from csproxy.testing.sites import generate_site
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.master_administration import MasterAdministration
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter, ServerSettings
from tests.transport.manual import EPOCH

__all__ = ["PASSWORD", "Complaints", "master", "replica"]

PASSWORD: Final = "right"
AGENTS: Final = 30


class OneUser:
    """Knows user default and a password; whoever has another is refused as anywhere."""

    async def authenticate(self, user: str, password: str) -> Account:
        if (user, password) != ("default", PASSWORD):
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, "user name or password is wrong")
        return Account(DEFAULT_PERSON, user)


class Complaints(logging.Handler):
    """Keeps what the server logs as an error: a mistake in a task, an exception of a receiver."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self.seen.append(text)


def _server() -> ConfigurationServer:
    counter = itertools.count(1)
    server = ConfigurationServer(
        role="master",
        name="confserv",
        authenticator=OneUser(),
        writer=ReadOnlyWriter("nothing is written here"),
        random=lambda: 0.5,
        random_bytes=lambda n: next(counter).to_bytes(n, "big"),
        # waits are short and little is kept, so that memory shows what is lost, not what is meant to be kept
        settings=ServerSettings(
            reach_timeout_s=0.0,
            max_detached_sessions=50,
            mark_interval_s=1e6,
            history=WindowLimits(min_changes=64, min_age_s=0.0, max_bytes=1 << 16),
        ),
    )
    server.peers.table.limits = PeerLimits(connections=6, unregistered=4, registrations=10**6, failures=10**6)
    return server


@asynccontextmanager
async def replica() -> AsyncIterator[ConfigurationServer]:
    """A server with a small contact centre that takes no writes: what it needs does not grow."""
    base = list(well_known_objects(proxies=[("proxy1", 2021)]))
    builder = CacheBuilder(None)
    for number, item, folder in itertools.chain(base, generate_site(AGENTS, seed=1, base=base)):
        builder.add(number, [encode_object(SCHEMA.types[number], item)], [folder])
    async with _server() as server:
        server.replace(builder, Position(EPOCH, 1), [Epoch(EPOCH, 1)])
        yield server


@asynccontextmanager
async def master(folder: Path) -> AsyncIterator[ConfigurationServer]:
    """A master on a new database in ``folder``: writes that are valid are carried out."""
    url = sqlite_url(folder / "config.db")
    create_configuration(url, well_known_objects(proxies=[("proxy1", 2021)]), release="1")
    async with (
        _server() as server,
        DatabaseMaster(
            url,
            server,
            holder=Holder("fuzz"),
            random_epoch=time.time_ns,
            hash_password=lambda text: f"hash {len(text)}",
        ) as database,
    ):
        server.administration = await MasterAdministration.open(database, lambda: server.cache)
        server.writer = database
        yield server
