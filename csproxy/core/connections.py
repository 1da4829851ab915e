"""How a proxy reaches its master, by the objects: where the two of a pair are, how often each is tried, how soon again.

The published model gives a Connection (CfgConnInfo, in the Application's appServerDBIDs) a server and the id of one
of its ports. Attempts and time-out stand in the Application of that server (serverInfo, CfgServer) and count for
everybody who connects to it; that they are what the options call the Connection's is our reading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from csproxy.core.cache import ConfigurationCache
from csproxy.core.failover import Endpoint
from csproxy.core.keepalive import KeepAlive, connection_keep_alive
from csproxy.core.model.enumerations import CfgAppType, CfgObjectType
from csproxy.core.pairs import backup_of
from csproxy.core.transport_parameters import look_up, object_parameters, transport_parameters

__all__ = [
    "ATTEMPTS",
    "RECONNECT_S",
    "MasterConnection",
    "Partner",
    "master_connection",
    "master_keep_alive",
    "master_transport",
    "pair_transport",
    "partner",
]

ATTEMPTS: Final = 1
"""Tries on one server before the other, unless its Application says more."""
RECONNECT_S: Final = 10.0
"""The longest pause between two attempts, unless the Application says another."""

_APPLICATION: Final = int(CfgObjectType.CFGApplication)
_HOST: Final = int(CfgObjectType.CFGHost)
_DEFAULT: Final = "default"
_ANY_ADDRESS: Final = ("", "0.0.0.0", "::")
_YES: Final = ("1", "yes", "on", "true")

_Object = Mapping[str, Any]
_Wish = Callable[[_Object], bool]
"""Whether a port (CfgPortInfo) will do."""


class MasterConnection(NamedTuple):
    """Where the master and the other one of its pair are, those that say it, and how to try them."""

    endpoints: tuple[Endpoint, ...]
    attempts: int
    timeout_s: float


class Partner(NamedTuple):
    """The other server of a warm-standby pair, two proxies or two masters.

    ``is_backup_of_own``: it is the configured backup, so the own one is the configured primary. ``endpoints``: where
    its port for HA synchronisation is, or else ``default``; empty where the objects do not say it.
    """

    own_dbid: int
    name: str
    is_backup_of_own: bool
    endpoints: tuple[Endpoint, ...]


def partner(cache: ConfigurationCache, application: str) -> Partner | None:
    """The other one of the pair to which the server ``application`` (its name) belongs; None if it stands alone."""
    own = _stored(cache, cache.find(_APPLICATION, name=application) or 0)
    if not own:
        return None
    backup = backup_of(own)
    other = _stored(cache, backup or _primary_of(cache, own["DBID"]))
    if not other:
        return None
    endpoint = _endpoint(cache, other, [_for_ha_sync, _with_id(_DEFAULT)])
    return Partner(own["DBID"], other["name"], bool(backup), () if endpoint is None else (endpoint,))


def master_connection(
    cache: ConfigurationCache, application: str, *, master: int = 0, port: int = 0, consistent: bool = False
) -> MasterConnection | None:
    """How Application ``application`` (its name) reaches its master, by the objects in ``cache``.

    ``master`` is the DBID of the Application that answers at ``port``; 0 if that is not known: then the one that
    the Connection names. ``consistent`` is the option consistent-port-selection: the port with the same id at both
    masters, else ``default``, else any; for a backup that for HA synchronisation, else ``default``, else any.
    Otherwise the port is ``default``. None if the master is not in ``cache``.
    """
    own = _stored(cache, cache.find(_APPLICATION, name=application) or 0)
    connection = _connection_to_master(cache, own)
    serving = _stored(cache, master or connection.get("appServerDBID", 0))
    if not serving:
        return None
    wishes: Sequence[_Wish] = [_with_id(_DEFAULT)]
    if consistent:
        used = next((each["id"] for each in _ports(serving) if each["port"] == str(port)), connection.get("id", ""))
        is_backup = bool(own and _primary_of(cache, own["DBID"]))
        wishes = [_for_ha_sync if is_backup else _with_id(used), *wishes, lambda port: True]
    other = _stored(cache, backup_of(serving) or _primary_of(cache, serving["DBID"]))
    found = [_endpoint(cache, each, wishes) for each in (serving, other)]
    server = serving.get("serverInfo", {})
    return MasterConnection(
        tuple(endpoint for endpoint in found if endpoint is not None),
        max(server.get("attempts", 0), ATTEMPTS),
        float(max(server.get("timeout", 0), 0)) or RECONNECT_S,
    )


def master_keep_alive(cache: ConfigurationCache, application: str) -> KeepAlive | None:
    """The keep-alive of the Connection of Application ``application`` (its name) to its master, by ``cache``.

    None without a Connection of protocol addp. Raises `ConfigurationError` for a time-out out of range.
    """
    return connection_keep_alive(
        _connection_to_master(cache, _stored(cache, cache.find(_APPLICATION, name=application) or 0))
    )


def master_transport(cache: ConfigurationCache, application: str, *, port: int) -> dict[str, str]:
    """The transport parameters of the Connection of Application ``application`` (its name) to its master, by ``cache``.

    Each is looked up in the Connection, the own Application and its Host; ``tls`` also in the Port that the
    connection goes to: the one with number ``port``, else the one that the Connection names.
    """
    own = _stored(cache, cache.find(_APPLICATION, name=application) or 0)
    connection = _connection_to_master(cache, own)
    serving = _stored(cache, connection.get("appServerDBID", 0))
    other = _stored(cache, backup_of(serving) or _primary_of(cache, serving.get("DBID", 0)))
    wishes = (_with_number(port), _with_id(connection.get("id", "")))
    offered = _offered_tls([*_ports(serving), *_ports(other)], wishes)
    return look_up(transport_parameters(connection.get("transportParams", "")), _own_parameters(cache, own), offered)


def pair_transport(cache: ConfigurationCache, application: str, *, port: int) -> dict[str, str]:
    """The transport parameters of the connection of a server to the other one of its pair, by ``cache``.

    The model has no Connection for it: they are looked up in the own Application and its Host, and ``tls`` also in
    the Port with number ``port`` of the other one.
    """
    own = _stored(cache, cache.find(_APPLICATION, name=application) or 0)
    other = _stored(cache, backup_of(own) or _primary_of(cache, own.get("DBID", 0)))
    return look_up(_own_parameters(cache, own), _offered_tls(_ports(other), (_with_number(port),)))


def _own_parameters(cache: ConfigurationCache, own: _Object) -> dict[str, str]:
    host = cache.stored(_HOST, own.get("serverInfo", {}).get("hostDBID", 0))
    return look_up(object_parameters(own), object_parameters(host))


def _offered_tls(ports: Sequence[_Object], wishes: Sequence[_Wish]) -> dict[str, str]:
    """Whether the first port that fulfils the first wish says something of TLS, and what."""
    target = next((each for wish in wishes for each in ports if wish(each)), {})
    offered = transport_parameters(target.get("transportParams", ""))
    return {"tls": offered["tls"]} if "tls" in offered else {}


def _stored(cache: ConfigurationCache, dbid: int) -> _Object:
    return cache.stored(_APPLICATION, dbid) or {}


def _primary_of(cache: ConfigurationCache, dbid: int) -> int:
    return cache.lookup(_APPLICATION, ("serverInfo.backupServerDBID",), (dbid,)) or 0


def _connection_to_master(cache: ConfigurationCache, own: _Object) -> _Object:
    """The first Connection of ``own`` to a Configuration Server."""
    connections: Sequence[_Object] = own.get("appServerDBIDs", ())
    for connection in connections:
        if _stored(cache, connection.get("appServerDBID", 0)).get("type") == CfgAppType.CFGConfigServer:
            return connection
    return {}


def _endpoint(cache: ConfigurationCache, application: _Object, wishes: Sequence[_Wish]) -> Endpoint | None:
    """Where the first port is that fulfils the first wish that any of them does."""
    ports = _ports(application)
    port = next((port for wish in wishes for port in ports if wish(port)), {})
    number = port.get("port", "")
    address = transport_parameters(port.get("transportParams", "")).get("address", "")
    if address in _ANY_ADDRESS:
        host = cache.stored(_HOST, application.get("serverInfo", {}).get("hostDBID", 0)) or {}
        address = host.get("IPaddress") or host.get("name", "")
    return Endpoint(address, int(number)) if address and number.isdigit() else None


def _ports(application: _Object) -> list[dict[str, Any]]:
    """The ports as CfgPortInfo, each with id and number; serverInfo has the number of ``default``."""
    ports = {str(info.get("id", "")): dict(info) for info in application.get("portInfos", ())}
    own = application.get("serverInfo", {}).get("port", "")
    if own:
        ports.setdefault(_DEFAULT, {})["port"] = own
    return [{**info, "id": id_, "port": str(info.get("port", "")).strip()} for id_, info in ports.items()]


def _with_id(id_: str) -> _Wish:
    return lambda port: bool(port["id"] == id_)


def _with_number(number: int) -> _Wish:
    return lambda port: bool(port["port"] == str(number))


def _for_ha_sync(port: _Object) -> bool:
    return transport_parameters(port.get("appParams", "")).get("ha-sync", "").lower() in _YES
