"""A log-in of one's own: programs come with a key that a file knows, people with their password.

    python examples/own_authenticator.py CSProxy_1 keys.json --master-port 2020 --port 2021

A proxy whose file keys.json has {user name: SHA-256 of the key, as 64 hexadecimal digits}. The users in it log in with
their key; whoever is not in it is checked by the master. Each log-in looks at the file as it is then.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
from pathlib import Path

import anyio

from csproxy import ConfigurationServer, CsproxyError, Listener
from csproxy.auth.upstream import UpstreamAuthenticator
from csproxy.core.failover import Endpoint
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.sessions import Account
from csproxy.errors import ErrorCode, LoginIncorrectError, RetryableError
from csproxy.transport.dial import connect_tcp
from csproxy.transport.listener import ListenPort
from csproxy.transport.server import Authenticator, ReadOnlyWriter
from csproxy.transport.upstream import UpstreamSource


class ServiceKeys:
    """An authenticator: whatever has a method ``authenticate`` that gives an account, or raises, is one."""

    def __init__(self, file: Path, server: ConfigurationServer, others: Authenticator) -> None:
        self.file = file
        self.server = server
        self.others = others

    async def authenticate(self, user: str, password: str) -> Account:
        """The Person with that user name; what it may read decides what the client sees."""
        try:
            hashes = json.loads(await anyio.Path(self.file).read_text("utf-8"))
            expected = hashes.get(user)
        except (OSError, ValueError, AttributeError) as e:  # nobody is let in by a file that is broken
            raise RetryableError(
                ErrorCode.EXTERNAL_AUTHENTICATION_ERROR, f"the keys cannot be read: {e}", retry_after_s=5.0
            ) from e
        if expected is None:
            return await self.others.authenticate(user, password)
        dbid = self.server.cache.find(CfgObjectType.CFGPerson, userName=user)
        digest = hashlib.sha256(password.encode("utf-8", "surrogatepass")).hexdigest()
        if dbid is None or not hmac.compare_digest(digest, str(expected)):
            raise LoginIncorrectError(ErrorCode.LOGIN_INCORRECT, "the key is wrong, or there is no such user")
        return Account(dbid, user)


async def serve(name: str, file: Path, master: Endpoint, port: int) -> None:
    """Follow the master as Application ``name`` and serve until interrupted."""
    server = ConfigurationServer(role="proxy", name=name, writer=ReadOnlyWriter("this proxy is read-only"))
    async with server, UpstreamSource(server, connect_tcp, [master], name) as source:
        server.authenticator = ServiceKeys(file, server, UpstreamAuthenticator(source, server))
        await source.wait_live()
        async with Listener([ListenPort("default", "127.0.0.1", port)], server.connect):
            print(f"{server!r} at port {port}", flush=True)
            await anyio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A proxy with a log-in of its own.")
    parser.add_argument("name")
    parser.add_argument("keys", type=Path)
    parser.add_argument("--master-host", default="127.0.0.1")
    parser.add_argument("--master-port", type=int, default=2020)
    parser.add_argument("--port", type=int, default=2021)
    given = parser.parse_args()
    try:
        anyio.run(serve, given.name, given.keys, Endpoint(given.master_host, given.master_port), given.port)
    except CsproxyError as e:
        raise SystemExit(f"{type(e).__name__}: {e}") from e
