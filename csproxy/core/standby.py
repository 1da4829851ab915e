"""The roles of two proxies that are a warm-standby pair, and who of them serves. No I/O.

    STARTING   nothing heard of the other yet: serves nobody
    STANDBY    the other serves, or is about to; its sessions are stored here
    SEEKING    the link to the other is lost: serves nobody, and takes over when the other does not come back
    PRIMARY    serves clients
    STOPPED    the end, reachable from everywhere

Each tells the other what it is, a `Statement`, when the link comes up and whenever that changes. Who serves follows
from the two latest statements, on both sides alike, in this order:

1. Only one is PRIMARY: it stays.
2. Both are, because they could not see each other: the one of the lower *term* stays, it has served longer. The
   other, the younger, hands its sessions over and steps down.
3. Neither is: who knows the higher term (it was the standby of the last primary, and has its sessions), then the one
   that is configured as the primary, then the lower DBID.

A member has data that it could serve before it takes part in any of this.

A term is a number that grows with each takeover. Two primaries do no harm: both follow the master and change nothing
by themselves; so nobody is asked before a takeover, and there is no quorum. Statements that cross on their way can make
both take over; the next ones settle it.

Without a link, a standby takes over when the other has stopped in an orderly way (at once), when nothing listens at
its address any more (at once), when keep-alive found it silent (at once), or after ``patience_s``. At the start
the configured primary need not wait when nothing listens at the other's address; the configured backup waits its time,
so that two that are started together take the roles they were given.

Source: the chapter on redundant proxies (the link, restored sessions, no manual split); roles and terms are ours.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from csproxy.errors import LocalProtocolError

__all__ = ["TRANSITIONS", "Decision", "Event", "Role", "Standby", "Statement", "diagram"]


class Role(Enum):
    """What a member of a pair does; the values are shown by status and metrics."""

    STARTING = "starting"
    STANDBY = "standby"
    SEEKING = "seeking"
    PRIMARY = "primary"
    STOPPED = "stopped"


class Event(Enum):
    """What happened, or what was decided."""

    FOLLOW = "follow"
    LOSE = "lose"
    TAKE_OVER = "take over"
    STEP_DOWN = "step down"
    STOP = "stop"


TRANSITIONS: Final[dict[tuple[Role, Event], Role]] = {
    (Role.STARTING, Event.FOLLOW): Role.STANDBY,
    (Role.STARTING, Event.TAKE_OVER): Role.PRIMARY,
    (Role.STANDBY, Event.LOSE): Role.SEEKING,
    (Role.STANDBY, Event.TAKE_OVER): Role.PRIMARY,
    (Role.SEEKING, Event.FOLLOW): Role.STANDBY,
    (Role.SEEKING, Event.TAKE_OVER): Role.PRIMARY,
    (Role.PRIMARY, Event.STEP_DOWN): Role.STANDBY,
    **{(role, Event.STOP): Role.STOPPED for role in Role if role is not Role.STOPPED},
}
"""Everything that may happen; any other pair is a mistake of the caller."""


class Statement(NamedTuple):
    """What a member says of itself.

    ``term``: of the primary that it is, or was the standby of; 0 for none.
    """

    role: Role
    term: int
    is_configured_primary: bool
    dbid: int


class Decision(Enum):
    """What the caller has to do. Whatever it is, a changed `Standby.statement` goes to the other member."""

    NOTHING = "nothing"
    SERVE = "serve"
    """Take clients from now on."""
    HAND_OVER = "hand over"
    """Take none any more: the other one serves, or will. It is sent all sessions, then the clients are sent to it."""


class Standby:
    """One member's side of a pair. Times are seconds of any monotonic clock; ``patience_s`` may change at any time."""

    __slots__ = ("_deadline_s", "_is_configured_primary", "dbid", "other", "patience_s", "role", "term")

    def __init__(self, dbid: int, *, is_configured_primary: bool, patience_s: float, now: float) -> None:
        self.dbid = dbid
        self.role = Role.STARTING
        self.term = 0
        self.patience_s = patience_s
        self.other: Statement | None = None
        """What the other member said last on the link that is up; None without a link."""
        self._is_configured_primary = is_configured_primary
        self._deadline_s: float | None = now + patience_s

    def __repr__(self) -> str:
        link = "not linked" if self.other is None else f"linked to {self.other.role.value}"
        return f"<Standby {self.role.value}, term {self.term}, {link}>"

    @property
    def statement(self) -> Statement:
        """What to tell the other member."""
        return Statement(self.role, self.term, self._is_configured_primary, self.dbid)

    def due_s(self) -> float | None:
        """When `tick` has to be called; None: not before something else happens."""
        return self._deadline_s

    # what happens

    def tick(self, now: float) -> Decision:
        """Time has passed: the other has had its chance."""
        if self._deadline_s is None or now < self._deadline_s:
            return Decision.NOTHING
        return self._take_over()

    def heard(self, other: Statement) -> Decision:
        """The other has said what it is, for the first time on this link or anew."""
        self.other = other
        self._deadline_s = None
        return self._compare(other)

    def link_lost(self, now: float, *, was_silent: bool = False) -> Decision:
        """The link has ended, and nobody knows why; ``was_silent``: keep-alive has waited in vain already."""
        self.other = None
        if self.role is Role.STANDBY:
            self._move(Event.LOSE)
        if self.role in (Role.SEEKING, Role.STARTING):
            self._deadline_s = now if was_silent else now + self.patience_s
        return self.tick(now)

    def other_leaves(self) -> Decision:
        """The other stops, or hands over on command; all that it sent before has arrived."""
        return self._take_over() if self.role is Role.STANDBY else Decision.NOTHING

    def nothing_listens(self, now: float) -> Decision:
        """Nobody listens at the other's address: its process is not there."""
        waits = self.role is Role.STARTING and not self._is_configured_primary
        if self._deadline_s is not None and not waits:
            self._deadline_s = now
        return self.tick(now)

    # commands

    def serve(self) -> Decision:
        """An operator wants this member to serve although the other cannot be asked.

        Raises `LocalProtocolError` when there is a link: then the other hands over.
        """
        if self.role is Role.PRIMARY:
            return Decision.NOTHING
        if self.other is not None:
            raise LocalProtocolError("the other member of the pair is there: it has to hand over")
        return self._take_over()

    def hand_over(self) -> Decision:
        """An operator wants the other member to serve.

        Raises `LocalProtocolError` when this one does not serve, or the other is not there.
        """
        if self.role is not Role.PRIMARY:
            raise LocalProtocolError(f"this member of the pair is {self.role.value}: it has nothing to hand over")
        if self.other is None:
            raise LocalProtocolError("the other member of the pair is not there: it cannot serve")
        self._move(Event.STEP_DOWN)
        return Decision.HAND_OVER

    def stop(self) -> None:
        """The process stops."""
        self._deadline_s = None
        self._move(Event.STOP)

    # decisions

    def _compare(self, other: Statement) -> Decision:
        mine = self.statement
        stays = _claim(mine) > _claim(other)
        if self.role is Role.PRIMARY:
            return Decision.NOTHING if stays else self._step_down(other)
        if other.role is Role.PRIMARY:
            self.term = other.term
            if self.role is not Role.STANDBY:
                self._move(Event.FOLLOW)
        elif stays:
            return self._take_over()
        return Decision.NOTHING

    def _take_over(self) -> Decision:
        self.term = max(self.term, 0 if self.other is None else self.other.term) + 1
        self._deadline_s = None
        self._move(Event.TAKE_OVER)
        return Decision.SERVE

    def _step_down(self, other: Statement) -> Decision:
        self.term = other.term
        self._move(Event.STEP_DOWN)
        return Decision.HAND_OVER

    def _move(self, event: Event) -> None:
        try:
            self.role = TRANSITIONS[self.role, event]
        except KeyError:
            possible = ", ".join(e.value for r, e in TRANSITIONS if r is self.role)
            raise LocalProtocolError(
                f"a member that is {self.role.value} cannot {event.value}; possible: {possible or 'nothing'}"
            ) from None


def _claim(statement: Statement) -> tuple[bool, int, int, bool, int]:
    """Statements in the order of who should serve, the greater one first; see the rules above."""
    serves = statement.role is Role.PRIMARY
    return (
        serves,
        -statement.term if serves else 0,
        statement.term,
        statement.is_configured_primary,
        -statement.dbid,
    )


def diagram() -> str:
    """The table as a mermaid state diagram, for the documentation; STOP is left out."""
    lines = ["stateDiagram-v2", f"    [*] --> {Role.STARTING.value}"]
    lines += [
        f"    {before.value} --> {after.value}: {event.value}"
        for (before, event), after in TRANSITIONS.items()
        if event is not Event.STOP
    ]
    return "\n".join(lines) + "\n"
