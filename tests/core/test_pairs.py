"""Which two servers are a pair."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.model.enumerations import CfgHAType
from csproxy.core.pairs import are_pair, backup_of
from csproxy.core.wellknown import CONFSERV, FIRST_FREE_DBID, well_known_objects

BACKUP = FIRST_FREE_DBID + 1


def applications() -> dict[int, dict[str, Any]]:
    objects = well_known_objects(proxies=[("proxy", 2022)], backup=("second", 2021))
    return {obj["DBID"]: obj for kind, obj, _ in objects if kind == 9}


def test_the_initial_objects_are_a_pair() -> None:
    found = applications()
    assert backup_of(found[CONFSERV]) == BACKUP
    assert backup_of(found[BACKUP]) == 0
    warm = int(CfgHAType.CFGHTWarmStanby)
    assert [found[dbid]["redundancyType"] for dbid in (CONFSERV, BACKUP)] == [warm, warm]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("confserv", "second", True),
        ("second", "confserv", True),
        ("confserv", "proxy", False),
        ("proxy", "second", False),
        ("confserv", "nobody", False),
        ("nobody", "confserv", False),
    ],
)
def test_a_pair_is_named_by_one_of_the_two(one: str, other: str, expected: bool) -> None:
    assert are_pair(applications().values(), one, other) is expected
