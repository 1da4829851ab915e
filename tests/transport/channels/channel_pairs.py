"""Connected pairs of channels of every kind, and a receiver that remembers what it is told."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import anyio
import anyio.lowlevel
from anyio.abc import SocketStream

from csproxy.testing import MemoryNetwork
from csproxy.transport.channel import Channel
from csproxy.transport.dial import connect_tcp
from csproxy.transport.listener import Listener, ListenPort
from csproxy.transport.stream_channel import StreamChannel
from csproxy.transport.tls_channel import secure
from csproxy.transport.tls_context import TlsContext, load_context
from csproxy.transport.tls_engine import TlsEngine
from tests.tls_files import Authority, trusting

PLAIN_KINDS = ("default", "stream", "memory")
KINDS = (*PLAIN_KINDS, *(f"tls-{kind}" for kind in PLAIN_KINDS))
CLOSE_TIMEOUT_S = 0.2


class Recorder:
    """A receiver that remembers; ``reached`` and ``ended`` wait for what happens."""

    def __init__(self, on_data: Callable[[bytes], object] | None = None) -> None:
        self.data = bytearray()
        self.times_writable = 0
        self.ends: list[Exception | None] = []
        self._on_data = on_data
        self._changed = anyio.Event()

    def receive(self, data: bytes) -> None:
        assert data
        self.data += data
        self._change()
        if self._on_data is not None:
            self._on_data(data)

    def writable(self) -> None:
        self.times_writable += 1
        self._change()

    def closed(self, error: Exception | None) -> None:
        self.ends.append(error)
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not condition():
                await self._changed.wait()

    async def reached(self, size: int) -> None:
        await self.until(lambda: len(self.data) >= size)

    async def ended(self) -> Exception | None:
        await self.until(lambda: bool(self.ends))
        return self.ends[0]


@asynccontextmanager
async def channel_pair(kind: str) -> AsyncIterator[tuple[Channel, Channel]]:
    """A client's and a server's channel, connected and not started; both are closed afterwards."""
    makers = {"default": _tcp_pair, "stream": _stream_pair, "memory": _memory_pair}
    async with makers[kind.removeprefix("tls-")]() as (client, server):
        try:
            if kind.startswith("tls-"):
                client, server = await secure_pair(client, server)
            yield client, server
        finally:
            for channel in (client, server):
                channel.close(flush=False)
            await settle()


async def secure_pair(client: Channel, server: Channel) -> tuple[Channel, Channel]:
    """Both ends after a TLS handshake with each other."""
    at_client, at_server = tls_contexts()
    made: list[Channel] = []

    async def accept() -> None:
        made.append(await secure(server, TlsEngine(at_server.context, server_side=True)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        secured = await secure(client, TlsEngine(at_client.context, name="server.example"))
    return secured, made[0]


@cache
def tls_contexts() -> tuple[TlsContext, TlsContext]:
    """A client's and a server's, made once: certificates take time."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder), "root")
        return (
            load_context(trusting(authority), server_side=False),
            load_context(authority.issue("server.example").settings(), server_side=True),
        )


async def settle(turns: int = 10) -> None:
    """Let the event loop do what is ready."""
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def listening(
    on_connection: Callable[[Channel], object], *, close_timeout_s: float = CLOSE_TIMEOUT_S
) -> AsyncIterator[int]:
    """A listener on a free port, which is what the context gives."""
    ports = [ListenPort("default", "127.0.0.1", 0)]
    async with Listener(ports, lambda channel, _: on_connection(channel), close_timeout_s=close_timeout_s) as listener:
        yield listener.addresses()["default"][1]


@asynccontextmanager
async def _tcp_pair() -> AsyncIterator[tuple[Channel, Channel]]:
    accepted: list[Channel] = []
    arrived = anyio.Event()

    def accept(channel: Channel) -> None:
        accepted.append(channel)
        arrived.set()

    async with listening(accept) as port:
        client = await connect_tcp("127.0.0.1", port)
        await arrived.wait()
        yield client, accepted[0]


@asynccontextmanager
async def stream_pair() -> AsyncIterator[tuple[SocketStream, SocketStream]]:
    """Two connected anyio socket streams."""
    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        client = await anyio.connect_tcp(*listening_socket.getsockname())
        accepted, _address = listening_socket.accept()
    accepted.setblocking(False)
    async with client, await SocketStream.from_socket(accepted) as server:
        yield client, server


@asynccontextmanager
async def _stream_pair() -> AsyncIterator[tuple[Channel, Channel]]:
    async with stream_pair() as (client, server), anyio.create_task_group() as tasks:
        yield (
            StreamChannel(client, tasks, close_timeout_s=CLOSE_TIMEOUT_S),
            StreamChannel(server, tasks, close_timeout_s=CLOSE_TIMEOUT_S),
        )


@asynccontextmanager
async def _memory_pair() -> AsyncIterator[tuple[Channel, Channel]]:
    async with MemoryNetwork() as network:
        accepted: list[Channel] = []
        network.listen("server", 2020, accepted.append)
        client = await network.connector("client")("server", 2020)
        yield client, accepted[0]
