"""The checker on warm-standby pairs: who takes clients, which sessions are restored, and how it stands in the end."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.changes import Position
from csproxy.core.standby import Role
from csproxy.errors import ErrorCode
from csproxy.testing.checker_pairs import RESTORED_WITHIN_S, TAKEN_OVER_WITHIN_S, check_pairs
from csproxy.testing.histories import Answered, Asked, Ended, History, PairFinal, RoleTaken, Told, WireHistory
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.pairs import PeerNews, PeerSession, PeerUpdate
from csproxy.transport.wire.payload import Empty, Error
from csproxy.transport.wire.registration import ClientRegistered, RegisterClient, RestoreSession
from csproxy.transport.wire.subscriptions import Subscription
from tests.testing.test_checker import LOG, NEW

FIRST, SECOND = "proxy1", "proxy2"
SKILLS = Subscription(object_type=13)
NOW = Position(NEW, 9)

ROLES = [
    RoleTaken(0.0, FIRST, Role.PRIMARY),
    RoleTaken(0.0, SECOND, Role.STANDBY),
    RoleTaken(20.0, FIRST, Role.STOPPED),
    RoleTaken(21.0, SECOND, Role.PRIMARY),
]
"""The first dies, and the second takes over."""


def session(*subscriptions: Subscription, id: str = "s") -> PeerSession:
    return PeerSession(id=id, application="client", application_dbid=101, type=107, subscriptions=list(subscriptions))


def told(at_s: float, **update: Any) -> Told:
    """The first tells the second."""
    return Told(at_s, PeerNews(**update))


def sent(at_s: float, request: int, **update: Any) -> Asked:
    """The second tells the first."""
    return Asked(at_s, request, MessageId.PEER_UPDATE, Position(0, 0), PeerUpdate(**update))


def taken(at_s: float, request: int) -> Answered:
    return Answered(at_s, request, MessageId.PEER_UPDATE_TAKEN, NOW, True, Empty())


def registers(at_s: float, *, answered_s: float, id: str = "s") -> list[Any]:
    request = RegisterClient(type=107, name="client")
    return [Asked(at_s, 1, MessageId.REGISTER_CLIENT, NOW, request), registered(answered_s, id)]


def registered(at_s: float, id: str = "s") -> Answered:
    return Answered(at_s, 1, MessageId.CLIENT_REGISTERED, NOW, True, ClientRegistered(session=id, protocol_version=1))


def asks_back(at_s: float, *relied_on: Subscription, id: str = "s") -> Asked:
    request = RestoreSession(type=107, name="client", session=id, subscriptions=list(relied_on))
    return Asked(at_s, 1, MessageId.RESTORE_SESSION, NOW, request)


def refused(at_s: float, code: ErrorCode = ErrorCode.HISTORY_LOG_EXPIRED, retry_after_ms: int = 0) -> Answered:
    error = Error(code=int(code), description="no", retry_after_ms=retry_after_ms)
    return Answered(at_s, 1, MessageId.ERROR, NOW, True, error)


def properties(*wires: WireHistory, roles: list[RoleTaken] = ROLES) -> list[str]:
    return [violation.property for violation in check_pairs(History(wires=list(wires), roles=roles), LOG)]


def link(*events: Any) -> WireHistory:
    return WireHistory(SECOND, 1, FIRST, list(events))


def at(host: str, *events: Any, number: int = 2) -> WireHistory:
    return WireHistory("client", number, host, list(events))


BROKEN = ["P19 restore in the pair"]


@pytest.mark.parametrize(
    ("host", "asked_s", "answered_s", "expected"),
    [
        (FIRST, 1.0, 2.0, []),
        (FIRST, 19.0, 25.0, []),
        (FIRST, 20.5, 25.0, BROKEN),
        (SECOND, 1.0, 20.9, BROKEN),
        (SECOND, 1.0, 21.1, []),
    ],
    ids=["serves", "served when asked", "has died", "not yet", "serves when it answers"],
)
def test_only_who_serves_takes_clients(host: str, asked_s: float, answered_s: float, expected: list[str]) -> None:
    assert properties(at(host, *registers(asked_s, answered_s=answered_s))) == expected


@pytest.mark.parametrize(
    ("follows", "quiet_from_s", "expected"),
    [
        (RoleTaken(21.0, SECOND, Role.PRIMARY), 10.0, []),
        (RoleTaken(20.1 + TAKEN_OVER_WITHIN_S, SECOND, Role.PRIMARY), 10.0, BROKEN),
        (RoleTaken(21.0, FIRST, Role.PRIMARY), 10.0, BROKEN),
        (RoleTaken(21.0, SECOND, Role.STOPPED), 10.0, []),
        (RoleTaken(50.0, SECOND, Role.PRIMARY), 30.0, []),
    ],
    ids=["in time", "late", "never", "ended, too", "in trouble"],
)
def test_a_standby_takes_over_in_time(follows: RoleTaken, quiet_from_s: float, expected: list[str]) -> None:
    history = History(roles=[*ROLES[:3], follows], quiet_from_s=quiet_from_s)
    assert [violation.property for violation in check_pairs(history, LOG)] == expected


KNOWN = told(5.0, first=True, sessions=[session(SKILLS)])


@pytest.mark.parametrize(
    ("events", "asked_s", "answer", "expected"),
    [
        ([KNOWN], 22.0, registered(22.1), []),
        ([KNOWN], 22.0, refused(22.1), BROKEN),
        ([KNOWN], 22.0, refused(22.1, ErrorCode.SERVER_NOT_FOUND, 500), []),
        ([KNOWN], 20.5, refused(22.1), []),
        ([KNOWN], 60.0, refused(21.1 + RESTORED_WITHIN_S), []),
        ([told(5.0, sessions=[session()])], 22.0, refused(22.1), []),
        ([KNOWN, told(6.0, dropped=["s"])], 22.0, refused(22.1), []),
        ([KNOWN, told(6.0, first=True)], 22.0, refused(22.1), []),
        ([KNOWN, told(21.5, sessions=[session()])], 22.0, refused(22.1), BROKEN),
        ([], 22.0, refused(22.1), []),
        ([], 22.0, registered(22.1), BROKEN),
        ([], 22.0, refused(22.1, ErrorCode.ACCESS_DENIED), BROKEN),
        ([], 22.0, refused(22.1, ErrorCode.SERVER_NOT_FOUND, 500), []),
    ],
    ids=[
        "restored",
        "known and refused",
        "asked to come again",
        "asked before it served",
        "long after",
        "fewer subscriptions were told",
        "dropped",
        "begun anew",
        "what comes after the takeover changes nothing",
        "unknown",
        "unknown and restored",
        "unknown and refused by another name",
        "unknown and asked to come again",
    ],
)
def test_what_was_told_is_restored_and_the_rest_refused_by_name(
    events: list[Any], asked_s: float, answer: Answered, expected: list[str]
) -> None:
    assert properties(link(*events), at(SECOND, asks_back(asked_s, SKILLS), answer)) == expected


def test_a_position_that_is_not_of_every_history_may_be_refused() -> None:
    answer = refused(22.1)
    ahead = asks_back(22.0, SKILLS)._replace(position=Position(NEW, LOG.head + 1))
    assert properties(link(KNOWN), at(SECOND, ahead, answer)) == []
    nowhere = asks_back(22.0, SKILLS)._replace(position=Position(0, 0))
    assert properties(link(KNOWN), at(SECOND, nowhere, answer)) == BROKEN


BACK = [
    RoleTaken(0.0, SECOND, Role.PRIMARY),
    RoleTaken(0.0, FIRST, Role.STANDBY),
    RoleTaken(20.0, SECOND, Role.STOPPED),
    RoleTaken(21.0, FIRST, Role.PRIMARY),
]
"""The same the other way round: what the second sends has certainly arrived when it is answered."""
SENT = sent(5.0, 1, sessions=[session(SKILLS)])


@pytest.mark.parametrize(
    ("events", "answer", "expected"),
    [
        ([SENT, taken(5.1, 1)], refused(22.1), BROKEN),
        ([SENT], refused(22.1), []),
        ([SENT], registered(22.1), []),
        ([SENT, taken(5.1, 1), sent(6.0, 2, dropped=["s"])], refused(22.1), []),
        ([SENT, taken(5.1, 1), sent(6.0, 2, sessions=[session()])], refused(22.1), []),
    ],
    ids=["taken", "perhaps lost", "perhaps arrived", "perhaps dropped", "perhaps with fewer subscriptions"],
)
def test_what_is_under_way_may_have_arrived(events: list[Any], answer: Answered, expected: list[str]) -> None:
    assert properties(link(*events), at(FIRST, asks_back(22.0, SKILLS), answer), roles=BACK) == expected


def test_what_the_younger_of_two_primaries_hands_over_is_restored_at_the_elder() -> None:
    roles = [RoleTaken(0.0, FIRST, Role.PRIMARY), RoleTaken(0.0, SECOND, Role.PRIMARY)]
    roles.append(RoleTaken(4.0, SECOND, Role.STANDBY))
    handed = [sent(5.0, 1, sessions=[session(SKILLS)], leaves=True), taken(5.1, 1)]
    back = at(FIRST, asks_back(6.0, SKILLS), refused(6.1))
    assert properties(link(*handed), back, roles=roles) == BROKEN
    assert properties(link(handed[0]), back, roles=roles) == []


def test_what_a_process_knew_ends_with_it() -> None:
    roles = [RoleTaken(0.0, FIRST, Role.PRIMARY), RoleTaken(3.0, FIRST, Role.STOPPED)]
    roles.append(RoleTaken(4.0, FIRST, Role.PRIMARY))
    own = at(FIRST, *registers(1.0, answered_s=1.1), Ended(3.0, "reset"))
    back = at(FIRST, asks_back(5.0), registered(5.1), number=3)
    assert properties(own, back, roles=roles) == BROKEN
    assert properties(own, back, roles=roles[:1]) == []


def test_a_session_is_served_at_one_place() -> None:
    mark = Answered(23.0, 2, MessageId.OBJECTS_SENT, NOW, True, Empty())
    before = registers(1.0, answered_s=1.1)
    after = at(SECOND, asks_back(22.0), registered(22.5), number=3)
    known = link(told(5.0, sessions=[session()]))
    assert properties(known, at(FIRST, *before, Ended(23.0, "")), after) == []
    assert properties(known, at(FIRST, *before, mark), after) == BROKEN


def ended(first: PairFinal | None, second: PairFinal | None, *wires: WireHistory) -> list[str]:
    finals = [final for final in (first, second) if final is not None]
    history = History(wires=list(wires), roles=ROLES, pair_finals=finals, is_quiet_at_end=True)
    return [violation.property for violation in check_pairs(history, LOG)]


def standing(name: str, role: Role, *sessions: str) -> PairFinal:
    return PairFinal(30.0, name, role, {id: frozenset({SKILLS.interest}) for id in sessions})


def test_in_the_end_one_serves_and_the_other_knows_its_sessions() -> None:
    standby, primary = standing(FIRST, Role.STANDBY, "s", "old"), standing(SECOND, Role.PRIMARY, "s")
    assert ended(standby, primary) == []
    assert ended(standing(FIRST, Role.PRIMARY, "s"), primary) == ["P20 both primaries"]
    assert ended(standing(FIRST, Role.SEEKING), primary) == ["P20 both primaries"]
    assert ended(None, primary) == ["P20 both primaries"]
    assert ended(standing(FIRST, Role.STANDBY, "old"), primary) == ["P24 liveness"]
    assert ended(PairFinal(30.0, FIRST, Role.STANDBY, {"s": frozenset()}), primary) == ["P24 liveness"]


def test_in_the_end_no_client_is_at_the_standby() -> None:
    standby, primary = standing(FIRST, Role.STANDBY, "s"), standing(SECOND, Role.PRIMARY, "s")
    there = registers(1.0, answered_s=1.1)
    assert ended(standby, primary, at(FIRST, *there)) == ["P24 liveness"]
    assert ended(standby, primary, at(FIRST, *there, Ended(2.0, ""))) == []
    assert ended(standby, primary, at(FIRST, *there, Ended(31.0, "the run is over"))) == ["P24 liveness"]
    assert ended(standby, primary, at(FIRST, there[0], refused(1.1))) == []


def test_without_pairs_there_is_nothing_to_say() -> None:
    assert properties(at(FIRST, asks_back(1.0), registered(1.1)), roles=[]) == []
