"""How a proxy's connections to its master are made: with or without TLS, and from which local port.

The parameters are looked up at each connection, so that a change of the objects counts from the next one on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from csproxy.core.cache import ConfigurationCache
from csproxy.core.connections import master_transport
from csproxy.core.failover import Endpoint
from csproxy.core.tls_settings import tls_settings
from csproxy.core.transport_parameters import look_up, switch
from csproxy.errors import ConfigurationError
from csproxy.transport.channel import Channel
from csproxy.transport.dial import connect_tcp
from csproxy.transport.tls_context import TlsFiles
from csproxy.transport.tls_dial import TlsConnector

__all__ = ["MasterConnector"]

_log = logging.getLogger("csproxy.upstream")
_WHERE = "the connection to the master"


class MasterConnector:
    """A `csproxy.transport.channel.Connector` for Application ``application``.

    ``given`` are the parameters of the command line and of confserv.conf, which come first; ``primary`` is where the
    command line says that the master is: a connection to another address goes to its backup.
    """

    def __init__(
        self,
        given: Mapping[str, str],
        cache: Callable[[], ConfigurationCache],
        application: str,
        primary: Endpoint,
    ) -> None:
        self._given = given
        self._cache = cache
        self._application = application
        self._primary = primary
        self._files: TlsFiles | None = None

    def __repr__(self) -> str:
        return f"<MasterConnector of {self._application!r} to {self._primary}>"

    async def __call__(self, host: str, port: int) -> Channel:
        """Connect. Raises `csproxy.errors.ConnectionLostError`, and `ConfigurationError` for wrong parameters."""
        parameters = self.parameters(port)
        connect = partial(connect_tcp, local=_local(parameters, is_backup=(host, port) != self._primary))
        if not switch(parameters, "tls", _WHERE):
            return await connect(host, port)
        settings = tls_settings(parameters, _WHERE)
        if self._files is None or self._files.settings != settings:
            self._files = TlsFiles(settings, server_side=False)
        channel = await TlsConnector(self._files, connect)(host, port)
        _log.info("the connection to %s is secure", channel.peer)
        return channel

    def parameters(self, port: int) -> dict[str, str]:
        """The transport parameters of a connection to ``port`` of the master."""
        return look_up(self._given, master_transport(self._cache(), self._application, port=port))


def _local(parameters: Mapping[str, str], *, is_backup: bool) -> tuple[str, int] | None:
    """Where the connection comes from; None if that is the system's choice."""
    name = "backup-port" if is_backup else "port"
    address, text = parameters.get("address", ""), parameters.get(name, "")
    if text and not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ConfigurationError(f"{_WHERE}: {name} is {text!r}; 1 to 65535 is valid")
    return (address or "0.0.0.0", int(text or 0)) if address or text else None
