"""The base of all payloads, apart from them so that they can stand in several modules."""

from __future__ import annotations

import msgspec

__all__ = ["Payload"]


class Payload(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Base of all payloads: absent fields take their defaults."""
