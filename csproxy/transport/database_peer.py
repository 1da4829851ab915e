"""What a primary that cannot reach its database asks the other master of the pair: whether that one has taken over.

Without this the clients and proxies of a primary that alone is cut off would be shown an old state for as
long as that lasts, although the other one serves.
"""

from __future__ import annotations

from typing import Final

import anyio

from csproxy.core.connections import Partner
from csproxy.errors import CsproxyError
from csproxy.transport.channel import Connector
from csproxy.transport.connection import Connection

__all__ = ["is_primary"]

_ANSWER_S: Final = 3.0


async def is_primary(connector: Connector, other: Partner | None, name: str) -> bool:
    """Whether the other master says that it is one, and no backup; False also if nobody answers where it should be.

    ``name`` is what the caller calls itself.
    """
    if other is None or not other.endpoints:
        return False
    endpoint = other.endpoints[0]
    try:
        with anyio.move_on_after(_ANSWER_S):
            channel = await connector(endpoint.host, endpoint.port)
            connection = await Connection.open(channel, name, timeout_s=_ANSWER_S)
            connection.close()
            return connection.server_role == "master"
    except CsproxyError:
        pass
    return False
