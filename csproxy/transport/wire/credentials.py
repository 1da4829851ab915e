"""Payloads of passwords and log-ins between a master and the proxies that it trusts."""

from __future__ import annotations

import msgspec

from csproxy.core.credentials import PersonEntry
from csproxy.core.log_in_state import LogIn
from csproxy.transport.wire.payload import Payload

__all__ = ["CredentialsChanged", "CredentialsRead", "LogInRecords", "ReadCredentials"]


class ReadCredentials(Payload, kw_only=True):
    """1030, request of a trusted proxy: what differs from its own credentials, and from now on every change.

    ``digests``: those of its 256 buckets (`csproxy.core.credentials`), empty if it has none.
    """

    digests: bytes = b""


class CredentialsRead(Payload, kw_only=True):
    """1031: whole buckets, by number, as the master has them now.

    ``more``: other buckets differ as well; ask again.
    """

    buckets: dict[int, list[PersonEntry]] = msgspec.field(default_factory=dict)
    more: bool = False


class CredentialsChanged(Payload, kw_only=True):
    """1032, unasked, after a ReadCredentials: entries that are new or other ones now, and DBIDs that are gone."""

    entries: list[PersonEntry] = msgspec.field(default_factory=list)
    removed: list[int] = msgspec.field(default_factory=list)


class LogInRecords(Payload, kw_only=True):
    """1035, request of a trusted proxy: log-ins of Persons there, right and wrong ones, in their order.

    ``batch`` identifies them: sent again under the same one, they do not count again.
    """

    log_ins: list[LogIn] = msgspec.field(default_factory=list)
    batch: str = ""
