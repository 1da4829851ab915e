"""Permissions, accounts and mode in the database, beside the objects."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from csproxy.core.permissions import AclEntry
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.permissions import Security, read_security, write_account, write_acls, write_mode
from csproxy.core.persistence.store import Store
from csproxy.errors import ErrorCode, StoreError

ACL = (AclEntry(3, 101, 1), AclEntry(21, 97, 255))


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = sqlite_url(tmp_path / "config.db")
    Store.create(url, [], release="1")
    return url


def test_a_new_database_has_no_lists_and_no_accounts_and_the_full_mode(url: str) -> None:
    with Store.open(url, reading=True) as store:
        assert store.read_beside(read_security) == Security({}, {}, 1)


def test_what_is_written_is_there_after_reopening(url: str) -> None:
    with Store.open(url) as store:
        store.begin_epoch(7)
        store.write_beside(partial(write_acls, changed={(3, 101): ACL, (7, 1): (), (13, 5): ACL}))
        store.write_beside(partial(write_acls, changed={(13, 5): None, (7, 1): ACL[:1]}))
        store.write_beside(partial(write_acls, changed={}))
        store.write_beside(partial(write_account, application=9, account=(3, 101)))
        store.write_beside(partial(write_account, application=8, account=(3, 101)))
        store.write_beside(partial(write_account, application=8, account=None))
        store.write_beside(partial(write_mode, mode=2))
        store.write_beside(partial(write_mode, mode=3))
    with Store.open(url) as store:
        assert store.read_beside(read_security) == Security({(3, 101): ACL, (7, 1): ACL[:1]}, {9: (3, 101)}, 3)


def test_only_the_newest_master_writes(url: str) -> None:
    with Store.open(url) as store:
        with pytest.raises(StoreError, match="another master"):
            store.write_beside(partial(write_mode, mode=2))
        store.begin_epoch(7)
        with Store.open(url, reading=True) as other:
            other.begin_epoch(8)
        with pytest.raises(StoreError, match="another master") as caught:
            store.write_beside(partial(write_mode, mode=2))
        assert caught.value.code == ErrorCode.NO_DB_ACCESS
        assert store.read_beside(read_security).mode == 1
