"""The base of all payloads, and those that belong to no subject: nothing, a refusal, a farewell."""

from __future__ import annotations

import msgspec

__all__ = ["Disconnected", "Empty", "Error", "Payload"]


class Payload(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Base of all payloads: absent fields take their defaults."""


class Empty(Payload, kw_only=True):
    """A payload without fields."""


class Error(Payload, kw_only=True):
    """2, event: a request was refused. ``retry_after_ms`` > 0: the same request may succeed later."""

    code: int
    object_type: int = 0
    property: str = ""
    description: str = ""
    retry_after_ms: int = 0


class Disconnected(Payload, kw_only=True):
    """4, event: the last frame before the sender closes the connection, with the reason."""

    code: int
    description: str = ""
    retry_after_ms: int = 0
