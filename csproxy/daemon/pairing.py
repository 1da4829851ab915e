"""A proxy that does not stand alone, from the objects: the other one of its pair, or the pool that it belongs to."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from csproxy.core.connections import Partner, master_keep_alive, partner
from csproxy.core.model.enumerations import CfgAppType, CfgObjectType
from csproxy.core.standby import Role
from csproxy.errors import ConfigurationError
from csproxy.transport.channel import Connector
from csproxy.transport.pair import KEEP_ALIVE, PairMember
from csproxy.transport.server import ConfigurationServer

__all__ = ["apply_connection", "check_pool_member", "join_pool", "pair_member", "pair_status"]

_APPLICATION: Final = int(CfgObjectType.CFGApplication)


def pair_member(
    server: ConfigurationServer,
    connector: Connector,
    *,
    app_password: str = "",
    random: Callable[[], float] = random_module.random,
    on_role: Callable[[Role], object],
) -> PairMember | None:
    """The member of a pair that the configuration makes of ``server``; None for a proxy that stands alone.

    ``connector`` reaches the other one; where that is, is looked up each time that it is looked for. What the
    Connection to the master says is in force (`apply_connection`).
    """
    found = partner(server.cache, server.name)
    if found is None:
        return None

    def there() -> Partner:
        return partner(server.cache, server.name) or found

    member = PairMember(
        server,
        connector,
        lambda: there().endpoints,
        application=server.name,
        dbid=found.own_dbid,
        other=found.name,
        is_configured_primary=found.is_backup_of_own,
        app_password=app_password,
        random=random,
        on_role=on_role,
    )
    apply_connection(member, server)
    return member


def apply_connection(member: PairMember, server: ConfigurationServer) -> None:
    """Let the link keep alive as the Connection of ``server`` to the master, as the data has it now, at once.

    Without one, or with another protocol than addp, `KEEP_ALIVE` holds. A wrong number changes nothing.
    """
    try:
        found = master_keep_alive(server.cache, server.name)
    except ConfigurationError:
        return  # the source of the data has said so: it uses the same
    member.keep_alive = found or KEEP_ALIVE


def join_pool(server: ConfigurationServer, pool: str) -> None:
    """Make ``server`` a member of the pool for whose balancer the Application ``pool`` stands.

    It keeps no sessions of clients that are gone: there is no telling which member they will come to. Raises as
    `check_pool_member`.
    """
    check_pool_member(server, pool)
    server.sessions.keep_s = 0.0


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
