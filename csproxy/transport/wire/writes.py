"""Payloads of writing: one change or a transaction, and what became of it."""

from __future__ import annotations

from typing import Any

import msgspec

from csproxy.core.transactions import RequestedChange
from csproxy.transport.wire.payload import Forwardable, Payload

__all__ = [
    "WriteRequest",
    "AppliedChange",
    "ApplyTransaction",
    "CreateObject",
    "DeleteObject",
    "TransactionApplied",
    "UpdateObject",
    "WriteOutcome",
    "WriteOutcomeRead",
]


class CreateObject(Forwardable, kw_only=True):
    """7, request. ``key`` is an idempotency key: the same key never creates twice.

    ``folder`` 0 means the tenant's default folder of the type.
    """

    type: int
    object: dict[str, Any]
    folder: int = 0
    key: str = ""


class UpdateObject(Forwardable, kw_only=True):
    """8, request: ``delta`` as docs/protocol.md defines it."""

    type: int
    dbid: int
    delta: dict[str, Any] = msgspec.field(default_factory=dict)
    key: str = ""


class DeleteObject(Forwardable, kw_only=True):
    """9, request: delete an object and what belongs to it."""

    type: int
    dbid: int
    key: str = ""


WriteRequest = CreateObject | UpdateObject | DeleteObject
"""A request for one change."""


class ApplyTransaction(Forwardable, kw_only=True):
    """1018, request: several creations, updates and deletions, all or nothing, in their order.

    A negative DBID of a new object is the number by which later changes refer to it.
    """

    changes: list[RequestedChange]
    key: str = ""


class AppliedChange(Payload, kw_only=True):
    """What became of one requested change; ``action`` is the number of its notification."""

    action: int
    type: int
    dbid: int


class TransactionApplied(Payload, kw_only=True):
    """1019: the transaction is committed; one item per requested change, in the order of the request."""

    changes: list[AppliedChange] = msgspec.field(default_factory=list)


class WriteOutcome(Forwardable, kw_only=True):
    """1016, request: what became of the caller's own write with this idempotency key."""

    key: str


class WriteOutcomeRead(Payload, kw_only=True):
    """1017: whether the write was carried out, where its transaction ended, and its changes as in 1019.

    Not ``known``: it was not carried out, or more than a day ago.
    """

    known: bool = False
    epoch: int = 0
    uen: int = 0
    changes: list[AppliedChange] = msgspec.field(default_factory=list)
