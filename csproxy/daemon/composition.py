"""What masters and proxies have in common as processes: options, log outputs, ports, and the run until a stop.

What they are composed of stands in `csproxy.daemon.master_composition` and `csproxy.daemon.proxy_composition`.
"""

from __future__ import annotations

import logging
import random
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from csproxy.auth.chain import AuthenticationChain, build_authenticator
from csproxy.core.changes import Change
from csproxy.core.collation import collation
from csproxy.core.credentials import CredentialBook
from csproxy.core.history import history_settings
from csproxy.core.peer_limits import PeerLimits, parse_networks
from csproxy.daemon.application_watch import ApplicationWatch
from csproxy.daemon.change_events import tell_changes
from csproxy.daemon.health import LastErrors, Readiness, beyond_status, port_status
from csproxy.daemon.log_intervals import LogIntervals
from csproxy.daemon.log_settings import log_settings
from csproxy.daemon.logs import LogOutputs
from csproxy.daemon.loop_lag import LoopLag
from csproxy.daemon.management import Managed, ManagementPort
from csproxy.daemon.passwords import Passwords
from csproxy.daemon.ports import ListeningPort, OwnPort, application_ports
from csproxy.daemon.process import freeze_heap
from csproxy.daemon.runtime_options import RuntimeOptions, log_changes
from csproxy.daemon.secure_ports import SecurePorts
from csproxy.daemon.settings import DaemonSettings
from csproxy.daemon.shown_certificates import ShownCertificates
from csproxy.daemon.shutdown import Shutdown
from csproxy.errors import ConfigurationError, LocalProtocolError
from csproxy.transport.history import MasterHistory, ProxyHistory
from csproxy.transport.listener import Listener
from csproxy.transport.server import ConfigurationServer, ServerSettings

__all__ = ["Daemon"]

_log = logging.getLogger("csproxy.daemon")

_HOST: Final = 10
STOP_GRACE_S: Final = 5.0
"""How long clients may take to go when the server stops."""


