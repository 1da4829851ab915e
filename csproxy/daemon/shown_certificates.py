"""The certificates that a server shows, at its ports and on its own connections: what status and log say of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import anyio

from csproxy.daemon.connectors import ObjectConnector
from csproxy.daemon.health import iso
from csproxy.daemon.secure_ports import SecurePorts
from csproxy.transport.certificates import CertificateFacts

__all__ = ["EXPIRY_WARNING_DAYS", "ShownCertificates"]

_log = logging.getLogger("csproxy.ports")

EXPIRY_WARNING_DAYS: Final = 30
_LOOK_S: Final = 5.0
_DAY_S: Final = 86400.0


class _Chain(NamedTuple):
    """What is shown at one place: ``label`` names it in status, metrics and page, ``place`` in a sentence."""

    label: str
    place: str
    certificates: Sequence[CertificateFacts]


class ShownCertificates:
    """All of them, of one server. ``clock`` gives the seconds since 1970."""

    def __init__(self, *, look_s: float = _LOOK_S, clock: Callable[[], float] = time.time) -> None:
        self.ports: SecurePorts | None = None
        """None until the server listens."""
        self.connections: dict[str, ObjectConnector] = {}
        """By what they are: ``connection to the master``."""
        self._look_s = look_s
        self._clock = clock
        self._next_warning_s: dict[CertificateFacts, float] = {}

    def __repr__(self) -> str:
        return f"<ShownCertificates {', '.join(chain.label for chain in self._chains())}>"

    def rows(self) -> list[dict[str, Any]]:
        """For status.json, of each chain from the own certificate on; documented in docs/howto/monitoring.md."""
        now_s = self._clock()
        return [
            {
                "port": chain.label,
                "subject": facts.subject,
                "names": list(facts.names),
                "not_after": iso(facts.not_after_s),
                "days_left": facts.days_left(now_s),
            }
            for chain in self._chains()
            for facts in chain.certificates
        ]

    async def keep(self) -> None:
        """Warn in time, for ever; what stands in the files of a connection now counts, as for its next handshake."""
        while True:
            await anyio.sleep(self._look_s)
            for connector in list(self.connections.values()):
                await connector.refresh()
            self.warn()

    def warn(self) -> None:
        """Tell the log which certificates expire within 30 days: each once a day, with all places that show it.

        Of a chain it is the first to expire.
        """
        now_s = self._clock()
        places: dict[CertificateFacts, list[str]] = {}
        for chain in self._chains():
            first = min(chain.certificates, key=lambda facts: facts.not_after_s, default=None)
            if first is not None and first.days_left(now_s) <= EXPIRY_WARNING_DAYS:
                places.setdefault(first, []).append(chain.place)
        told = self._next_warning_s
        self._next_warning_s = {facts: told.get(facts, float("-inf")) for facts in places}
        for facts, where in places.items():
            if now_s >= self._next_warning_s[facts]:
                self._next_warning_s[facts] = now_s + _DAY_S
                days = facts.days_left(now_s)
                when = "has expired on" if days < 0 else f"expires in {days} days, on"
                _log.warning(
                    "%s: the certificate %s %s %s",
                    ", ".join(where),
                    facts,
                    when,
                    iso(facts.not_after_s),
                    extra={"event": 31030},
                )

    def _chains(self) -> Iterator[_Chain]:
        for port_id, certificates in () if self.ports is None else self.ports.certificates():
            yield _Chain(port_id, f"port {port_id!r}", certificates)
        for label, connector in self.connections.items():
            yield _Chain(label, f"the {label}", connector.certificates)
