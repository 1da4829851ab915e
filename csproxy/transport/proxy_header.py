"""The header that a load balancer sends before a connection's first byte, to tell the server the client's address.

`ProxyHeader` takes the PROXY protocol, version 1 and 2, byte by byte and never one too many: what comes after the
header belongs to TLS or to the protocol of the port. The package proxy-protocol reads the complete header.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

import anyio

from csproxy.errors import RemoteProtocolError
from csproxy.transport.sockets import peer_name

__all__ = ["ProxyHeader", "begins_header", "receive_header"]

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_END: Final = b"\r\n"
_V1_MAX: Final = 107
"""Bytes of the longest header of version 1, by its definition."""
_V2_FIXED: Final = 16
_V2_MAX: Final = 4096
"""Bytes of a header of version 2 with all that balancers add; the protocol would allow 64 KiB."""


def begins_header(first: int) -> bool:
    """Whether the first byte of a connection is that of a PROXY header: neither TLS nor the protocol begins so."""
    return first in (_V1[0], _V2[0])


class ProxyHeader:
    """One header as it arrives. `receive` raises `RemoteProtocolError` as soon as it can be none."""

    def __init__(self) -> None:
        self._data = b""
        self.is_complete = False
        self.source: str | None = None
        """The client's address for logs, ``"192.0.2.7:50123"``; None where the balancer speaks for itself."""

    def __repr__(self) -> str:
        return f"<ProxyHeader {self.source if self.is_complete else f'{len(self._data)} bytes'}>"

    def receive(self, data: bytes) -> int:
        """Take what belongs to the header from the bytes that come next; returns how many of them that were."""
        together = self._data + data
        end = self._end(together)
        self._data = together[:end]
        if end is not None:
            self.source = _read(self._data)
            self.is_complete = True
        return len(data) if end is None else end - len(together) + len(data)

    def _end(self, data: bytes) -> int | None:
        """Where the header ends; None if that is not to be seen yet."""
        if data.startswith(_V1[: len(data)]):
            end = data.find(_END, 0, _V1_MAX)
            if end < 0 and len(data) >= _V1_MAX:
                raise RemoteProtocolError(f"a PROXY header of version 1 does not end within {_V1_MAX} bytes")
            return None if end < 0 else end + len(_END)
        if not data.startswith(_V2[: len(data)]):
            raise RemoteProtocolError("what begins like a PROXY header is none")
        if len(data) < _V2_FIXED:
            return None
        length = _V2_FIXED + int.from_bytes(data[14:16], "big")
        if length > _V2_MAX:
            raise RemoteProtocolError(f"a PROXY header of {length} bytes: up to {_V2_MAX} are taken")
        return length if len(data) >= length else None


def _read(header: bytes) -> str | None:
    from proxyprotocol import ProxyProtocolIncompleteError
    from proxyprotocol.detect import ProxyProtocolDetect
    from proxyprotocol.result import is_ipv4, is_ipv6

    try:
        result = ProxyProtocolDetect().unpack(header)
    except (ValueError, struct.error, IndexError, KeyError, ProxyProtocolIncompleteError) as e:
        raise RemoteProtocolError(f"a PROXY header cannot be read: {e}") from e
    if is_ipv4(result) or is_ipv6(result):
        return peer_name((str(result.source[0]), result.source[1]))
    return None


async def receive_header(sock: socket.socket) -> str | None:
    """Take a header off a socket from which it is the next to come, and nothing more; returns the client's address.

    Raises `RemoteProtocolError` for anything else, and OSError. Has no deadline of its own.
    """
    header = ProxyHeader()
    while not header.is_complete:
        await anyio.wait_readable(sock)
        try:
            data = sock.recv(_V2_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not data:
            raise RemoteProtocolError("the connection ended within its PROXY header")
        sock.recv(header.receive(data))
    return header.source
