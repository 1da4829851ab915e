"""Payloads of Verify and Verified: is the data of a server what it ought to be."""

from __future__ import annotations

import msgspec

from csproxy.transport.wire.payload import Payload

__all__ = ["Verified", "VerifiedType", "Verify"]


class Verify(Payload, kw_only=True):
    """1040, request: compare the data now with where it comes from, and heal what differs."""


class VerifiedType(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One object type: ``state`` is ``equal``, ``different`` or ``healed`` (it was different)."""

    type: int
    objects: int = 0
    state: str = "equal"


class Verified(Payload, kw_only=True):
    """1041: what was found, at the header's position; types without objects that are equal are left out."""

    compared_with: str = ""
    types: list[VerifiedType] = msgspec.field(default_factory=list)
