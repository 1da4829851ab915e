"""A proxy inside a program of one's own, with options of its own and a log-in of its own.

    python examples/embedded_proxy.py CSProxy_1 --master-host 127.0.0.1 --master-port 2020 --port 2021 --key ...

It follows the master as Application CSProxy_1 and serves clients at --port. They do not log in with the password of
a Person, but with a key that all share: such as one that the platform gives to its services.
"""

from __future__ import annotations

import argparse
import hmac

import anyio

from csproxy import ConfigurationServer, CsproxyError, Listener
from csproxy.core.changelog import WindowLimits
from csproxy.core.failover import Endpoint
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.sessions import Account
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.dial import connect_tcp
from csproxy.transport.listener import ListenPort
from csproxy.transport.server import ReadOnlyWriter, ServerSettings
from csproxy.transport.upstream import UpstreamSource


class SharedKey:
    """An authenticator: any method ``authenticate`` that gives an account or raises serves."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.server: ConfigurationServer | None = None

    async def authenticate(self, user: str, password: str) -> Account:
        """The Person with that user name; what it may read decides what the client sees."""
        assert self.server is not None
        dbid = self.server.cache.find(CfgObjectType.CFGPerson, userName=user)
        if not hmac.compare_digest(password.encode(), self.key.encode()) or dbid is None:
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, "the key is wrong, or there is no such user")
        return Account(dbid, user)


async def serve(name: str, master: Endpoint, port: int, key: str) -> None:
    """Follow the master and serve until interrupted."""
    log_in = SharedKey(key)
    server = ConfigurationServer(
        role="proxy",
        name=name,
        authenticator=log_in,
        writer=ReadOnlyWriter("this proxy is read-only"),
        settings=ServerSettings(packet_bytes=16 * 1024, history=WindowLimits(max_bytes=8 * 1024 * 1024)),
    )
    async with server, UpstreamSource(server, connect_tcp, [master], name) as source:
        log_in.server = server
        await source.wait_live()
        async with Listener([ListenPort("default", "127.0.0.1", port)], server.connect):
            print(f"{server!r} at port {port}", flush=True)
            await anyio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Embed a proxy with a log-in of its own.")
    parser.add_argument("name")
    parser.add_argument("--master-host", default="127.0.0.1")
    parser.add_argument("--master-port", type=int, default=2020)
    parser.add_argument("--port", type=int, default=2021)
    parser.add_argument("--key", "--password", required=True)
    given = parser.parse_args()
    try:
        anyio.run(serve, given.name, Endpoint(given.master_host, given.master_port), given.port, given.key)
    except CsproxyError as e:
        raise SystemExit(f"{type(e).__name__}: {e}") from e
