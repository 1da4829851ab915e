"""A ClientHello that arrives in pieces: when it counts as complete, and that every byte of it stays in the socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import anyio
import pytest
from channel_pairs import settle, tls_contexts

from csproxy.transport.client_hello import record_bytes, wait_for_hello
from csproxy.transport.tls_engine import TlsEngine

pytestmark = pytest.mark.anyio


def client_hello() -> bytes:
    engine = TlsEngine(tls_contexts()[0].context, name="server.example")
    engine.receive_data(b"")
    return engine.data_to_send()


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            accepted.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield client, accepted


class Waiting:
    """A call of `wait_for_hello`, and whether it has returned."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.is_over = anyio.Event()

    async def run(self) -> None:
        await wait_for_hello(self._sock)
        self.is_over.set()


def test_a_record_says_its_length_once_its_header_is_there() -> None:
    hello = client_hello()
    assert [record_bytes(hello[:size]) for size in range(5)] == [5] * 5
    assert {record_bytes(hello[:size]) for size in range(5, len(hello) + 1)} == {len(hello)}


@pytest.mark.parametrize("start", [b"\x16\x02\x00\x00\x05", b"\x16\x03\x01\x40\x01", b"\x16\x03\x01\xff\xff"])
def test_what_can_be_no_record_is_not_waited_for(start: bytes) -> None:
    assert record_bytes(start) == 0


async def test_it_is_waited_for_byte_by_byte(connected: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = connected
    hello = client_hello()
    client.send(hello[:1])
    await anyio.wait_readable(accepted)
    waiting = Waiting(accepted)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.run)
        for index in range(1, len(hello) - 1):
            client.send(hello[index : index + 1])
        await settle(20)
        assert not waiting.is_over.is_set()
        client.send(hello[-1:] + b"more")
        with anyio.fail_after(10):
            await waiting.is_over.wait()
    assert accepted.recv(65536) == hello + b"more"


async def test_afterwards_a_single_byte_wakes_the_owner_again(connected: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = connected
    hello = client_hello()
    client.send(hello[:7])
    await anyio.wait_readable(accepted)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for_hello, accepted)
        await settle()
        client.send(hello[7:])
    assert accepted.recv(65536) == hello
    client.send(b"x")
    with anyio.fail_after(10):
        await anyio.wait_readable(accepted)


@pytest.mark.parametrize(
    "sent",
    [b"\x16", client_hello()[:5], client_hello()[:100], b"\x16\x02garbage", b"\x16" * 99],
    ids=["a byte", "a header", "a part", "garbage", "the same byte"],  # a hello is another each time
)
async def test_the_end_and_garbage_are_left_to_openssl(
    connected: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    client, accepted = connected
    client.send(sent)
    client.shutdown(socket.SHUT_WR)
    await anyio.wait_readable(accepted)
    with anyio.fail_after(10):
        await wait_for_hello(accepted)
    assert accepted.recv(65536) == sent
