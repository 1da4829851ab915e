"""The checker across the end of a history: the operator put back an older copy of the database."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from csproxy.core.changes import Action, Change, Epoch, Position
from csproxy.core.subscriptions import EVERY_RECORD, Interest
from csproxy.testing.checker import MasterLog, check
from csproxy.testing.histories import (
    Answered,
    Arrived,
    Asked,
    Delivered,
    History,
    Marked,
    Notified,
    Outcome,
    Reached,
    ReadRecord,
    Started,
    StreamHistory,
    WireHistory,
    WriteRecord,
)
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.notifications import encode_notification
from csproxy.transport.wire.payload import Empty
from csproxy.transport.wire.reads import ObjectsSent, ReadObjects
from csproxy.transport.wire.registration import ClientRegistered
from csproxy.transport.wire.subscriptions import RegisterNotification
from tests.testing.test_checker import LOG, NEW, OLD, SKILL, STEPS, Step, committed, payload_of, stored

RESTORED = 33
FORK = 4
"""The copy was made at this UEN."""
AFTER: list[Step] = [(Action.CREATED, SKILL, 102, "token-9-", True)]


def after_restore(uen: int, steps: Sequence[Step]) -> Change:
    position = Position(RESTORED, uen)
    action, kind, dbid, token, last = steps[uen - 1]
    payload = payload_of(action, kind, dbid, token)
    frame = encode_notification(action, payload, position=position, last=last)
    return replace(committed(uen, steps), position=position, frame=frame)


STEPS_AFTER = [*STEPS[:FORK], *AFTER]
BOTH = MasterLog(
    {(SKILL, 100): stored(SKILL, 100), (22, SKILL): LOG.at((22, SKILL), 0) or b""},
    {(SKILL, 100): SKILL, (22, SKILL): 0},
    [*(committed(uen) for uen in range(1, FORK + 1)), after_restore(FORK + 1, STEPS_AFTER)],
    [Epoch(OLD, 1), Epoch(RESTORED, FORK + 1)],
    earlier=[LOG],
)
LOST = Position(NEW, 9)
"""A position that is only in the history that ended."""
NEWER = Position(RESTORED, FORK + 1)


def difference(action: Action, dbid: int, token: str, *, last: bool) -> Delivered:
    payload = payload_of(action, SKILL, dbid, token, time_ms=0, whole=True)
    return Delivered(NEWER, action, SKILL, dbid, last, False, payload, True)


NET = (
    difference(Action.UPDATED, 101, "token-3-", last=False),
    difference(Action.DELETED, 103, "", last=False),
    difference(Action.CREATED, 102, "token-9-", last=True),
)
"""From the state of skills at the end of the one history to that of the other."""


def following(*events: Arrived | Reached) -> History:
    return History(streams=[StreamHistory("c", 1, Interest(SKILL), [Started(0.0, LOST, None), *events], False)])


def written(position: Position, token: str, outcome: Outcome) -> History:
    return History(writes=[WriteRecord(0.0, "c", Action.CREATED, SKILL, 103, token, outcome, position)])


def properties(history: History) -> list[str]:
    return [violation.property for violation in check(history, BOTH)]


def test_the_net_difference_leads_into_the_new_history() -> None:
    assert properties(following(Arrived(0.0, NEWER, NET))) == []


@pytest.mark.parametrize(
    "event",
    [Arrived(0.0, NEWER, NET[:1] + NET[2:]), Reached(0.0, NEWER), Arrived(0.0, NEWER, ())],
    ids=["a deletion is missing", "only a mark", "nothing"],
)
def test_less_than_the_net_difference_does_not(event: Arrived | Reached) -> None:
    assert properties(following(event)) == ["P28 epoch"]


def test_changes_of_the_new_history_do_not_follow_those_of_the_old_one() -> None:
    change = Delivered.of(after_restore(FORK + 1, STEPS_AFTER), from_history=False)
    assert "P28 epoch" in properties(following(Arrived(0.0, NEWER, (change,))))


def test_a_stream_from_before_the_copy_goes_on() -> None:
    change = Delivered.of(after_restore(FORK + 1, STEPS_AFTER), from_history=False)
    events = [Started(0.0, Position(OLD, FORK), None), Arrived(0.0, NEWER, (change,))]
    assert properties(History(streams=[StreamHistory("c", 1, Interest(SKILL), list(events), False)])) == []


@pytest.mark.parametrize(("token", "wrong"), [("token-3-", []), ("token-9-", ["P28 epoch"])])
def test_a_server_that_was_further_on_may_tell_again_what_its_client_has(token: str, wrong: list[str]) -> None:
    """The client stands where the copy was made: it was told nothing of what its server takes back."""
    back = Position(RESTORED, FORK)
    change = Delivered(
        back, Action.UPDATED, SKILL, 101, True, False, payload_of(Action.UPDATED, SKILL, 101, token, whole=True), True
    )
    stands = Position(OLD, FORK)
    subscribed = Asked(0.0, 1, MessageId.REGISTER_NOTIFICATION, Position(0, 0), RegisterNotification(object_type=SKILL))
    events = [
        Asked(0.0, 50, MessageId.REGISTER_CLIENT, Position(0, 0), Empty()),
        Answered(0.0, 50, MessageId.CLIENT_REGISTERED, stands, True, ClientRegistered(session="s", protocol_version=1)),
        subscribed,
        Answered(0.0, 1, MessageId.NOTIFICATION_REGISTERED, stands, True, Empty()),
        Marked(0.0, stands),
        Notified(0.0, change),
        Marked(0.0, back),
    ]
    followed = [Started(0.0, stands, None), Arrived(0.0, back, (change,))]
    history = History(
        streams=[StreamHistory("c", 1, Interest(SKILL), list(followed), False)],
        wires=[WireHistory("c", 1, "p", list(events))],
    )
    assert properties(history) == wrong


def test_a_write_that_was_acknowledged_before_may_be_lost_and_none_after() -> None:
    assert properties(written(Position(NEW, 8), "token-6-", Outcome.ACKNOWLEDGED)) == []
    assert properties(written(Position(NEW, 8), "token-8-", Outcome.ACKNOWLEDGED)) == ["G11 durable"]
    assert properties(written(NEWER, "token-6-", Outcome.ACKNOWLEDGED)) == ["G11 durable"]
    assert properties(written(Position(44, 5), "token-6-", Outcome.ACKNOWLEDGED)) == ["G11 durable"]
    assert properties(written(NEWER, "token-6-", Outcome.REFUSED)) == ["P11 outcome"]


def test_a_read_of_the_new_history_does_not_follow_what_was_seen_of_the_old_one() -> None:
    objects = {100: stored(SKILL, 100), 101: stored(SKILL, 101, "token-3-"), 102: stored(SKILL, 102, "token-9-")}

    def read(seen: Position) -> History:
        return History(reads=[ReadRecord(0.0, "c", SKILL, {}, seen, NEWER, objects)])

    assert properties(read(Position(0, 0))) == []
    assert properties(read(Position(OLD, FORK))) == []
    assert properties(read(LOST)) == ["P28 epoch"]


def test_a_server_does_not_answer_what_was_asked_for_as_of_another_history() -> None:
    asked = Asked(0.0, 1, MessageId.READ_OBJECTS, LOST, ReadObjects(type=SKILL))
    answered = Answered(0.0, 1, MessageId.OBJECTS_SENT, NEWER, True, ObjectsSent(total=0))
    assert "P28 epoch" in properties(History(wires=[WireHistory("c", 1, "p", [asked, answered])]))


def test_only_who_asks_for_security_records_is_told_of_them() -> None:
    skill, record = (SKILL, 100), (1000 + SKILL, 100)
    log = MasterLog({skill: stored(SKILL, 100), record: b"\x80"}, {skill: 0, record: 0}, [], [Epoch(OLD, 1)])
    assert log.state(0, Interest()).objects.keys() == log.state(0, Interest(tenant_id=1)).objects.keys() == {skill}
    assert log.state(0, EVERY_RECORD).objects.keys() == {record}
    assert log.whole(0).objects.keys() == {skill, record}


def test_a_change_of_an_epoch_that_had_ended_is_a_second_writer() -> None:
    changes = [committed(uen) for uen in range(1, 10)]
    late = replace(changes[7], position=Position(OLD, 8))
    start = LOG.state(0, Interest())
    log = MasterLog(start.objects, start.folders, [*changes[:7], late, changes[8]], LOG.epochs)
    assert [violation.property for violation in check(History(), log)] == ["P20 one writer"]
