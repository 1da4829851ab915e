"""The one place that knows msgpack.

Objects, deltas and message payloads are msgpack maps keyed by published names. Everything else
asks this module, so that the encoding can be reasoned about (and measured) in one file.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["array_header", "decode", "decode_map", "encode"]

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()
_map_decoder = msgspec.msgpack.Decoder(dict[str, Any])

encode = _encoder.encode
"""Encode any supported value (dict, list, str, int, bytes, Struct, Raw) to msgpack bytes."""

decode = _decoder.decode
"""Decode msgpack bytes to plain Python values. Raises `msgspec.DecodeError` for anything else."""

decode_map = _map_decoder.decode
"""Decode msgpack bytes that must be a map with text keys. Raises `msgspec.DecodeError`."""


def array_header(count: int) -> bytes:
    """The msgpack header of an array of ``count`` elements; the elements follow as they are.

    With it a bulk answer is one join of encoded objects: nothing is decoded or encoded again.
    """
    if count < 16:
        return bytes((0x90 | count,))
    if count < 0x10000:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")
