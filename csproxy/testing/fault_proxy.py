"""A TCP proxy that fails on demand, to be put between a real client and a real server.

    async with FaultProxy("127.0.0.1", server_port) as proxy:
        client = await connect_tcp(proxy.host, proxy.port)
        proxy.cut()

For programs that run in processes of their own; within one process `csproxy.testing.memory` does
the same repeatably and without waiting.
"""

from __future__ import annotations

import errno
import random
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

__all__ = ["FaultProxy"]

_CHUNK_BYTES: Final = 16 * 1024
_PIECE_S: Final = 0.05
"""A throttled connection forwards in pieces of so many seconds' worth."""
_BACKLOG: Final = 128
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""A linger time of zero: closing the socket sends RST instead of FIN (socket(7))."""


class FaultProxy:
    """Forwards connections to ``target_host`` (an IPv4 address) and ``target_port`` while its context is entered.

    ``host`` and ``port`` are where it listens (0: any free port). Faults concern all connections, present and future,
    unless they say otherwise; `restore` ends those that last. ``rng`` chooses the bytes to corrupt.
    """

    def __init__(self, target_host: str, target_port: int, *, port: int = 0, rng: random.Random | None = None) -> None:
        self._target = (target_host, target_port)
        self._rng = rng or random.Random(0)
        self._links: dict[_Link, None] = {}
        self._group: TaskGroup
        self._listening: socket.socket
        self._restored = anyio.Event()
        self.host = "127.0.0.1"
        self.port = port
        self.is_refusing = False
        self.is_deaf = False
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self._corrupt_next = 0

    def __repr__(self) -> str:
        return f"<FaultProxy {self.host}:{self.port} to {self._target[0]}:{self._target[1]}, {len(self._links)} links>"

    async def __aenter__(self) -> Self:
        self._listening = socket.create_server((self.host, self.port), backlog=_BACKLOG)
        self._listening.setblocking(False)
        self.port = self._listening.getsockname()[1]
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._accept)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)  # the body's exception goes on as it is, in no group
        finally:
            self._listening.close()

    @property
    def connections(self) -> int:
        """Connections now forwarded."""
        return len(self._links)

    # faults

    def cut(self) -> int:
        """Reset the present connections on both sides; returns how many there were."""
        links = list(self._links)
        for link in links:
            link.cut()
        return len(links)

    def refuse(self) -> None:
        """Close new connections as soon as they are made, until `restore`."""
        self.is_refusing = True

    def deafen(self) -> None:
        """Accept connections and read nothing from either side, until `restore`: what is sent then arrives late."""
        self.is_deaf = True

    def delay(self, seconds: float) -> None:
        """Hold each piece back for ``seconds``."""
        self.delay_s = seconds

    def throttle(self, bytes_per_s: float) -> None:
        """Forward so many bytes per second in each direction of each connection."""
        self.bytes_per_s = bytes_per_s

    def half_close(self) -> None:
        """End the direction from server to client of the present connections; the other one goes on."""
        for link in list(self._links):
            link.half_close()

    def corrupt(self, pieces: int = 1) -> None:
        """Change one byte in each of the next ``pieces`` pieces, in whichever direction they go."""
        self._corrupt_next = pieces

    def restore(self) -> None:
        """End refusal, deafness, delay, throttling and corruption."""
        self.is_refusing = self.is_deaf = False
        self.delay_s = 0.0
        self.bytes_per_s = None
        self._corrupt_next = 0
        self._restored.set()
        self._restored = anyio.Event()

    # forwarding

    async def _accept(self) -> None:
        while True:
            await _until_readable(self._listening)
            try:
                client, _address = self._listening.accept()
            except OSError:
                continue  # the client has given up meanwhile
            client.setblocking(False)
            self._group.start_soon(self._serve, client)

    async def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            server.setblocking(False)
            if self.is_refusing or not await _connect(server, self._target):
                return  # the client sees what it would see without the proxy: its connection ends
            link = _Link(self, client, server)
            self._links[link] = None
            try:
                await link.run()
            finally:
                del self._links[link]

    async def hear(self) -> None:
        """Wait while the proxy is deaf."""
        while self.is_deaf:
            await self._restored.wait()

    def spoil(self, data: bytes) -> bytes:
        """Return ``data`` with one byte changed, if this piece is to be corrupted."""
        if self._corrupt_next <= 0:
            return data
        self._corrupt_next -= 1
        spoilt = bytearray(data)
        spoilt[self._rng.randrange(len(spoilt))] ^= 1 << self._rng.randrange(8)
        return bytes(spoilt)


class _Link:
    """One forwarded connection."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._scope = anyio.CancelScope()
        self._answers = anyio.CancelScope()

    async def run(self) -> None:
        """Forward both ways until both have ended or one is broken."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._forward, self._client, self._server, anyio.CancelScope())
                tasks.start_soon(self._forward, self._server, self._client, self._answers)

    def cut(self) -> None:
        """Reset both sides."""
        for sock in (self._client, self._server):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._scope.cancel()

    def half_close(self) -> None:
        """Stop forwarding answers and tell the client that there are no more."""
        self._answers.cancel()

    async def _forward(self, source: socket.socket, target: socket.socket, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                while data := await self._read(source):
                    await self._hold_back(len(data))
                    await _send(target, self._proxy.spoil(data))
            target.shutdown(socket.SHUT_WR)
        except OSError:
            self.cut()  # a side that is reset resets the other one

    async def _read(self, source: socket.socket) -> bytes:
        while True:
            await self._proxy.hear()
            await _until_readable(source)
            await self._proxy.hear()
            rate = self._proxy.bytes_per_s
            with suppress(BlockingIOError):
                return source.recv(_CHUNK_BYTES if rate is None else max(1, min(_CHUNK_BYTES, int(rate * _PIECE_S))))

    async def _hold_back(self, size: int) -> None:
        rate = self._proxy.bytes_per_s
        pause_s = self._proxy.delay_s + (size / rate if rate is not None else 0.0)
        if pause_s > 0:
            await anyio.sleep(pause_s)


async def _connect(sock: socket.socket, address: tuple[str, int]) -> bool:
    if sock.connect_ex(address) not in (0, errno.EINPROGRESS):
        return False
    await anyio.wait_writable(sock)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


async def _until_readable(sock: socket.socket) -> None:
    await anyio.lowlevel.checkpoint_if_cancelled()  # on uvloop, waiting for what is ready cannot be cancelled
    await anyio.wait_readable(sock)


async def _send(sock: socket.socket, data: bytes) -> None:
    while data:
        await anyio.lowlevel.checkpoint_if_cancelled()
        await anyio.wait_writable(sock)
        with suppress(BlockingIOError):
            data = data[sock.send(data) :]
