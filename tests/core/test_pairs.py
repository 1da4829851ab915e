"""Which two servers are a pair, and where they are."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.failover import Endpoint
from csproxy.core.model.enumerations import CfgHAType
from csproxy.core.pairs import are_pair, backup_of, pair_endpoints
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


def test_an_address_is_that_of_the_port_else_of_the_host() -> None:
    found = applications()
    hosts = {1: {"name": "alpha", "IPaddress": "10.0.0.1"}}
    assert pair_endpoints(CONFSERV, found.get, hosts.get) == [Endpoint("10.0.0.1", 2020), Endpoint("10.0.0.1", 2021)]
    found[BACKUP]["portInfos"][0]["transportParams"] = "address=127.0.0.2"
    found[CONFSERV]["portInfos"][0]["transportParams"] = "address=0.0.0.0"
    hosts[1] = {"name": "alpha"}
    assert pair_endpoints(CONFSERV, found.get, hosts.get) == [Endpoint("alpha", 2020), Endpoint("127.0.0.2", 2021)]


def test_what_does_not_say_where_it_is_is_left_out() -> None:
    found = applications()
    assert pair_endpoints(CONFSERV, found.get, {}.get) == []
    assert pair_endpoints(0, found.get, {}.get) == []
    found[BACKUP]["serverInfo"]["port"] = ""
    found[BACKUP]["portInfos"] = [{"id": "other", "port": "1"}]
    hosts = {1: {"name": "alpha"}}
    assert pair_endpoints(CONFSERV, found.get, hosts.get) == [Endpoint("alpha", 2020)]
    del found[BACKUP]
    assert pair_endpoints(CONFSERV, found.get, hosts.get) == [Endpoint("alpha", 2020)]
