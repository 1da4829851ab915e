"""A program that runs its loop with asyncio.run instead of anyio.run can embed server and client."""

from __future__ import annotations

import asyncio
import os
import random

from csproxy.core.changes import Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA, CfgTenant
from csproxy.core.model.canonical import encode_object
from csproxy.core.sessions import Account
from csproxy.core.wellknown import DEFAULT_PERSON, well_known_objects
from csproxy.transport.client import ConfigClient
from csproxy.transport.listener import Listener, ListenPort
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter


class AnyUser:
    async def authenticate(self, user: str, password: str) -> Account:
        return Account(DEFAULT_PERSON, user)


async def log_in_and_read() -> list[str]:
    async with ConfigurationServer(
        role="master",
        name="confserv",
        authenticator=AnyUser(),
        writer=ReadOnlyWriter("read-only for this test"),
        random=random.random,
        random_bytes=os.urandom,
    ) as server:
        builder = CacheBuilder(None)
        for number, obj, folder in well_known_objects():
            builder.add(number, [encode_object(SCHEMA.types[number], obj)], [folder])
        server.replace(builder, Position(1, 0), [Epoch(1, 1)])
        async with Listener([ListenPort("default", "127.0.0.1", 0)], server.connect) as listener:
            host, port = listener.addresses()["default"]
            async with ConfigClient(host, port, user="default", password="x", attempt_timeout_s=5) as client:
                return [tenant.name for tenant in await client.read(CfgTenant)]


def test_server_and_client_work_under_asyncio_run() -> None:
    assert asyncio.run(log_in_and_read()) == ["Environment"]
