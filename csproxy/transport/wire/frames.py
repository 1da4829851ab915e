"""Frames: how a byte stream is cut into messages.

A frame is a 28-byte header and a payload (one msgpack map, or nothing). All numbers are
big-endian::

    offset  size  field
         0     4  length    bytes that follow this field: 24 + size of the payload
         4     2  message   number, see messages.py
         6     1  flags     1 = END, 2 = HISTORY; other bits are 0 and ignored
         7     1  reserved  0
         8     4  request   id chosen by the client and echoed in each answer; 0 = unasked
        12     8  epoch     with uen: the position that the frame speaks of
        20     8  uen       in a request: the least position the answer must reflect (0, 0 = any)

The header is fixed so that a server can dispatch a request, and a client can follow the change
stream, without decoding the payload.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from csproxy.errors import ErrorCode, RemoteProtocolError

__all__ = [
    "DEFAULT_MAX_FRAME",
    "FLAG_END",
    "FLAG_HISTORY",
    "HEADER",
    "HEADER_SIZE",
    "MAGIC",
    "UNREGISTERED_MAX_FRAME",
    "Frame",
    "FrameReader",
    "encode_frame",
    "with_flags",
]

MAGIC: Final = b"\xc5csproxy"
"""The first eight bytes of a connection, sent by the client only.

The first byte is neither 0x16 (TLS), 'P' nor 0x0D (PROXY protocol), so that one port can tell all of them apart.
"""

HEADER: Final = struct.Struct(">IHBBIQQ")
HEADER_SIZE: Final = HEADER.size
_LENGTH: Final = struct.Struct(">I")
_AFTER_LENGTH: Final = HEADER_SIZE - 4
_unpack = HEADER.unpack_from
_new = tuple.__new__  # half of the 0.26 µs that Frame(...) takes

FLAG_END: Final = 1
"""Last frame of an answer; on a notification: last change of its transaction."""
FLAG_HISTORY: Final = 2
"""The notification is replayed from the history."""

DEFAULT_MAX_FRAME: Final = 64 * 1024 * 1024
"""Longest frame a client accepts, and a server from a registered client: one object may be large."""
UNREGISTERED_MAX_FRAME: Final = 64 * 1024
"""Longest frame that a server accepts before registration."""


class Frame(NamedTuple):
    """One frame as received. ``payload`` may be empty, which means an empty map."""

    message: int
    flags: int
    request: int
    epoch: int
    uen: int
    payload: bytes


def encode_frame(
    message: int, payload: bytes, *, request: int = 0, epoch: int = 0, uen: int = 0, flags: int = 0
) -> bytes:
    """Build the bytes of one frame."""
    return HEADER.pack(_AFTER_LENGTH + len(payload), message, flags, 0, request, epoch, uen) + payload


def with_flags(frame: bytes, flags: int) -> bytes:
    """The same frame with other flags: a replay marks shared frames as history without encoding them again."""
    return b"%b%c%b" % (frame[:6], flags, frame[7:])


class FrameReader:
    """Cuts received bytes into frames; sans-I/O, one per direction of a connection.

    ``max_frame`` bounds the length field (bytes); it may be raised once the peer has registered.
    A violation raises `RemoteProtocolError`, after which the reader must not be used.
    """

    __slots__ = ("_buffer", "_needed", "max_frame")

    def __init__(self, *, max_frame: int = DEFAULT_MAX_FRAME) -> None:
        self.max_frame = max_frame
        self._buffer = bytearray()
        self._needed = HEADER_SIZE

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the incomplete frame held so far."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream and return the frames that they complete, in order."""
        held = self._buffer
        if held:
            held += data
            if len(held) < self._needed:
                return []
            data = bytes(held)
            held.clear()
        frames: list[Frame] = []
        limit = self.max_frame
        size = len(data)
        start = 0
        while size - start >= HEADER_SIZE:
            length, message, flags, _, request, epoch, uen = _unpack(data, start)
            if not _AFTER_LENGTH <= length <= limit:
                self._refuse(length)
            end = start + 4 + length
            if end > size:
                self._needed = 4 + length
                held += data[start:]
                return frames
            frames.append(_new(Frame, (message, flags, request, epoch, uen, data[start + HEADER_SIZE : end])))
            start = end
        if start < size:
            self._needed = _LENGTH.size
            if size - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(data, start)
                if not _AFTER_LENGTH <= length <= limit:
                    self._refuse(length)
                self._needed = HEADER_SIZE
            held += data[start:]
        return frames

    def _refuse(self, length: int) -> None:
        if length < _AFTER_LENGTH:
            raise RemoteProtocolError(
                f"frame length {length} is too short: a header has {_AFTER_LENGTH} bytes after it"
            )
        raise RemoteProtocolError(
            f"frame length {length} is above the limit of {self.max_frame} bytes", code=ErrorCode.OBJECT_PACKING_ERROR
        )
