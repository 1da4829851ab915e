"""Records of permissions, accounts and the mode: what they hold, and how they stand in table, database and XML."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from csproxy.core.changes import Position
from csproxy.core.history import (
    DAY_MS,
    AclState,
    HistoryBatch,
    HistoryFloor,
    HistoryKind,
    HistoryRecord,
    HistorySettings,
    decode_record,
    encode_record,
)
from csproxy.core.history_administration import Moment, account_changed, mode_changed, permissions_changed
from csproxy.core.history_xml import record_xml
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.mode import read_mode, write_mode
from csproxy.core.persistence.store import Store
from csproxy.core.security_records import AclEntry
from tests.core.history.test_history_table import EVER, commit, session

MOMENT = Moment("jane", "sce", 5, Position(7, 3))
ON = HistorySettings()
BRIEF = HistorySettings(write_former_value=False)
OFF = HistorySettings(active=False)
ACL = (AclEntry(3, 101, 127), AclEntry(21, 97, 1))


def records(batch: HistoryBatch | None) -> list[HistoryRecord]:
    """What the log gets, through the stored form."""
    assert batch is not None
    assert batch.max_records == ON.audit_max_records
    return [decode_record(encode_record(record)) for record in batch.make()]


def test_each_object_whose_list_becomes_another_has_a_record() -> None:
    changed = {(3, 101): ACL, (13, 5): None, (13, 6): ()}
    former = {(3, 101): None, (13, 5): ACL[:1], (13, 6): ACL[1:]}
    found = records(permissions_changed(ON, MOMENT, changed, former))
    assert [(record.type, record.dbid) for record in found] == [(3, 101), (13, 5), (13, 6)]
    assert [record.permissions for record in found] == [
        AclState(entries=((3, 101, 127), (21, 97, 1))),
        AclState(inherits=True),
        AclState(),
    ]
    assert [record.former_permissions for record in found] == [
        AclState(inherits=True),
        AclState(entries=((3, 101, 127),)),
        AclState(entries=((21, 97, 1),)),
    ]
    first = found[0]
    assert (first.action, first.user, first.application, first.time_ms) == (27, "jane", "sce", 5)
    assert (first.uen, first.epoch, first.kind, first.is_session) == (3, 7, HistoryKind.ADMINISTRATION, False)


def test_accounts_and_modes_are_recorded_with_what_was_before() -> None:
    (account,) = records(account_changed(ON, MOMENT, 104, (3, 101), (21, 98)))
    assert (account.action, account.type, account.dbid) == (33, 9, 104)
    assert (account.account, account.former_account) == ((3, 101), (21, 98))
    (mode,) = records(mode_changed(ON, MOMENT, 2, 1))
    assert (mode.action, mode.type, mode.mode, mode.former_mode) == (37, 0, 2, 1)


def test_former_values_and_the_whole_log_can_be_switched_off() -> None:
    (acl,) = records(permissions_changed(BRIEF, MOMENT, {(3, 101): ACL}, {(3, 101): None}))
    assert (acl.permissions is None, acl.former_permissions) == (False, None)
    (account,) = records(account_changed(BRIEF, MOMENT, 104, (3, 101), (21, 98)))
    assert account.former_account is None
    (mode,) = records(mode_changed(BRIEF, MOMENT, 2, 1))
    assert mode.former_mode == 0
    assert permissions_changed(OFF, MOMENT, {(3, 101): ACL}, {(3, 101): None}) is None
    assert account_changed(OFF, MOMENT, 104, (3, 101), (21, 98)) is None
    assert mode_changed(OFF, MOMENT, 2, 1) is None


def xml(record: HistoryRecord) -> ElementTree.Element:
    return ElementTree.fromstring(record_xml(1, record))


def test_they_stand_in_the_export() -> None:
    (acl,) = records(permissions_changed(ON, MOMENT, {(4711, 1): ACL}, {(4711, 1): None}))
    element = xml(acl)
    assert (element.get("action"), element.get("type"), element.get("dbid")) == ("permissions", "4711", "1")
    now, before = element.find("permissions"), element.find("former-permissions")
    assert now is not None
    assert before is not None
    assert (now.get("inherits"), before.get("inherits"), list(before)) == ("false", "true", [])
    assert [entry.attrib for entry in now] == [
        {"type": "CfgPerson", "dbid": "101", "mask": "127"},
        {"type": "CfgAccessGroup", "dbid": "97", "mask": "1"},
    ]
    element = xml(records(account_changed(ON, MOMENT, 104, (3, 101), (21, 98)))[0])
    assert (element.get("type"), element.get("dbid")) == ("CfgApplication", "104")
    assert [(part.tag, part.attrib) for part in element] == [
        ("account", {"type": "CfgPerson", "dbid": "101"}),
        ("former-account", {"type": "CfgAccessGroup", "dbid": "98"}),
    ]
    element = xml(records(mode_changed(ON, MOMENT, 2, 1))[0])
    assert (element.get("mode"), element.get("former-mode")) == (
        "CFGOperationalReadOnlyMode",
        "CFGOperationalFullMode",
    )
    assert element.get("type") is None
    assert xml(HistoryRecord(action=37, time_ms=1, mode=99)).get("mode") == "99"
    assert xml(HistoryRecord(action=75, time_ms=1, type=3, dbid=1, password=True)).get("password") == "changed"


# the table


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Store.create(sqlite_url(tmp_path / "config.db"), [], release="1")
    return tmp_path / "config.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(sqlite_url(path)) as store:
        store.begin_epoch(7)
        yield store


def set_mode(store: Store, mode: int, *, time_ms: int = 0, max_records: int = 1_000) -> None:
    moment = Moment("jane", "sce", time_ms, Position(7, store.head))
    history = mode_changed(HistorySettings(audit_max_records=max_records), moment, mode, 1)
    store.write_beside(partial(write_mode, mode=mode), history)


def test_a_record_is_written_with_its_change_and_read_from_its_uen_on(store: Store) -> None:
    commit(store, count=2)
    set_mode(store, 2)
    commit(store)
    set_mode(store, 3)
    log = store.history_log
    assert log.read(EVER).numbers == [1, 2, 3, 4, 5]
    assert log.read(EVER, since_uen=2).numbers == [3, 4, 5]
    assert log.read(EVER, since_uen=3).numbers == [5]
    assert [decode_record(body).mode for body in log.read(EVER, after=4).records] == [3]
    assert repr(log) == "<HistoryTable 3 changes, 2 of administration, 0 sessions>"


def test_they_are_counted_apart_and_expire_with_the_changes(store: Store) -> None:
    for mode in (2, 3, 2, 3):
        set_mode(store, mode, time_ms=mode * DAY_MS, max_records=3)
    commit(store, count=3, time_ms=2 * DAY_MS, max_records=3)
    store.history_log.add_sessions([session(1, time_ms=2 * DAY_MS)], max_records=3)
    log = store.history_log
    assert len(log.read(EVER).numbers) == 3 + 3 + 1
    floor = HistoryFloor(changes_ms=3 * DAY_MS, sessions_ms=0)
    assert [decode_record(body).mode for body in log.read(floor).records] == [3, 3, 0]
    assert log.clean_up(floor, max_records=3) == 1 + 3
    assert repr(log) == "<HistoryTable 0 changes, 2 of administration, 1 sessions>"


def test_a_log_that_fails_does_not_fail_the_change(store: Store, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    set_mode(store, 2)
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE history RENAME TO gone")
    database.close()
    with caplog.at_level(logging.ERROR):
        set_mode(store, 3)
    (event,) = caplog.records
    assert event.event == 22138  # type: ignore[attr-defined]
    assert "1 records are missing in it: no such table" in event.getMessage()
    assert store.read_beside(read_mode) == 3
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE gone RENAME TO history")
    database.close()
    set_mode(store, 1)
    assert [decode_record(body).mode for body in store.history_log.read(EVER).records] == [2, 1]
