"""Payloads of the history log: the client sessions that go into it, and the records that come out."""

from __future__ import annotations

import msgspec

from csproxy.transport.wire.payload import Payload

__all__ = ["HistoryRecords", "ReadHistory", "SessionRecords"]


class SessionRecords(Payload, kw_only=True):
    """1026, request of a proxy: clients that came to it and left it, each as `csproxy.core.history.SessionRecord`.

    ``batch`` identifies them: sent again under the same one, they are not stored again.
    """

    records: list[msgspec.Raw] = msgspec.field(default_factory=list)
    batch: str = ""


class ReadHistory(Payload, kw_only=True):
    """1033, request: records of the history log numbered above ``after``, of changes after UEN ``since_uen``.

    At most ``limit`` of them (0: as many as the server gives in one answer).
    """

    since_uen: int = 0
    after: int = 0
    limit: int = 0


class HistoryRecords(Payload, kw_only=True):
    """1034: records, oldest first, each as `csproxy.core.history.HistoryRecord`, and their numbers.

    ``more``: others follow; ask again with ``after`` = the last number.
    """

    numbers: list[int] = msgspec.field(default_factory=list)
    records: list[msgspec.Raw] = msgspec.field(default_factory=list)
    more: bool = False
