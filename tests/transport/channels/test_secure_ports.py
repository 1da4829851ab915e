"""Secure and auto-detect ports: who comes in, who is told why not, and that nobody can hold up the others."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from channel_pairs import Recorder, settle, tls_contexts

from csproxy.core.transport_parameters import ListeningMode
from csproxy.errors import ConnectionLostError, ErrorCode, TlsError
from csproxy.transport.channel import Channel
from csproxy.transport.connection import Connection
from csproxy.transport.dial import connect_tcp
from csproxy.transport.listener import Listener, ListenPort
from csproxy.transport.port_security import DOOR_LIMITS, DoorLimits, PortSecurity
from csproxy.transport.tls_channel import secure
from csproxy.transport.tls_engine import TlsEngine

pytestmark = pytest.mark.anyio


class Echo:
    def __init__(self, channel: Channel, port_id: str) -> None:
        self.channel = channel
        channel.start(self)

    def receive(self, data: bytes) -> None:
        self.channel.write(data)

    def writable(self) -> None:
        pass

    def closed(self, error: Exception | None) -> None:
        pass


class Site:
    """An echo server with one port of each mode, and who has been let in."""

    def __init__(self) -> None:
        tls = tls_contexts()[1]
        self.security = {mode: PortSecurity(mode, tls) for mode in ListeningMode}
        self.listener: Listener
        self.served: list[Echo] = []

    def port(self, mode: ListeningMode) -> int:
        return self.listener.addresses()[mode.value][1]

    def have_come(self, number: int) -> bool:
        counted = self.listener.statistics().handshakes
        return counted.running + counted.waiting + counted.failed >= number

    def accept(self, channel: Channel, port_id: str) -> None:
        self.served.append(Echo(channel, port_id))

    async def plain(self, mode: ListeningMode) -> Channel:
        return await connect_tcp("127.0.0.1", self.port(mode))

    async def secure(self, mode: ListeningMode) -> Channel:
        engine = TlsEngine(tls_contexts()[0].context, name="server.example")
        return await secure(await self.plain(mode), engine)


@asynccontextmanager
async def site(limits: DoorLimits = DOOR_LIMITS) -> AsyncIterator[Site]:
    site = Site()
    ports = [ListenPort(mode.value, "127.0.0.1", 0, site.security[mode]) for mode in ListeningMode]
    async with Listener(ports, site.accept, door_limits=limits) as site.listener:
        yield site
        for each in site.served:
            each.channel.close(flush=False)
        await settle()


async def echoes(channel: Channel, text: bytes = b"hello") -> Recorder:
    at_client = Recorder()
    channel.start(at_client)
    channel.write(text)
    await at_client.reached(len(text))
    assert at_client.data == text
    return at_client


@pytest.mark.parametrize("mode", [ListeningMode.SECURE, ListeningMode.AUTO_DETECT])
async def test_a_client_with_tls_is_served(mode: ListeningMode) -> None:
    async with site() as servers:
        channel = await servers.secure(mode)
        await echoes(channel)
        assert servers.served[0].channel.is_secure
        assert servers.listener.statistics().handshakes.finished == 1
        channel.close(flush=False)


@pytest.mark.parametrize("mode", [ListeningMode.UNSECURED, ListeningMode.AUTO_DETECT])
async def test_a_client_without_tls_is_served_with_all_its_bytes(mode: ListeningMode) -> None:
    async with site() as servers:
        channel = await servers.plain(mode)
        await echoes(channel, bytes(range(256)) * 1000)
        assert not servers.served[0].channel.is_secure
        channel.close(flush=False)


async def test_a_client_without_tls_is_told_so_by_a_secure_port(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as servers:
        channel = await servers.plain(ListeningMode.SECURE)
        with pytest.raises(ConnectionLostError, match=r"takes secure connections only: .*\(error 38\)") as refused:
            await Connection.open(channel, "default")
        assert refused.value.code is ErrorCode.UNSECURE_CONNECTION_DENIED
        assert servers.served == []
        assert servers.listener.statistics().unsecured == 1
    assert "port secure: 127.0.0.1" in caplog.text
    assert "wants no TLS on a secure port; it is refused" in caplog.text


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00", b"\x80"])
async def test_whatever_else_comes_to_a_secure_port_gets_no_answer(first: bytes) -> None:
    async with site() as servers:
        channel = await servers.plain(ListeningMode.SECURE)
        at_client = Recorder()
        channel.start(at_client)
        channel.write(first)
        await at_client.ended()
        assert at_client.data == b""
        assert servers.served == []


@pytest.mark.parametrize("garbage", [b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" * 3000])
async def test_what_only_looks_like_tls_is_given_up(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with site(DoorLimits(handshake_s=0.1)) as servers:
        channel = await servers.plain(ListeningMode.AUTO_DETECT)
        at_client = Recorder()
        channel.start(at_client)
        channel.write(garbage)
        await at_client.ended()
        assert servers.served == []
        with anyio.fail_after(10):
            while not servers.listener.statistics().handshakes.failed:
                await settle()
    assert "port auto-detect: 127.0.0.1" in caplog.text


@pytest.mark.parametrize("mode", [ListeningMode.SECURE, ListeningMode.AUTO_DETECT])
async def test_who_says_nothing_is_closed(mode: ListeningMode, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with site(DoorLimits(first_byte_s=0.05)) as servers:
        channel = await servers.plain(mode)
        at_client = Recorder()
        channel.start(at_client)
        await at_client.ended()
    assert "said nothing within 0.05 s" in caplog.text


async def test_those_that_stop_in_the_middle_give_their_places_to_others() -> None:
    async with site(DoorLimits(handshakes=2, patience_s=0.3)) as servers:
        stopped = [await servers.plain(ListeningMode.SECURE) for _ in range(5)]
        ends = [Recorder() for _ in stopped]
        for channel, end in zip(stopped, ends, strict=True):
            channel.start(end)
            channel.write(client_hello())
        with anyio.fail_after(10):
            while not servers.have_come(5):
                await settle()
        channel = await servers.secure(ListeningMode.SECURE)
        await echoes(channel)
        assert sum(len(end.ends) for end in ends) >= 3  # in any order: trio takes what is ready at random
        channel.close(flush=False)
        for each in stopped:
            each.close(flush=False)


def client_hello() -> bytes:
    engine = TlsEngine(tls_contexts()[0].context, name="server.example")
    engine.receive_data(b"")
    return engine.data_to_send()


async def test_those_that_send_half_a_client_hello_take_no_places() -> None:
    async with site(DoorLimits(handshakes=1, patience_s=60)) as servers:
        stopped = [await servers.plain(mode) for mode in (ListeningMode.SECURE, ListeningMode.AUTO_DETECT) * 3]
        for each, size in zip(stopped, (1, 4, 5, 6, 11, len(client_hello()) - 1), strict=True):
            each.start(Recorder())
            each.write(client_hello()[:size])
        with anyio.fail_after(10):
            while not servers.have_come(6):
                await settle()
        assert servers.listener.statistics().handshakes.running == 0
        channel = await servers.secure(ListeningMode.SECURE)
        await echoes(channel)
        for each in (channel, *stopped):
            each.close(flush=False)


async def test_half_a_client_hello_is_given_up_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async with site(DoorLimits(handshake_s=0.05)) as servers:
        channel = await servers.plain(ListeningMode.SECURE)
        at_client = Recorder()
        channel.start(at_client)
        channel.write(client_hello()[:100])
        await at_client.ended()
        assert at_client.data == b""
    assert "the TLS handshake had not begun within 0.05 s" in caplog.text


async def test_a_handshake_that_waits_too_long_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    limits = DoorLimits(handshakes=1, patience_s=60, waiting_s=0.05, handshake_s=0.05)
    async with site(limits._replace(handshake_s=0.2)) as servers:
        first, second = [await servers.plain(ListeningMode.SECURE) for _ in range(2)]
        ends = [Recorder(), Recorder()]
        for channel, end in zip((first, second), ends, strict=True):
            channel.start(end)
            channel.write(client_hello())
            await settle(20)
        for end in ends:
            await end.ended()
    assert "the TLS handshake was not finished within 0.2 s" in caplog.text


async def test_many_clients_at_once_are_all_served() -> None:
    async with site(DoorLimits(handshakes=3)) as servers:
        channels: list[Channel] = []

        async def connect() -> None:
            channels.append(await servers.secure(ListeningMode.AUTO_DETECT))

        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(connect)
        for channel in channels:
            await echoes(channel)
            channel.close(flush=False)
        counted = servers.listener.statistics().handshakes
        assert (counted.finished, counted.failed, counted.running, counted.waiting) == (40, 0, 0, 0)


async def test_leaving_the_listener_ends_handshakes_and_waits_of_all_kinds() -> None:
    channels = []
    async with site(DoorLimits(handshakes=1)) as servers:
        for first in (b"", b"\x16", b"\x16"):
            channel = await servers.plain(ListeningMode.SECURE)
            channels.append(Recorder())
            channel.start(channels[-1])
            channel.write(first)
        await settle(20)
    for each in channels:
        await each.ended()


async def test_a_port_may_change_while_it_listens() -> None:
    async with site() as servers:
        security = servers.security[ListeningMode.AUTO_DETECT]
        old = await servers.plain(ListeningMode.AUTO_DETECT)
        await echoes(old)
        security.mode = ListeningMode.SECURE
        with pytest.raises(ConnectionLostError, match="error 38"):
            await Connection.open(await servers.plain(ListeningMode.AUTO_DETECT), "default")
        security.mode = ListeningMode.UNSECURED
        with pytest.raises(TlsError, match="the server broke the rules of TLS"):  # its echo is a ClientHello
            await servers.secure(ListeningMode.AUTO_DETECT)
        old.close(flush=False)


async def test_a_storm_of_failures_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as servers:
        for _ in range(60):
            with socket.create_connection(("127.0.0.1", servers.port(ListeningMode.SECURE))) as sock:
                sock.sendall(b"x")
            await settle(20)
        with anyio.fail_after(10):
            while servers.listener.statistics().unsecured < 60:
                await settle()
    assert caplog.text.count("wants no TLS") == 20


async def test_other_implementations_are_served_too() -> None:
    """Python's own sockets with TLS, blocking, in another thread."""

    def talk(port: int) -> bytes:
        context = tls_contexts()[0].context
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="server.example") as sock,
        ):
            sock.sendall(b"x" * 100_000)
            got = b""
            while len(got) < 100_000:
                got += sock.recv(65536)
            assert isinstance(sock, ssl.SSLSocket)
            return got

    async with site() as servers:
        port = servers.port(ListeningMode.SECURE)
        assert await anyio.to_thread.run_sync(talk, port) == b"x" * 100_000
