"""Client sessions: who is connected, as which application and account, and what can be restored.

A session outlives its connection for a while, so that a client that comes back within that time
keeps its subscriptions. The session id is the credential of a restore: 128 random bits, bound to
the application and user that registered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from csproxy.core.changes import Position
from csproxy.core.model.enumerations import CfgAppType
from csproxy.core.subscriptions import Access, Interest

__all__ = ["SESSION_ID_BYTES", "SYSTEM_ACCOUNT", "Account", "Author", "Session", "SessionRegistry"]

SESSION_ID_BYTES = 16


class Account(NamedTuple):
    """Whose permissions apply: a Person, or SYSTEM (``person_dbid`` 0) for a daemon without a user.

    ``must_change``: the password that has just been checked is too old and serves to set a new one only; never true
    in a session.
    """

    person_dbid: int
    user: str
    must_change: bool = False


SYSTEM_ACCOUNT = Account(0, "")


class Author(NamedTuple):
    """Who makes a change, as notifications and the history name it.

    ``vouched`` says that the server itself has decided that this may be written: permissions are not asked.
    ``via`` is the Application of the proxy that forwarded the request.
    """

    user: str
    application: str
    person_dbid: int = 0
    vouched: bool = False
    via: str = ""


class Session:
    """One registered client. ``connection`` is None while it is detached and can be restored."""

    __slots__ = (
        "access",
        "account",
        "application",
        "application_dbid",
        "application_type",
        "connection",
        "detached_s",
        "hears_permissions",
        "id",
        "identities",
        "interests",
        "opened_s",
        "trusted_by",
        "written",
    )

    def __init__(
        self, id: str, *, account: Account, application: str, application_type: int, application_dbid: int, now_s: float
    ) -> None:
        self.id = id
        self.account = account
        self.application = application
        self.application_type = application_type
        self.application_dbid = application_dbid
        self.identities: frozenset[int] = frozenset()
        """The account's number and those of its groups (`csproxy.core.sight.account_key`)."""
        self.access: Access = frozenset()  # nothing, before its server has looked
        self.interests: frozenset[Interest] = frozenset()
        self.hears_permissions = False
        self.trusted_by = ""
        """How a proxy has shown its master who it is (`csproxy.transport.trust`); empty: it has not."""
        self.written: Position | None = None
        """Where its last change ended, while the server may not have reached it: nothing older is shown to it."""
        self.connection: Any = None
        self.opened_s = now_s
        self.detached_s = 0.0

    def __repr__(self) -> str:
        state = "detached" if self.connection is None else "connected"
        return f"<Session {self.application!r} user {self.account.user!r} {state}, {len(self.interests)} subscriptions>"

    @property
    def trusted(self) -> bool:
        """Whether this is a proxy that may speak for its clients."""
        return bool(self.trusted_by)

    @property
    def is_proxy(self) -> bool:
        """Whether the client is a Configuration Server Proxy."""
        return self.application_type == CfgAppType.CFGConfigServer

    @property
    def author(self) -> Author:
        """The session's client as the author of a change."""
        return Author(self.account.user, self.application, self.account.person_dbid)


class SessionRegistry:
    """All sessions of a server, connected and detached; both kinds are bounded by the caller's limits.

    ``random_bytes(n)`` must be cryptographically strong: it makes the session ids.
    """

    def __init__(
        self, *, random_bytes: Callable[[int], bytes], keep_s: float = 600.0, max_detached: int = 20_000
    ) -> None:
        self.keep_s = keep_s
        self.max_detached = max_detached
        self.on_kept: Callable[[Session], object] = _ignore
        """Called with a session that is new here, or has other subscriptions: it could be restored elsewhere."""
        self.on_dropped: Callable[[str], object] = _ignore
        """Called with the id of a session that can be restored no more."""
        self._random_bytes = random_bytes
        self._stored: dict[str, Session] = {}
        self._connected: dict[str, Session] = {}
        self._detached: OrderedDict[str, Session] = OrderedDict()
        self._daemons: dict[int, Session] = {}

    def __len__(self) -> int:
        return len(self._connected)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._connected.values())

    @property
    def detached_count(self) -> int:
        """Sessions without a connection that can still be restored."""
        return len(self._detached)

    def open(
        self,
        *,
        account: Account,
        application: str,
        application_type: int,
        application_dbid: int,
        daemon: bool,
        connection: object,
        now_s: float,
    ) -> Session:
        """Register a new session; the caller has checked `daemon_session` before."""
        session = Session(
            self._random_bytes(SESSION_ID_BYTES).hex(),
            account=account,
            application=application,
            application_type=application_type,
            application_dbid=application_dbid,
            now_s=now_s,
        )
        session.connection = connection
        self._connected[session.id] = session
        if daemon:
            self._daemons[application_dbid] = session
        self.on_kept(session)
        return session

    def daemon_session(self, application_dbid: int) -> Session | None:
        """The connected session of a daemon Application, which may be there only once at a time."""
        return self._daemons.get(application_dbid)

    def changed(self, session: Session) -> None:
        """The session holds other subscriptions now."""
        self.on_kept(session)

    def find(self, id: str, *, application: str, user: str) -> Session | None:
        """The session with this id if it belongs to this application and user."""
        session = self._detached.get(id) or self._connected.get(id)
        if session is None or session.application != application or session.account.user != user:
            return None
        return session

    def attach(self, session: Session, connection: object, *, daemon: bool) -> None:
        """Give a found session to a new connection."""
        self._detached.pop(session.id, None)
        self._connected[session.id] = session
        session.connection = connection
        if daemon:
            self._daemons[session.application_dbid] = session

    def detach(self, session: Session, *, now_s: float) -> None:
        """The session's connection is gone; it can be restored for ``keep_s`` seconds."""
        if self._connected.pop(session.id, None) is None:
            return
        session.connection = None
        session.detached_s = now_s
        self._detached[session.id] = session
        if self._daemons.get(session.application_dbid) is session:
            del self._daemons[session.application_dbid]
        self.expire(now_s)

    def expire(self, now_s: float) -> int:
        """Forget detached sessions that are too old or too many; returns how many."""
        dropped = 0
        while self._detached:
            oldest = next(iter(self._detached.values()))
            if len(self._detached) <= self.max_detached and now_s - oldest.detached_s < self.keep_s:
                break
            del self._detached[oldest.id]
            self.on_dropped(oldest.id)
            dropped += 1
        return dropped

    # sessions of another server, which can be restored here when this one takes over

    @property
    def stored_count(self) -> int:
        """Sessions that are stored for another server."""
        return len(self._stored)

    def kept(self) -> list[Session]:
        """All that can be restored: connected, then detached, in the order in which they came."""
        return [*self._connected.values(), *self._detached.values()]

    def store(self, session: Session) -> None:
        """Keep another server's session, or what it has become; it does not grow old before `take_over`."""
        self._stored[session.id] = session

    def drop_stored(self, id: str) -> None:
        """The other server has dropped a session."""
        self._stored.pop(id, None)

    def drop_all_stored(self) -> None:
        """What was stored is worth nothing any more."""
        self._stored.clear()

    def take_over(self, *, now_s: float) -> int:
        """What was stored can be restored here from now on; returns how many. A connected session stays as it is."""
        taken = [session for session in self._stored.values() if session.id not in self._connected]
        self._stored.clear()
        for session in taken:
            self._detached.pop(session.id, None)
            session.detached_s = now_s
            self._detached[session.id] = session
            self.on_kept(session)
        self.expire(now_s)
        return len(taken)


def _ignore(_: object) -> None:
    """The callback of whoever does not care."""
