"""The daemon obeys the options of authentication in its Application object, as master and as proxy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from csproxy.auth.tokens import TokenSettings, make_token
from csproxy.errors import LoginIncorrectError
from csproxy.transport.client import ConfigClient
from tests.daemon.servers import PASSWORD, Site, answer

UUID = "00112233-4455-6677-8899-aabbccddeeff"

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The servers are other processes; one event loop is enough here."""
    return "asyncio"


async def log_in(port: int, password: str) -> None:
    async with ConfigClient("127.0.0.1", port, user="default", password=password) as client:
        await client.status()


async def test_tokens_are_accepted_once_the_application_object_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path)
    token = make_token("default", expires=int(time.time()) + 600, settings=TokenSettings(uuid=UUID))
    options = [f"options.system.token-{name}" for name in ("authentication-mode=enable", f"uuid={UUID}")]
    with site.master(), site.proxy("CSProxy_1", "-log-verbose", "all") as proxy:
        (proxy_port,) = site.proxy_ports.values()
        for port in (site.port, proxy_port):
            with pytest.raises(LoginIncorrectError):
                await log_in(port, token)
        for name in ("confserv", "CSProxy_1"):
            (application,) = answer("read", "application", f"name={name}", port=site.port)
            answer("update", "application", str(application["DBID"]), *options, port=site.port)
        proxy.line(containing="option token-authentication-mode of [system] is now true")
        for port in (site.port, proxy_port):
            await log_in(port, token)
            await log_in(port, PASSWORD)
            with pytest.raises(LoginIncorrectError):
                await log_in(port, token[:-2])
