"""What comes before the protocol: PROXY headers and TLS handshakes, changed at any byte."""

from __future__ import annotations

import ssl
from functools import cache
from random import Random

import trustme

from csproxy.errors import RemoteProtocolError, TlsError
from csproxy.transport.proxy_header import ProxyHeader
from csproxy.transport.tls_engine import TlsEngine, TlsState

__all__ = ["fuzz_proxy_header", "fuzz_tls"]

_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
HEADERS = (
    b"PROXY TCP4 192.0.2.7 192.0.2.1 50123 2020\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 50123 2020\r\n",
    b"PROXY UNKNOWN\r\n",
    _V2 + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 1]) + b"\xc3\xcb\x07\xe4",
    _V2 + b"\x21\x21\x00\x24" + bytes(36),
    _V2 + b"\x20\x00\x00\x00",
    _V2 + b"\x21\x11\x00\x0f" + bytes(12) + b"\x04\x00\x00",
)


@cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and of its client."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("server.example").configure_cert(server)
    authority.configure_trust(client)
    return server, client


def changed(rng: Random, data: bytes) -> bytes:
    """The bytes with a few bits turned over, bytes lost or added."""
    result = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 6))):
        place = rng.randrange(len(result) + 1)
        match rng.randrange(4):
            case 0 | 1 if place < len(result):
                result[place] ^= 1 << rng.randrange(8)
            case 2:
                del result[place : place + rng.choice((1, 8))]
            case _:
                result[place:place] = rng.randbytes(rng.choice((1, 8, 300)))
    return bytes(result)


def pieces(rng: Random, data: bytes) -> list[bytes]:
    """The bytes, cut anywhere."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 1, 5))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def fuzz_proxy_header(rng: Random) -> bool:
    """One header; whether it was taken for one. Never more bytes are taken than there are."""
    header, after = ProxyHeader(), b"\xc5csproxy"
    try:
        for piece in pieces(rng, changed(rng, rng.choice(HEADERS)) + after):
            if header.is_complete:
                break
            taken = header.receive(piece)
            assert 0 <= taken <= len(piece)
    except RemoteProtocolError:
        return False
    return header.is_complete


def fuzz_tls(rng: Random) -> bool:
    """One handshake in which the client's bytes are changed on the way; whether it came to its end."""
    for_server, for_client = _contexts()
    server = TlsEngine(for_server, server_side=True)
    client = TlsEngine(for_client, name="server.example")
    to_client, first_change = b"", rng.randrange(4)
    try:
        for turn in range(4):
            client.receive_data(to_client)
            to_server = client.data_to_send()
            for piece in pieces(rng, changed(rng, to_server) if turn == first_change else to_server):
                server.receive_data(piece)
            to_client = server.data_to_send()
    except TlsError:
        return False
    return server.state is TlsState.OPEN
