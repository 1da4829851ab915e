"""The contract of channels, which every kind of them keeps on every event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from channel_pairs import KINDS, Recorder, channel_pair, settle

from csproxy.transport.channel import HIGH_WATER_BYTES, LOW_WATER_BYTES, Channel

pytestmark = pytest.mark.anyio

Pair = tuple[Channel, Channel]
MEGABYTE = bytes(range(256)) * 4096


@pytest.fixture(params=KINDS)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with channel_pair(request.param) as channels:
        yield channels


async def started(pair: Pair) -> tuple[Channel, Recorder, Channel, Recorder]:
    client, server = pair
    at_client, at_server = Recorder(), Recorder()
    client.start(at_client)
    server.start(at_server)
    return client, at_client, server, at_server


async def fill(channel: Channel, *, beyond: int = HIGH_WATER_BYTES) -> int:
    """Write until more than ``beyond`` bytes stay pending; returns how many bytes were written."""
    written = 0
    with anyio.fail_after(10):
        while True:
            while channel.pending_bytes <= beyond:
                channel.write(MEGABYTE)
                written += len(MEGABYTE)
            await settle()
            if channel.pending_bytes > beyond:
                return written


async def test_bytes_arrive_in_order_in_both_directions(pair: Pair) -> None:
    client, at_client, server, at_server = await started(pair)
    for n in range(100):
        client.write(b"%d," % n)
        server.write(b"%d;" % n)
    expected = b"".join(b"%d," % n for n in range(100))
    await at_server.reached(len(expected))
    await at_client.reached(len(expected))
    assert at_server.data == expected
    assert at_client.data == expected.replace(b",", b";")


async def test_a_write_far_above_the_mark_arrives_whole(pair: Pair) -> None:
    client, _, _, at_server = await started(pair)
    client.write(MEGABYTE)
    await at_server.reached(len(MEGABYTE))
    assert at_server.data == MEGABYTE
    with anyio.fail_after(10):
        while client.pending_bytes:
            await settle()


async def test_answering_inside_the_receive_call_works(pair: Pair) -> None:
    client, server = pair
    at_client = Recorder()
    client.start(at_client)
    server.start(Recorder(server.write))
    client.write(b"ping")
    await at_client.reached(4)
    assert at_client.data == b"ping"


async def test_bytes_and_the_end_that_come_before_start_are_kept(pair: Pair) -> None:
    client, server = pair
    client.start(Recorder())
    client.write(b"early")
    client.close()
    await settle(30)
    at_server = Recorder()
    server.start(at_server)
    assert await at_server.ended() is None
    assert at_server.data == b"early"


async def test_a_peer_that_does_not_read_leaves_bytes_pending_until_it_reads(pair: Pair) -> None:
    client, at_client, server, at_server = await started(pair)
    server.pause()
    written = await fill(client)
    assert at_client.times_writable == 0
    server.resume()
    await at_client.until(lambda: at_client.times_writable > 0)
    assert client.pending_bytes <= LOW_WATER_BYTES
    await at_server.reached(written)
    assert at_client.times_writable == 1


async def test_writable_is_not_called_below_the_high_mark(pair: Pair) -> None:
    client, at_client, _, at_server = await started(pair)
    for _ in range(50):
        client.write(bytes(1000))
        await settle(2)
    await at_server.reached(50_000)
    assert at_client.times_writable == 0


async def test_pause_stops_delivery_and_resume_continues_it(pair: Pair) -> None:
    client, _, server, at_server = await started(pair)
    client.write(b"one")
    await at_server.reached(3)
    server.pause()
    server.pause()
    client.write(b"two")
    await settle(30)
    assert at_server.data == b"one"
    server.resume()
    server.resume()
    await at_server.reached(6)
    assert at_server.data == b"onetwo"


async def test_a_channel_paused_when_it_is_started_delivers_nothing(pair: Pair) -> None:
    client, server = pair
    client.start(Recorder())
    at_server = Recorder()
    server.pause()
    server.start(at_server)
    client.write(b"later")
    await settle(30)
    assert at_server.data == b""
    server.resume()
    await at_server.reached(5)


async def test_pausing_inside_the_receive_call_holds_back_the_rest(pair: Pair) -> None:
    client, server = pair
    client.start(Recorder())
    at_server = Recorder(lambda _: server.pause())
    server.start(at_server)
    client.write(b"first")
    await at_server.reached(5)
    client.write(b"second")
    await settle(30)
    assert at_server.data == b"first"


async def test_close_sends_what_is_queued_and_both_sides_hear_of_an_orderly_end(pair: Pair) -> None:
    client, at_client, _, at_server = await started(pair)
    client.write(MEGABYTE)
    client.close()
    assert at_client.ends == []
    assert await at_server.ended() is None
    assert await at_client.ended() is None
    assert at_server.data == MEGABYTE


async def test_close_without_flush_ends_both_sides(pair: Pair) -> None:
    client, at_client, _, at_server = await started(pair)
    client.close(flush=False)
    assert at_client.ends == []
    assert await at_client.ended() is None
    await at_server.ended()


async def test_closed_is_told_once_and_nothing_raises_afterwards(pair: Pair) -> None:
    client, at_client, server, at_server = await started(pair)
    client.close()
    client.close()
    client.write(b"dropped")
    await at_client.ended()
    await at_server.ended()
    for channel in (client, server):
        channel.write(b"dropped")
        channel.pause()
        channel.resume()
        channel.close()
        channel.close(flush=False)
        assert channel.pending_bytes == 0
        assert "closed" in repr(channel)
    await settle(30)
    assert at_client.ends == [None]
    assert len(at_server.ends) == 1
    assert at_server.data == b""


async def test_closing_again_without_flush_gives_up_a_graceful_close(pair: Pair) -> None:
    client, at_client, server, _ = await started(pair)
    server.pause()
    await fill(client)
    client.close()
    await settle()
    assert at_client.ends == []
    client.close(flush=False)
    await at_client.ended()


async def test_nothing_is_received_after_close(pair: Pair) -> None:
    client, at_client, server, at_server = await started(pair)
    client.close()
    server.write(b"too late")
    await at_client.ended()
    await at_server.ended()
    assert at_client.data == b""


async def test_last_bytes_reach_a_peer_whose_own_bytes_were_not_read(pair: Pair) -> None:
    client, at_client, server, _ = await started(pair)
    server.pause()
    client.write(MEGABYTE)
    await settle(30)
    server.write(b"goodbye")
    server.close()
    assert await at_client.ended() is None
    assert at_client.data == b"goodbye"


async def test_a_peer_that_closes_in_mid_frame_delivers_what_it_sent_first(pair: Pair) -> None:
    client, _, _, at_server = await started(pair)
    client.write(b"\x00\x00\x00\x20half a fra")
    client.close(flush=True)
    assert await at_server.ended() is None
    assert at_server.data.endswith(b"half a fra")


async def test_queued_answers_are_sent_to_a_peer_that_has_ended_its_side(pair: Pair) -> None:
    client, server = pair
    at_client, at_server = Recorder(), Recorder(lambda _: server.write(MEGABYTE))
    client.pause()
    client.start(at_client)
    server.start(at_server)
    client.write(b"?")
    await at_server.reached(1)
    client.resume()
    await at_client.reached(len(MEGABYTE))
    assert at_client.data == MEGABYTE


async def test_what_is_written_soon_keeps_its_place_among_all_that_is_written(pair: Pair) -> None:
    client, at_client, server, at_server = await started(pair)
    expected = b""
    for n in range(60):
        data = b"%d," % n * (1 if n % 7 else 3000)  # with much of it, too
        (server.write, server.write_soon, server.write_soon)[n % 3](data)
        (client.write_soon, client.write)[n % 2](data)
        expected += data
        if n % 10 == 9:
            await settle(3)
    await at_client.reached(len(expected))
    await at_server.reached(len(expected))
    assert at_client.data == at_server.data == expected


async def test_what_is_written_soon_goes_before_the_end(pair: Pair) -> None:
    _, at_client, server, _ = await started(pair)
    server.write_soon(b"the last words")
    server.close()
    server.write_soon(b"too late")
    assert await at_client.ended() is None
    assert at_client.data == b"the last words"


async def test_what_is_written_soon_is_lost_with_a_connection_that_is_cut(pair: Pair) -> None:
    _, at_client, server, at_server = await started(pair)
    server.write_soon(b"never mind")
    server.close(flush=False)
    await at_client.ended()
    await at_server.ended()
    server.write_soon(b"nobody is there")
    await settle()


async def test_a_failing_receiver_ends_its_connection_only(pair: Pair) -> None:
    client, server = pair
    at_client = Recorder()

    def fail(_: bytes) -> None:
        raise ValueError("a mistake in the receiver")

    at_server = Recorder(fail)
    client.start(at_client)
    server.start(at_server)
    client.write(b"x")
    assert isinstance(await at_server.ended(), ValueError)
    await at_client.ended()


async def test_a_receiver_that_fails_on_bytes_that_came_before_start_ends_its_connection(pair: Pair) -> None:
    client, server = pair
    at_client = Recorder()
    client.start(at_client)
    client.write(b"early")
    await settle(30)

    def fail(_: bytes) -> None:
        raise ValueError("a mistake in the receiver")

    at_server = Recorder(fail)
    server.start(at_server)
    assert isinstance(await at_server.ended(), ValueError)
    await at_client.ended()


async def test_a_receiver_that_fails_when_it_may_write_again_ends_its_connection(pair: Pair) -> None:
    class Failing(Recorder):
        def writable(self) -> None:
            raise ValueError("a mistake in the receiver")

    client, server = pair
    at_client, at_server = Failing(), Recorder()
    client.start(at_client)
    server.pause()
    server.start(at_server)
    await fill(client)
    server.resume()
    assert isinstance(await at_client.ended(), ValueError)
    await at_server.ended()


async def test_a_receiver_that_fails_when_it_is_told_of_the_end_is_logged(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Recorder):
        def closed(self, error: Exception | None) -> None:
            super().closed(error)
            raise ValueError("a mistake in the receiver")

    client, server = pair
    at_client, at_server = Failing(), Recorder()
    client.start(at_client)
    server.start(at_server)
    client.close()
    await at_client.ended()
    await at_server.ended()
    assert "the receiver failed" in caplog.text


async def test_a_channel_closed_before_it_is_started_closes_the_connection(pair: Pair) -> None:
    client, server = pair
    at_client = Recorder()
    client.start(at_client)
    server.close()
    assert await at_client.ended() is None


async def test_a_paused_channel_with_unread_bytes_hears_of_its_own_close(pair: Pair) -> None:
    client, server = pair
    client.start(Recorder())
    at_server = Recorder()
    server.pause()
    server.start(at_server)
    client.write(b"unread")
    await settle(30)
    server.close(flush=False)
    assert await at_server.ended() is None
    assert at_server.data == b""


async def test_repr_and_peer_name_the_other_side(pair: Pair) -> None:
    client, server = pair
    assert client.peer.rpartition(":")[2].isdigit()
    assert server.peer in repr(server)
    assert "open" in repr(client)


async def test_closing_when_the_channel_becomes_writable_again_is_told_once(pair: Pair) -> None:
    client, server = pair

    class Closing(Recorder):
        def writable(self) -> None:
            client.close(flush=False)

    at_client, at_server = Closing(), Recorder()
    client.start(at_client)
    server.pause()
    server.start(at_server)
    await fill(client)
    server.resume()
    await at_client.ended()
    await at_server.ended()
    await settle(30)
    assert len(at_client.ends) == 1


async def test_writing_when_the_channel_becomes_writable_again_goes_on(pair: Pair) -> None:
    client, server = pair
    parts = [bytes([n]) * 200_000 for n in range(20)]
    to_send = iter(parts)

    class Bulk(Recorder):
        def writable(self) -> None:
            super().writable()
            while client.pending_bytes <= HIGH_WATER_BYTES and (part := next(to_send, b"")):
                client.write(part)

    client.start(Bulk())
    at_server = Recorder()
    server.start(at_server)
    server.pause()
    while client.pending_bytes <= HIGH_WATER_BYTES:
        client.write(next(to_send))
    server.resume()
    await at_server.reached(4_000_000)
    assert at_server.data == b"".join(parts)
