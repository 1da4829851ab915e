"""Events of changes: what was changed, by whom, at which level."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.daemon.change_events import tell_changes
from csproxy.daemon.log_format import JsonFormatter
from tests.transport.manual import EPOCH, application, manual_server, transaction

APPLICATION, PERSON, ACCESS_GROUP = 9, 3, 21
ADA: dict[str, Any] = {"DBID": 101, "userName": "ada\n", "tenantDBID": 1}
GROUP: dict[str, Any] = {"DBID": 102, "groupInfo": {"name": "Staff"}}


def change(action: Action, kind: int, obj: dict[str, Any], **more: Any) -> Change:
    (made,) = transaction(2, (action, APPLICATION, application(101, "x"), {} if action is Action.UPDATED else None))
    stored = encode_object(SCHEMA.types[kind], obj)
    place = {Action.CREATED: {"object": stored}, Action.DELETED: {"former": stored}, Action.UPDATED: {}}[action]
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    cleared = {"object": None, "former": None}
    return Change(
        **{**fields, **cleared, **place, "type": kind, "dbid": obj["DBID"], "user": "u", "application": "a", **more}
    )


@pytest.mark.parametrize(
    ("here", "level", "numbers", "where"),
    [(True, logging.INFO, [24200, 24202], ""), (False, 15, [24205, 24207], "at the master ")],
)
def test_each_change_is_an_event(
    caplog: pytest.LogCaptureFixture, here: bool, level: int, numbers: list[int], where: str
) -> None:
    changes = [change(Action.CREATED, PERSON, ADA), change(Action.DELETED, ACCESS_GROUP, GROUP)]
    with caplog.at_level(1, "csproxy.changes"):
        tell_changes(changes, ConfigurationCache(), here=here)
    assert [(entry.levelno, entry.__dict__["event"]) for entry in caplog.records] == [
        (level, number) for number in numbers
    ]
    assert [entry.getMessage() for entry in caplog.records] == [
        f"CfgPerson 101 'ada\\n' created {where}by user 'u' with 'a', UEN 2",
        f"CfgAccessGroup 102 'Staff' deleted {where}by user 'u' with 'a', UEN 2",
    ]


def test_the_json_form_has_what_was_changed_in_fields_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(1, "csproxy.changes"):
        tell_changes([change(Action.CREATED, PERSON, ADA)], ConfigurationCache(), here=True)
    (entry,) = caplog.records
    document = json.loads(JsonFormatter(host="h", application="a").format(entry))
    assert document["fields"] == {
        "object_type": "CfgPerson",
        "object_dbid": 101,
        "user": "u",
        "by_application": "a",
        "epoch": EPOCH,
        "uen": 2,
    }


def test_an_update_has_the_name_of_the_object_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    server, _ = manual_server([])
    server.publish(transaction(1, (Action.CREATED, APPLICATION, application(101, "own"), None)))
    update = transaction(2, (Action.UPDATED, APPLICATION, application(101, "own"), {"version": "9"}))
    server.publish(update)
    with caplog.at_level(1, "csproxy.changes"):
        tell_changes(update, server.cache, here=True)
        tell_changes([change(Action.UPDATED, APPLICATION, {"DBID": 999})], server.cache, here=True)
    texts = [entry.getMessage().partition(" by ")[0] for entry in caplog.records]
    assert texts == ["CfgApplication 101 'own' changed", "CfgApplication 999 changed"]
    assert {entry.__dict__["event"] for entry in caplog.records} == {24201}


def test_records_that_are_no_objects_are_left_out_and_nothing_is_told_unless_somebody_listens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = change(Action.CREATED, PERSON, ADA, type=9001)
    with caplog.at_level(1, "csproxy.changes"):
        tell_changes([secret], ConfigurationCache(), here=True)
    with caplog.at_level(logging.INFO, "csproxy.changes"):
        tell_changes([change(Action.CREATED, PERSON, ADA)], ConfigurationCache(), here=False)
    assert caplog.records == []
