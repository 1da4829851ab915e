"""Connecting with TLS: a connector around another connector."""

from __future__ import annotations

from csproxy.core.tls_settings import TlsSettings
from csproxy.transport.channel import Channel, Connector
from csproxy.transport.dial import connect_tcp
from csproxy.transport.tls_channel import HANDSHAKE_TIMEOUT_S, secure
from csproxy.transport.tls_context import TlsFiles
from csproxy.transport.tls_engine import TlsEngine

__all__ = ["TlsConnector"]


class TlsConnector:
    """A `Connector` whose channels are secure.

        ConfigClient("master", 2020, connector=TlsConnector(TlsSettings(trusted_ca=("ca.pem",))))

    (which ``tls=`` of the client does for you). ``inner`` makes the connections. The files of ``tls`` are read at
    the first connection, and again at a later one if they have changed; `TlsFiles` may be given to share them.
    """

    def __init__(
        self, tls: TlsSettings | TlsFiles, inner: Connector = connect_tcp, *, timeout_s: float = HANDSHAKE_TIMEOUT_S
    ) -> None:
        self._files = tls if isinstance(tls, TlsFiles) else TlsFiles(tls, server_side=False)
        self._files.settings.check_client("TLS of a client")
        self._inner = inner
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"<TlsConnector {self._files!r}>"

    async def __call__(self, host: str, port: int) -> Channel:
        """Connect and do the handshake.

        Raises what the inner connector raises, `TlsError` when the handshake fails, and
        `csproxy.errors.ConfigurationError` when a file cannot be used.
        """
        tls = await self._files.latest()
        channel = await self._inner(host, port)
        name = self._files.settings.server_name or host
        return await secure(channel, TlsEngine(tls.context, name=name, own=tls.own), timeout_s=self._timeout_s)
