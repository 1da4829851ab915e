"""The checker on what a client is shown over all its connections, one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.changes import Position
from csproxy.errors import ErrorCode
from csproxy.testing.checker_monotonic import check_monotonic, check_positions
from csproxy.testing.histories import Answered, Asked, Restarted, WireHistory
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import Empty, Error
from csproxy.transport.wire.reads import ObjectsSent, ReadObjects
from tests.testing.test_checker import LOG, SKILL, at


def asked(at_s: float, since: int, message: MessageId = MessageId.READ_OBJECTS, snapshot: int = 0) -> Asked:
    payload = ReadObjects(type=SKILL, snapshot=snapshot) if message == MessageId.READ_OBJECTS else Empty()
    return Asked(at_s, round(at_s * 10), message, at(since) if since else Position(0, 0), payload)


def shown(at_s: float, asked_s: float, uen: int, message: MessageId = MessageId.OBJECTS_SENT) -> Answered:
    return Answered(at_s, round(asked_s * 10), message, at(uen), True, ObjectsSent(total=0))


def expired(at_s: float, asked_s: float) -> Answered:
    error = Error(code=int(ErrorCode.HISTORY_LOG_EXPIRED))
    return Answered(at_s, round(asked_s * 10), MessageId.ERROR, at(5), True, error)


READ = [asked(1, 1), shown(2, 1, 5)]
WRITE = [asked(1, 0, MessageId.DELETE_OBJECT), shown(2, 1, 5, MessageId.OBJECT_DELETED)]
OLDER = [asked(3, 4), shown(4, 3, 4)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (READ, [asked(3, 5), shown(4, 3, 5)], 0),
        (READ, OLDER, 1),
        (WRITE, OLDER, 1),
        (READ, [asked(3, 0), shown(4, 3, 4)], 0),
        (READ, [asked(3, 5, snapshot=7), shown(4, 3, 4)], 0),
        (READ, [asked(1.5, 4), shown(4, 1.5, 4)], 0),
        ([*READ, asked(2.1, 5), expired(2.2, 2.1)], OLDER, 0),
        (READ, [asked(3, 5), asked(3.2, 5), expired(3.3, 3.2), shown(4, 3, 4)], 0),
    ],
    ids=[
        "the same",
        "older than a read",
        "older than a write",
        "a read that says nothing",
        "a snapshot",
        "asked before",
        "the place was lost",
        "the place is lost meanwhile",
    ],
)
def test_what_is_shown_does_not_go_back_from_server_to_server(
    first: list[Any], second: list[Any], expected: int
) -> None:
    wires = [WireHistory("client", 1, "proxy1", first), WireHistory("client", 2, "proxy2", second)]
    assert [each.property for each in check_monotonic(wires, LOG)] == ["P9 monotonic"] * expected
    other = WireHistory("another", 2, "proxy2", second)
    assert list(check_monotonic([wires[0], other], LOG)) == []
    assert list(check_monotonic(wires, LOG, [Restarted(second[0].at_s, "client")])) == [], "it knows nothing any more"
    elsewhere = [Restarted(second[0].at_s, "another"), Restarted(9.0, "client")]
    assert len(list(check_monotonic(wires, LOG, elsewhere))) == expected


@pytest.mark.parametrize(
    ("message", "answer", "expected"),
    [
        (MessageId.RESTORE_SESSION, MessageId.CLIENT_REGISTERED, 1),
        (MessageId.HISTORY_LOG, MessageId.HISTORY_LOG_SENT, 1),
        (MessageId.RESUME_FROM, MessageId.HISTORY_LOG_SENT, 1),
        (MessageId.REGISTER_NOTIFICATION, MessageId.NOTIFICATION_REGISTERED, 1),
        (MessageId.DELETE_OBJECT, MessageId.OBJECT_DELETED, 0),
    ],
)
def test_who_comes_back_with_a_position_is_answered_where_it_is_reached(
    message: MessageId, answer: MessageId, expected: int
) -> None:
    def broken(*events: Any) -> list[str]:
        return [each.property for each in check_positions(WireHistory("client", 1, "proxy1", list(events)), LOG)]

    assert broken(asked(1, 5, message), shown(2, 1, 4, answer)) == ["P9 monotonic"] * expected
    assert broken(asked(1, 5, message), shown(2, 1, 5, answer)) == []
    assert broken(asked(1, 5, message), expired(2, 1)) == []
    assert broken(asked(1, 0, message), shown(2, 1, 4, answer)) == []
