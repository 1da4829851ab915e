"""Two Configuration Servers that are a pair: one Application names the other as its backup.

Read from Application and Host objects in plain form, wherever they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from csproxy.core.failover import Endpoint
from csproxy.core.transport_parameters import transport_parameters

__all__ = ["are_pair", "backup_of", "pair_endpoints"]

_ANY: Final = ("", "0.0.0.0", "::")

Lookup = Callable[[int], Mapping[str, Any] | None]
"""An object in plain form by its DBID."""


def backup_of(application: Mapping[str, Any]) -> int:
    """DBID of the Application that is the backup of ``application``; 0 for none."""
    return int(application.get("serverInfo", {}).get("backupServerDBID", 0))


def are_pair(applications: Iterable[Mapping[str, Any]], one: str, other: str) -> bool:
    """Whether one of the two, given by name, is configured as the backup of the other."""
    found = {each.get("name"): each for each in applications}
    first, second = found.get(one), found.get(other)
    if first is None or second is None:
        return False
    return backup_of(first) == int(second["DBID"]) or backup_of(second) == int(first["DBID"])


def pair_endpoints(server: int, applications: Lookup, hosts: Lookup) -> list[Endpoint]:
    """Where the Application with DBID ``server`` and its backup are reached; those that say it."""
    wanted = [server, backup_of(applications(server) or {})]
    found = [_endpoint(applications(dbid) or {}, hosts) for dbid in wanted if dbid]
    return [endpoint for endpoint in found if endpoint is not None]


def _endpoint(application: Mapping[str, Any], hosts: Lookup) -> Endpoint | None:
    info = application.get("serverInfo", {})
    ports = application.get("portInfos", [])
    default: Mapping[str, Any] = next((each for each in ports if each.get("id") == "default"), {})
    port = str(info.get("port") or default.get("port", "")).strip()
    address = transport_parameters(str(default.get("transportParams", ""))).get("address", "")
    if address in _ANY:
        host = hosts(int(info.get("hostDBID", 0))) or {}
        address = str(host.get("IPaddress") or host.get("name", ""))
    return Endpoint(address, int(port)) if address and port.isdigit() else None
