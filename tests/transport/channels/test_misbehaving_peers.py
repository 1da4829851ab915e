"""Channels over real sockets whose peer hangs, floods, resets or takes nothing."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream
from channel_pairs import CLOSE_TIMEOUT_S, Recorder, listening, settle, stream_pair

from csproxy.transport.channel import HIGH_WATER_BYTES, Channel
from csproxy.transport.sockets import UNSENT_BYTES
from csproxy.transport.stream_channel import StreamChannel

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def served(*, close_timeout_s: float = CLOSE_TIMEOUT_S) -> AsyncIterator[tuple[Channel, Recorder, socket.socket]]:
    """A channel that a listener accepted, its receiver, and the plain socket of its peer."""
    accepted: list[tuple[Channel, Recorder]] = []
    arrived = anyio.Event()

    def accept(channel: Channel) -> None:
        accepted.append((channel, Recorder()))
        channel.start(accepted[0][1])
        arrived.set()

    async with listening(accept, close_timeout_s=close_timeout_s) as port:
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.setblocking(False)
            await arrived.wait()
            channel, recorder = accepted[0]
            yield channel, recorder, peer
            channel.close(flush=False)
            await recorder.ended()


async def read(peer: socket.socket) -> bytes:
    with anyio.fail_after(10):
        await anyio.wait_readable(peer)
    return peer.recv(100_000)


async def flood(peer: socket.socket) -> None:
    while True:
        await anyio.lowlevel.checkpoint()  # on uvloop, waiting for what is ready already cannot be cancelled
        await anyio.wait_writable(peer)
        with suppress(BlockingIOError):
            peer.send(bytes(100_000))


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


async def test_a_peer_that_never_reads_costs_a_bounded_kernel_buffer() -> None:
    async with served() as (channel, _, _peer):
        taken = 0
        while True:
            channel.write(bytes(HIGH_WATER_BYTES))
            taken += HIGH_WATER_BYTES
            await settle()
            if channel.pending_bytes > HIGH_WATER_BYTES:
                break
        # the receiver's buffer on the same machine counts here, too; without the bound it is 2.5 MB and more
        assert taken - channel.pending_bytes < 16 * UNSENT_BYTES


async def test_a_graceful_close_gives_up_on_a_peer_that_takes_nothing() -> None:
    async with served() as (channel, recorder, _peer):
        channel.write(bytes(20_000_000))
        started = anyio.current_time()
        channel.close()
        await recorder.ended()
        assert anyio.current_time() - started >= CLOSE_TIMEOUT_S * 0.9


async def test_a_graceful_close_gives_up_on_a_peer_that_does_not_close() -> None:
    async with served() as (channel, recorder, peer):
        channel.write(b"goodbye")
        channel.close()
        assert await read(peer) == b"goodbye"
        assert await read(peer) == b""
        assert await recorder.ended() is None


async def test_a_peer_that_floods_a_closing_channel_still_gets_the_last_bytes() -> None:
    async with served(close_timeout_s=10) as (channel, recorder, peer):
        peer.send(b"x")
        await recorder.reached(1)
        channel.pause()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood, peer)
            await settle(100)
            channel.write(b"you send too much")
            channel.close()
            assert await read(peer) == b"you send too much"
            tasks.cancel_scope.cancel()
        peer.close()
        await recorder.ended()
        assert recorder.data == b"x"


async def test_a_peer_that_ends_its_side_and_takes_nothing_is_cut_after_the_time_limit() -> None:
    async with served() as (channel, recorder, peer):
        channel.write(bytes(20_000_000))
        peer.shutdown(socket.SHUT_WR)
        await recorder.ended()
        assert channel.pending_bytes == 0


async def test_a_reset_is_told_as_an_error_and_later_writes_are_dropped() -> None:
    async with served() as (channel, recorder, peer):
        reset(peer)
        assert isinstance(await recorder.ended(), OSError)
        channel.write(b"to nobody")
        assert channel.pending_bytes == 0


async def test_many_writes_to_a_peer_that_has_reset_are_dropped_without_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as (channel, recorder, peer):
        channel.pause()
        reset(peer)
        for _ in range(100):
            channel.write(b"to nobody")
            channel.write(b"to nobody")
            await settle(1)
        await recorder.ended()
    assert caplog.records == []


async def test_closing_gracefully_after_a_reset_that_was_not_yet_noticed_raises_nothing() -> None:
    async with served() as (channel, recorder, peer):
        channel.pause()
        reset(peer)
        channel.close()
        await recorder.ended()


async def test_a_failing_end_of_a_receiver_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Recorder):
        def closed(self, error: Exception | None) -> None:
            super().closed(error)
            raise ValueError("a mistake in the receiver")

    async with stream_pair() as (near, far), anyio.create_task_group() as tasks:
        channel = StreamChannel(near, tasks)
        recorder = Failing()
        channel.start(recorder)
        await far.aclose()
        await recorder.ended()
    assert "the receiver failed" in caplog.text


async def test_cancelling_a_stream_channels_tasks_cuts_the_connection() -> None:
    async with stream_pair() as (near, far):
        recorder = Recorder()
        async with anyio.create_task_group() as tasks:
            channel = StreamChannel(near, tasks)
            channel.start(recorder)
            channel.write(b"sent")
            assert await far.receive() == b"sent"
            tasks.cancel_scope.cancel()
        assert recorder.ends == [None]
        assert "closed" in repr(channel)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await far.receive()


async def test_a_stream_channel_closed_before_start_closes_its_stream() -> None:
    async with stream_pair() as (near, far), anyio.create_task_group() as tasks:
        StreamChannel(near, tasks).close(flush=False)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await far.receive()


async def test_a_stream_that_cannot_end_one_side_is_closed_after_the_flush() -> None:
    class OneEnd:
        """A byte stream like TLS, whose sending side cannot end alone."""

        def __init__(self, stream: SocketStream) -> None:
            self._stream = stream
            self.receive = stream.receive
            self.send = stream.send
            self.aclose = stream.aclose
            self.extra = stream.extra

        async def send_eof(self) -> None:
            raise NotImplementedError("this stream ends both sides together")

    async with stream_pair() as (near, far), anyio.create_task_group() as tasks:
        channel = StreamChannel(OneEnd(near), tasks)  # type: ignore[arg-type]
        recorder = Recorder()
        channel.start(recorder)
        channel.write(b"last")
        channel.close()
        assert await far.receive() == b"last"
        with pytest.raises(anyio.EndOfStream):
            await far.receive()
        assert await recorder.ended() is None
