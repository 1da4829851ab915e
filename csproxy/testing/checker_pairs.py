"""What must hold for the two proxies of a warm-standby pair: P19, P20 and P24, by their roles and by the wires.

What a member can know of sessions follows from the connections: those that were registered there, and those that the
other member told over the link, which is the configured backup's connection to the configured primary. An update that
was sent *may* have arrived, one that was answered, or that came unasked, *has*.

P19, restore in the pair:

- A member that does not serve takes no client: between request and answer of a registration or restore it was primary.
- A session that a member had been told of when it took over is restored there, if the client relies on no more
  subscriptions than were told, within `RESTORED_WITHIN_S`, and its position is of every history of the master.
- Of one that it cannot know it says so by name: error 27, and nothing else but a refusal that asks to come again.
- When a primary ends and nothing else is wrong, its standby serves within `TAKEN_OVER_WITHIN_S`.
- No session is served by both: where one has restored it, nothing comes any more over a connection to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Final, NamedTuple

from csproxy.core.standby import Role
from csproxy.core.subscriptions import Interest
from csproxy.errors import ErrorCode
from csproxy.testing.checker_model import MasterLog
from csproxy.testing.checker_wires import Violation
from csproxy.testing.histories import Answered, Asked, Ended, History, RoleTaken, Told, WireHistory
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.pairs import PeerUpdate

__all__ = ["RESTORED_WITHIN_S", "check_pairs", "is_client_at"]

RESTORED_WITHIN_S: Final = 30.0
"""How long after a takeover a session that was told must be restored; servers keep them longer."""

TAKEN_OVER_WITHIN_S: Final = 15.0
"""How long a standby may take to serve: keep-alive finds a silent primary after ten seconds, then it is looked for."""

_RESTORE: Final = "P19 restore in the pair"
_REGISTRATIONS: Final = frozenset({MessageId.REGISTER_CLIENT, MessageId.REGISTER_CLIENT_2, MessageId.RESTORE_SESSION})
_Interests = frozenset[Interest] | None
"""What was told of a session's subscriptions; None: two updates say different things, and one of them may be lost."""


def check_pairs(history: History, log: MasterLog) -> Iterator[Violation]:
    """All checks on all pairs; nothing where no roles were recorded."""
    members = {taken.name for taken in history.roles}
    wires = [wire for wire in history.wires if wire.host in members and wire.client not in members]
    yield from check_serving(wires, history.roles)
    yield from check_takeovers(history)
    yield from check_restores(history, log, wires, members)
    yield from check_one_server(wires)
    yield from check_end(history, wires, members)


# who takes clients


def check_serving(wires: Sequence[WireHistory], roles: Sequence[RoleTaken]) -> Iterator[Violation]:
    """P19: whoever takes a client is primary at some moment between request and answer."""
    for wire in wires:
        periods = _primary_periods(wire.host, roles)
        asked: dict[int, Asked] = {}
        for index, event in enumerate(wire.events):
            if isinstance(event, Asked):
                if event.message in _REGISTRATIONS:
                    asked[event.request] = event
            elif isinstance(event, Answered) and event.message == MessageId.CLIENT_REGISTERED:
                began = asked[event.request]
                if not any(start <= event.at_s and began.at_s <= end for start, end in periods):
                    what = f"a client was taken by a member that did not serve between {began.at_s:.3f} and then"
                    yield Violation(_RESTORE, str(wire), what, index)


def check_takeovers(history: History) -> Iterator[Violation]:
    """P19: when the primary ends while all else is well, its standby takes over in time."""
    roles = {taken.name: Role.STARTING for taken in history.roles}
    for place, taken in enumerate(history.roles):
        before, roles[taken.name] = roles[taken.name], taken.role
        if taken.role is not Role.STOPPED or before is not Role.PRIMARY or taken.at_s < history.quiet_from_s:
            continue
        for standby in (name for name, role in roles.items() if role is Role.STANDBY):
            following = next((each for each in history.roles[place:] if each.name == standby), None)
            if following is None or following.at_s > taken.at_s + TAKEN_OVER_WITHIN_S:
                what = f"it had not taken over {TAKEN_OVER_WITHIN_S:g} s after {taken.name} ended at {taken.at_s:.3f}"
                yield Violation(_RESTORE, standby, what)


