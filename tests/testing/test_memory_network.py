"""The memory network's faults, in simulated time; the contract of its channels is tested with the others."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import anyio
import pytest

from csproxy.errors import ConfigurationError, ConnectionLostError, ErrorCode
from csproxy.testing import MemoryNetwork, Simulation, run_simulated
from csproxy.transport.channel import HIGH_WATER_BYTES, Channel

LATENCY_S = (0.001, 0.02)


class End:
    """One end of a connection: its channel and what it was told, with the times."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.data = b""
        self.pieces: list[int] = []
        self.times_writable = 0
        self.ended = anyio.Event()
        self.error: Exception | None = None
        channel.start(self)

    def receive(self, data: bytes) -> None:
        self.data += data
        self.pieces.append(len(data))

    def writable(self) -> None:
        self.times_writable += 1

    def closed(self, error: Exception | None) -> None:
        assert not self.ended.is_set()
        self.error = error
        self.ended.set()


class World:
    """A network with a server that listens at server:1, and its accepted connections."""

    def __init__(self, simulation: Simulation, network: MemoryNetwork) -> None:
        self.simulation = simulation
        self.network = network
        self.accepted: list[End] = []
        network.listen("server", 1, lambda channel: self.accepted.append(End(channel)))

    async def connect(self, host: str = "client") -> tuple[End, End]:
        """A connection's client end and server end."""
        client = End(await self.network.connector(host)("server", 1))
        return client, self.accepted[-1]

    async def pass_time(self, seconds: float = 1.0) -> None:
        await self.simulation.sleep(seconds)


def simulated(test: Callable[[World], Awaitable[object]]) -> Callable[[], None]:
    """Run a test of a world in simulated time."""

    async def main(simulation: Simulation) -> None:
        async with MemoryNetwork(simulation.rng, latency_s=LATENCY_S) as network:
            await test(World(simulation, network))

    def run() -> None:
        run_simulated(main, seed=1)

    run.__name__ = test.__name__
    return run


@simulated
async def test_bytes_travel_in_pieces_with_latency_and_never_overtake(world: World) -> None:
    client, server = await world.connect()
    sent = random.Random(7).randbytes(100_000)
    for start in range(0, len(sent), 1000):
        client.channel.write(sent[start : start + 1000])
    assert server.data == b""
    await world.pass_time(LATENCY_S[0] * 0.9)
    assert server.data == b""
    await world.pass_time()
    assert server.data == sent
    assert len(server.pieces) > 100
    assert any(size != 1000 for size in server.pieces)


@simulated
async def test_a_port_without_a_listener_refuses(world: World) -> None:
    for host, port in (("server", 2), ("nobody", 1)):
        with pytest.raises(ConnectionLostError, match=f"{host}:{port}.*refused") as caught:
            await world.network.connector("client")(host, port)
        assert caught.value.code is ErrorCode.SERVER_NOT_FOUND


@simulated
async def test_a_closed_listener_refuses_and_keeps_its_connections(world: World) -> None:
    accepted: list[End] = []
    listener = world.network.listen("server", 0, lambda channel: accepted.append(End(channel)))
    client = End(await world.network.connector("client")("server", listener.port))
    listener.close()
    listener.close()
    with pytest.raises(ConnectionLostError):
        await world.network.connector("client")("server", listener.port)
    client.channel.write(b"still there")
    await world.pass_time()
    assert accepted[0].data == b"still there"


@simulated
async def test_a_port_can_be_listened_on_once(world: World) -> None:
    with pytest.raises(ConfigurationError, match=r"server:1.*in use"):
        world.network.listen("server", 1, End)
    world.network.listen("another", 1, End)


@simulated
async def test_refusing_lasts_until_it_is_switched_off(world: World) -> None:
    world.network.refuse("server", 1)
    with pytest.raises(ConnectionLostError, match="refused"):
        await world.connect()
    world.network.refuse("server", 1, on=False)
    await world.connect()


@simulated
async def test_a_balancer_leads_to_one_member_after_the_other_and_past_those_where_nothing_listens(
    world: World,
) -> None:
    network = world.network
    members = [("server", 1), ("second", 1), ("third", 1)]
    listener = network.listen("second", 1, End)
    network.listen("third", 1, End)
    network.balance("pool", 2, members)

    async def peers(count: int) -> list[str]:
        return [(await network.connector("client")("pool", 2)).peer for _ in range(count)]

    assert await peers(4) == ["server:1", "second:1", "third:1", "server:1"]
    listener.close()
    network.partition("client", "server")
    assert await peers(1) == ["third:1"]
    with pytest.raises(ConnectionLostError, match="server:1: no answer"):
        await peers(1)
    assert await peers(1) == ["third:1"], "the one that has gone is passed over"
    network.refuse("third", 1)
    network.refuse("server", 1)
    with pytest.raises(ConnectionLostError, match="refused"):
        await peers(1)