class Daemon(ABC):
    """One master or proxy as a process: settings, log outputs, options, and the run until a stop.

    ``announce`` is called with the line that standard output shows when the ports are open, or the role has changed.
    """

    role: str
    """``master`` or ``proxy``."""

    def __init__(self, settings: DaemonSettings, shutdown: Shutdown, *, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._shutdown = shutdown
        self._announce = announce
        self._options = RuntimeOptions(settings.options)
        self._logs = LogOutputs()
        self._intervals = LogIntervals(self._in_short, self._statistics, self._logs.write_statistics)
        self._keeps_startup = str(self._options.get("log", "keep-startup-file"))
        self._server: ConfigurationServer | None = None
        self._history: MasterHistory | ProxyHistory | None = None
        self._is_serving = False
        self._is_open = False
        self._errors = LastErrors()
        self._lag = LoopLag()
        self._certificates = ShownCertificates()
        self._management = ManagementPort(
            Managed(
                readiness=self.readiness,
                status=self.full_status,
                server=lambda: self._server,
                stop=shutdown.request,
                promote=self.promote,
                hand_over=self.hand_over,
            ),
            folder=Path.cwd(),
        )
        self._announce_role: Callable[[], None] = lambda: None
        self._chain: AuthenticationChain | None = None
        self._passwords: Passwords | None = None
        self._ports: SecurePorts | None = None
        self._listener: Listener | None = None
        self._log_in_options = settings.options.log_in_options({})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._settings.application!r}>"

    async def run(self) -> None:
        """Serve until a stop is asked for.

        Raises `ConfigurationError` or `StoreError` when it cannot start; nothing listens then.
        """
        self._apply_log_options()
        try:
            for warning in self._settings.warnings:
                _log.warning("%s", warning, extra={"event": 31006})
            if self._settings.licence is not None:
                _log.info("licence %s (not checked)", self._settings.licence)
            with self._errors.kept():
                async with self._management, anyio.create_task_group() as tasks:
                    tasks.start_soon(self._intervals.run)
                    tasks.start_soon(self._lag.run)
                    tasks.start_soon(self._certificates.keep)
                    self._open_management()
                    await self._run()
                    tasks.cancel_scope.cancel()
        finally:
            self._logs.close()

    @abstractmethod
    async def _run(self) -> None:
        """Put the server together and `_serve`."""

    @abstractmethod
    def _status(self) -> dict[str, Any]:
        """The keys of the Status answer that this role adds."""

    @abstractmethod
    def _apply_own_options(self, changed: set[str]) -> None:
        """Put the options of these sections in force, as far as they are this role's."""

    def _doubt(self) -> str:
        """Why what is served may be old; empty when it is not."""
        return ""

    def _awaits(self) -> str:
        """What a server that has no data waits for."""
        return "loading"

    async def _behind(self) -> dict[str, Any]:
        """Where the server stands to the one that it follows."""
        return {}

    async def _leave(self) -> None:  # noqa: B027 - a master has nobody to say it to
        """Say farewell before the clients are told that the server stops."""

    def _trusts_loopback(self) -> bool:
        return bool(self._options.get("system", "proxy-trust-loopback"))

    async def _serve(self, server: ConfigurationServer, ports: SecurePorts, what: Callable[[], str]) -> None:
        self._is_serving = True
        self._open_management()
        self._ports = self._certificates.ports = ports
        server.is_for_users = ports.restricted
        server.collation = collation(str(self._options.get("csproxy", "locale")))
        assert self._passwords is not None
        chain = build_authenticator(
            self._log_in_options,
            cache=lambda: server.cache,
            internal=self._passwords,
            upstream=self._passwords.upstream,
        )
        self._chain = server.authenticator = server.tickets = chain
        self._listener = Listener(await ports.open(), server.connect, visit=server.peers.visit)
        self._certificates.warn()
        self._apply_balancers()
        async with chain, self._listener as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(ports.keep)
            where = ", ".join(f"{host}:{port}" for host, port in listener.addresses().values())

            def announce() -> None:
                reason = server.standby()
                objects = f"{server.statistics().objects} objects at UEN {server.position.uen}"
                state = f"ready on {where}" if reason is None else f"standing by on {where}"
                line = f"{state} as {what()}: {objects}" + (f"; {reason}" if reason else "")
                self._logs.print(line)
                self._announce(line)

            self._announce_role = announce
            self._is_open = True
            announce()
            _log.info("%s", self._in_short(), extra={"event": 31001})
            await self._shutdown.wait()
            await self._leave()
            tasks.cancel_scope.cancel()
        await server.stop(grace_s=STOP_GRACE_S)
        _log.info("stopped", extra={"event": 31002})

    def _check_passwords(self, server: ConfigurationServer, book: CredentialBook) -> Passwords:
        self._passwords = Passwords(server, self._options, book, is_filled=len(book) > 0)
        return self._passwords

    def _make_server(self) -> ConfigurationServer:
        self._server = ConfigurationServer(
            role=self.role,
            name=self._settings.application,
            random=random.random,
            random_bytes=secrets.token_bytes,
            settings=self._server_settings(ServerSettings()),
            more_status=lambda: {**port_status(self._ports, self._listener), **self._status()},
        )
        self._apply_peer_limits()
        return self._server

    def _wanted_ports(self, sink: ApplicationWatch, own: OwnPort | None) -> tuple[list[ListeningPort], list[str]]:
        """The ports as the own Application object and its Host have them now."""
        application = sink.application or {"name": self._settings.application}
        host = sink.cache.stored(_HOST, (application.get("serverInfo") or {}).get("hostDBID", 0))
        return application_ports(application, host, own=own)

    # management

    def _open_management(self) -> None:
        """Open the management port if an option names one, and it is not open.

        Called at the start, with the options of file and environment, and again with those of the Application object.
        """
        port = self._number("management-port")
        if port and not self._management.is_open:
            self._management.open(str(self._options.get("csproxy", "management-address")), port)

    def readiness(self) -> Readiness:
        """Whether clients are served now."""
        server = self._server
        if self._shutdown.is_requested:
            return Readiness(False, "stopping")
        if server is None or not self._is_open or not server.replica.complete:
            return Readiness(False, self._awaits())
        reason = server.standby()
        return Readiness(True, self._doubt()) if reason is None else Readiness(False, reason)

    async def full_status(self) -> dict[str, Any]:
        """The Status answer and what is documented for the management port (docs/howto/monitoring.md)."""
        server, now = self._server, self.readiness()
        known = {"role": self.role, "name": self._settings.application} if server is None else server.status()
        return {
            **known,
            "ready": now.ready,
            "reason": now.text,
            **await self._behind(),
            **self._beyond(),
            "log_lines": dict(self._errors.counts),
            "last_errors": self._errors.shown(),
        }

    async def promote(self) -> None:
        """Serve, because an operator wants it, although the other of the pair cannot be asked.

        Raises `LocalProtocolError`: this server is no proxy of a pair, or the other one is there and has to hand over.
        """
        raise self._is_no_member()

    async def hand_over(self) -> None:
        """Let the other of the pair serve, because an operator wants it; returns when it does, or after two seconds.

        Raises `LocalProtocolError`: this server is no proxy of a pair or does not serve, or the other one is not there.
        """
        raise self._is_no_member()

    def _is_no_member(self) -> LocalProtocolError:
        return LocalProtocolError(f"{self._settings.application!r} is no proxy of a warm-standby pair, or not yet")

    def _watch(self, server: ConfigurationServer) -> ApplicationWatch:
        """What passes data on to the server, and notices changes on their way."""
        name = self._settings.application
        return ApplicationWatch(
            server, name, self._application_changed, on_transaction=self._tell_changes, on_replace=freeze_heap
        )

    def _tell_changes(self, transaction: Sequence[Change]) -> None:
        if self._server is not None:
            tell_changes(transaction, self._server.cache, here=self._makes_changes())

    def _makes_changes(self) -> bool:
        """Whether the changes that arrive were made by this server."""
        return False

    # options

    def _application_changed(self, application: dict[str, Any]) -> None:
        """The own Application object is there for the first time, or is another now."""
        given = application.get("options", {})
        changes = self._options.apply_application(given)
        self._log_in_options = self._settings.options.log_in_options(given)
        changed = {change.option.section for change in changes}
        if not self._is_serving:
            self._keeps_startup = str(self._options.get("log", "keep-startup-file"))
        if changed & {"log", "log-extended"}:
            try:
                self._apply_log_options()
            except ConfigurationError as e:
                _log.warning("%s; logging goes on as before", e, extra={"event": 31005})
        if "csproxy" in changed and self._server is not None:
            self._server.settings = self._server_settings(self._server.settings)
            self._apply_balancers()
        if "security" in changed:
            self._apply_peer_limits()
            if self._passwords is not None:
                self._passwords.apply_options()
        if "history-log" in changed:
            self._apply_history_options()
        self._apply_own_options(changed)
        log_changes(changes, running=self._is_serving)
        if self._chain is not None:
            self._chain.apply(self._log_in_options)

    def _keep_history(self, server: ConfigurationServer, history: MasterHistory | ProxyHistory) -> None:
        self._history = server.history = history
        self._apply_history_options()

    def _apply_history_options(self) -> None:
        if self._history is not None:
            self._history.settings, complaints = history_settings(
                lambda name: self._options.get("history-log", name), self._history.settings
            )
            for complaint in complaints:
                _log.warning("%s", complaint, extra={"event": 31005})

    def _server_settings(self, present: ServerSettings) -> ServerSettings:
        return msgspec.structs.replace(
            present,
            packet_bytes=self._number("packet-size"),
            max_client_output_bytes=self._number("max-client-output-queue-size") * 1024,
            max_output_bytes=self._number("max-output-queue-size") * 1024 * 1024,
            client_response_timeout_s=float(self._number("client-response-timeout")),
        )

    def _apply_balancers(self) -> None:
        if self._listener is not None:
            found = self._options.get("csproxy", "balancer-addresses")
            assert isinstance(found, tuple)
            self._listener.balancers = parse_networks(",".join(found))

    def _apply_peer_limits(self) -> None:
        if self._server is not None:
            exempt = self._options.get("security", "unlimited-addresses")
            assert isinstance(exempt, tuple)
            self._server.peers.table.limits = PeerLimits(
                connections=self._number("max-connections-per-address", "security"),
                unregistered=self._number("max-unregistered-per-address", "security"),
                registrations=self._number("registrations-per-minute", "security"),
                failures=self._number("failed-logins-per-minute", "security"),
                exempt=parse_networks(",".join(exempt)),
            )

    def _apply_log_options(self) -> None:
        self._logs.apply(
            log_settings(
                self._options,
                application=self._settings.application,
                role=self.role,
                keeps_startup=self._keeps_startup,
            )
        )
        self._intervals.set(
            check_point_h=self._number("check-point", "log"),
            statistics_s=self._number("x-stat-print-interval", "log"),
        )

    def _in_short(self) -> str:
        """What a check-point says of the server."""
        server, now = self._server, self.readiness()
        reason = f" ({now.text})" if now.text else ""
        state = f"{self.role} {self._settings.application}, {'ready' if now.ready else 'not ready'}{reason}"
        if server is None:
            return state
        found = server.statistics()
        return f"{state}; {found.clients} clients, {found.objects} objects at UEN {found.position.uen}"

    def _statistics(self) -> dict[str, Any]:
        """What a line of the statistics file has: the Status answer, queues and memory."""
        known = {} if self._server is None else self._server.status()
        return {**known, **self._beyond()}

    def _beyond(self) -> dict[str, Any]:
        return beyond_status(self._server, self._listener, self._lag, self._certificates.rows())

    def _number(self, name: str, section: str = "csproxy") -> int:
        value = self._options.get(section, name)
        assert isinstance(value, int)
        return value
