"""The table of who sends what: complete, and without contradictions."""

from __future__ import annotations

from csproxy.transport.wire.exchanges import (
    ANSWERS,
    IMPLEMENTED_REQUESTS,
    NOT_FROM_CLIENTS,
    PARTS,
    REGISTRATIONS,
    UNASKED,
    message_name,
)
from csproxy.transport.wire.messages import PAYLOADS, MessageId
from csproxy.transport.wire.notifications import NOTIFICATIONS


def test_every_message_is_a_request_or_comes_from_servers() -> None:
    assert set(ANSWERS) | NOT_FROM_CLIENTS == set(map(int, MessageId))
    assert not set(ANSWERS) & NOT_FROM_CLIENTS


def test_every_implemented_request_and_its_answers_have_payloads() -> None:
    assert set(ANSWERS) >= IMPLEMENTED_REQUESTS
    for request in IMPLEMENTED_REQUESTS:
        assert {request} | ANSWERS[request] <= set(PAYLOADS)


def test_the_special_sets_are_what_they_say() -> None:
    assert set(ANSWERS) >= REGISTRATIONS
    assert UNASKED >= NOTIFICATIONS
    assert all(any(part in answers for answers in ANSWERS.values()) for part in PARTS)


def test_names_are_those_of_the_documents() -> None:
    assert message_name(10) == "ReadObjects (10)"
    assert message_name(103) == "RegisterClient2 (103)"
    assert message_name(4711) == "message 4711"