@simulated
async def test_a_cut_tells_both_ends_and_loses_what_is_under_way(world: World) -> None:
    client, server = await world.connect()
    other_client, other_server = await world.connect("elsewhere")
    client.channel.write(b"lost")
    assert world.network.cut("client", "server") == 1
    assert not client.ended.is_set()
    await world.pass_time()
    assert isinstance(client.error, ConnectionResetError)
    assert isinstance(server.error, ConnectionResetError)
    assert server.data == b""
    other_client.channel.write(b"kept")
    await world.pass_time()
    assert other_server.data == b"kept"
    assert world.network.cut("server") == 1


@simulated
async def test_a_partition_is_silent_and_what_was_sent_arrives_after_healing(world: World) -> None:
    client, server = await world.connect()
    near, near_server = await world.connect("near")
    client.channel.write(b"before,")
    world.network.partition("client", "server")
    client.channel.write(b"during,")
    near.channel.write(b"not concerned")
    await world.pass_time(60)
    assert server.data == b""
    assert near_server.data == b"not concerned"
    assert not client.ended.is_set()
    assert not server.ended.is_set()
    world.network.heal("client", "server")
    client.channel.write(b"after")
    await world.pass_time()
    assert server.data == b"before,during,after"


@simulated
async def test_connecting_into_a_partition_times_out(world: World) -> None:
    world.network.partition("client")
    started = world.simulation.now()
    with pytest.raises(ConnectionLostError, match="no answer within 10 s"):
        await world.connect()
    assert world.simulation.now() - started >= 10
    world.network.heal("client")
    await world.connect()


@simulated
async def test_an_end_that_closes_in_a_partition_is_done_and_its_peer_hears_of_it_later(world: World) -> None:
    client, server = await world.connect()
    world.network.partition("client")
    client.channel.write(b"last words")
    client.channel.close()
    await world.pass_time(60)
    assert client.ended.is_set()
    assert not server.ended.is_set()
    world.network.heal()
    await world.pass_time()
    assert server.data == b"last words"
    assert server.ended.is_set()


@simulated
async def test_a_half_open_connection_is_silent_for_ever_and_new_ones_work(world: World) -> None:
    client, server = await world.connect()
    client.channel.write(b"before")
    await world.pass_time()
    assert world.network.half_open("client") == 1
    server.channel.write(bytes(HIGH_WATER_BYTES * 10))
    client.channel.write(b"never")
    await world.pass_time(600)
    assert server.data == b"before"
    assert client.data == b""
    assert server.channel.pending_bytes > HIGH_WATER_BYTES
    assert not server.ended.is_set()
    assert not client.ended.is_set()
    client.channel.close()
    server.channel.close()
    await world.pass_time(60)
    assert client.ended.is_set()
    assert server.ended.is_set()
    again, again_server = await world.connect()
    again.channel.write(b"new")
    await world.pass_time()
    assert again_server.data == b"new"


@simulated
async def test_a_delay_spike_holds_bytes_back_and_keeps_their_order(world: World) -> None:
    client, server = await world.connect()
    world.network.delay("client", extra_s=5)
    client.channel.write(b"slow,")
    world.network.delay("client", extra_s=0)
    client.channel.write(b"fast")
    await world.pass_time(4.9)
    assert server.data == b""
    await world.pass_time(1)
    assert server.data == b"slow,fast"


@simulated
async def test_a_slow_reader_fills_its_window_and_makes_the_writer_wait(world: World) -> None:
    world.network.read_slowly("client", bytes_per_s=10_000, window_bytes=8_000)
    client, server = await world.connect()
    server.channel.write(bytes(200_000))
    assert server.channel.pending_bytes > HIGH_WATER_BYTES
    await world.pass_time(5)
    assert 30_000 < len(client.data) < 60_000
    assert server.times_writable == 0
    await world.pass_time(20)
    assert len(client.data) == 200_000
    assert server.times_writable == 1
    assert server.channel.pending_bytes == 0


