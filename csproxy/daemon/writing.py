"""Whether and how much a proxy's clients may write, by its options and by persistent mode."""

from __future__ import annotations

from typing import Any

from csproxy.core.failover import Endpoint
from csproxy.core.write_budgets import WriteBudgets
from csproxy.daemon.persistent import PersistentMode
from csproxy.daemon.runtime_options import RuntimeOptions
from csproxy.transport.forwarding import ForwardingWriter
from csproxy.transport.server import ConfigurationServer
from csproxy.transport.upstream import UpstreamSource

__all__ = ["ProxyWriting"]


class ProxyWriting:
    """The forwarder of a proxy of ``master``; ``mode`` if it was started in persistent mode.

    proxy-writable is looked at for each change, proxy-write-rate when `apply_options` is called.
    """

    def __init__(
        self,
        source: UpstreamSource,
        server: ConfigurationServer,
        options: RuntimeOptions,
        *,
        master: Endpoint,
        mode: PersistentMode | None,
    ) -> None:
        self._options = options
        self._master = master
        self._mode = mode
        self.forwarder = ForwardingWriter(source, server, refusal=self.refusal, budgets=WriteBudgets())
        self.apply_options()

    def __repr__(self) -> str:
        return f"<ProxyWriting {self.refusal() or 'on'}>"

    def apply_options(self) -> None:
        """Take the option that may have changed."""
        self.forwarder.budgets.rate = float(str(self._options.get("csproxy", "proxy-write-rate")))

    def refusal(self) -> str | None:
        """Why no changes are taken now; None if they are."""
        if self._mode is not None and self._mode.is_on:
            return self._mode.refusal
        if not self._options.get("csproxy", "proxy-writable"):
            return f"this Configuration Server Proxy is read-only: write to the master, {self._master}"
        return None

    def status(self) -> dict[str, Any]:
        """The keys of the Status answer."""
        now = self.forwarder.statistics()
        forwarding = {"forwarded": now.forwarded, "unknown": now.unknown, "under_way": now.under_way}
        return {"writable": self.refusal() is None, "writes": forwarding}