def _primary_periods(name: str, roles: Sequence[RoleTaken]) -> list[tuple[float, float]]:
    own = [taken for taken in roles if taken.name == name]
    ends = [taken.at_s for taken in own[1:]] + [inf]
    return [(taken.at_s, end) for taken, end in zip(own, ends, strict=True) if taken.role is Role.PRIMARY]


# what a member knows of sessions


class _Stored(NamedTuple):
    """A session that can be restored since a takeover."""

    since_s: float
    interests: _Interests


class _Member:
    """What one member knows for certain, and what it may know."""

    def __init__(self) -> None:
        self.role = Role.STARTING
        self.stored: dict[str, _Interests] = {}
        self.taken: dict[str, _Stored] = {}
        self.possible: set[str] = set()

    def becomes(self, role: Role, at_s: float) -> None:
        self.role = role
        if role is Role.PRIMARY:
            self.take_over(at_s)
        else:
            self.taken.clear()
        if role is Role.STOPPED:
            self.stored.clear()
            self.possible.clear()

    def take_over(self, at_s: float) -> None:
        self.taken.update({id: _Stored(at_s, interests) for id, interests in self.stored.items()})
        self.stored.clear()

    def may_have(self, update: PeerUpdate) -> None:
        """It is on its way; whether it arrives is not known."""
        if update.first:
            self.stored.clear()
        for session in update.sessions:
            self.possible.add(session.id)
            if session.id in self.stored:
                self.stored[session.id] = None
        for id in update.dropped:
            self.stored.pop(id, None)

    def has(self, update: PeerUpdate, at_s: float) -> None:
        """It has arrived."""
        self.may_have(update)
        for session in update.sessions:
            self.stored[session.id] = frozenset(each.interest for each in session.subscriptions)
        if update.leaves and self.role is Role.PRIMARY:
            self.take_over(at_s)


def check_restores(
    history: History, log: MasterLog, wires: Sequence[WireHistory], names: set[str]
) -> Iterator[Violation]:
    """P19: what was told can be restored, what was not is refused by name."""
    members = {name: _Member() for name in names}
    steps: list[tuple[float, int, Callable[[], Violation | None]]] = []

    def note(at_s: float, rank: int, step: Callable[[], Violation | None]) -> None:
        steps.append((at_s, rank, step))

    for taken in history.roles:
        note(taken.at_s, 1, lambda taken=taken: members[taken.name].becomes(taken.role, taken.at_s))  # type: ignore[misc]
    for link in history.wires:
        if link.client in names and link.host in names:
            _note_updates(link, members, note)
    for wire in wires:
        _note_restores(wire, members[wire.host], log, note)
    for _, _, step in sorted(steps, key=lambda each: each[:2]):
        found = step()
        if found is not None:
            yield found


_Note = Callable[[float, int, Callable[[], Violation | None]], None]


def _note_updates(link: WireHistory, members: dict[str, _Member], note: _Note) -> None:
    asked: dict[int, PeerUpdate] = {}
    here, there = members[link.client], members[link.host]
    for event in link.events:
        match event:
            case Asked(message=MessageId.PEER_UPDATE, payload=PeerUpdate(taken=False) as update):
                asked[event.request] = update
                note(event.at_s, 0, lambda update=update: there.may_have(update))  # type: ignore[misc]
            case Answered(message=MessageId.PEER_UPDATE_TAKEN) if event.request in asked:
                update = asked[event.request]
                note(event.at_s, 2, lambda update=update, at_s=event.at_s: there.has(update, at_s))  # type: ignore[misc]
            case Told(payload=PeerUpdate() as update):
                note(event.at_s, 0, lambda update=update, at_s=event.at_s: here.has(update, at_s))  # type: ignore[misc]


