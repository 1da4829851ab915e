"""Notifications without bytecode, for subscribers that ask to be spared it.

A routing strategy keeps its compiled form as binary option values, often megabytes of them. Only
frames about scripts are looked into; all others pass as they are.
"""

from __future__ import annotations

from typing import Any, Final

from csproxy.core import codec
from csproxy.transport.wire.frames import HEADER, HEADER_SIZE, encode_frame

__all__ = ["SCRIPT_TYPE", "without_bytecode"]

SCRIPT_TYPE: Final = 12
"""Number of CfgScript, the only type whose options hold bytecode."""


def without_bytecode(frame: bytes) -> bytes:
    """The same notification with binary option values left out."""
    payload = codec.decode_map(frame[HEADER_SIZE:])
    if payload["type"] != SCRIPT_TYPE:
        return frame
    _, message, flags, _, request, epoch, uen = HEADER.unpack_from(frame)
    return encode_frame(
        message, codec.encode(_strip(payload)), request=request, epoch=epoch, uen=uen, flags=flags
    )


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strip(item) for name, item in value.items() if not isinstance(item, bytes)}
    if isinstance(value, list):
        return [_strip(item) for item in value]
    return value
