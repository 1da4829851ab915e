"""How a server's own connections are made, to its master and to the other one of its pair: TLS, and the local port.

The parameters are looked up at each connection, so that a change of the objects counts from the next one on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from csproxy.core.cache import ConfigurationCache
from csproxy.core.connections import master_transport, pair_transport
from csproxy.core.failover import Endpoint
from csproxy.core.tls_settings import tls_settings
from csproxy.core.transport_parameters import look_up, switch
from csproxy.errors import ConfigurationError
from csproxy.transport.certificates import CertificateFacts
from csproxy.transport.channel import Channel
from csproxy.transport.dial import connect_tcp
from csproxy.transport.tls_context import TlsFiles
from csproxy.transport.tls_dial import TlsConnector

__all__ = ["ObjectConnector", "master_connector", "pair_connector"]

_log = logging.getLogger("csproxy.connections")

Cache = Callable[[], ConfigurationCache]


class ObjectConnector:
    """A `csproxy.transport.channel.Connector` that does what ``parameters(host, port)`` says for each connection.

    ``what`` names the connection in errors, ``"the connection to the master"``. The parameter ``port`` is the local
    port.
    """

    def __init__(self, what: str, parameters: Callable[[str, int], Mapping[str, str]]) -> None:
        self._what: Final = what
        self._parameters = parameters
        self._files: TlsFiles | None = None

    def __repr__(self) -> str:
        return f"<ObjectConnector {self._what}>"

    @property
    def certificates(self) -> Sequence[CertificateFacts]:
        """Those that this side shows, the own one first; none before the first secure connection."""
        context = None if self._files is None else self._files.current
        return () if context is None else context.certificates

    async def refresh(self) -> None:
        """Take up files that have changed since the last secure connection, for the next one."""
        if self._files is not None and self._files.current is not None:
            await self._files.latest()

    async def __call__(self, host: str, port: int) -> Channel:
        """Connect. Raises `csproxy.errors.ConnectionLostError`, and `ConfigurationError` for wrong parameters."""
        parameters = self._parameters(host, port)
        connect = partial(connect_tcp, local=self._local(parameters))
        if not switch(parameters, "tls", self._what):
            return await connect(host, port)
        settings = tls_settings(parameters, self._what)
        if self._files is None or self._files.settings != settings:
            self._files = TlsFiles(settings, server_side=False)
        channel = await TlsConnector(self._files, connect)(host, port)
        _log.info("%s %s is secure", self._what, channel.peer)
        return channel

    def _local(self, parameters: Mapping[str, str]) -> tuple[str, int] | None:
        """Where the connection comes from; None if that is the system's choice."""
        address, text = parameters.get("address", ""), parameters.get("port", "")
        if text and not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
            raise ConfigurationError(f"{self._what}: the local port is {text!r}; 1 to 65535 is valid")
        return (address or "0.0.0.0", int(text or 0)) if address or text else None


def master_connector(given: Mapping[str, str], cache: Cache, application: str, primary: Endpoint) -> ObjectConnector:
    """Connects Application ``application`` to its master.

    ``given`` are the parameters of the command line and of confserv.conf, which come first; ``primary`` is where the
    command line says that the master is: a connection to another address goes to its backup, from ``backup-port``.
    """

    def parameters(host: str, port: int) -> Mapping[str, str]:
        found = look_up(given, master_transport(cache(), application, port=port))
        return found if (host, port) == primary else {**found, "port": found.get("backup-port", "")}

    return ObjectConnector("the connection to the master", parameters)


def pair_connector(cache: Cache, application: str) -> ObjectConnector:
    """Connects Application ``application`` to the other one of its pair; from any local port."""

    def parameters(_host: str, port: int) -> Mapping[str, str]:
        return {**pair_transport(cache(), application, port=port), "port": ""}

    return ObjectConnector("the connection to the other server of the pair", parameters)
