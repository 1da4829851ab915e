"""A master on a real database, writable proxies of it with a valve in each upstream connection, and their clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from csproxy.auth.upstream import UpstreamAuthenticator
from csproxy.core.failover import Endpoint
from csproxy.core.replication import State
from csproxy.transport.administration import UpstreamAdministration
from csproxy.transport.channel import Channel, Receiver
from csproxy.transport.client import ConfigClient
from csproxy.transport.forwarding import ForwardingWriter
from csproxy.transport.history import ProxyHistory
from csproxy.transport.server import ConfigurationServer
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire.frames import Frame, FrameReader, encode_frame
from tests.transport.test_message_set import Site, make_server
from tests.transport.trusting import AllTrusted

PATIENCE_S = 10.0


class Valve(Channel):
    """Lies in a proxy's connection to its master, and can hold frames of the master back or swallow what is sent."""

    def __init__(self, inner: Channel) -> None:
        self._inner = inner
        self._receiver: Receiver | None = None
        self._reader = FrameReader()
        self.holds: Callable[[Frame], bool] = lambda frame: False
        self.swallows = False
        self.held: list[Frame] = []

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._inner.start(self)

    def write(self, data: bytes) -> None:
        if not self.swallows:
            self._inner.write(data)

    @property
    def pending_bytes(self) -> int:
        return self._inner.pending_bytes

    def pause(self) -> None:
        self._inner.pause()

    def resume(self) -> None:
        self._inner.resume()

    def close(self, *, flush: bool = True) -> None:
        self._inner.close(flush=flush)

    @property
    def peer(self) -> str:
        return self._inner.peer

    def receive(self, data: bytes) -> None:
        for frame in self._reader.receive_data(data):
            if self.holds(frame):
                self.held.append(frame)
            else:
                self._deliver(frame)

    def writable(self) -> None:
        assert self._receiver is not None
        self._receiver.writable()

    def closed(self, error: Exception | None) -> None:
        assert self._receiver is not None
        self._receiver.closed(error)

    def open(self) -> None:
        """Let everything pass again, first what was held."""
        self.holds = lambda frame: False
        held, self.held = self.held, []
        for frame in held:
            self._deliver(frame)

    def _deliver(self, frame: Frame) -> None:
        assert self._receiver is not None
        message, flags, request, epoch, uen, payload = frame
        self._receiver.receive(encode_frame(message, payload, request=request, epoch=epoch, uen=uen, flags=flags))


class Proxy:
    """A writable proxy at ``name:2020``; ``valve`` is that of its present upstream connection."""

    def __init__(self, site: Site, name: str, server: ConfigurationServer, source: UpstreamSource) -> None:
        self.name = name
        self.server = server
        self.source = source
        self.valve: Valve
        self.refusal: str | None = None
        self.writer: ForwardingWriter
        self._site = site

    def client(self, **options: Any) -> ConfigClient:
        return self._site.client(self.name, **options)

    def cut(self, *, for_good: bool = False) -> None:
        """End the upstream connection; ``for_good``, until `heal`, every further one as well."""
        if for_good:
            self._site.network.refuse("master", 2020)
        self._site.network.cut(self.name, "master")

    def heal(self) -> None:
        self._site.network.refuse("master", 2020, on=False)

    async def until_live(self, *, is_live: bool = True) -> None:
        await until(lambda: (self.source.state is State.LIVE) is is_live)


@asynccontextmanager
async def writable_proxy(
    site: Site, name: str = "proxy1", *, reach_timeout_s: float = 3.0, **options: Any
) -> AsyncIterator[Proxy]:
    """A proxy of the site's master, which trusts it."""
    site.server.trust = AllTrusted()
    connect = site.network.connector(name)

    async def connector(host: str, port: int) -> Channel:
        proxy.valve = Valve(await connect(host, port))
        return proxy.valve

    async with make_server("proxy", reach_timeout_s=reach_timeout_s) as server:
        server.name = name
        source = UpstreamSource(server, connector, [Endpoint("master", 2020)], name, random=lambda: 0.01)
        proxy = Proxy(site, name, server, source)
        async with source, ProxyHistory(source) as history:
            await source.wait_live()
            server.history = history
            proxy.writer = ForwardingWriter(source, server, refusal=lambda: proxy.refusal, **options)
            server.forwarder = proxy.writer
            server.is_current = lambda: source.state is State.LIVE
            server.administration = UpstreamAdministration(source)
            server.authenticator = UpstreamAuthenticator(source, server)
            site.network.listen(name, 2020, server.connect)
            yield proxy


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nothing announces."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.001)
