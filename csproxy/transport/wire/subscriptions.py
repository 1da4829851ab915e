"""Payloads that say of which changes a client wants to be told, and from where on."""

from __future__ import annotations

import msgspec

from csproxy.core.subscriptions import Interest
from csproxy.transport.wire.payload import Payload

__all__ = ["HistoryLog", "RegisterNotification", "ResumeFrom", "Subscription", "UnregisterNotification"]


class Subscription(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """What a client wants to be told of; 0 stands for *all* in each field."""

    object_type: int = 0
    tenant_id: int = 0
    object_dbid: int = 0
    exclude_bytecode: bool = False

    @property
    def interest(self) -> Interest:
        """The same as the subscription index knows it."""
        return Interest(self.object_type, self.tenant_id, self.object_dbid, self.exclude_bytecode)


class RegisterNotification(Subscription, frozen=True):
    """78, request: subscribe. A position in the header means: start with the changes after it."""


class UnregisterNotification(Subscription, frozen=True):
    """77, request: end the subscription that was made with the same fields."""


class HistoryLog(Payload, kw_only=True):
    """41, request: send what was missed since the position in the header, then the live stream.

    ``session`` is the caller's own session id. Only for a restored session that has not asked yet.
    """

    session: str


class ResumeFrom(Payload, kw_only=True):
    """1002, request: take these subscriptions and send all matching changes after the header's position.

    For a fresh registration, at any member of a pair or pool. Subscriptions already held are kept.
    """

    subscriptions: list[Subscription] = msgspec.field(default_factory=list)
