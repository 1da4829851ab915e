"""Telling the other server of a pair about the sessions of this one, as fast as the link takes it.

What is not told yet is a set of session ids: however slow the link is, and however often a session changes meanwhile,
it never holds more than there are sessions, and the other server gets the latest state of each.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from csproxy.core.sessions import Account, Session, SessionRegistry
from csproxy.transport.wire.pairs import PeerSession
from csproxy.transport.wire.subscriptions import Subscription

__all__ = ["SESSIONS_AT_ONCE", "SessionMirror", "session_of"]

SESSIONS_AT_ONCE: Final = 500
"""Sessions in one message, about 100 bytes each with one subscription."""


class SessionMirror:
    """The sessions of ``registry`` for which ``is_wanted`` holds, and what the other server does not know yet of them.

    ``on_news()`` is called when there is something to tell again; `take` gives it.
    """

    def __init__(
        self, registry: SessionRegistry, *, is_wanted: Callable[[Session], bool], on_news: Callable[[], object]
    ) -> None:
        self._registry = registry
        self._is_wanted = is_wanted
        self._on_news = on_news
        self._changed: dict[str, Session] = {}
        self._dropped: dict[str, None] = {}
        self._is_active = False

    def __repr__(self) -> str:
        return f"<SessionMirror {self.waiting} not told yet>"

    @property
    def waiting(self) -> int:
        """Sessions about which the other server does not know the latest."""
        return len(self._changed) + len(self._dropped)

    def begin(self, *, detached: bool = True) -> None:
        """Tell everything, from the beginning, and go on; without ``detached`` only sessions that are connected."""
        self._dropped.clear()
        kept = [session for session in self._registry.kept() if detached or session.connection is not None]
        self._changed = {session.id: session for session in kept if self._is_wanted(session)}
        self._is_active = True
        self._registry.on_kept = self._kept
        self._registry.on_dropped = self._drop

    def end(self) -> None:
        """Tell nothing any more."""
        self._is_active = False
        self._changed.clear()
        self._dropped.clear()

    def take(self) -> tuple[list[PeerSession], list[str]]:
        """What to tell next, at most `SESSIONS_AT_ONCE` sessions and as many ids; both empty when all is told."""
        ids = list(islice(self._changed, SESSIONS_AT_ONCE))
        dropped = list(islice(self._dropped, SESSIONS_AT_ONCE))
        sessions = [_told(self._changed.pop(id)) for id in ids]
        for id in dropped:
            del self._dropped[id]
        return sessions, dropped

    def _kept(self, session: Session) -> None:
        if self._is_active and self._is_wanted(session):
            self._dropped.pop(session.id, None)
            self._changed[session.id] = session
            self._on_news()

    def _drop(self, id: str) -> None:
        if self._is_active:
            self._changed.pop(id, None)
            self._dropped[id] = None
            self._on_news()


def _told(session: Session) -> PeerSession:
    return PeerSession(
        id=session.id,
        application=session.application,
        application_dbid=session.application_dbid,
        type=session.application_type,
        user=session.account.user,
        person_dbid=session.account.person_dbid,
        hears_permissions=session.hears_permissions,
        subscriptions=[Subscription(**interest._asdict()) for interest in session.interests],
    )


def session_of(told: PeerSession, *, now_s: float) -> Session:
    """The session that the other server has told."""
    session = Session(
        told.id,
        account=Account(told.person_dbid, told.user),
        application=told.application,
        application_type=told.type,
        application_dbid=told.application_dbid,
        now_s=now_s,
    )
    session.hears_permissions = told.hears_permissions
    session.interests = frozenset(item.interest for item in told.subscriptions)
    return session
