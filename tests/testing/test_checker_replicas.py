"""The checker on replicas that follow a master: who may load, when, and what is said of unconfirmed data."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.changes import Action, Position
from csproxy.errors import ErrorCode
from csproxy.testing.checker_replicas import check_replicas
from csproxy.testing.histories import (
    Announced,
    Answered,
    Asked,
    Began,
    Delivered,
    History,
    Marked,
    Notified,
    WireHistory,
)
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import Empty, Error
from csproxy.transport.wire.registration import ClientRegistered
from csproxy.transport.wire.replication import LoadGranted

OLD, NEW = 11, 22
NONE = Position(0, 0)
TABLE = [(OLD, 1), (NEW, 7)]


def registered(at_s: float) -> Answered:
    payload = ClientRegistered(session="s", protocol_version=1, epochs=TABLE)
    return Answered(at_s, 1, MessageId.CLIENT_REGISTERED, Position(NEW, 9), True, payload)


def asked(at_s: float, request: int, message: MessageId) -> Asked:
    return Asked(at_s, request, message, NONE, Empty())


def done(at_s: float, request: int, message: MessageId) -> Answered:
    return Answered(at_s, request, message, Position(NEW, 9), True, Empty())


def refused(at_s: float, request: int) -> Answered:
    error = Error(code=int(ErrorCode.HISTORY_LOG_EXPIRED), description="gone")
    return Answered(at_s, request, MessageId.ERROR, Position(NEW, 9), True, error)


RESUMED = (asked(1, 2, MessageId.RESUME_FROM), done(2, 2, MessageId.HISTORY_LOG_SENT))
CHANGE = Notified(1.5, Delivered(Position(33, 6), Action.DELETED, 13, 101, True, True, b"", False))
"""Of an epoch that the table does not have."""
REFUSED = (asked(1, 2, MessageId.RESUME_FROM), refused(2, 2))


def loads(at_s: float) -> tuple[Asked, Answered]:
    granted = LoadGranted(snapshot=1, counts={}, epochs=TABLE)
    return asked(at_s, 3, MessageId.LOAD_BEGIN), Answered(
        at_s, 3, MessageId.LOAD_GRANTED, Position(NEW, 9), True, granted
    )


def properties(began: Position, *events: Any, delay_s: float = 0.0, announced: tuple[Announced, ...] = ()) -> list[str]:
    history = History(
        wires=[WireHistory("p", 1, "master", [registered(0.5), *events])],
        began=[Began(0.0, "p", began, delay_s)],
        announced=list(announced),
    )
    return [violation.property for violation in check_replicas(history)]


@pytest.mark.parametrize(
    ("began", "events", "expected"),
    [
        (NONE, loads(1), []),
        (Position(OLD, 6), loads(1), ["P17 herd"]),
        (Position(NEW, 8), loads(1), ["P17 herd"]),
        (Position(OLD, 7), loads(1), []),
        (Position(33, 7), loads(1), []),
        (Position(NEW, 8), (*REFUSED, *loads(3)), []),
        (Position(NEW, 8), (*RESUMED, *loads(3)), ["P17 herd"]),
    ],
    ids=["nothing yet", "resumable", "resumable now", "another history", "unknown epoch", "refused", "caught up"],
)
def test_who_can_resume_does_not_load(began: Position, events: tuple[Any, ...], expected: list[str]) -> None:
    assert properties(began, *events) == expected


@pytest.mark.parametrize(("brought", "expected"), [((), ["P17 herd"]), ((CHANGE,), [])])
def test_what_a_resume_brought_counts_although_it_was_cut_short(
    brought: tuple[Notified, ...], expected: list[str]
) -> None:
    """Here from a history that has ended since, so that everything must be loaded."""
    resuming = WireHistory("p", 1, "master", [registered(0.5), asked(1, 2, MessageId.RESUME_FROM), *brought])
    loading = WireHistory("p", 2, "master", [registered(2), *loads(3)])
    history = History(wires=[resuming, loading], began=[Began(0.0, "p", Position(OLD, 5), 0.0)])
    assert [violation.property for violation in check_replicas(history)] == expected


def test_who_has_loaded_goes_by_the_name_of_the_epoch_that_began_there() -> None:
    ends = asked(3, 4, MessageId.LOAD_END), Answered(3, 4, MessageId.LOAD_ENDED, Position(OLD, 6), True, Empty())
    loaded = WireHistory("p", 1, "master", [registered(0.5), *loads(2), *ends, Marked(3, Position(OLD, 6), False)])
    other = ClientRegistered(session="s", protocol_version=1, epochs=[(OLD, 1), (33, 7)])  # the database was put back
    again = Answered(4, 1, MessageId.CLIENT_REGISTERED, Position(33, 8), True, other)
    later = WireHistory("p", 2, "master", [again, *loads(5)])
    history = History(wires=[loaded, later], began=[Began(0.0, "p", NONE, 0.0)])
    assert list(check_replicas(history)) == []


def test_a_reload_waits_for_its_delay() -> None:
    assert properties(Position(NEW, 8), *REFUSED, *loads(4.5), delay_s=3.0) == ["P18 upstream herd"]
    assert properties(Position(NEW, 8), *REFUSED, *loads(5.0), delay_s=3.0) == []
    assert properties(Position(33, 8), *loads(3.0), delay_s=3.0) == ["P18 upstream herd"]
    assert properties(NONE, *loads(1), delay_s=3.0) == []


@pytest.mark.parametrize(
    ("announced", "expected"),
    [
        ((Announced(0.7, "p", True), Announced(2.5, "p", False)), []),
        ((Announced(0.7, "p", False),), ["P22 honest copy"]),
        ((Announced(2.5, "p", True),), ["P22 honest copy"]),
    ],
    ids=["honest", "too early", "too late"],
)
def test_a_copy_is_announced_until_a_master_confirms_it(announced: tuple[Announced, ...], expected: list[str]) -> None:
    assert properties(Position(NEW, 8), *RESUMED, announced=announced) == expected


def test_data_of_a_master_is_not_announced_as_a_copy() -> None:
    assert properties(NONE, announced=(Announced(1.0, "p", True),)) == ["P22 honest copy"]