@simulated
async def test_a_slow_reader_gets_fast_again(world: World) -> None:
    world.network.read_slowly("client", bytes_per_s=10)
    client, server = await world.connect()
    server.channel.write(bytes(50_000))
    await world.pass_time(1)
    world.network.read_slowly("client", bytes_per_s=None)
    await world.pass_time(5)
    assert len(client.data) == 50_000


@simulated
async def test_writing_to_an_end_that_is_gone_resets_the_writer(world: World) -> None:
    client, server = await world.connect()
    server.channel.pause()
    client.channel.close(flush=False)
    for _ in range(5):
        server.channel.write(b"to nobody")
        await world.pass_time(0.01)
    await world.pass_time(30)
    assert client.ended.is_set()
    assert server.ended.is_set()


@simulated
async def test_a_listener_that_fails_closes_that_connection_only(world: World) -> None:
    def fail(_: Channel) -> None:
        raise ValueError("a mistake in the server")

    world.network.listen("server", 9, fail)
    client = End(await world.network.connector("client")("server", 9))
    await world.pass_time(10)
    assert client.ended.is_set()


@simulated
async def test_a_connection_attempt_that_is_cancelled_closes_the_accepted_end(world: World) -> None:
    world.network.delay("client", extra_s=5)
    with anyio.move_on_after(7):
        await world.connect()
    await world.pass_time(30)
    assert world.accepted[0].ended.is_set()


def test_leaving_the_network_ends_every_connection() -> None:
    async def main(simulation: Simulation) -> None:
        async with MemoryNetwork(simulation.rng, latency_s=LATENCY_S) as network:
            world = World(simulation, network)
            client, server = await world.connect()
            client.channel.write(b"never arrives")
            assert "1 connections" in repr(network)
        assert isinstance(client.error, ConnectionAbortedError)
        assert isinstance(server.error, ConnectionAbortedError)
        await simulation.sleep(10)
        assert server.data == b""

    run_simulated(main, seed=1)


async def transcript(simulation: Simulation) -> list[tuple[float, str, bytes]]:
    """Clients chatter with a server through cuts and delays; every call of a receiver is written down."""
    seen: list[tuple[float, str, bytes]] = []

    class Noted(End):
        def __init__(self, name: str, channel: Channel) -> None:
            self.name = name
            super().__init__(channel)

        def receive(self, data: bytes) -> None:
            seen.append((simulation.now(), self.name, data))

        def closed(self, error: Exception | None) -> None:
            seen.append((simulation.now(), self.name, repr(error).encode()))
            super().closed(error)

    async with MemoryNetwork(simulation.rng, latency_s=LATENCY_S) as network:
        network.listen("server", 1, lambda channel: Noted("server", channel))
        clients = [Noted(f"client {n}", await network.connector(f"host {n % 3}")("server", 1)) for n in range(9)]
        for n in range(200):
            simulation.rng.choice(clients).channel.write(b"%d;" % n)
            await simulation.sleep(simulation.rng.expovariate(100))
            if n == 100:
                network.cut("host 1")
    return seen


def test_one_seed_gives_one_transcript_and_another_seed_another_one() -> None:
    first = run_simulated(transcript, seed=3)
    assert first == run_simulated(transcript, seed=3)
    assert first != run_simulated(transcript, seed=4)
    assert len(first) > 200


@pytest.mark.anyio
async def test_it_works_on_an_ordinary_event_loop_without_faults() -> None:
    async with MemoryNetwork() as network:
        accepted: list[End] = []
        network.listen("server", 1, lambda channel: accepted.append(End(channel)))
        client = End(await network.connector("client")("server", 1))
        client.channel.write(b"hello")
        client.channel.close()
        with anyio.fail_after(10):
            await client.ended.wait()
        assert accepted[0].data == b"hello"
        assert accepted[0].pieces == [5]


@pytest.mark.anyio
async def test_latency_works_on_an_ordinary_event_loop() -> None:
    async with MemoryNetwork(random.Random(1), latency_s=(0.01, 0.02)) as network:
        accepted: list[End] = []
        network.listen("server", 1, lambda channel: accepted.append(End(channel)))
        started = anyio.current_time()
        client = End(await network.connector("client")("server", 1))
        client.channel.write(b"hello")
        client.channel.close()
        with anyio.fail_after(10):
            await client.ended.wait()
        assert anyio.current_time() - started >= 0.04
        assert accepted[0].data == b"hello"
