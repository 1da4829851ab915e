"""Waiting until a client has said completely what TLS it wants: its first record, the ClientHello.

The record stays in the kernel's buffer until it is all there (``SO_RCVLOWAT``), so that a peer that sends half of it
and stops costs neither an object of OpenSSL nor a buffer here, and takes no handshake's place.
"""

from __future__ import annotations

import socket
from typing import Final

import anyio

__all__ = ["record_bytes", "wait_for_hello"]

_HEADER_BYTES: Final = 5
_VERSION: Final = 3
"""Of every record since SSL 3.0, the major number."""
_MAX_PAYLOAD_BYTES: Final = 16 * 1024
"""Of a record that is not encrypted (RFC 8446, section 5.1)."""


def record_bytes(start: bytes) -> int:
    """How many bytes of a connection are needed to know its first record, if it is that of a handshake.

    What can be no record is as complete as it will ever be: 0.
    """
    if len(start) < _HEADER_BYTES:
        return _HEADER_BYTES
    size = int.from_bytes(start[3:_HEADER_BYTES], "big")
    return _HEADER_BYTES + size if start[1] == _VERSION and size <= _MAX_PAYLOAD_BYTES else 0


async def wait_for_hello(sock: socket.socket) -> None:
    """Return when the first record, of which a byte must have come, is complete; it is left in the socket.

    Returns early when the peer sends no more, and where the kernel cannot wait for so much: OpenSSL then finds
    what is missing. Raises OSError. Has no deadline of its own.
    """
    needed = record_bytes(sock.recv(_HEADER_BYTES, socket.MSG_PEEK))
    while len(start := sock.recv(max(needed, 1), socket.MSG_PEEK)) < needed:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, needed)
        await anyio.wait_readable(sock)
        start = sock.recv(needed, socket.MSG_PEEK)
        if len(start) < needed:
            break  # it has ended, or the kernel is short of memory
        needed = record_bytes(start)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
