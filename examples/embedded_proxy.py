"""A proxy inside a program of one's own, with options of its own.

    python examples/embedded_proxy.py CSProxy_1 --master-host 127.0.0.1 --master-port 2020 --port 2021

It follows the master as Application CSProxy_1 and serves clients at --port, whose passwords the master checks. The
program has the whole configuration in its own memory: here it says how many agents there are, as often as that changes.
"""

from __future__ import annotations

import argparse

import anyio

from csproxy import ConfigurationServer, CsproxyError, Listener
from csproxy.auth.upstream import UpstreamAuthenticator
from csproxy.core.changelog import WindowLimits
from csproxy.core.failover import Endpoint
from csproxy.core.model.enumerations import CfgFlag, CfgObjectType
from csproxy.transport.dial import connect_tcp
from csproxy.transport.listener import ListenPort
from csproxy.transport.server import ReadOnlyWriter, ServerSettings
from csproxy.transport.upstream import UpstreamSource

OPTIONS = ServerSettings(
    packet_bytes=16 * 1024,
    session_keep_s=60.0,
    history=WindowLimits(max_bytes=8 * 1024 * 1024),
)
PERSON = int(CfgObjectType.CFGPerson)


def agents(server: ConfigurationServer) -> int:
    """How many Persons are agents, from the replica itself: nothing is asked over a connection."""
    persons = (server.cache.stored(PERSON, dbid) for dbid in server.cache.dbids(PERSON))
    return sum(1 for person in persons if person is not None and person.get("isAgent") == CfgFlag.CFGTrue)


async def serve(name: str, master: Endpoint, port: int) -> None:
    """Follow the master as Application ``name`` and serve until interrupted."""
    moved = anyio.Event()
    server = ConfigurationServer(
        role="proxy", name=name, writer=ReadOnlyWriter("this proxy is read-only"), settings=OPTIONS
    )
    server.on_advance.append(lambda: moved.set())
    async with server, UpstreamSource(server, connect_tcp, [master], name) as source:
        server.authenticator = UpstreamAuthenticator(source, server)
        await source.wait_live()
        async with Listener([ListenPort("default", "127.0.0.1", port)], server.connect):
            print(f"{server!r} at port {port}", flush=True)
            shown = -1
            while True:
                count = agents(server)
                if count != shown:
                    shown = count
                    print(f"{count} agents as of UEN {server.position.uen}", flush=True)
                await moved.wait()
                moved = anyio.Event()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Embed a proxy.")
    parser.add_argument("name")
    parser.add_argument("--master-host", default="127.0.0.1")
    parser.add_argument("--master-port", type=int, default=2020)
    parser.add_argument("--port", type=int, default=2021)
    given = parser.parse_args()
    try:
        anyio.run(serve, given.name, Endpoint(given.master_host, given.master_port), given.port)
    except CsproxyError as e:
        raise SystemExit(f"{type(e).__name__}: {e}") from e
