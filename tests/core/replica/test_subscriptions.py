"""The subscription index: every change finds exactly the classes that want it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.changelog import LogRecord
from csproxy.core.changes import Position
from csproxy.core.subscriptions import EVERYTHING, READ_ALL, Interest, SubscriptionIndex
from csproxy.errors import ErrorCode, ModelError


def record(type_: int, dbid: int, *tenants: int, reader: int = 0) -> LogRecord:
    readers = frozenset({reader})
    return LogRecord(Position(1, 1), type_, dbid, tenants, readers, readers, b"", True, 0.0)


def test_members_with_equal_subscriptions_share_a_class() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    one = index.join("a", frozenset({Interest(3)}), READ_ALL)
    assert index.join("b", frozenset({Interest(3)}), READ_ALL) is one
    assert index.join("c", frozenset({Interest(3)}), frozenset({1})) is not one
    assert (index.member_count, index.subscription_count) == (3, 3)
    assert "2 members" in repr(one)
    assert "2 classes" in repr(index)


def test_a_class_without_members_is_forgotten_and_matches_no_more() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    cls = index.join("a", frozenset({Interest(3), Interest(9)}), READ_ALL)
    other = index.join("b", frozenset({Interest(3)}), READ_ALL)
    index.join("c", frozenset({Interest(3), Interest(9)}), READ_ALL)
    index.leave("a", cls)
    assert index.match(record(9, 5, 1)) == [cls]
    index.leave("c", cls)
    assert index.match(record(3, 5, 1)) == [other]
    assert index.match(record(9, 5, 1)) == []
    index.leave("b", other)
    assert list(index.classes) == []


def test_a_class_is_found_once_though_several_subscriptions_match() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    cls = index.join("a", frozenset({EVERYTHING, Interest(3), Interest(3, 0, 5), Interest(0, 1)}), READ_ALL)
    assert index.match(record(3, 5, 1)) == [cls]


def test_what_the_account_may_not_read_is_not_delivered() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    cls = index.join("a", frozenset({EVERYTHING}), frozenset({4}))
    assert index.match(record(3, 5, 1, reader=4)) == [cls]
    assert index.match(record(3, 5, 1, reader=5)) == []
    assert cls.wants(record(3, 5, 1, reader=4))
    assert not cls.wants(record(3, 5, 1, reader=5))


def test_bytecode_is_left_out_only_if_every_matching_subscription_asks_for_it() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    both = index.join("a", frozenset({Interest(12, 0, 0, True), Interest(12, 0, 7)}), READ_ALL)
    assert both.excludes_bytecode(record(12, 8, 1))
    assert not both.excludes_bytecode(record(12, 7, 1))


def test_an_object_without_its_type_makes_no_subscription() -> None:
    with pytest.raises(ModelError, match="needs object_type") as caught:
        Interest(0, 0, 7).check()
    assert caught.value.code is ErrorCode.WRONG_API_PARAMETERS
    Interest(3, 0, 7).check()


INTERESTS = st.builds(Interest, st.integers(0, 3), st.integers(0, 3), st.just(0)) | st.builds(
    Interest, st.integers(1, 3), st.integers(0, 3), st.integers(0, 3)
)


@given(
    st.lists(st.tuples(st.frozensets(INTERESTS, min_size=1, max_size=4), st.sampled_from([None, frozenset({0})]))),
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.sets(st.integers(1, 3)), st.integers(0, 1))),
)
def test_look_up_agrees_with_asking_every_class(members, changes) -> None:
    index: SubscriptionIndex[int] = SubscriptionIndex()
    for member, (interests, access) in enumerate(members):
        index.join(member, interests, access)
    for type_, dbid, tenants, reader in changes:
        change = record(type_, dbid, *sorted(tenants), reader=reader)
        found = index.match(change)
        assert len(set(map(id, found))) == len(found)
        assert set(map(id, found)) == {id(cls) for cls in index.classes if cls.wants(change)}
