"""Connecting: what is refused is named, and nothing is left behind."""

from __future__ import annotations

import socket

import anyio
import pytest
from channel_pairs import Recorder, listening, settle

from csproxy.errors import ConnectionLostError, ErrorCode
from csproxy.transport.channel import Channel
from csproxy.transport.dial import connect_tcp

pytestmark = pytest.mark.anyio


async def test_the_local_address_is_used() -> None:
    peers: list[str] = []

    def accept(channel: Channel) -> None:
        peers.append(channel.peer)
        channel.close(flush=False)

    async with listening(accept) as port:
        channel = await connect_tcp("127.0.0.1", port, local=("127.0.0.9", 0))
        recorder = Recorder()
        channel.start(recorder)
        await recorder.ended()
    assert peers[0].startswith("127.0.0.9:")


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid", "x" * 300, "a..b"])
async def test_a_server_that_is_not_there_is_named(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    with pytest.raises(ConnectionLostError) as caught:
        await connect_tcp(host, port)
    assert caught.value.code is ErrorCode.SERVER_NOT_FOUND
    assert f"{host}:{port}" in str(caught.value)


async def test_a_server_that_does_not_answer_is_given_up_after_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [_connect_without_waiting(address) for _ in range(4)]  # the backlog takes no more: SYNs are dropped
        try:
            with pytest.raises(ConnectionLostError, match=r"no answer within 0\.1 s") as caught:
                await connect_tcp(*address, timeout_s=0.1)
            assert caught.value.code is ErrorCode.SERVER_NOT_FOUND
        finally:
            for sock in waiting:
                sock.close()


async def test_cancelling_a_connection_attempt_ends_it_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [_connect_without_waiting(full.getsockname()) for _ in range(4)]
        try:
            with anyio.move_on_after(0.05) as scope:
                await connect_tcp(*full.getsockname())
            assert scope.cancelled_caught
            await settle()
        finally:
            for sock in waiting:
                sock.close()


def _connect_without_waiting(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(address)
    return sock
