"""Rows of passwords and log-ins on every database that is here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from csproxy.core.log_in_state import LogInState
from csproxy.core.persistence.credentials import read_former, replace_credentials, replace_hash, write_log_ins
from csproxy.core.persistence.records import CredentialRow
from csproxy.core.persistence.store import Store

JANE, APPLICATION = (3, 100), (9, 100)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    rows = [CredentialRow(*JANE, "first", 5), CredentialRow(*APPLICATION, "other", 6)]
    Store.create(database_url, [], release="1", credentials=rows)
    with Store.open(database_url) as store:
        store.begin_epoch(1)
        yield store


def former(store: Store) -> list[str]:
    return store.read_beside(lambda connection: read_former(connection, [JANE]))[JANE]


def credentials(store: Store) -> list[CredentialRow]:
    return sorted(row for part in store.credentials() for row in part)


def test_former_hashes_are_kept_newest_first_and_go_with_the_object(store: Store) -> None:
    assert former(store) == []
    for row in (CredentialRow(*JANE, "third", 8, ["second", "first"]), CredentialRow(*JANE, "fourth", 9, ["third"])):
        store.write_beside(lambda connection, row=row: replace_credentials(connection, [row]))  # type: ignore[misc]
    assert former(store) == ["third"]
    assert credentials(store) == [CredentialRow(*JANE, "fourth", 9), CredentialRow(*APPLICATION, "other", 6)]
    gone = [CredentialRow(*JANE, None, 9)]
    store.write_beside(lambda connection: replace_credentials(connection, gone))
    assert former(store) == []


def test_another_hash_of_the_same_password_takes_the_place_of_the_one_it_was_made_for(store: Store) -> None:
    def replace(connection: Connection) -> None:
        replace_hash(connection, JANE, old="first", new="stronger")
        replace_hash(connection, JANE, old="first", new="too late")

    store.write_beside(replace)
    assert credentials(store)[0] == CredentialRow(*JANE, "stronger", 5)


def test_log_ins_are_written_over_and_deleted_with_their_person(store: Store) -> None:
    state = LogInState(1, "ä" * 300, "", 2, 3, 4, 5)
    store.write_beside(lambda connection: write_log_ins(connection, {100: LogInState(9), 101: LogInState(7)}))
    store.write_beside(lambda connection: write_log_ins(connection, {100: state, 101: None}))
    kept = LogInState(1, "ä" * 255, "", 2, 3, 4, 5)
    assert [row for part in store.log_ins() for row in part] == [(100, kept)]
    gone = [CredentialRow(*APPLICATION, None, 0)]
    store.write_beside(lambda connection: replace_credentials(connection, gone))
    assert [row for part in store.log_ins() for row in part] == [(100, kept)]
    gone = [CredentialRow(*JANE, None, 0)]
    store.write_beside(lambda connection: replace_credentials(connection, gone))
    assert list(store.log_ins()) == []


def test_no_row_shows_its_hash() -> None:
    assert repr(CredentialRow(*JANE, "secret", 1, ["secret"])) == "<CredentialRow 3/100>"
