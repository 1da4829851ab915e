"""Connections on their way in: they count for their address from the moment they are accepted, and in all."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from channel_pairs import Recorder, settle, tls_contexts

from csproxy.core.peer_limits import PeerLimits, parse_networks
from csproxy.core.transport_parameters import ListeningMode
from csproxy.errors import ErrorCode
from csproxy.transport.channel import Channel
from csproxy.transport.dial import connect_tcp
from csproxy.transport.listener import Listener, ListenPort
from csproxy.transport.peers import Peers
from csproxy.transport.port_security import DOOR_LIMITS, DoorLimits, PortSecurity
from csproxy.transport.tls_channel import secure
from csproxy.transport.tls_engine import TlsEngine
from csproxy.transport.wire.frames import FrameReader
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import Disconnected

pytestmark = pytest.mark.anyio

ADDRESS, OTHER = "192.0.2.7", "192.0.2.8"
HALF = b"\x16\x03\x01"


class Place:
    """A listener behind a balancer on this machine, and the real count of addresses that a server has."""

    def __init__(self) -> None:
        self.peers = Peers(itertools.count().__next__, lambda: 0.0)
        self.listener: Listener
        self.served: list[Channel] = []

    def take(self, channel: Channel, port_id: str) -> None:
        if self.peers.admit(channel) is not None:
            self.served.append(channel)

    async def come(self, first: bytes = b"", *, address: str = ADDRESS) -> tuple[Channel, Recorder]:
        channel, end = await connect_tcp(*self.listener.addresses()["default"]), Recorder()
        channel.start(end)
        channel.write(f"PROXY TCP4 {address} 192.0.2.1 5000 2020\r\n".encode() + first)
        return channel, end

    async def come_with_tls(self, *, address: str = ADDRESS) -> Channel:
        """Whatever a client sends before TLS has to be in the way of its channel."""
        plain = await connect_tcp(*self.listener.addresses()["default"])
        plain.write(f"PROXY TCP4 {address} 192.0.2.1 5000 2020\r\n".encode())
        return await secure(plain, TlsEngine(tls_contexts()[0].context, name="server.example"))

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not condition():
                await settle()

    async def waiting(self, number: int) -> None:
        await self.until(lambda: self.listener.statistics().handshakes.waiting == number)

    async def have_served(self, number: int) -> None:
        await self.until(lambda: len(self.served) >= number)


@asynccontextmanager
async def place(
    limits: PeerLimits, *, mode: ListeningMode = ListeningMode.AUTO_DETECT, door: DoorLimits = DOOR_LIMITS
) -> AsyncIterator[Place]:
    here = Place()
    here.peers.table.limits = limits
    ports = [ListenPort("default", "127.0.0.1", 0, PortSecurity(mode, tls_contexts()[1]))]
    async with Listener(
        ports, here.take, door_limits=door, balancers=parse_networks("127.0.0.1"), visit=here.peers.visit
    ) as here.listener:
        yield here
        for channel in here.served:
            channel.close(flush=False)
        await settle()


@pytest.mark.parametrize("mode", [ListeningMode.AUTO_DETECT, ListeningMode.SECURE])
async def test_handshakes_count_for_their_address_until_they_end(mode: ListeningMode) -> None:
    async with place(PeerLimits(unregistered=2), mode=mode) as here:
        stopped = [await here.come(HALF) for _ in range(2)]
        await here.waiting(2)
        _, third = await here.come(HALF)
        await third.ended()
        assert here.listener.statistics().unwelcome == 1
        other = await here.come_with_tls(address=OTHER)
        for channel, _ in stopped:
            channel.close(flush=False)
        await here.until(lambda: here.listener.statistics().handshakes.failed == 2)
        await here.have_served(1)
        client = await here.come_with_tls()
        await here.have_served(2)
        other.close(flush=False)
        client.close(flush=False)
        assert here.listener.statistics().unwelcome == 1


async def test_whoever_is_let_in_counts_once() -> None:
    async with place(PeerLimits(connections=2, unregistered=2)) as here:
        channels = [await here.come_with_tls() for _ in range(2)]
        await here.have_served(2)
        _, third = await here.come(HALF)
        await third.ended()
        assert len(here.peers.table) == 1
        for channel in channels:
            channel.close(flush=False)


async def test_silent_connections_count_too() -> None:
    async with place(PeerLimits(unregistered=2), mode=ListeningMode.SECURE) as here:
        silent = [await here.come() for _ in range(3)]
        async with anyio.create_task_group() as tasks:
            for _, end in silent:

                async def over(end: Recorder = end) -> None:
                    await end.ended()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(over)
        assert sum(len(end.ends) for _, end in silent) == 1
        for channel, _ in silent:
            channel.close(flush=False)


async def test_without_tls_the_server_tells_the_client_when_to_come_again() -> None:
    async with place(PeerLimits(unregistered=1)) as here:
        silent, _ = await here.come(HALF)
        await here.waiting(1)
        _, end = await here.come(b"\xc5csproxy")
        await end.ended()
        frame = FrameReader().receive_data(bytes(end.data))[-1]
        assert frame.message == MessageId.DISCONNECTED
        assert decode_payload(Disconnected, frame.payload).code == ErrorCode.FORCED_DISCONNECT
        silent.close(flush=False)


async def test_of_those_that_only_wait_to_be_told_no_more_are_kept_than_a_few() -> None:
    async with place(PeerLimits(unregistered=1), door=DoorLimits(unwelcome=1)) as here:
        first, _ = await here.come(HALF)
        await here.waiting(1)
        kept, at_kept = await here.come()
        await here.until(lambda: here.listener.statistics().unwelcome == 1)
        _, at_cut = await here.come(b"\xc5csproxy")
        await at_cut.ended()
        assert (bytes(at_cut.data), at_kept.ends) == (b"", [])
        for channel in (first, kept):
            channel.close(flush=False)


async def test_when_too_many_are_on_their_way_the_oldest_goes() -> None:
    async with place(PeerLimits(), door=DoorLimits(visitors=2)) as here:
        oldest, at_oldest = await here.come(HALF)
        await here.waiting(1)
        second, at_second = await here.come(HALF, address=OTHER)
        await here.waiting(2)
        client = await here.come_with_tls()
        await here.have_served(1)
        await at_oldest.ended()
        assert at_second.ends == []
        assert here.listener.statistics().unwelcome == 1
        for channel in (oldest, second, client):
            channel.close(flush=False)
        await here.until(lambda: repr(here.peers.table) == "<PeerTable 1 connected, 1 remembered>")
