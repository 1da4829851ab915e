"""Payloads between the two proxies of a warm-standby pair."""

from __future__ import annotations

import msgspec

from csproxy.core.secret_options import shown
from csproxy.core.standby import Role
from csproxy.transport.wire.payload import Payload
from csproxy.transport.wire.subscriptions import Subscription

__all__ = ["PeerNews", "PeerSession", "PeerUpdate"]


class PeerSession(Payload, kw_only=True):
    """A client's session, so that it can be restored at the other server.

    ``type`` is the CfgAppType of the Application ``application`` with the DBID ``application_dbid``.
    """

    id: str
    application: str
    application_dbid: int
    type: int
    user: str = ""
    person_dbid: int = 0
    hears_permissions: bool = False
    subscriptions: list[Subscription] = msgspec.field(default_factory=list)

    def __repr__(self) -> str:
        return shown(self, secret=frozenset({"id"}))


class PeerUpdate(Payload, kw_only=True):
    """1020, request of the configured backup to its primary: what has changed with the sender.

    ``role`` states what the sender is now (`csproxy.core.standby`), with the fields after it; without it nothing of
    that has changed. ``first``: all sessions that were told before count no more. ``sessions`` are new or have changed,
    ``dropped`` are the ids of those that cannot be restored any more. ``leaves``: the sender serves no clients any
    more, and the receiver has been told everything. ``taken``, alone: the receiver's last news has arrived.
    """

    role: Role | None = None
    term: int = 0
    is_configured_primary: bool = False
    dbid: int = 0
    first: bool = False
    sessions: list[PeerSession] = msgspec.field(default_factory=list)
    dropped: list[str] = msgspec.field(default_factory=list)
    leaves: bool = False
    taken: bool = False


class PeerNews(PeerUpdate, kw_only=True):
    """1022, unasked: the same in the other direction."""
