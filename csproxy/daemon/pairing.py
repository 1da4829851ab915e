"""A proxy that does not stand alone, from the objects: the other one of its pair, or the pool that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from csproxy.core.connections import Partner, master_keep_alive, partner
from csproxy.core.model.enumerations import CfgAppType, CfgObjectType
from csproxy.core.standby import Role
from csproxy.daemon.connectors import pair_connector
from csproxy.errors import ConfigurationError
from csproxy.transport.pair import KEEP_ALIVE, PairMember
from csproxy.transport.server import ConfigurationServer

__all__ = ["check_pool_member", "pair_member", "pair_status"]

_APPLICATION: Final = int(CfgObjectType.CFGApplication)


def pair_member(
    server: ConfigurationServer, *, app_password: str, on_role: Callable[[Role], object]
) -> PairMember | None:
    """The member of a pair that the configuration makes of ``server``; None for a proxy that stands alone.

    Its keep-alive is that of the proxy's Connection to the master. Where the other one is, is looked up each time
    that it is looked for.
    """
    found = partner(server.cache, server.name)
    if found is None:
        return None

    def there() -> Partner:
        return partner(server.cache, server.name) or found

    return PairMember(
        server,
        pair_connector(lambda: server.cache, server.name),
        lambda: there().endpoints,
        application=server.name,
        dbid=found.own_dbid,
        other=found.name,
        is_configured_primary=found.is_backup_of_own,
        app_password=app_password,
        keep_alive=master_keep_alive(server.cache, server.name) or KEEP_ALIVE,
        on_role=on_role,
    )


def check_pool_member(server: ConfigurationServer, pool: str) -> None:
    """Check that ``server`` can be a member of the pool for whose balancer the Application ``pool`` stands.

    Raises `ConfigurationError`: there is no such Application of type ConfigurationServer, it is the server's own, or
    the server has, or is, a backup.
    """
    option = f"Application {server.name!r}: option proxy-cluster-name of [csproxy]"
    dbid = server.cache.find(_APPLICATION, name=pool)
    found = server.cache.stored(_APPLICATION, dbid or 0) or {}
    if found.get("type") != CfgAppType.CFGConfigServer or pool == server.name:
        raise ConfigurationError(
            f"{option} is {pool!r}: valid is the name of the Application of type ConfigurationServer that stands for "
            "the load balancer"
        )
    other = partner(server.cache, server.name)
    if other is not None:
        raise ConfigurationError(
            f"{option} makes it a member of a pool, but it is one of a pair with {other.name!r}: members of a pool "
            "stand alone"
        )


def pair_status(member: PairMember | None) -> dict[str, Any]:
    """The key ``pair`` of the Status answer; nothing for a proxy that stands alone."""
    return {} if member is None else {"pair": asdict(member.statistics())}
