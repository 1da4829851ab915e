"""What the channels of a server write soon, they write together at the end of the event loop's turn."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import anyio
import pytest
from channel_pairs import Recorder, listening, settle

from csproxy.transport.channel import LOW_WATER_BYTES, Channel
from csproxy.transport.protocol_channel import ProtocolChannel

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


class Server:
    """The channels of a listener, and plain sockets of their clients."""

    def __init__(self, port: int, channels: list[Channel]) -> None:
        self.port = port
        self.channels = channels

    @contextmanager
    def client(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.setblocking(False)
            yield sock

    async def accepted(self, number: int) -> Channel:
        with anyio.fail_after(10):
            while len(self.channels) < number:
                await settle()
        assert isinstance(self.channels[number - 1], ProtocolChannel)
        return self.channels[number - 1]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    channels: list[Channel] = []
    async with listening(channels.append) as port:
        yield Server(port, channels)
        for channel in channels:
            channel.close(flush=False)
        await settle()


async def received(sock: socket.socket, size: int) -> bytes:
    data = b""
    with anyio.fail_after(10):
        while len(data) < size:
            await anyio.wait_readable(sock)
            data += sock.recv(size - len(data))
    return data


def has_nothing(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    return False


async def test_nothing_leaves_before_the_end_of_the_turn(server: Server) -> None:
    with server.client() as one, server.client() as other:
        first, second = await server.accepted(1), await server.accepted(2)
        for channel in (first, second):
            channel.start(Recorder())
            channel.write_soon(b"an answer")
            channel.write_soon(b", and another")
        assert has_nothing(one)
        assert has_nothing(other)
        assert await received(one, 22) == b"an answer, and another"
        assert await received(other, 22) == b"an answer, and another"


async def test_what_is_written_at_once_takes_along_what_was_to_follow_soon(server: Server) -> None:
    with server.client() as sock:
        channel = await server.accepted(1)
        channel.start(Recorder())
        channel.write_soon(b"an answer")
        channel.write(b", then news")
        assert sock.recv(100) == b"an answer, then news"


async def test_much_does_not_wait(server: Server) -> None:
    with server.client() as sock:
        channel = await server.accepted(1)
        channel.start(Recorder())
        channel.write_soon(b"first")
        channel.write_soon(bytes(LOW_WATER_BYTES))
        assert not has_nothing(sock)
        assert await received(sock, 5 + LOW_WATER_BYTES) == b"first" + bytes(LOW_WATER_BYTES)


async def test_answers_reach_a_peer_that_sends_no_more(server: Server) -> None:
    with server.client() as sock:
        channel = await server.accepted(1)
        sock.send(b"?")
        sock.shutdown(socket.SHUT_WR)
        await settle(20)  # both have arrived when the channel begins
        channel.start(Recorder(lambda _: channel.write_soon(b"an answer")))
        assert await received(sock, 9) == b"an answer"
        await anyio.wait_readable(sock)
        assert sock.recv(1) == b""


async def test_a_connection_that_breaks_meanwhile_does_no_harm_to_the_others(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with server.client() as sock:
        with server.client():
            broken, whole = await server.accepted(2), await server.accepted(1)
            end = Recorder()
            broken.start(end)
            whole.start(Recorder())
        await settle(3)
        broken.write_soon(b"into the void")
        whole.write_soon(b"an answer")
        assert await received(sock, 9) == b"an answer"
        await end.ended()
        broken.write_soon(b"into the void")
        await settle()
    assert not caplog.records
