"""Hostile bytes made from valid ones: the test vectors' messages, changed in their payload, header, or anywhere.

`Mutator.frame` gives one frame of what a client may send, nearly always changed; some frames stay valid, so that
what is behind the parsers is reached, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from csproxy.core import codec
from csproxy.transport.wire.frames import HEADER_SIZE, encode_frame
from csproxy.transport.wire.messages import PAYLOADS, MessageId

__all__ = ["Mutator", "vector_messages"]

VECTORS: Final = Path(__file__).parents[2] / "docs" / "vectors" / "messages.json"
_BIG: Final = 1 << 30

_RAW: Final[Sequence[Callable[[Random], bytes]]] = (
    lambda rng: b"\x81\xa1a" * rng.choice((3, 100, 2_000)) + b"\xc0",  # nested maps
    lambda rng: b"\x91" * rng.choice((3, 100, 2_000)) + b"\xc0",  # nested lists
    lambda rng: b"\xdd\xff\xff\xff\xff\x01",  # a list of four thousand million
    lambda rng: b"\xdf\xff\xff\xff\xff\xa1a\x01",  # a map of as many
    lambda rng: b"\xc6\xff\xff\xff\xff",  # bytes that do not follow
    lambda rng: b"\xdb\x7f\xff\xff\xff",  # a text that does not follow
    lambda rng: b"\xa4\xed\xa0\x80\xff",  # no UTF-8
    lambda rng: b"\xa3a\0b",
    lambda rng: b"\xc1",  # never used in msgpack
    lambda rng: b"\xd8\x05" + bytes(16),  # an extension
    lambda rng: b"\xcb\x7f\xf8" + bytes(6),  # not a number
    lambda rng: b"\xcf" + b"\xff" * 8,  # 2^64 - 1
    lambda rng: b"\xd3\x80" + bytes(7),  # -2^63
    lambda rng: b"\x82\xa4name\x01\xa4name\xc0",  # a key that comes twice
)
_NOTHING: Final = (b"\x80",)
_FIELDS: Final = tuple(sorted({name for payload in PAYLOADS.values() for name in payload.__struct_fields__}))
_NUMBERS: Final = (-1, 0, 1, 2, 3, 9, 13, 46, 47, 97, 100, 101, 102, 127, 128, 255, 65535, 2**31 - 1, 2**32, 2**63)
_TEXTS: Final = ("", "default", "confserv", "X", "*", "\0", "\udc80", "ä" * 200, "[", "%s", "log", "name")


class Mutator:
    """Makes frames from ``rng``. ``sessions`` and ``positions`` are true ones, as the target gives them out."""

    def __init__(self, rng: Random, *, sender: str = "client") -> None:
        self.rng = rng
        self.sessions: list[str] = []
        self.positions: list[tuple[int, int]] = [(0, 0), (1, 1), (2**64 - 1, 2**64 - 1)]
        self._messages = vector_messages(sender)
        self._numbers = tuple(self._messages)

    def frame(self, messages: Sequence[int] | None = None) -> bytes:
        """One frame; of one of ``messages``, as long as the header is not changed."""
        rng = self.rng
        message = rng.choice(messages or self._numbers)
        payload = rng.choice(self._messages.get(message, _NOTHING))
        choice = rng.random()
        if choice < 0.7:
            payload = self._payload(payload)
        epoch, uen = rng.choice(self.positions) if choice > 0.9 else (0, 0)
        request = rng.randrange(1, 1 << 16)
        if rng.random() < 0.02:
            request = rng.choice((0, 1, 1, 1, 2**32 - 1))
        if rng.random() < 0.02:
            message = rng.choice((rng.randrange(1 << 16), int(rng.choice(list(MessageId)))))
        data = encode_frame(message, payload, request=request, epoch=epoch, uen=uen, flags=rng.choice((0, 0, 1, 255)))
        if choice < 0.15:
            return self.bytes_changed(data)
        return data

    def bytes_changed(self, data: bytes) -> bytes:
        """Bits turned over, bytes lost, added or repeated, a wrong length; often behind the header."""
        rng = self.rng
        changed = bytearray(data)
        start = HEADER_SIZE if len(data) > HEADER_SIZE and rng.random() < 0.9 else 0
        for _ in range(rng.choice((1, 1, 2, 8))):
            place = rng.randrange(start, len(changed)) if len(changed) > start else len(changed)
            match rng.randrange(6):
                case 0 | 1 if place < len(changed):
                    changed[place] ^= 1 << rng.randrange(8)
                case 2:
                    del changed[place : place + rng.choice((1, 4, 1000))]
                case 3:
                    changed[place:place] = rng.randbytes(rng.choice((1, 4, 300)))
                case 4 if place < len(changed):
                    changed[place] = rng.choice((0, 0x7F, 0x80, 0x90, 0xC1, 0xDF, 0xFF))
                case _:
                    changed += changed[place : place + 64]
        if start and rng.random() < 0.95:
            changed[:4] = (len(changed) - 4).to_bytes(4, "big")
        elif not start and rng.random() < 0.2:
            changed[:4] = rng.choice((0, 23, 24, 64 * 1024, _BIG, 2**32 - 1)).to_bytes(4, "big")
        return bytes(changed) or data

    def _payload(self, payload: bytes) -> bytes:
        """The payload with a few values, at any depth, in the place of others."""
        changed = codec.decode_map(payload)
        for _ in range(self.rng.choice((1, 1, 2, 5))):
            self._change(changed)
        try:
            return codec.encode(changed)
        except (UnicodeEncodeError, OverflowError):
            return payload

    def _change(self, value: Any) -> None:
        rng = self.rng
        while True:
            keys = list(value) if isinstance(value, dict) else list(range(min(20, len(value))))
            inner = [key for key in keys if isinstance(value[key], (dict, list)) and value[key]]
            if not inner or rng.random() < 0.4:
                break
            value = value[rng.choice(inner)]
        if isinstance(value, dict):
            key = rng.choice(keys) if keys and rng.random() < 0.8 else rng.choice(_FIELDS)
            if rng.random() < 0.15:
                value.pop(key, None)
            else:
                value[key] = self._value()
        elif rng.random() < 0.3:
            value.append(self._value())
        elif keys:
            value[rng.choice(keys)] = self._value()

    def _value(self) -> Any:
        rng = self.rng
        match rng.randrange(8):
            case 0 | 1:
                return rng.choice(_NUMBERS)
            case 2:
                return rng.choice(_TEXTS) if rng.random() < 0.99 else "a" * 70_000
            case 3:
                return msgspec.Raw(rng.choice(_RAW)(rng))
            case 4:
                return rng.choice(self.sessions) if self.sessions else None
            case 5:
                return rng.choice((None, True, False, 0.5, [], {}, b"", b"\x60\x82"))
            case 6:
                return {rng.choice(_FIELDS): rng.choice(_NUMBERS)}
            case _:
                return [rng.choice(_NUMBERS)] * rng.choice((1, 1, 1, 1, 1, 1, 1, 2000))


@cache
def vector_messages(sender: str) -> dict[int, list[bytes]]:
    """By message number, the payloads of all vectors that ``sender`` ("client" or "server") sends."""
    found: dict[int, list[bytes]] = {}
    for vector in json.loads(VECTORS.read_text(encoding="utf-8")):
        if vector["sender"] == sender:
            found.setdefault(vector["message"], []).append(bytes.fromhex(vector["hex"])[HEADER_SIZE:] or b"\x80")
    return found