def _note_restores(wire: WireHistory, member: _Member, log: MasterLog, note: _Note) -> None:
    asked: dict[int, tuple[Asked, _Stored | None, bool]] = {}

    def ask(event: Asked) -> None:
        id = event.payload.session
        asked[event.request] = event, member.taken.get(id), id in member.possible

    def answer(event: Answered, index: int) -> Violation | None:
        request, stored, was_possible = asked.pop(event.request, (None, None, False))
        if request is None:
            if event.message == MessageId.CLIENT_REGISTERED:
                member.possible.add(event.payload.session)
            return None
        id = request.payload.session
        is_possible = was_possible or id in member.possible
        what = ""
        if event.message == MessageId.CLIENT_REGISTERED:
            if not is_possible:
                what = "a session was restored that the member cannot know"
            member.possible.add(id)
            member.taken.pop(id, None)
        elif event.payload.code == ErrorCode.HISTORY_LOG_EXPIRED:
            if stored is not None and member.taken.get(id) == stored and _is_due(stored, request, event, log):
                what = (
                    f"error 27 for a session that the member had been told of when it took over at {stored.since_s:.3f}"
                )
        elif not is_possible and not event.payload.retry_after_ms:
            what = f"a session that the member cannot know is refused with {event.payload}, not with error 27"
        return Violation(_RESTORE, str(wire), what, index) if what else None

    for index, event in enumerate(wire.events):
        if isinstance(event, Asked) and event.message == MessageId.RESTORE_SESSION:
            note(event.at_s, 3, lambda event=event: ask(event))  # type: ignore[misc]
        elif isinstance(event, Answered) and event.last:
            note(event.at_s, 4, lambda event=event, index=index: answer(event, index))  # type: ignore[misc]


def _is_due(stored: _Stored, request: Asked, event: Answered, log: MasterLog) -> bool:
    """Whether the restore of a stored session must succeed."""
    if stored.interests is None or event.at_s - stored.since_s > RESTORED_WITHIN_S:
        return False
    if request.position.epoch and not all(each.is_valid(request.position) for each in log.histories):
        return False  # it may be of a history that has ended
    relied_on = request.payload.subscriptions or []
    return {each.interest for each in relied_on} <= stored.interests


# one server for each session


def check_one_server(wires: Sequence[WireHistory]) -> Iterator[Violation]:
    """P19: where a session has been restored at one member, nothing comes for it from the other any more."""
    served: dict[str, list[tuple[float, WireHistory]]] = {}
    for wire in wires:
        for event in wire.events:
            if isinstance(event, Answered) and event.message == MessageId.CLIENT_REGISTERED:
                served.setdefault(event.payload.session, []).append((event.at_s, wire))
    for places in served.values():
        for at_s, wire in places:
            for since_s, other in places:
                if other.host == wire.host or since_s < at_s:
                    continue
                later = next(
                    (n for n, each in enumerate(wire.events) if each.at_s > since_s and not isinstance(each, Ended)),
                    None,
                )
                if later is not None:
                    what = f"it goes on after the session was restored on {other} at {since_s:.3f}"
                    yield Violation(_RESTORE, str(wire), what, later)


# the end


def check_end(history: History, wires: Sequence[WireHistory], members: set[str]) -> Iterator[Violation]:
    """P20 and P24: one serves in the end, all clients are there, and the other knows all their sessions."""
    if not history.is_quiet_at_end or not members:
        return
    finals = {final.name: final for final in history.pair_finals}
    roles = {name: finals[name].role.value if name in finals else "not there" for name in sorted(members)}
    if sorted(roles.values()) != [Role.PRIMARY.value, Role.STANDBY.value]:
        yield Violation("P20 both primaries", "the pair", f"in the end its members are {roles}")
        return
    primary, standby = sorted(finals.values(), key=lambda final: final.role is not Role.PRIMARY)
    wrong = [id for id, interests in primary.sessions.items() if standby.sessions.get(id) != interests]
    if wrong:
        what = f"it does not know {len(wrong)} of the {len(primary.sessions)} sessions of {primary.name} as they are"
        yield Violation("P24 liveness", standby.name, what)
    for wire in wires:
        if wire.host == standby.name and is_client_at(wire, standby.at_s):
            yield Violation("P24 liveness", str(wire), f"a client is still at {standby.name}, which does not serve")


def is_client_at(wire: WireHistory, at_s: float) -> bool:
    """Whether a client is registered over this connection then."""
    before = [event for event in wire.events if event.at_s < at_s]
    return any(
        isinstance(event, Answered) and event.message == MessageId.CLIENT_REGISTERED for event in before
    ) and not any(isinstance(event, Ended) for event in before)
