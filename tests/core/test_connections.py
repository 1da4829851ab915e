"""How a proxy reaches the two masters of a pair, by the objects."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Position
from csproxy.core.connections import (
    MasterConnection,
    Partner,
    master_connection,
    master_keep_alive,
    master_transport,
    pair_transport,
    partner,
)
from csproxy.core.failover import Endpoint
from csproxy.core.keepalive import KeepAlive
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.canonical import encode_object
from csproxy.core.wellknown import CONFSERV, FIRST_FREE_DBID, LOCALHOST, well_known_objects

APPLICATION, HOST = 9, 10
PROXY, SECOND_PROXY, BACKUP = (FIRST_FREE_DBID + n for n in range(3))


class Site:
    """The initial objects of a pair of masters and two proxies, to be changed, then read."""

    def __init__(self) -> None:
        objects = well_known_objects(proxies=[("proxy", 2022), ("second", 2023)], backup=("backup", 2021))
        self.objects = {(each.type, each.object["DBID"]): each for each in objects}
        self.host["IPaddress"] = "10.0.0.1"

    def __getitem__(self, dbid: int) -> dict[str, Any]:
        return self.objects[APPLICATION, dbid].object

    @property
    def host(self) -> dict[str, Any]:
        return self.objects[HOST, LOCALHOST].object

    def has_ports(self, dbid: int, *ports: dict[str, str]) -> None:
        self[dbid]["portInfos"] = list(ports)

    def cache(self) -> ConfigurationCache:
        builder = CacheBuilder(None)
        for each in self.objects.values():
            builder.add(each.type, [encode_object(SCHEMA.types[each.type], each.object)], [each.folder])
        return builder.finish(Position(1, 1))

    def connection(self, name: str = "proxy", **more: Any) -> MasterConnection | None:
        return master_connection(self.cache(), name, **more)

    def endpoints(self, **more: Any) -> list[str]:
        found = self.connection(**more)
        assert found is not None
        return [str(endpoint) for endpoint in found.endpoints]


@pytest.fixture
def site() -> Site:
    return Site()


# --- where ------------------------------------------------------------------------------------------


def test_the_one_that_serves_comes_first_whichever_of_the_pair_it_is(site: Site) -> None:
    assert site.endpoints(master=CONFSERV) == ["10.0.0.1:2020", "10.0.0.1:2021"]
    assert site.endpoints(master=BACKUP) == ["10.0.0.1:2021", "10.0.0.1:2020"]


def test_a_proxy_that_has_met_no_master_yet_goes_by_its_connection(site: Site) -> None:
    assert site.endpoints() == ["10.0.0.1:2020", "10.0.0.1:2021"]
    site[PROXY]["appServerDBIDs"] = [{"appServerDBID": BACKUP, "id": "default"}]
    assert site.endpoints() == ["10.0.0.1:2021", "10.0.0.1:2020"]
    site[CONFSERV]["type"] = 1  # no Configuration Server
    site[PROXY]["appServerDBIDs"] = [{"appServerDBID": CONFSERV}, {"appServerDBID": 4711}]
    assert site.connection() is None
    assert site.connection("nobody") is None
    assert site.connection(master=4711) is None


def test_an_address_is_that_of_the_port_else_of_the_host(site: Site) -> None:
    site.has_ports(CONFSERV, {"id": "default", "port": "2020", "transportParams": "address=127.0.0.2"})
    site.has_ports(BACKUP, {"id": "default", "port": "2021", "transportParams": "address=0.0.0.0"})
    assert site.endpoints() == ["127.0.0.2:2020", "10.0.0.1:2021"]
    site.host["IPaddress"] = ""
    assert site.endpoints() == ["127.0.0.2:2020", "localhost:2021"]


def test_a_master_that_does_not_say_where_it_is_is_left_out(site: Site) -> None:
    site[BACKUP]["serverInfo"]["hostDBID"] = 4711
    assert site.endpoints() == ["10.0.0.1:2020"]
    site[CONFSERV]["serverInfo"]["backupServerDBID"] = 0
    assert site.endpoints() == ["10.0.0.1:2020"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("confserv", Partner(CONFSERV, "backup", True, (Endpoint("10.0.0.1", 2021),))),
        ("backup", Partner(BACKUP, "confserv", False, (Endpoint("10.0.0.1", 2020),))),
        ("proxy", None),
        ("nobody", None),
    ],
)
def test_each_of_a_pair_finds_the_other(site: Site, name: str, expected: Partner | None) -> None:
    assert partner(site.cache(), name) == expected


def test_a_partner_is_reached_at_its_port_for_ha_synchronisation_if_it_says_where_it_is(site: Site) -> None:
    site.has_ports(BACKUP, OTHER_DEFAULT, SYNC)
    assert partner(site.cache(), "confserv") == Partner(CONFSERV, "backup", True, (Endpoint("10.0.0.1", 4021),))
    site[BACKUP]["serverInfo"]["hostDBID"] = 4711
    assert partner(site.cache(), "confserv") == Partner(CONFSERV, "backup", True, ())


# --- at which port ------------------------------------------------------------------------------------

DEFAULT, SECURE = {"id": "default", "port": "2020"}, {"id": "secure", "port": "3020"}
OTHER_DEFAULT, OTHER_SECURE = {"id": "default", "port": "2021"}, {"id": "secure", "port": "3021"}
SYNC = {"id": "sync", "port": "4021", "appParams": "ha-sync=1"}


@pytest.mark.parametrize(
    ("in_use", "ports", "expected"),
    [
        (3020, [OTHER_DEFAULT, OTHER_SECURE], "10.0.0.1:3021"),
        (2020, [OTHER_DEFAULT, OTHER_SECURE], "10.0.0.1:2021"),
        (3020, [SYNC, OTHER_DEFAULT], "10.0.0.1:2021"),
        (3020, [SYNC], "10.0.0.1:4021"),
    ],
)
def test_consistent_ports_have_the_same_id_else_default_else_any(
    site: Site, in_use: int, ports: list[dict[str, str]], expected: str
) -> None:
    site.has_ports(CONFSERV, DEFAULT, SECURE)
    if OTHER_DEFAULT not in ports:
        site[BACKUP]["serverInfo"]["port"] = ""
    site.has_ports(BACKUP, *ports)
    own = "10.0.0.1:3020" if in_use == 3020 else "10.0.0.1:2020"
    assert site.endpoints(master=CONFSERV, port=in_use, consistent=True) == [own, expected]


def test_behind_a_translated_port_the_id_is_that_of_the_connection(site: Site) -> None:
    site.has_ports(CONFSERV, DEFAULT, SECURE)
    site.has_ports(BACKUP, OTHER_DEFAULT, OTHER_SECURE)
    site[PROXY]["appServerDBIDs"] = [{"appServerDBID": CONFSERV, "id": "secure"}]
    assert site.endpoints(master=CONFSERV, port=9999, consistent=True) == ["10.0.0.1:3020", "10.0.0.1:3021"]


def test_without_the_option_it_is_the_default_port_or_none(site: Site) -> None:
    site.has_ports(CONFSERV, DEFAULT, SECURE)
    site.has_ports(BACKUP, OTHER_DEFAULT, OTHER_SECURE)
    assert site.endpoints(master=CONFSERV, port=3020) == ["10.0.0.1:2020", "10.0.0.1:2021"]
    site.has_ports(BACKUP, OTHER_SECURE)
    site[BACKUP]["serverInfo"]["port"] = ""
    assert site.endpoints(master=CONFSERV, port=3020) == ["10.0.0.1:2020"]


def test_the_backup_of_a_pair_of_proxies_prefers_the_port_for_ha_synchronisation(site: Site) -> None:
    site[PROXY]["serverInfo"]["backupServerDBID"] = SECOND_PROXY
    site.has_ports(CONFSERV, DEFAULT, SECURE)
    site.has_ports(BACKUP, OTHER_DEFAULT, OTHER_SECURE, SYNC)
    backup = site.endpoints(name="second", master=CONFSERV, port=3020, consistent=True)
    assert backup == ["10.0.0.1:2020", "10.0.0.1:4021"]
    primary = site.endpoints(name="proxy", master=CONFSERV, port=3020, consistent=True)
    assert primary == ["10.0.0.1:3020", "10.0.0.1:3021"]


# --- how often, how soon --------------------------------------------------------------------------------


def test_attempts_and_time_out_are_those_of_the_master(site: Site) -> None:
    site[CONFSERV]["serverInfo"].update(attempts=3, timeout=4)
    found = site.connection()
    assert found is not None
    assert (found.attempts, found.timeout_s) == (3, 4.0)


@pytest.mark.parametrize("value", [0, -1])
def test_what_the_master_does_not_say_is_the_documented_default(site: Site, value: int) -> None:
    site[CONFSERV]["serverInfo"].update(attempts=value, timeout=value)
    found = site.connection()
    assert found is not None
    assert (found.attempts, found.timeout_s) == (1, 10.0)


def test_the_keep_alive_is_that_of_the_connection_to_the_master(site: Site) -> None:
    assert master_keep_alive(site.cache(), "proxy") is None
    link = {"appServerDBID": CONFSERV, "connProtocol": "addp", "timoutLocal": 9, "timoutRemote": 11}
    other = {"appServerDBID": 100, "connProtocol": "addp", "timoutLocal": 1}
    site[PROXY]["appServerDBIDs"] = [other, link]
    assert master_keep_alive(site.cache(), "proxy") == KeepAlive(timeout_s=9, remote_timeout_s=11)


# --- transport parameters ---------------------------------------------------------------------------


def test_transport_parameters_are_looked_up_in_connection_application_and_host(site: Site) -> None:
    site[PROXY]["appServerDBIDs"] = [
        {"appServerDBID": CONFSERV, "id": "default", "transportParams": "tls=1;certificate=connection"}
    ]
    site[PROXY]["options"] = {"security": {"certificate": "application", "certificate-key": "application"}}
    site.host["userProperties"] = {"security": {"transport": "certificate-key=host;trusted-ca=host"}}
    assert master_transport(site.cache(), "proxy", port=2020) == {
        "tls": "1",
        "certificate": "connection",
        "certificate-key": "application",
        "trusted-ca": "host",
    }


def test_tls_alone_comes_from_the_port_that_the_connection_goes_to(site: Site) -> None:
    site.has_ports(
        CONFSERV,
        {"id": "default", "port": "2020"},
        {"id": "secure", "port": "2443", "transportParams": "tls=1;certificate=of the master"},
    )
    site.has_ports(BACKUP, {"id": "secure", "port": "3443", "transportParams": "tls=yes"})
    assert master_transport(site.cache(), "proxy", port=2020) == {}
    assert master_transport(site.cache(), "proxy", port=2443) == {"tls": "1"}
    assert master_transport(site.cache(), "proxy", port=3443) == {"tls": "yes"}
    site[PROXY]["appServerDBIDs"] = [{"appServerDBID": CONFSERV, "id": "secure"}]
    assert master_transport(site.cache(), "proxy", port=9) == {"tls": "1"}  # behind a balancer, say
    site[PROXY]["appServerDBIDs"] = [{"appServerDBID": CONFSERV, "id": "secure", "transportParams": "tls=0"}]
    assert master_transport(site.cache(), "proxy", port=2443) == {"tls": "0"}


def test_without_data_there_are_no_parameters(site: Site) -> None:
    assert master_transport(ConfigurationCache(), "proxy", port=2020) == {}
    assert pair_transport(ConfigurationCache(), "proxy", port=2020) == {}


def test_the_connection_of_a_pair_takes_tls_from_the_other_ones_port(site: Site) -> None:
    site.host["userProperties"] = {"security": {"trusted-ca": "host"}}
    site.has_ports(BACKUP, {"id": "sync", "port": "3443", "transportParams": "tls=1", "appParams": "ha-sync=1"})
    assert pair_transport(site.cache(), "confserv", port=3443) == {"tls": "1", "trusted-ca": "host"}
    assert pair_transport(site.cache(), "confserv", port=2021) == {"trusted-ca": "host"}
    assert pair_transport(site.cache(), "backup", port=2020) == {"trusted-ca": "host"}
