"""Sight at work on a running server: what each session may read, and what it is told when that changes.

When a transaction changes lists, groups or accounts, three things happen before the next event of the loop:

- every session whose sight is another one now moves to the class of its new sight. Its place in the log is cut there:
  the old class up to the transaction, then the transaction as it looks from the one sight to the other, then the new;
- a session whose sight is the same, but for whom objects appear or disappear, is taken through the log;
- all others are served as ever.

Such sessions are brought up to date in turn, a little in each turn of the event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from csproxy.core.changelog import LogRecord
from csproxy.core.changes import Position
from csproxy.core.ownership import ObjectId
from csproxy.core.session_sight import SessionSight
from csproxy.core.shifts import Shift, objects_read_by
from csproxy.core.sight import Access, Readers, Viewer, may_read
from csproxy.errors import ErrorCode, ModelError

if TYPE_CHECKING:
    from csproxy.core.cache import ConfigurationCache, View
    from csproxy.core.replica import Published
    from csproxy.core.sessions import Session
    from csproxy.transport.server import ConfigurationServer
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["SightKeeper", "sight_for_history", "viewer_of"]

TURN_S: Final = 0.002
"""How long sessions are brought up to date within one turn of the event loop."""


class SightKeeper:
    """Keeps the sight of all sessions of a server."""

    def __init__(self, server: ConfigurationServer) -> None:
        self._server = server
        self._sight = SessionSight(lambda: server.cache)
        self._due: deque[Callable[[], None]] = deque()
        self._changed_at = 0

    def __repr__(self) -> str:
        return f"<SightKeeper {self._sight!r}, {len(self._due)} sessions due>"

    @property
    def sight(self) -> SessionSight:
        """The sight of accounts."""
        return self._sight

    def admit(self, session: Session) -> None:
        """A client has registered, or restored its session."""
        self._sight.admit(session)

    def sees(self, session: Session, id: ObjectId) -> bool:
        """Whether a session may read an object that is there."""
        return session.access is None or may_read(session.access, self._server.cache.readers.of(*id))

    def has_changed_since(self, position: Position) -> bool:
        """Whether somebody's sight may have changed after ``position``, one of this history."""
        return position.uen < self._changed_at

    def follow(self, published: Published, position: Position, *, is_new_history: bool = False) -> None:
        """A transaction, or the difference of a reload, has been published; the fan-out has not been told yet."""
        records = published.records
        cut = self._server.log.end - len(records)
        if is_new_history:
            self._sight.start_anew()
        if self._sight.follow(published) or is_new_history:
            self._changed_at = position.uen
            self._move_sessions(records, cut)
        if records and records[0].shifts:
            self._take_through_log(records[0].shifts, cut)

    def later(self, work: Callable[[], None]) -> None:
        """Do some work of a session soon, in its turn."""
        self._due.append(work)
        if len(self._due) == 1:
            self._server.call_soon(self._work)

    def _work(self) -> None:
        clock = self._server.clock
        deadline = clock() + TURN_S
        while self._due:
            self._due.popleft()()
            if clock() >= deadline:
                break
        if self._due:
            self._server.call_soon(self._work)

    def _move_sessions(self, records: Sequence[LogRecord], cut: int) -> None:
        moving: list[tuple[ServerConnection, Access, bool]] = []
        for session in self._server.sessions:
            former, who = session.access, session.identities
            self._sight.admit(session)
            if session.access != former:
                moving.append((session.connection, None if former is None else who, session.identities != who))
        if not moving:
            return
        others = self._others(records, moving)
        for connection, saw, is_another in moving:
            connection.move(cut, saw, others if is_another else ())

    def _others(
        self, records: Sequence[LogRecord], moving: Sequence[tuple[ServerConnection, Access, bool]]
    ) -> Sequence[Shift]:
        """All objects that somebody gains or loses because he has other identities, though nothing happened to them."""
        cache = self._server.cache
        pairs = {
            (former, _after(connection))
            for connection, former, is_another in moving
            if is_another and connection.cls is not None
        }
        wanted: set[Readers] = {
            readers
            for readers in cache.readers.in_use()
            if any(may_read(former, readers) != may_read(now, readers) for former, now in pairs)
        }
        if not wanted:
            return ()
        told = {(record.type, record.dbid) for record in records}
        if records and records[0].shifts:
            for shift in records[0].shifts:
                told.update(shift.objects.ids())
        return objects_read_by(cache, wanted, told)

    def _take_through_log(self, shifts: Sequence[Shift], cut: int) -> None:
        for cls in list(self._server.subscriptions.classes):
            if any(shift.change_for(cls.access, cls.access) is not None for shift in shifts):
                for member in list(cls.members):
                    member.go_through_log(cut)


def _after(connection: ServerConnection) -> Access:
    assert connection.session is not None
    return connection.session.access


def sight_for_history(server: ConfigurationServer, session: Session, start: int) -> Access:
    """With which identities a session may be shown the log from ordinal ``start`` on.

    Raises `ModelError` HISTORY_LOG_EXPIRED when its identities were others then, or nobody knows what they could read.
    """
    log = server.log
    turns, keys = log.turns_after(start), SessionSight.keys_of(session)
    if any(turn.accounts is None or turn.accounts & keys for turn in turns):
        raise _expired("what this account may read has changed since")
    if session.access is None and not any(turn.lists for turn in turns):
        return None
    if not log.is_clear_after(start):
        raise _expired("nobody knows any more what this account could read then")
    return session.identities


def viewer_of(connection: ServerConnection, source: ConfigurationCache | View) -> Viewer | None:
    """What the client sees of the present data or of a snapshot; None: everything."""
    session, server = connection.session, connection.server
    assert session is not None
    is_present = source is server.cache or not server.sight.has_changed_since(source.position)
    if is_present and session.access is None:
        return None
    return Viewer(source.readers, session.identities)


def _expired(why: str) -> ModelError:
    return ModelError(
        ErrorCode.HISTORY_LOG_EXPIRED, f"cannot continue from there: {why}; register anew and read everything"
    )
