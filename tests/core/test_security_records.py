"""Access control lists and accounts of applications as records beside the objects."""

from __future__ import annotations

import pytest

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changelog import LogRecord
from csproxy.core.changes import Action, Change, Position
from csproxy.core.filter_values import parse_filter
from csproxy.core.loading import CacheBuilder
from csproxy.core.security_records import (
    ACCOUNT,
    RECORDS,
    STORED_TYPES,
    AclEntry,
    decode_account,
    decode_acl,
    encode_account,
    encode_acl,
    is_record,
    list_of,
    records_of,
)
from csproxy.core.subscriptions import EVERY_RECORD, EVERYTHING, Interest, SubscriptionIndex
from csproxy.errors import ErrorCode, ModelError

SKILL, APPLICATION = 13, 9
ACL = (AclEntry(3, 101, 1), AclEntry(21, 97, 255))


def change(action: Action, uen: int, *, stored: bytes | None = None) -> Change:
    return Change(action=action, type=1013, dbid=5, position=Position(1, uen), frame=b"", object=stored)


def test_what_is_encoded_is_decoded_and_what_cannot_be_read_allows_nothing() -> None:
    assert decode_acl(encode_acl(5, ACL)) == ACL
    assert decode_account(encode_account(5, (3, 101))) == (3, 101)
    assert decode_acl(b"\x81\xa7entries\x05") == ()
    assert decode_account(b"\x81\xa7account\x05") == (0, 0)


def test_each_kind_of_object_has_its_own_number_for_lists() -> None:
    assert list_of((SKILL, 5)) == (1013, 5)
    assert records_of((SKILL, 5)) == ((1013, 5),)
    assert records_of((APPLICATION, 5)) == ((1009, 5), (ACCOUNT, 5))
    assert [number for number in STORED_TYPES if is_record(number)] == [*range(1001, 1045), ACCOUNT]


def test_records_change_with_transactions_and_count_as_no_objects() -> None:
    cache = ConfigurationCache()
    cache.apply([change(Action.CREATED, 1, stored=encode_acl(5, ACL))])
    view = cache.view()
    cache.apply([change(Action.UPDATED, 2, stored=encode_acl(5, ()))])
    assert (cache.counts(), cache.counts(records=True)) == ({}, {1013: 1})
    assert cache.get(1013, 5) == encode_acl(5, ())
    assert view.get(1013, 5) == encode_acl(5, ACL)
    assert cache.digest(1013) != ConfigurationCache().digest(1013)
    cache.apply([change(Action.DELETED, 3)])
    assert cache.digest(1013) == ConfigurationCache().digest(1013)
    assert cache.counts(records=True) == {}


def test_a_load_and_its_difference_have_records() -> None:
    builder = CacheBuilder()
    builder.add(1013, [encode_acl(5, ACL), encode_acl(6, ())], [0, 0])
    before = builder.finish(Position(1, 1))
    builder = CacheBuilder(before)
    builder.add(1013, [encode_acl(5, ())], [0])
    builder.finish(Position(1, 9))
    assert [(each.action, each.type, each.dbid) for each in builder.difference()] == [
        (Action.DELETED, 1013, 6),
        (Action.UPDATED, 1013, 5),
    ]


def test_only_who_asks_for_records_is_told_of_them() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    for member, interests in {
        "all objects": {EVERYTHING},
        "a tenant": {Interest(tenant_id=1)},
        "proxy": {EVERYTHING, EVERY_RECORD},
    }.items():
        index.join(member, frozenset(interests), None)

    def told(number: int) -> set[str]:
        record = LogRecord(Position(1, 1), number, 5, (1,), None, None, b"", True, 0.0)
        found = {member for cls in index.match(record) for member in cls.members}
        assert found == {member for cls in index.classes if cls.wants(record) for member in cls.members}
        return found

    assert told(SKILL) == {"all objects", "a tenant", "proxy"}
    assert told(1013) == {"proxy"}
    assert told(ACCOUNT) == {"proxy"}


def test_a_record_has_the_filter_keys_that_a_load_needs_and_no_other() -> None:
    assert parse_filter(1013, {"read_folder_dbid": 1}).want_folders
    for number in (RECORDS, 1045, 1101):
        with pytest.raises(ModelError) as caught:
            parse_filter(number, {})
        assert caught.value.code == ErrorCode.UNSUPPORTED_OBJECT
