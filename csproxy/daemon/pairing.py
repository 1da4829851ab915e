"""A proxy that is one of a warm-standby pair, from the objects: who the other is, and what Status says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from csproxy.core.connections import Partner, master_keep_alive, partner
from csproxy.core.standby import Role
from csproxy.transport.dial import connect_tcp
from csproxy.transport.pair import KEEP_ALIVE, PairMember
from csproxy.transport.server import ConfigurationServer

__all__ = ["pair_member", "pair_status"]


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
        connect_tcp,
        lambda: there().endpoints,
        application=server.name,
        dbid=found.own_dbid,
        other=found.name,
        is_configured_primary=found.is_backup_of_own,
        app_password=app_password,
        keep_alive=master_keep_alive(server.cache, server.name) or KEEP_ALIVE,
        on_role=on_role,
    )


def pair_status(member: PairMember | None) -> dict[str, Any]:
    """The key ``pair`` of the Status answer; nothing for a proxy that stands alone."""
    return {} if member is None else {"pair": asdict(member.statistics())}
