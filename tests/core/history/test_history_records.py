"""Records of the history log: made of plans, read back, and the options that rule them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core import codec
from csproxy.core.changes import Action, Position
from csproxy.core.history import (
    DAY_MS,
    HistoryFloor,
    HistoryRecord,
    HistorySettings,
    SessionRecord,
    decode_record,
    encode_record,
    history_batch,
    history_settings,
    session_entry,
)
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import apply_delta
from csproxy.core.options import OPTIONS
from csproxy.core.transactions import RequestedChange, Verb
from csproxy.core.writes import Plan
from csproxy.errors import ModelError
from tests.core.writes.desk import NOW_MS, Desk, change_of

PERSON = SCHEMA.object_type("person")
ALL = HistorySettings()
ABSENT = HistoryRecord(action=1, time_ms=0).former


def records_of(desk: Desk, plan: Plan, settings: HistorySettings = ALL) -> list[HistoryRecord]:
    """What the log gets of a plan, through the stored form; the plan is applied afterwards."""
    first = desk.cache.position.uen + 1
    author = {"user": "jane", "application": "sce", "time_ms": NOW_MS}
    changes = [
        msgspec.structs.replace(change_of(planned, Position(1, first + n)), **author)
        for n, planned in enumerate(plan.changes)
    ]
    batch = history_batch(settings, desk.cache, plan.changes, changes, passwords=plan.passwords)
    assert batch is not None
    assert batch.max_records == settings.audit_max_records
    desk.apply(plan)
    return [decode_record(encode_record(record)) for record in batch.make()]


def ada(desk: Desk, **more: Any) -> int:
    return desk.create("person", {"tenantDBID": 1, "userName": "ada", "employeeID": "1", **more})


def test_a_creation_is_recorded_with_the_object_and_its_author() -> None:
    desk = Desk()
    plan = desk.planner.create(3, {"tenantDBID": 1, "userName": "ada", "employeeID": "1"})
    (record,) = records_of(desk, plan)
    assert (record.action, record.type, record.time_ms, record.uen) == (
        Action.CREATED,
        3,
        NOW_MS,
        desk.cache.position.uen,
    )
    assert (record.user, record.application) == ("jane", "sce")
    assert (record.epoch, record.former_values, record.former_folder, record.is_session) == (1, None, 0, False)
    assert bytes(record.object) == desk.cache.get(3, record.dbid)
    assert bytes(record.former) == b""
    assert record.folder == desk.cache.folder_of(3, record.dbid)


def test_an_update_is_recorded_with_the_delta_and_the_way_back() -> None:
    desk = Desk()
    dbid = ada(desk, firstName="Ada", userProperties={"a": {"x": "1", "y": "2"}, "b": {"z": "3"}})
    before = desk.cache.stored(3, dbid)
    delta = {
        "firstName": "Eve",
        "emailAddress": "eve@example.org",
        "userProperties": {"changed": {"a": {"x": "9"}}, "added": {"c": {"n": 1}}, "deleted": {"b": ["z"]}},
    }
    (record,) = records_of(desk, desk.planner.update(3, dbid, delta))
    assert record.delta == delta
    assert record.former_values is not None
    assert (record.former_values["firstName"], record.former_values["emailAddress"]) == ("Ada", "")
    after = desk.cache.stored(3, dbid)
    assert before is not None
    assert after is not None
    assert apply_delta(PERSON, after, record.former_values) == before


def test_a_deletion_is_recorded_with_what_the_object_was() -> None:
    desk = Desk()
    dbid = ada(desk)
    stored, folder = desk.cache.get(3, dbid), desk.cache.folder_of(3, dbid)
    record = records_of(desk, desk.planner.delete(3, dbid))[-1]
    assert (record.action, record.dbid, bytes(record.former), record.former_folder) == (
        Action.DELETED,
        dbid,
        stored,
        folder,
    )
    assert bytes(record.object) == b""


def test_former_values_can_be_left_out_of_every_record() -> None:
    settings = HistorySettings(write_former_value=False)
    desk = Desk()
    dbid = ada(desk, firstName="Ada")
    (updated,) = records_of(desk, desk.planner.update(3, dbid, {"firstName": "Eve"}), settings)
    assert (updated.delta, updated.former_values, updated.former_folder) == ({"firstName": "Eve"}, None, 0)
    deleted = records_of(desk, desk.planner.delete(3, dbid), settings)[-1]
    assert (bytes(deleted.former), deleted.former_folder, deleted.dbid) == (b"", 0, dbid)


def test_a_log_that_is_not_active_gets_nothing() -> None:
    desk = Desk()
    plan = desk.planner.create(3, {"tenantDBID": 1, "userName": "ada", "employeeID": "1"})
    assert history_batch(HistorySettings(active=False), desk.cache, plan.changes, []) is None


def test_changes_of_one_object_in_one_transaction_follow_each_other() -> None:
    """The former value of a second update is what the first one left."""
    desk = Desk()
    dbid = ada(desk, firstName="one")
    steps = []
    twin = Desk()
    assert ada(twin, firstName="one") == dbid
    for name in ("two", "three"):
        steps.extend(twin.update("person", dbid, {"firstName": name}).changes)
    changes = [change_of(planned, Position(1, 900 + n)) for n, planned in enumerate(steps)]
    batch = history_batch(ALL, desk.cache, steps, changes)
    assert batch is not None
    assert [record.former_values for record in batch.make()] == [{"firstName": "one"}, {"firstName": "two"}]


def test_a_move_is_recorded_with_the_folder_before() -> None:
    desk = Desk()
    dbid = ada(desk)
    top = desk.cache.folder_of(3, dbid)
    folder = {"name": "sub", "type": 3, "ownerID": {"DBID": 1, "type": 7}, "parentID": {"DBID": top, "type": 22}}
    (made,) = records_of(desk, desk.planner.create(22, folder, folder=top))
    delta = {"objectIDs": {"added": [{"DBID": dbid, "type": 3}]}}
    plan = desk.planner.update(22, made.dbid, delta)
    (record,) = records_of(desk, plan)
    assert (record.delta, record.moved_from) == (delta, [(3, dbid, top)])
    gone = records_of(desk, desk.planner.delete(3, dbid))[-1]
    assert gone.former_folder == made.dbid


def test_a_move_within_a_transaction_counts_for_what_follows() -> None:
    desk = Desk()
    dbid = ada(desk)
    top = desk.cache.folder_of(3, dbid)
    folder = {"name": "sub", "type": 3, "ownerID": {"DBID": 1, "type": 7}, "parentID": {"DBID": top, "type": 22}}
    sub = desk.create("folder", folder, folder=top)
    twin = Desk()
    assert ada(twin) == dbid
    assert twin.create("folder", folder, folder=top) == sub
    steps = [*twin.update("folder", sub, {"objectIDs": {"added": [{"DBID": dbid, "type": 3}]}}).changes]
    steps += twin.apply(twin.planner.delete(3, dbid)).changes
    changes = [change_of(planned, Position(1, 900 + n)) for n, planned in enumerate(steps)]
    batch = history_batch(ALL, desk.cache, steps, changes)
    assert batch is not None
    records = batch.make()
    assert (records[0].moved_from, records[-1].former_folder) == ([(3, dbid, top)], sub)
    silent = history_batch(HistorySettings(write_former_value=False), desk.cache, steps, changes)
    assert silent is not None
    assert silent.make()[0].moved_from == []


def test_no_record_has_a_password() -> None:
    desk = Desk()
    plan = desk.planner.create(3, {"tenantDBID": 1, "userName": "ada", "employeeID": "1", "password": "geheimnis"})
    made = records_of(desk, plan)
    changed = records_of(desk, desk.planner.update(3, made[0].dbid, {"password": "wortlaut", "firstName": "x"}))
    gone = records_of(desk, desk.planner.delete(3, made[0].dbid))
    stored = b"".join(encode_record(record) for record in made + changed + gone)
    assert b"geheimnis" not in stored
    assert b"wortlaut" not in stored
    assert b"firstName" in stored


@given(st.builds(
    HistoryRecord,
    action=st.sampled_from([1, 2, 16, 74, 75, 99]),
    time_ms=st.integers(0, 2**62),
    user=st.text(max_size=5),
    delta=st.none() | st.dictionaries(st.text(max_size=3), st.integers(-5, 5) | st.binary(max_size=3), max_size=2),
    former=st.just(ABSENT) | st.just(msgspec.Raw(codec.encode({"DBID": 7}))),
))  # fmt: skip
def test_a_record_is_the_same_after_storing(record: HistoryRecord) -> None:
    found = decode_record(encode_record(record))
    assert bytes(found.former) == bytes(record.former)
    assert (found.action, found.time_ms, found.user, found.delta) == (
        record.action,
        record.time_ms,
        record.user,
        record.delta,
    )
    assert encode_record(found) == encode_record(record)


def test_bytes_that_are_no_record_are_told() -> None:
    with pytest.raises(ModelError, match="a history record cannot be read"):
        decode_record(b"\xc1")


def test_a_session_record_gets_its_server_and_no_time_in_the_future() -> None:
    record = session_entry(
        SessionRecord(action=1, time_ms=5_000, uen=9, user="ada", application="desktop", host="h:1"),
        server="CSProxy_1",
        now_ms=4_000,
    )
    assert (record.time_ms, record.server, record.host, record.user, record.uen) == (
        4_000,
        "CSProxy_1",
        "h:1",
        "ada",
        9,
    )
    assert record.is_session
    assert session_entry(SessionRecord(action=2, time_ms=3_000), server="x", now_ms=4_000).time_ms == 3_000
    with pytest.raises(ModelError, match="action 75 is none of a session"):
        session_entry(SessionRecord(action=75, time_ms=1), server="x", now_ms=4_000)


# options


def get(**values: Any) -> Any:
    defaults = {option.name: option.default for option in OPTIONS if option.section == "history-log"}
    return lambda name: values.get(name.replace("-", "_"), defaults[name])


def test_the_defaults_are_the_documented_ones() -> None:
    settings, complaints = history_settings(get())
    assert complaints == []
    assert settings == HistorySettings(
        active=True,
        write_former_value=True,
        expiration=30,
        max_records=1000,
        audit_expiration=365,
        audit_max_records=50_000,
        client_expiration=1,
    )


@pytest.mark.parametrize(
    ("values", "kept", "sentence"),
    [
        (
            {"audit_expiration": 30},
            {"audit_expiration": 300, "expiration": 20},
            "audit-expiration=30 of [history-log] must exceed expiration=30: the values 300 and 20 stay",
        ),
        (
            {"audit_max_records": 5, "max_records": 6},
            {"audit_max_records": 400, "max_records": 300},
            "audit-max-records=5 of [history-log] must exceed max-records=6: the values 400 and 300 stay",
        ),
    ],
)
def test_a_pair_that_cannot_be_keeps_its_values(values: dict[str, int], kept: dict[str, int], sentence: str) -> None:
    present = HistorySettings(expiration=20, audit_expiration=300, max_records=300, audit_max_records=400)
    settings, complaints = history_settings(get(client_expiration=3, **values), present)
    assert {name: getattr(settings, name) for name in kept} == kept
    assert (settings.client_expiration, complaints) == (3, [sentence])


def test_records_expire_by_kind_and_later_for_an_audit() -> None:
    settings = HistorySettings(expiration=2, audit_expiration=9, client_expiration=1)
    now_ms = 100 * DAY_MS
    assert settings.readable(now_ms) == HistoryFloor(98 * DAY_MS, 99 * DAY_MS)
    assert settings.kept(now_ms) == HistoryFloor(91 * DAY_MS, 99 * DAY_MS)


def test_that_a_password_was_set_is_told_by_the_last_change_of_the_object() -> None:
    desk = Desk()
    planner = desk.planner
    ada = {"DBID": -1, "tenantDBID": 1, "userName": "ada", "employeeID": "1", "password": "geheimnis"}
    planner.add(RequestedChange(message=Verb.CREATE, type=3, object=ada))
    eve = {"tenantDBID": 1, "userName": "eve", "employeeID": "2"}
    planner.add(RequestedChange(message=Verb.CREATE, type=3, object=eve))
    planner.add(RequestedChange(message=Verb.UPDATE, type=3, dbid=-1, delta={"firstName": "Ada"}))
    plan = planner.finish()
    changes = [change_of(planned, Position(1, 1000 + n)) for n, planned in enumerate(plan.changes)]
    batch = history_batch(ALL, desk.cache, plan.changes, changes, passwords=plan.passwords)
    assert batch is not None
    assert [(record.action, record.password) for record in batch.make()] == [(74, False), (74, False), (75, True)]


def test_a_new_password_is_told_and_stands_nowhere() -> None:
    desk = Desk()
    dbid = ada(desk)
    (record,) = records_of(desk, desk.planner.update(3, dbid, {"password": "anders"}))
    assert (record.password, "anders" in repr(record)) == (True, False)
    (record,) = records_of(desk, desk.planner.update(3, dbid, {"firstName": "Eve"}))
    assert record.password is False


def test_a_list_that_goes_with_its_object_is_no_record_of_its_own() -> None:
    desk = Desk()
    skill = desk.skill()
    desk.give((13, skill), ())
    plan = desk.planner.delete(13, skill)
    assert [change.type for change in plan.changes] == [1013, 13]
    assert [(record.action, record.type) for record in records_of(desk, plan)] == [(Action.DELETED, 13)]
