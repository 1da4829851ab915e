"""csproxy: a configuration replica for Genesys contact centres, as a library.

What an embedder uses first is exported here and imported when it is first asked for; the folders
are `csproxy.core` (no I/O), `csproxy.transport` (wire protocol, server, client), `csproxy.auth`,
`csproxy.daemon` (the programs) and `csproxy.testing` (public test helpers). The classes of objects
(``CfgPerson`` …) are in `csproxy.core.model`, the errors in `csproxy.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from csproxy.core.changes import Action, Position
    from csproxy.core.keepalive import KeepAlive
    from csproxy.core.routes import Pools
    from csproxy.core.tls_settings import TlsSettings
    from csproxy.errors import CsproxyError
    from csproxy.transport.client import ClientState, ConfigClient, ReadResult
    from csproxy.transport.client_changes import ObjectChange
    from csproxy.transport.client_subscriptions import ChangeStream
    from csproxy.transport.listener import Listener
    from csproxy.transport.near_cache import NearCache
    from csproxy.transport.server import ConfigurationServer

__all__ = [
    "Action",
    "ChangeStream",
    "ClientState",
    "ConfigClient",
    "ConfigurationServer",
    "CsproxyError",
    "KeepAlive",
    "Listener",
    "NearCache",
    "ObjectChange",
    "Pools",
    "Position",
    "ReadResult",
    "TlsSettings",
]

_HOMES = {
    "Action": "csproxy.core.changes",
    "ChangeStream": "csproxy.transport.client_subscriptions",
    "ClientState": "csproxy.transport.client",
    "ConfigClient": "csproxy.transport.client",
    "ConfigurationServer": "csproxy.transport.server",
    "CsproxyError": "csproxy.errors",
    "KeepAlive": "csproxy.core.keepalive",
    "Listener": "csproxy.transport.listener",
    "NearCache": "csproxy.transport.near_cache",
    "ObjectChange": "csproxy.transport.client_changes",
    "Pools": "csproxy.core.routes",
    "Position": "csproxy.core.changes",
    "ReadResult": "csproxy.transport.client",
    "TlsSettings": "csproxy.core.tls_settings",
}


def __getattr__(name: str) -> Any:
    """Import an export when it is first used: ``import csproxy`` itself loads nothing."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'csproxy' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
