"""In which order a client gets what two of its subscriptions bring."""

from __future__ import annotations

from csproxy.core.changes import Action, Position
from csproxy.transport.channel import HIGH_WATER_BYTES
from csproxy.transport.wire.frames import FLAG_HISTORY
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.subscriptions import RegisterNotification
from tests.transport.manual import EPOCH, Client, application, manual_server, transaction

SKILL, CODE = 13, 14


def item(dbid: int) -> dict[str, object]:
    return {"DBID": dbid, "tenantDBID": 1, "name": f"object {dbid}", "state": 1}


def test_what_is_due_under_an_earlier_subscription_comes_before_the_answer_that_opens_a_replay() -> None:
    server, _ = manual_server([(9, application(200, "client"))])
    client = Client(server, "client")
    client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=CODE))
    client.answer(MessageId.NOTIFICATION_REGISTERED)
    server.publish(transaction(1, (Action.CREATED, SKILL, item(1), None)))
    client.receive_all()
    client.frames.clear()

    server.publish(transaction(2, (Action.CREATED, CODE, item(2), None)))  # not sent yet
    client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(), minimum=Position(EPOCH, 0))
    server.publish(transaction(3, (Action.CREATED, CODE, item(3), None)))
    client.receive_all()

    came = [(MessageId(frame.message).name, frame.uen, bool(frame.flags & FLAG_HISTORY)) for frame in client.frames]
    assert came == [
        ("OBJECT_CREATED", 2, False),
        ("NOTIFICATION_REGISTERED", 2, False),
        ("OBJECT_CREATED", 1, True),
        ("OBJECT_CREATED", 2, True),
        ("PROGRESS_MARK", 2, False),
        ("OBJECT_CREATED", 3, False),
    ]


def test_a_mark_that_a_parked_client_missed_reaches_it_when_it_has_caught_up() -> None:
    server, turns = manual_server([(9, application(200, "client"))])
    client = Client(server, "client")
    client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=SKILL))
    client.answer(MessageId.NOTIFICATION_REGISTERED)
    large = {**item(1), "userProperties": {"section": {"filler": "x" * 2 * HIGH_WATER_BYTES}}}
    server.publish(transaction(1, (Action.CREATED, SKILL, large, None)))
    turns.run_all()  # more than the channel takes: the client is parked
    server.publish(transaction(2, (Action.CREATED, CODE, item(2), None)))
    server.fan_out.mark(server.position)
    turns.run_all()

    came = [(MessageId(frame.message).name, frame.uen) for frame in client.receive_all()]
    assert came == [("OBJECT_CREATED", 1), ("PROGRESS_MARK", 2)]
