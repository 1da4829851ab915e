"""Pools behind a load balancer: who is a member, and where all of them are reached.

The configuration describes a pool in two ways that belong together: an Application of type ConfigurationServer stands
for the balancer (its host and ports are those that clients connect to), and each member names it in the option
``proxy-cluster-name`` of ``[csproxy]``. A port of the balancer leads to the ports of the members that have its id.

Source: the chapter on load-balanced proxies; that ports belong together by their id is our reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from csproxy.core.model.enumerations import CfgAppType, CfgObjectState
from csproxy.core.pairs import backup_of
from csproxy.core.transport_parameters import ListeningMode
from csproxy.daemon.ports import application_ports
from csproxy.errors import ConfigurationError

__all__ = ["Pool", "PoolServer", "pool_of"]

_SECTION: Final = "csproxy"
_OPTION: Final = "proxy-cluster-name"
_PROXY: Final = int(CfgAppType.CFGConfigServer)
_DISABLED: Final = int(CfgObjectState.CFGDisabled)

_Object = Mapping[str, Any]


@dataclass(frozen=True)
class PoolServer:
    """One Application: its name, an IP address, and its ports by id.

    ``secure`` are the ids of ports that take TLS only, ``mutual`` those of them that demand a certificate of clients.
    """

    name: str
    address: str
    ports: Mapping[str, int]
    secure: frozenset[str] = frozenset()
    mutual: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Pool:
    """The balancer, and the members in the order of their names."""

    balancer: PoolServer
    members: tuple[PoolServer, ...]


def pool_of(name: str | None, applications: Iterable[_Object], hosts: Mapping[int, _Object]) -> Pool:
    """The pool that ``name`` stands for; None: the only one that there is.

    ``applications`` and ``hosts`` (by DBID) are in plain form. Disabled Applications are no members. Raises
    `ConfigurationError` that names object and field: no such pool, no member, a host without an IP address, a member
    that has a backup or lacks a port of the balancer, two members at one place.
    """
    by_name = {str(each["name"]): each for each in applications}
    members: dict[str, list[_Object]] = {}
    for each in by_name.values():
        cluster = str(each.get("options", {}).get(_SECTION, {}).get(_OPTION, ""))
        if cluster and each.get("state") != _DISABLED:
            members.setdefault(cluster, []).append(each)
    name = name or _only(members)
    if name not in members:
        known = f"; there is {', '.join(sorted(members))}" if members else ""
        raise ConfigurationError(
            f"no Application has the option {_OPTION} = {name} in [{_SECTION}]: the pool has no member{known}"
        )
    balancer = by_name.get(name)
    if balancer is None:
        raise ConfigurationError(
            f"there is no Application {name!r}, which the option {_OPTION} of {members[name][0]['name']!r} names: "
            "create one of type ConfigurationServer with the host and the ports of the balancer"
        )
    pool = Pool(_server(balancer, hosts), tuple(_server(each, hosts) for each in sorted(members[name], key=_name)))
    for each in members[name]:
        if backup_of(each):
            raise ConfigurationError(
                f"Application {each['name']!r} has a backup server: members of a pool stand alone, take it away"
            )
    _check_places(pool)
    return pool


def _only(members: Mapping[str, object]) -> str:
    if len(members) == 1:
        return next(iter(members))
    if members:
        raise ConfigurationError(f"there is more than one pool: name one of {', '.join(sorted(members))}")
    raise ConfigurationError(f"there is no pool: no Application has the option {_OPTION} in its section [{_SECTION}]")


def _server(application: _Object, hosts: Mapping[int, _Object]) -> PoolServer:
    name = _name(application)
    if application.get("type") != _PROXY:
        raise ConfigurationError(f"Application {name!r} is not of type ConfigurationServer")
    host = hosts.get(int(application.get("serverInfo", {}).get("hostDBID", 0)))
    if host is None:
        raise ConfigurationError(f"Application {name!r} has no host: set serverInfo.hostDBID")
    address = str(host.get("IPaddress", ""))
    try:
        ip_address(address)
    except ValueError:
        raise ConfigurationError(
            f"Host {host.get('name', '')!r} of Application {name!r} has the IPaddress {address!r}: a balancer needs an "
            "IPv4 or IPv6 address"
        ) from None
    ports, _ = application_ports(application, host)
    secure = [port for port in ports if port.mode is ListeningMode.SECURE]
    return PoolServer(
        name,
        address,
        {port.id: port.port for port in ports},
        frozenset(port.id for port in secure),
        frozenset(port.id for port in secure if port.tls is not None and port.tls.mutual),
    )


def _check_places(pool: Pool) -> None:
    taken: dict[tuple[str, int], str] = {}
    for server in (pool.balancer, *pool.members):
        for port in server.ports.values():
            other = taken.setdefault((server.address, port), server.name)
            if other != server.name:
                raise ConfigurationError(
                    f"the Applications {other!r} and {server.name!r} are both at {server.address} port {port}"
                )
    for member in pool.members:
        for id_ in pool.balancer.ports:
            if id_ not in member.ports:
                raise ConfigurationError(
                    f"Application {member.name!r} has no port {id_!r}, to which the port {id_!r} of "
                    f"{pool.balancer.name!r} leads"
                )


def _name(application: _Object) -> str:
    return str(application["name"])
