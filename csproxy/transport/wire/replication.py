"""Payloads between a proxy and its master: loading everything, and comparing what both hold."""

from __future__ import annotations

import msgspec

from csproxy.transport.wire.payload import Payload

__all__ = ["Digest", "LoadBegin", "LoadDeferred", "LoadGranted", "ReadDigest"]


class LoadBegin(Payload, kw_only=True):
    """1003, request of a proxy: a consistent snapshot of everything, and all changes after it.

    Granted, it opens a snapshot and subscribes to everything in one step.
    """


class LoadGranted(Payload, kw_only=True):
    """1004: read each type with this ``snapshot``; ``counts`` maps type number to objects.

    The header's position is that of the snapshot; changes after it follow as notifications.
    """

    snapshot: int
    counts: dict[int, int] = msgspec.field(default_factory=dict)
    epochs: list[tuple[int, int]] = msgspec.field(default_factory=list)


class LoadDeferred(Payload, kw_only=True):
    """1005: no load slot is free; ask again after ``retry_after_ms``."""

    retry_after_ms: int


class ReadDigest(Payload, kw_only=True):
    """1012, request: ``types`` empty means all."""

    types: list[int] = msgspec.field(default_factory=list)


class Digest(Payload, kw_only=True):
    """1013: digest per type number, as 32 hexadecimal digits, at the header's position."""

    digests: dict[int, str] = msgspec.field(default_factory=dict)
