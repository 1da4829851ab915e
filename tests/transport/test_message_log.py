"""Trace events of messages: their names, and none of their contents."""

from __future__ import annotations

import logging

import pytest

from csproxy.transport.message_log import TRACE, is_wanted
from csproxy.transport.wire.frames import encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects
from tests.transport.manual import Client, application, manual_server

SECRET = "geheim"


def test_messages_and_objects_are_told_at_trace_level(caplog: pytest.LogCaptureFixture) -> None:
    server, _ = manual_server([(9, application(101, "one")), (9, application(102, "two"))])
    with caplog.at_level(TRACE, "csproxy"):
        client = Client(server, "one")
        client.request(MessageId.READ_OBJECTS, ReadObjects(type=9, filter={"dbid": 102}))
        client.request(MessageId.READ_OBJECTS, ReadObjects(type=9, filter={}))
        client.request(MessageId.READ_OBJECTS, ReadObjects(type=9, filter={"name": SECRET}))
        client.receive_all()
    told = [
        (entry.__dict__["event"], entry.getMessage().partition(" from ")[0].partition(" to ")[0])
        for entry in caplog.records
        if entry.__dict__.get("event") in (4520, 4541, 4542, 24215)
    ]
    assert told[0] == (4520, "client connected: by hand at port default")
    assert (4541, "RegisterClient (3)") in told
    assert (4542, "ClientRegistered (19)") in told
    assert [text for number, text in told if number == 24215] == [
        "1 objects of type CfgApplication sent",
        "2 objects of type CfgApplication sent",
        "0 objects of type CfgApplication sent",
    ]
    assert SECRET not in caplog.text


def test_nothing_is_told_unless_it_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    server, _ = manual_server([(9, application(101, "one"))])
    with caplog.at_level(logging.INFO, "csproxy"):
        assert not is_wanted()
        client = Client(server, "one")
        client.request(MessageId.READ_OBJECTS, ReadObjects(type=9, filter={}))
        client.receive_all()
    assert {entry.__dict__.get("event") for entry in caplog.records} <= {4522, None}


def test_a_message_that_is_not_known_is_told_by_its_number(caplog: pytest.LogCaptureFixture) -> None:
    server, _ = manual_server([(9, application(101, "one"))])
    client = Client(server, "one")
    with caplog.at_level(TRACE, "csproxy"):
        client.channel.deliver(encode_frame(999, b"", request=9))
    assert "message 999 from " in caplog.text
