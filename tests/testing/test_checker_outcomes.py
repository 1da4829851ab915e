"""The checker's rules of what writers are told (P11), and of what comes before the log-in (P23)."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.changes import Action, Epoch, Position
from csproxy.testing.checker import MasterLog, check
from csproxy.testing.histories import (
    Answered,
    Asked,
    Delivered,
    Ended,
    History,
    Marked,
    Notified,
    Outcome,
    WireHistory,
    WriteRecord,
)
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import Empty, Error, OnBehalfOf
from csproxy.transport.wire.reads import ObjectsSent, Status
from csproxy.transport.wire.registration import ClientRegistered, ProtocolVersionRead
from csproxy.transport.wire.writes import CreateObject

AT = Position(7, 0)
LOG = MasterLog({}, {}, [], [Epoch(7, 1)])
TAKEN = Answered(
    0.0, 1, MessageId.CLIENT_REGISTERED, AT, True, ClientRegistered(session="s", protocol_version=1, epochs=[(7, 1)])
)
REFUSAL, DOUBT = Error(code=20), Error(code=42, outcome_unknown=True)
CLIENT = OnBehalfOf(application="c")


def sends(at_s: float, request: int = 2, *, forwarded: bool = False) -> Asked:
    payload = CreateObject(type=13, object={}, key="k", on_behalf_of=CLIENT if forwarded else None)
    return Asked(at_s, request, MessageId.CREATE_OBJECT, AT, payload)


def says(at_s: float, error: Error, request: int = 2) -> Answered:
    return Answered(at_s, request, MessageId.ERROR, AT, True, error)


def attempt(began_s: float, at_s: float, outcome: Outcome) -> WriteRecord:
    return WriteRecord(at_s, "c", Action.CREATED, 13, 0, "token-1-", outcome, AT, "k", began_s)


def properties(history: History) -> list[str]:
    return [violation.property.split()[0] for violation in check(history, LOG)]


def told(attempts: list[WriteRecord], *events: Any) -> list[str]:
    return properties(History(wires=[WireHistory("c", 1, "p", [TAKEN, *events])], writes=attempts))


REFUSED, UNKNOWN = attempt(1, 5, Outcome.REFUSED), attempt(1, 5, Outcome.UNKNOWN)
AGAIN = attempt(5, 9, Outcome.UNKNOWN)


@pytest.mark.parametrize(
    ("attempts", "events", "expected"),
    [
        ([REFUSED], [sends(2), says(3, REFUSAL)], []),
        ([UNKNOWN], [sends(2), says(3, DOUBT)], []),
        ([UNKNOWN], [sends(2), Ended(5, "lost")], []),
        ([UNKNOWN], [sends(2), says(6, REFUSAL)], []),
        ([UNKNOWN], [], []),
        ([UNKNOWN, AGAIN], [sends(2), sends(5, 3), Ended(9, "lost")], []),
        ([UNKNOWN, AGAIN], [sends(6), Ended(9, "lost")], []),
        ([UNKNOWN], [sends(2), says(3, REFUSAL)], ["P11"]),
        ([REFUSED], [sends(2), says(3, DOUBT)], ["P11"]),
        ([REFUSED], [sends(2), Ended(3, "lost")], ["P11"]),
        ([UNKNOWN], [sends(2), sends(3, 3)], ["P11"]),
        ([attempt(1, 5, Outcome.ACKNOWLEDGED)], [], ["G11", "P11"]),
    ],
)
def test_a_writer_is_told_what_its_server_said(
    attempts: list[WriteRecord], events: list[Any], expected: list[str]
) -> None:
    assert told(attempts, *events) == expected


@pytest.mark.parametrize(("times", "expected"), [(0, []), (1, []), (2, ["P11"])])
def test_a_replica_forwards_a_write_once(times: int, expected: list[str]) -> None:
    asked = WireHistory("c", 1, "p", [TAKEN, sends(2)])
    forwarded = [WireHistory("p", n, "master", [TAKEN, sends(3 + n, forwarded=True)]) for n in range(times)]
    assert properties(History(wires=[asked, *forwarded])) == expected


VERSION = Answered(0.0, 1, MessageId.PROTOCOL_VERSION_READ, Position(0, 0), True, ProtocolVersionRead(version=1))
STATUS = Answered(0.0, 2, MessageId.STATUS, AT, True, Status())
READ = Answered(0.0, 2, MessageId.OBJECTS_SENT, AT, True, ObjectsSent())
CHANGE = Notified(0.0, Delivered(AT, Action.DELETED, 13, 1, True, False, b"", True))


@pytest.mark.parametrize("data", [STATUS, READ, CHANGE, Marked(0.0, AT)], ids=["status", "read", "change", "mark"])
def test_data_before_the_log_in_are_found(data: Any) -> None:
    wires = [WireHistory("c", 1, "p", [VERSION, says(0, REFUSAL), data, TAKEN])]
    assert properties(History(wires=wires))[-1:] == ["P23"]


def test_versions_and_refusals_come_before_the_log_in() -> None:
    asked = Asked(0.0, 1, MessageId.REGISTER_CLIENT, AT, Empty())
    wires = [
        WireHistory("c", 1, "p", [VERSION, asked, says(0, REFUSAL), TAKEN, STATUS]),
        WireHistory("c", 2, "p", [VERSION, Ended(0.0, "refused")]),
    ]
    assert properties(History(wires=wires)) == []
