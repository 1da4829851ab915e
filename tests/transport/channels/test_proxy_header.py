"""PROXY headers of load balancers: read byte by byte, taken from balancers only, and nothing after them is lost."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from channel_pairs import settle, tls_contexts
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.peer_limits import parse_networks
from csproxy.core.transport_parameters import ListeningMode
from csproxy.errors import RemoteProtocolError
from csproxy.transport.channel import Channel
from csproxy.transport.dial import connect_tcp
from csproxy.transport.listener import Listener, ListenPort
from csproxy.transport.port_security import DOOR_LIMITS, DoorLimits, PortSecurity
from csproxy.transport.proxy_header import ProxyHeader, begins_header
from csproxy.transport.tls_channel import secure
from csproxy.transport.tls_engine import TlsEngine
from csproxy.transport.wire.frames import MAGIC

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, addresses: bytes, more: bytes = b"") -> bytes:
    return (
        SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(addresses) + len(more)) + addresses + more
    )


def ipv4(host: str, port: int) -> bytes:
    return socket.inet_aton(host) + socket.inet_aton("198.51.100.1") + struct.pack("!HH", port, 2020)


def ipv6(host: str, port: int) -> bytes:
    there = socket.inet_pton(socket.AF_INET6, host) + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    return there + struct.pack("!HH", port, 2020)


UNIQUE_ID = b"\x05\x00\x04abcd"
HEADERS = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 50123 2020\r\n", "192.0.2.7:50123"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 50123 2020\r\n", "[2001:db8::7]:50123"),
    (b"PROXY UNKNOWN\r\n", None),
    (v2(1, 0x11, ipv4("192.0.2.7", 50123)), "192.0.2.7:50123"),
    (v2(1, 0x11, ipv4("192.0.2.7", 50123), UNIQUE_ID), "192.0.2.7:50123"),
    (v2(1, 0x21, ipv6("2001:db8::7", 50123)), "[2001:db8::7]:50123"),
    (v2(0, 0x00, b""), None),
]


def byte_by_byte(data: bytes) -> None:
    reader = ProxyHeader()
    for byte in data:
        reader.receive(bytes([byte]))


# bytes alone


@pytest.mark.parametrize(("header", "source"), HEADERS)
@given(cuts=st.lists(st.integers(1, 60), max_size=8), rest=st.binary(max_size=40))
def test_a_header_is_taken_however_it_is_cut_and_nothing_after_it(
    header: bytes, source: str | None, cuts: Sequence[int], rest: bytes
) -> None:
    reader = ProxyHeader()
    data, taken = header + rest, 0
    for size in (*cuts, *[1] * len(data)):
        if reader.is_complete:
            break
        taken += reader.receive(data[taken : taken + size])
    assert (reader.is_complete, reader.source, taken) == (True, source, len(header))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"PROXY TCP4 192.0.2.7\r\n", "cannot be read"),
        (b"PROXY TCP4 192.0.2.300 198.51.100.1 50123 2020\r\n", "cannot be read"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 70000 2020\r\n", "cannot be read"),
        (b"PROXY TCP9 a b c d\r\n", "cannot be read"),
        (b"PROXY TCP4 \xff\xfe b 1 2\r\n", "cannot be read"),
        (b"PROXY " + b"x" * 101, "does not end within 107 bytes"),
        (b"POST / HTTP/1.1\r\n", "what begins like a PROXY header is none"),
        (b"\r\nGET /", "what begins like a PROXY header is none"),
        (SIGNATURE + b"\x31\x11\x00\x0c" + ipv4("192.0.2.7", 1), "cannot be read"),
        (SIGNATURE + b"\x2f\x11\x00\x0c" + ipv4("192.0.2.7", 1), "cannot be read"),
        (SIGNATURE + b"\x21\x11\x00\x04" + b"1234", "cannot be read"),
        (SIGNATURE + b"\x21\x11\xff\xff", "of 65551 bytes: up to 4096"),
    ],
)
def test_what_is_no_header_is_named(data: bytes, sentence: str) -> None:
    with pytest.raises(RemoteProtocolError, match=sentence):
        ProxyHeader().receive(data)
    with pytest.raises(RemoteProtocolError, match=sentence):
        byte_by_byte(data)


@given(st.binary(min_size=1, max_size=200))
def test_whatever_comes_ends_in_a_header_or_an_error(data: bytes) -> None:
    for start in (b"PROXY ", SIGNATURE, b""):
        reader = ProxyHeader()
        with suppress(RemoteProtocolError):
            assert reader.receive(start + data) <= len(start + data)


def test_the_first_byte_tells_a_header_from_tls_and_the_protocol() -> None:
    assert all(begins_header(header[0]) for header, _ in HEADERS)
    assert not begins_header(MAGIC[0])
    assert not begins_header(0x16)


# ports


class Echo:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.received = b""
        channel.start(self)

    def receive(self, data: bytes) -> None:
        self.received += data
        self.channel.write(data)

    def writable(self) -> None:
        pass

    def closed(self, error: Exception | None) -> None:
        pass


class Heard:
    """What a client hears."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = anyio.Event()
        self.came = anyio.Event()

    def receive(self, data: bytes) -> None:
        self.data += data
        self.came.set()

    def writable(self) -> None:
        pass

    def closed(self, error: Exception | None) -> None:
        self.ended.set()


