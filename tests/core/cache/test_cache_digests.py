"""Digests are equal for equal data, whatever the order in which it came about."""

from __future__ import annotations

import pytest

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Position
from csproxy.core.digests import object_hash
from csproxy.core.loading import CacheBuilder
from csproxy.errors import ErrorCode, ModelError
from tests.core.cache.test_cache_loading import person
from tests.core.cache.world import FOLDER, PERSON, cache_of, created, deleted, updated


def people(count: int) -> ConfigurationCache:
    builder = CacheBuilder()
    builder.add(PERSON, [person(dbid) for dbid in range(1, count + 1)], [7] * count)
    return builder.finish(Position(1, 1))


def test_a_digest_is_32_hexadecimal_digits() -> None:
    assert people(0).digest(PERSON) == "0" * 32
    digest = people(3).digest(PERSON)
    assert len(digest) == 32
    assert int(digest, 16) == sum(object_hash(dbid, 7, person(dbid)) for dbid in (1, 2, 3)) % 2**128


def test_a_digest_tells_objects_dbids_and_folders_apart() -> None:
    hashes = {object_hash(1, 2, b"x"), object_hash(2, 1, b"x"), object_hash(1, 2, b"y"), object_hash(1, 3, b"x")}
    assert len(hashes) == 4


def test_changes_keep_the_digest_up_to_date() -> None:
    cache = people(5)
    first = cache.digest(PERSON)
    cache.apply([created(PERSON, {"DBID": 9, "userName": "n"}, folder=7)])
    cache.apply([updated(PERSON, 9, {"userName": "m"})])
    changed = cache.digest(PERSON)
    assert changed != first
    cache.apply([deleted(PERSON, 9)])
    assert cache.digest(PERSON) == first


def test_a_move_changes_the_digest_of_the_type() -> None:
    cache = cache_of((PERSON, {"DBID": 1}, 2), (FOLDER, {"DBID": 2}), (FOLDER, {"DBID": 3}))
    before = cache.digest(PERSON), cache.digest(FOLDER)
    cache.apply([updated(FOLDER, 3, {"objectIDs": {"added": [{"DBID": 1, "type": PERSON}]}})])
    assert cache.digest(PERSON) != before[0]
    assert cache.digest(FOLDER) == before[1]


def test_a_digest_in_steps_takes_changes_in_between_into_account() -> None:
    cache = people(5000)
    steps = cache.digest_steps(PERSON)
    next(steps)
    cache.apply([updated(PERSON, 1, {"userName": "z"}), deleted(PERSON, 4999), created(PERSON, {"DBID": 6000})])
    other = cache.digest_steps(PERSON)
    next(other)
    assert len(list(steps)) >= 1
    assert list(other) == []
    expected = people(5000)
    expected.apply([created(PERSON, {"DBID": 6000}), deleted(PERSON, 4999), updated(PERSON, 1, {"userName": "z"})])
    assert cache.digest(PERSON) == expected.digest(PERSON)
    assert list(cache.digest_steps(PERSON)) == []


def test_the_steps_of_a_digest_do_not_see_later_changes_twice() -> None:
    cache = people(5000)
    cache.apply([updated(PERSON, 4000, {"userName": "y"})])
    steps = cache.digest_steps(PERSON)
    next(steps)
    cache.apply([updated(PERSON, 4000, {"userName": "z"})])
    expected = people(5000)
    expected.apply([updated(PERSON, 4000, {"userName": "z"})])
    assert cache.digest(PERSON) == expected.digest(PERSON)


def test_an_unknown_type_has_no_digest() -> None:
    for ask in (people(0).digest, people(0).digest_steps):
        with pytest.raises(ModelError) as refused:
            ask(99)
        assert refused.value.code is ErrorCode.UNSUPPORTED_OBJECT


def test_a_forgotten_digest_is_computed_from_the_objects() -> None:
    cache = people(3)
    before = cache.digest(PERSON)
    cache._tables[PERSON].segments()[0].objects[0] = person(1, "rotten")
    assert cache.digest(PERSON) == before
    cache.forget_digest(PERSON)
    assert cache.digest(PERSON) != before
    cache.forget_digest(FOLDER)
    assert cache.digest(FOLDER) == "0" * 32


def test_a_digest_forgotten_between_two_steps_is_right_in_the_end() -> None:
    cache = people(5000)
    steps = cache.digest_steps(PERSON)
    next(steps)
    cache.forget_digest(PERSON)
    cache.apply([deleted(PERSON, 17)])
    assert len(list(steps)) <= 6
    digest = cache.digest(PERSON)
    cache.forget_digest(PERSON)
    assert cache.digest(PERSON) == digest
