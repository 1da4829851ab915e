"""The listening ports of a running server: their certificates, and what changes while they listen.

Every few seconds the objects and the files are looked at. Mode, certificates and the other parameters of TLS, and
``user``, count for new connections at once; a bad certificate is refused with a log event and the one before stays.
An id, address or number that has changed needs a restart, and a log event says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import anyio

from csproxy.core.transport_parameters import ListeningMode
from csproxy.daemon.health import iso
from csproxy.daemon.ports import ListeningPort
from csproxy.daemon.private_files import loose_permissions
from csproxy.errors import ConfigurationError
from csproxy.transport.certificates import CertificateFacts
from csproxy.transport.listener import ListenPort
from csproxy.transport.port_security import PortSecurity
from csproxy.transport.tls_context import TlsContext, TlsFiles

__all__ = ["SecurePorts"]

_log = logging.getLogger("csproxy.ports")
_EVENT: Final = {"event": 31030}

_LOOK_S: Final = 5.0

Wanted = Callable[[], tuple[list[ListeningPort], list[str]]]
"""The ports as the objects have them now, with warnings; raises `ConfigurationError`."""


class SecurePorts:
    """The ports of one server. ``wanted`` says what they are to be, ``clock`` the seconds since 1970."""

    def __init__(self, wanted: Wanted, *, look_s: float = _LOOK_S, clock: Callable[[], float] = time.time) -> None:
        self._wanted = wanted
        self._look_s = look_s
        self._clock = clock
        self._ports: dict[str, _Port] = {}
        self._said: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<SecurePorts {', '.join(map(repr, self._ports.values()))}>"

    async def open(self) -> list[ListenPort]:
        """Read all certificates; the ports to listen on.

        Raises `ConfigurationError`: a server does not start with half of its ports.
        """
        ports, warnings = self._wanted()
        self._tell(warnings)
        for port in ports:
            self._ports[port.id] = each = _Port(port)
            await each.load(port)
            self._warn_of_readers(port)
        return [ListenPort(port.id, port.address, port.port, self._ports[port.id].security) for port in ports]

    async def keep(self) -> None:
        """Look at objects and files for ever."""
        while True:
            await anyio.sleep(self._look_s)
            await self.look()

    async def look(self) -> None:
        """Take up what has changed; what is wrong is logged once and changes nothing."""
        try:
            ports, warnings = self._wanted()
        except ConfigurationError as e:
            ports, warnings = [each.now for each in self._ports.values()], [f"{e}; the ports stay as they are"]
        self._tell([*warnings, *self._restart_notices(ports)])
        for port in ports:
            each = self._ports.get(port.id)
            if each is not None:
                await self._update(each, port)

    def restricted(self, port_id: str) -> bool:
        """Whether only applications with a user interface may register at a port."""
        each = self._ports.get(port_id)
        return each is not None and each.now.for_users

    def status(self) -> list[dict[str, Any]]:
        """The ports for the Status answer; its keys are documented in docs/protocol.md."""
        return [each.status(self._clock()) for each in self._ports.values()]

    def certificates(self) -> list[tuple[str, Sequence[CertificateFacts]]]:
        """The id of each port, and the certificates of its chain from the own one on."""
        return [(each.now.id, each.certificates) for each in self._ports.values()]

    def _restart_notices(self, ports: Sequence[ListeningPort]) -> Iterator[str]:
        told = {(port.id, port.address, port.port) for port in ports}
        running = {(each.now.id, each.now.address, each.now.port) for each in self._ports.values()}
        for id_, address, number in sorted(told ^ running):
            change = "is new" if (id_, address, number) in told else "is there no more"
            yield f"port {id_!r} at {address}:{number} {change} in the Application object: restart to take it up"

    async def _update(self, each: _Port, port: ListeningPort) -> None:
        problem = each.problem
        try:
            if await each.load(port):
                own = each.certificate
                until = f", certificate {own.subject}, valid until {iso(own.not_after_s)}" if own else ""
                _log.info("port %r is %s now%s", port.id, port.mode.value, until)
        except ConfigurationError as e:
            if str(e) != problem:
                _log.error("port %r: %s; new connections go on with what was in use before", port.id, e, extra=_EVENT)

    def _warn_of_readers(self, port: ListeningPort) -> None:
        key = "" if port.tls is None else port.tls.certificate_key
        warning = loose_permissions(Path(key), is_secret=True, group_may_read=True) if key else None
        if warning is not None:
            _log.warning("port %r: %s", port.id, warning, extra={"event": 31006})

    def _tell(self, sentences: Sequence[str]) -> None:
        for sentence in sentences:
            if sentence not in self._said:
                _log.warning("%s", sentence, extra={"event": 31005})
        self._said = frozenset(sentences)


class _Port:
    """One port: what it was opened as, what it does now, and the files of its certificate."""

    def __init__(self, port: ListeningPort) -> None:
        self.now = port
        self.security = PortSecurity(ListeningMode.UNSECURED, None)
        self.problem = ""
        self._files: TlsFiles | None = None

    def __repr__(self) -> str:
        return f"{self.now.id} {self.now.port} {self.security.mode.value}"

    @property
    def certificates(self) -> Sequence[CertificateFacts]:
        tls: TlsContext | None = self.security.tls
        return () if tls is None else tls.certificates

    @property
    def certificate(self) -> CertificateFacts | None:
        """The own one."""
        return self.certificates[0] if self.certificates else None

    @property
    def first_to_expire(self) -> CertificateFacts | None:
        """Of the whole chain."""
        return min(self.certificates, key=lambda facts: facts.not_after_s, default=None)

    async def load(self, port: ListeningPort) -> bool:
        """Do from now on what ``port`` says; whether that, or a file, is other than before.

        Raises `ConfigurationError` for files that cannot be used; nothing changes then.
        """
        files = self._files
        if port.tls is None:
            files = None
        elif files is None or files.settings != port.tls:
            files = TlsFiles(port.tls, server_side=True)
        try:
            is_new = await files.refresh() if files is not None else False
        except ConfigurationError as e:
            self.problem = str(e)
            raise
        changed = is_new or port.mode is not self.security.mode
        if is_new or files is not self._files:
            self.problem = ""
        self._files = files
        self.security.tls = None if files is None else files.current
        self.security.mode = port.mode
        # address and number stay those that it listens on
        self.now = ListeningPort(
            self.now.id, self.now.address, self.now.port, port.mode, port.tls, port.for_users, port.ha_sync
        )
        return changed

    def status(self, now_s: float) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": self.now.id,
            "address": self.now.address,
            "port": self.now.port,
            "mode": self.security.mode.value,
            "user": self.now.for_users,
            "ha_sync": self.now.ha_sync,
        }
        own, first = self.certificate, self.first_to_expire
        if own is not None and first is not None:
            shown["certificate"] = {
                "subject": own.subject,
                "names": list(own.names),
                "not_after": iso(first.not_after_s),
                "days_left": first.days_left(now_s),
            }
        return shown | ({"problem": self.problem} if self.problem else {})