@asynccontextmanager
async def echo_server(
    balancers: str = "127.0.0.1", *, mode: ListeningMode | None = None, limits: DoorLimits = DOOR_LIMITS
) -> AsyncIterator[tuple[Listener, list[Echo]]]:
    served: list[Echo] = []
    security = None if mode is None else PortSecurity(mode, tls_contexts()[1])
    listener = Listener(
        [ListenPort("default", "127.0.0.1", 0, security)],
        lambda channel, port_id: served.append(Echo(channel)),
        door_limits=limits,
        balancers=parse_networks(balancers),
    )
    async with listener:
        yield listener, served
        for each in served:
            each.channel.close(flush=False)
        await settle()


async def connected(listener: Listener) -> tuple[Channel, Heard]:
    channel, heard = await connect_tcp(*listener.addresses()["default"]), Heard()
    channel.start(heard)
    return channel, heard


@pytest.mark.anyio
@pytest.mark.parametrize("header", [HEADERS[0][0], HEADERS[4][0]])
async def test_a_balancer_tells_the_address_of_its_client(header: bytes) -> None:
    async with echo_server() as (listener, served):
        channel, heard = await connected(listener)
        channel.write(header[:9])
        channel.write(header[9:] + b"hello")
        with anyio.fail_after(10):
            await heard.came.wait()
        assert heard.data == b"hello"
        assert served[0].channel.peer == "192.0.2.7:50123"
        channel.close()
        await heard.ended.wait()


@pytest.mark.anyio
async def test_a_balancer_need_not_send_a_header() -> None:
    async with echo_server() as (listener, served):
        channel, heard = await connected(listener)
        channel.write(b"hello")
        with anyio.fail_after(10):
            await heard.came.wait()
        assert served[0].channel.peer.startswith("127.0.0.1:")
        channel.close()
        await heard.ended.wait()


@pytest.mark.anyio
async def test_anybody_elses_header_is_data_like_any_other() -> None:
    async with echo_server("10.0.0.0/8, 2001:db8::/32") as (listener, served):
        channel, heard = await connected(listener)
        channel.write(HEADERS[0][0])
        with anyio.fail_after(10):
            await heard.came.wait()
        assert heard.data == HEADERS[0][0]
        assert served[0].channel.peer.startswith("127.0.0.1:")
        channel.close()
        await heard.ended.wait()


@pytest.mark.anyio
@pytest.mark.parametrize("mode", [ListeningMode.SECURE, ListeningMode.AUTO_DETECT])
async def test_the_header_comes_before_tls(mode: ListeningMode) -> None:
    async with echo_server(mode=mode) as (listener, served):
        raw = await connect_tcp(*listener.addresses()["default"])
        raw.write(HEADERS[3][0])
        channel = await secure(raw, TlsEngine(tls_contexts()[0].context, name="server.example"))
        heard = Heard()
        channel.start(heard)
        channel.write(b"hello")
        with anyio.fail_after(10):
            await heard.came.wait()
        assert heard.data == b"hello"
        assert served[0].channel.peer == "192.0.2.7:50123"
        channel.close()
        await heard.ended.wait()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "data", [b"POST / HTTP/1.1\r\n\r\n", b"PROXY TCP4 a b c d\r\n", SIGNATURE + b"\x21\x11\xff\xff"]
)
async def test_what_is_no_header_ends_the_connection(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "csproxy.listener")
    async with echo_server() as (listener, served):
        channel, heard = await connected(listener)
        channel.write(data)
        with anyio.fail_after(10):
            await heard.ended.wait()
        assert served == []
        assert "PROXY header" in caplog.text


@pytest.mark.anyio
async def test_a_header_without_end_has_a_deadline(caplog: pytest.LogCaptureFixture) -> None:
    async with echo_server(limits=DoorLimits(first_byte_s=0.2)) as (listener, served):
        channel, heard = await connected(listener)
        channel.write(b"PROXY TCP4 ")
        with anyio.fail_after(10):
            await heard.ended.wait()
        assert served == []
        assert "did not finish its PROXY header" in caplog.text


@pytest.mark.anyio
async def test_monitors_that_connect_and_drop_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "csproxy")
    async with echo_server() as (listener, served):
        for _ in range(20):
            channel, heard = await connected(listener)
            channel.close()
            with anyio.fail_after(10):
                await heard.ended.wait()
        assert served == []
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []
