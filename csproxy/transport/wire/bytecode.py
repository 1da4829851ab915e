"""Notifications without bytecode, for subscribers that ask to be spared it.

A routing strategy keeps its compiled form as binary option values, often megabytes of them. Only
frames about scripts are looked into; all others pass as they are.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from csproxy.core import codec
from csproxy.transport.wire.frames import HEADER, HEADER_SIZE, encode_frame

__all__ = ["SCRIPT_TYPE", "without_bytecode"]

SCRIPT_TYPE: Final = 12
"""Number of CfgScript, the only type whose options hold bytecode."""


class _Concerned(msgspec.Struct):
    type: int


_concerned = msgspec.msgpack.Decoder(_Concerned).decode


def without_bytecode(frame: bytes) -> bytes:
    """The same notification with binary option values left out."""
    payload = frame[HEADER_SIZE:]
    if _concerned(payload).type != SCRIPT_TYPE:
        return frame
    _, message, flags, _, request, epoch, uen = HEADER.unpack_from(frame)
    stripped = codec.encode(_strip(codec.decode_map(payload)))
    return encode_frame(message, stripped, request=request, epoch=epoch, uen=uen, flags=flags)


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strip(item) for name, item in value.items() if not isinstance(item, bytes)}
    if isinstance(value, list):
        return [_strip(item) for item in value]
    return value
