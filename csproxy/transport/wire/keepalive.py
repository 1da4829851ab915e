"""The payload of SetKeepAlive: how the server is to watch over its client."""

from __future__ import annotations

from csproxy.transport.wire.payload import Payload

__all__ = ["SetKeepAlive"]


class SetKeepAlive(Payload, kw_only=True):
    """1037, request: poll this client when it is silent. Allowed at any time; the last one counts.

    ``timeout_ms``: 0 (off) to 3,600,000. ``patience_ms``: after how long a silence this client itself polls; a server
    that does not read while it works on a request shows before that that it is there. ``trace``: write polls and
    their answers into the log.
    """

    timeout_ms: int = 0
    patience_ms: int = 0
    trace: bool = False
