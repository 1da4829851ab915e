"""The fault proxy between real sockets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest

from csproxy.testing import FaultProxy

pytestmark = pytest.mark.anyio


async def echo(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        try:
            async for data in stream:
                await stream.send(data)
        except anyio.BrokenResourceError:
            pass


@asynccontextmanager
async def proxied() -> AsyncIterator[FaultProxy]:
    """A fault proxy before an echo server."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        async with FaultProxy("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port)) as proxy:
            yield proxy
        tasks.cancel_scope.cancel()


async def connect(proxy: FaultProxy) -> anyio.abc.SocketStream:
    return await anyio.connect_tcp(proxy.host, proxy.port)


async def answer(client: anyio.abc.SocketStream, question: bytes) -> bytes:
    await client.send(question)
    data = b""
    with anyio.fail_after(10):
        while len(data) < len(question):
            data += await client.receive()
    return data


async def test_without_a_fault_it_forwards_both_ways_and_the_end() -> None:
    async with proxied() as proxy, await connect(proxy) as client:
        question = bytes(range(256)) * 1000
        assert await answer(client, question) == question
        assert proxy.connections == 1
        await client.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await client.receive()
    assert proxy.connections == 0


async def test_a_cut_resets_the_present_connections_only() -> None:
    async with proxied() as proxy, await connect(proxy) as client:
        await answer(client, b"x")
        assert proxy.cut() == 1
        with pytest.raises(anyio.BrokenResourceError):
            await client.receive()
        async with await connect(proxy) as again:
            assert await answer(again, b"y") == b"y"


async def test_refused_connections_end_at_once_until_restored() -> None:
    async with proxied() as proxy:
        proxy.refuse()
        async with await connect(proxy) as client:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await client.receive()
        proxy.restore()
        async with await connect(proxy) as client:
            assert await answer(client, b"y") == b"y"


async def test_a_target_that_is_not_there_ends_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    async with FaultProxy("127.0.0.1", port) as proxy, await connect(proxy) as client:
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await client.receive()


async def test_a_deaf_proxy_forwards_nothing_until_restored() -> None:
    async with proxied() as proxy, await connect(proxy) as client:
        await answer(client, b"x")
        proxy.deafen()
        await client.send(b"late")
        with anyio.move_on_after(0.1) as scope:
            await client.receive()
        assert scope.cancelled_caught
        proxy.restore()
        with anyio.fail_after(10):
            assert await client.receive() == b"late"


async def test_a_delay_holds_each_direction_back() -> None:
    async with proxied() as proxy, await connect(proxy) as client:
        proxy.delay(0.05)
        started = anyio.current_time()
        assert await answer(client, b"x") == b"x"
        assert anyio.current_time() - started > 0.099  # uvloop counts milliseconds


async def test_throttling_limits_the_rate() -> None:
    async with proxied() as proxy, await connect(proxy) as client:
        proxy.throttle(100_000)
        started = anyio.current_time()
        assert await answer(client, bytes(20_000)) == bytes(20_000)
        assert anyio.current_time() - started >= 0.19


async def test_half_closing_ends_the_answers_and_leaves_the_other_direction() -> None:
    async with proxied() as proxy, await connect(proxy) as client:
        await answer(client, b"x")
        proxy.half_close()
        with anyio.fail_after(10), pytest.raises(anyio.EndOfStream):
            await client.receive()
        await client.send(b"still taken")
        assert proxy.connections == 1


async def test_corruption_changes_one_bit_of_so_many_pieces() -> None:
    async with proxied() as proxy, await connect(proxy) as client:
        proxy.corrupt()
        question = bytes(100)
        spoilt = await answer(client, question)
        assert sum(bin(byte).count("1") for byte in spoilt) == 1
        assert await answer(client, question) == question


async def test_an_exception_of_the_body_leaves_the_context_as_it_is() -> None:
    with pytest.raises(ValueError, match="of the body"):
        async with FaultProxy("127.0.0.1", 1):
            raise ValueError("of the body")
