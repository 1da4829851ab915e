"""Putting the components of a master or a proxy together, and running them until somebody asks to stop."""

from __future__ import annotations

import logging
import platform
import random
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import anyio
import msgspec

from csproxy.auth.chain import AuthenticationChain, build_authenticator
from csproxy.auth.passwords import hash_password, verify_password
from csproxy.auth.proxies import ProxyAuthenticator
from csproxy.core.admission import AdmissionSettings
from csproxy.core.collation import collation
from csproxy.core.connections import partner
from csproxy.core.credentials import CredentialBook
from csproxy.core.failover import Endpoint
from csproxy.core.history import history_settings
from csproxy.core.lease import Holder
from csproxy.core.options import LOG_OUTPUT_LEVELS
from csproxy.core.peer_limits import PeerLimits, parse_networks
from csproxy.core.persistence.processes import own_process
from csproxy.core.replication import State
from csproxy.daemon.application_watch import ApplicationWatch
from csproxy.daemon.connectors import master_connector, pair_connector
from csproxy.daemon.copy_status import announce_copy, copy_status
from csproxy.daemon.logs import LogOutputs
from csproxy.daemon.pairing import check_pool_member, pair_member, pair_status
from csproxy.daemon.passwords import Passwords
from csproxy.daemon.persistent import PersistentMode, master_answers, read_database
from csproxy.daemon.ports import ALL_ADDRESSES, ListeningPort, OwnPort, application_ports
from csproxy.daemon.process import freeze_heap
from csproxy.daemon.runtime_options import RuntimeOptions, log_changes
from csproxy.daemon.secure_ports import SecurePorts
from csproxy.daemon.settings import DaemonSettings
from csproxy.daemon.shutdown import Shutdown
from csproxy.daemon.writing import ProxyWriting
from csproxy.errors import ConfigurationError, ErrorCode, RetryableError
from csproxy.transport.administration import ReplicaAdministration, UpstreamAdministration
from csproxy.transport.consistent_reads import SharedQuestion
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.database_check import DatabaseVerifier
from csproxy.transport.database_peer import is_primary
from csproxy.transport.history import MasterHistory, ProxyHistory
from csproxy.transport.listener import Listener
from csproxy.transport.load_control import SerializedWriter
from csproxy.transport.local_copy import LocalCopy
from csproxy.transport.master_administration import MasterAdministration
from csproxy.transport.pair import PairMember
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter, ServerSettings
from csproxy.transport.upstream import UpstreamSource

__all__ = ["Daemon"]

_log = logging.getLogger("csproxy.daemon")

_HOST: Final = 10
STOP_GRACE_S: Final = 5.0
"""How long clients may take to go when the server stops."""


class Daemon:
    """One master or proxy as a process: settings, log outputs, options, and the run until a stop.

    ``announce`` is called with one line when the ports are open.
    """

    def __init__(self, settings: DaemonSettings, shutdown: Shutdown, *, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._shutdown = shutdown
        self._announce = announce
        self._options = RuntimeOptions(settings.options)
        self._logs = LogOutputs()
        self._server: ConfigurationServer | None = None
        self._source: UpstreamSource | None = None
        self._database: DatabaseMaster | None = None
        self._history: MasterHistory | ProxyHistory | None = None
        self._is_serving = False
        self._copy: LocalCopy | None = None
        self._persistent: PersistentMode | None = None
        self._announce_role: Callable[[], None] = lambda: None
        self._chain: AuthenticationChain | None = None
        self._book = CredentialBook()
        self._passwords: Passwords | None = None
        self._writing: ProxyWriting | None = None
        self._member: PairMember | None = None
        self._ports: SecurePorts | None = None
        self._listener: Listener | None = None
        self._application_options: dict[str, Any] = {}

    def __repr__(self) -> str:
        role = "master" if self._settings.upstream is None else "proxy"
        return f"<Daemon {role} {self._settings.application!r}>"

    async def run(self) -> None:
        """Serve until a stop is asked for.

        Raises `ConfigurationError` or `StoreError` when it cannot start; nothing listens then.
        """
        self._apply_log_options()
        try:
            for warning in self._settings.warnings:
                _log.warning("%s", warning)
            if self._settings.licence is not None:
                _log.info("licence %s (not checked)", self._settings.licence)
            if self._settings.upstream is None:
                await self._run_master()
            else:
                await self._run_proxy()
        finally:
            self._logs.close()

    async def _run_master(self) -> None:
        settings = self._settings
        if settings.database is None:
            raise ConfigurationError("a master needs a database: confserv.conf names it")
        where = settings.database
        address = platform.node() if settings.address == ALL_ADDRESSES else settings.address
        async with self._make_server("master", lambda: self._database_status(where.shown)) as server:
            sink = ApplicationWatch(server, settings.application, self._application_changed)
            async with (
                DatabaseMaster(
                    where.url,
                    sink,
                    holder=Holder(settings.application, own_process(), address, settings.port),
                    random_epoch=_random_epoch,
                    hash_password=hash_password,
                    verify_password=verify_password,
                    lease_s=settings.lease_s,
                    reconnect_s=where.reconnect_s,
                ) as database,
                MasterHistory(database, settings.application) as history,
                self._check_passwords(server, database.book).serve(database),
            ):
                self._database = database
                self._keep_history(server, history)
                server.administration = await MasterAdministration.open(
                    database, lambda: server.cache, turn=server.load_control.write_turn
                )
                server.trust = ProxyAuthenticator(
                    database.credentials,
                    loopback_is_trusted=self._trusts_loopback,
                )
                server.writer = SerializedWriter(database, server.load_control)
                self._apply_load_control()
                self._apply_following()
                server.verifier = DatabaseVerifier(database, server)
                server.standby = self._standby
                server.primary = lambda: database.primary
                database.on_role = self._role_changed
                to_other = pair_connector(lambda: server.cache, settings.application)
                database.is_replaced = lambda: is_primary(
                    to_other, partner(server.cache, settings.application), settings.application
                )
                own = OwnPort(settings.address, settings.port, settings.transport)
                ports = SecurePorts(partial(self._wanted_ports, sink, own))
                await self._serve(server, ports, lambda: f"master {settings.application} on {where.shown}")

    def _standby(self) -> str | None:
        """Why a backup master serves nobody; None for the primary."""
        database, server = self._database, self._server
        if database is None or server is None or database.is_primary:
            return None
        return (
            f"{server.name!r} is a backup at UEN {server.position.uen} and serves no clients: "
            f"{database.primary or 'another master'} has the database"
        )

    def _role_changed(self) -> None:
        if self._server is not None:
            reason = self._standby()
            if reason is not None:
                self._server.dismiss(reason)
        self._announce_role()

    def _database_status(self, shown: str) -> dict[str, Any]:
        primary = None if self._database is None else self._database.primary
        return {"database": shown, "primary": None if primary is None else primary.application}

    async def _run_proxy(self) -> None:
        settings = self._settings
        async with self._make_server("proxy", self._upstream_status) as server:
            server.is_current = lambda: self._source is not None and self._source.state is State.LIVE
            sink = ApplicationWatch(server, settings.application, self._application_changed)
            self._copy = copy = self._make_copy(sink, server)
            if settings.persistent is None:
                await self._follow(server, sink, copy, from_copy=copy.is_enabled and await copy.load())
                return
            if not await self._shutdown.unless_requested(partial(self._start_persistently, server, copy)):
                return
            if self._persistent is None or self._options.get("csproxy", "persistent-resync"):
                await self._follow(server, sink, copy, from_copy=self._persistent is not None)
            else:
                await self._serve_persistently(server, sink)

    async def _start_persistently(self, server: ConfigurationServer, copy: LocalCopy) -> None:
        """Fill the server from the master, else the database, else the local copy."""
        settings = self._settings.persistent
        assert settings is not None
        async with self._make_source(copy) as source:
            if await master_answers(source, timeout_s=settings.master_s):
                return
            reason = source.statistics().last_error
        is_read = await read_database(settings.database, copy, self._book, timeout_s=settings.database_s)
        if not is_read and not (copy.is_enabled and await copy.load()):
            raise ConfigurationError(
                f"there is nothing to serve: no master ({reason}), no database {settings.database.shown}, no local copy"
            )
        self._persistent = PersistentMode(settings, "database" if is_read else "copy", lambda: server.cache)

    async def _serve_persistently(self, server: ConfigurationServer, sink: ApplicationWatch) -> None:
        """Persistent mode without an end."""
        mode = self._persistent
        assert mode is not None
        server.writer = ReadOnlyWriter(lambda: mode.refusal)
        self._check_passwords(server, self._book)
        await self._serve_as_proxy(server, sink)

    async def _follow(
        self, server: ConfigurationServer, sink: ApplicationWatch, copy: LocalCopy, *, from_copy: bool
    ) -> None:
        """Follow the master; ``from_copy`` says that there is data already which no master has confirmed."""
        async with (
            copy,
            self._make_source(copy, from_copy=from_copy) as source,
            ProxyHistory(source) as history,
            self._check_passwords(server, self._book).follow(source),
        ):
            self._source = source
            self._keep_history(server, history)
            self._apply_following()
            server.administration = ReplicaAdministration(lambda: server.cache, UpstreamAdministration(source))
            server.upstream_position = SharedQuestion(source.master_position)
            server.verifier = source.digests
            mode = self._persistent
            self._writing = writing = ProxyWriting(source, server, self._options, master=self._master, mode=mode)
            server.forwarder = writing.forwarder
            if mode is not None:
                mode.source = source
            # nothing listens before there is a complete state to serve
            if not await self._shutdown.unless_requested(source.wait_data):
                return
            if source.serves_copy and mode is None:
                announce_copy(copy, source, server.statistics().objects)
            await self._serve_as_proxy(server, sink)

    async def _serve_as_proxy(self, server: ConfigurationServer, sink: ApplicationWatch) -> None:
        ports = SecurePorts(partial(self._wanted_ports, sink, None))
        async with AsyncExitStack() as stack:
            if self._persistent is not None:  # it serves alone
                tasks = await stack.enter_async_context(anyio.create_task_group())
                tasks.start_soon(self._persistent.announce)
                stack.callback(tasks.cancel_scope.cancel)
            elif (member := self._pair_member(server)) is not None:
                self._member = await stack.enter_async_context(member)
            await self._serve(server, ports, lambda: f"proxy {self._settings.application} of {self._master}")

    def _pair_member(self, server: ConfigurationServer) -> PairMember | None:
        assert self._settings.upstream is not None
        pool = str(self._options.get("csproxy", "proxy-cluster-name"))
        if pool:
            check_pool_member(server, pool)
            server.sessions.keep_s = 0.0
            return None
        server.trust = ProxyAuthenticator(self._book.hashes, loopback_is_trusted=self._trusts_loopback)
        return pair_member(
            server, app_password=self._settings.upstream.app_password, on_role=lambda role: self._role_in_pair_changed()
        )

    def _role_in_pair_changed(self) -> None:
        self._apply_following()
        self._announce_role()

    def _trusts_loopback(self) -> bool:
        return bool(self._options.get("system", "proxy-trust-loopback"))

    def _make_source(self, sink: LocalCopy, *, from_copy: bool = False) -> UpstreamSource:
        assert self._settings.upstream is not None
        connector = master_connector(
            self._settings.upstream.transport, lambda: sink.cache, self._settings.application, self._master
        )
        return UpstreamSource(
            sink,
            connector,
            [self._master],
            self._settings.application,
            app_password=self._settings.upstream.app_password,
            from_copy=from_copy,
        )

    @property
    def _master(self) -> Endpoint:
        assert self._settings.upstream is not None
        return Endpoint(self._settings.upstream.host, self._settings.upstream.port)

    async def _serve(self, server: ConfigurationServer, ports: SecurePorts, what: Callable[[], str]) -> None:
        self._is_serving = True
        self._ports = ports
        server.is_for_users = ports.restricted
        server.collation = collation(str(self._options.get("csproxy", "locale")))
        assert self._passwords is not None
        chain = build_authenticator(
            self._application_options,
            cache=lambda: server.cache,
            internal=self._passwords,
            upstream=self._passwords.upstream,
        )
        self._chain = server.authenticator = server.tickets = chain
        self._listener = Listener(await ports.open(), server.connect)
        self._apply_balancers()
        async with chain, self._listener as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(ports.keep)
            freeze_heap()
            where = ", ".join(f"{host}:{port}" for host, port in listener.addresses().values())

            def announce() -> None:
                reason = server.standby()
                objects = f"{server.statistics().objects} objects at UEN {server.position.uen}"
                state = f"ready on {where}" if reason is None else f"standing by on {where}"
                self._announce(f"{state} as {what()}: {objects}" + (f"; {reason}" if reason else ""))

            self._announce_role = announce
            announce()
            await self._shutdown.wait()
            if self._member is not None:
                await self._member.leave()
            tasks.cancel_scope.cancel()
        await server.stop(grace_s=STOP_GRACE_S)
        _log.info("stopped")

    def _check_passwords(self, server: ConfigurationServer, book: CredentialBook) -> Passwords:
        self._passwords = Passwords(server, self._options, book, is_filled=len(book) > 0)
        return self._passwords

    def _make_server(self, role: str, more_status: Callable[[], dict[str, Any]]) -> ConfigurationServer:
        starting = _Starting()
        self._server = ConfigurationServer(
            role=role,
            name=self._settings.application,
            authenticator=starting,
            writer=starting,
            random=random.random,
            random_bytes=secrets.token_bytes,
            settings=self._server_settings(ServerSettings()),
            more_status=lambda: {**self._port_status(), **more_status()},
        )
        self._apply_peer_limits()
        return self._server

    def _wanted_ports(self, sink: ApplicationWatch, own: OwnPort | None) -> tuple[list[ListeningPort], list[str]]:
        """The ports as the own Application object and its Host have them now."""
        application = sink.application or {"name": self._settings.application}
        host = sink.cache.stored(_HOST, (application.get("serverInfo") or {}).get("hostDBID", 0))
        return application_ports(application, host, own=own)

    def _port_status(self) -> dict[str, Any]:
        if self._ports is None or self._listener is None:
            return {}
        handshakes = self._listener.statistics().handshakes
        return {
            "ports": self._ports.status(),
            "handshakes": {
                "running": handshakes.running,
                "waiting": handshakes.waiting,
                "finished": handshakes.finished,
                "failed": handshakes.failed,
            },
        }

    def _make_copy(self, sink: ApplicationWatch, server: ConfigurationServer) -> LocalCopy:
        copy = LocalCopy(
            sink,
            server.replica,
            Path.cwd(),
            self._settings.application,
            is_current=server.is_current,
            random_bytes=secrets.token_bytes,
            book=self._book,
        )
        copy.is_enabled = bool(self._options.get("csproxy", "proxy-snapshot"))
        return copy

    def _upstream_status(self) -> dict[str, Any]:
        mode = self._persistent
        persistent = {"persistent": mode.is_on} if mode is not None else {}
        data = {"data": mode.status()} if mode is not None and mode.is_on else {}
        if self._source is None or self._copy is None:
            return {**persistent, **data}
        now = self._source.statistics()
        return {
            **({} if self._writing is None else self._writing.status()),
            **copy_status(self._copy, self._source),
            **pair_status(self._member),
            **persistent,
            **data,
            "upstream": {
                "state": now.state,
                "endpoint": now.endpoint,
                "connects": now.connects,
                "losses": now.losses,
                "loads": now.loads,
                "resumes": now.resumes,
                "last_error": now.last_error,
                "digest_checks": now.digests.checks,
                "digest_differences": now.digests.differences,
                "digest_healed": now.digests.healed,
                "digest_last_check_s": _age_s(now.digests.last_s),
            },
        }

    # options

    def _application_changed(self, application: dict[str, Any]) -> None:
        """The own Application object is there for the first time, or is another now."""
        self._application_options = application.get("options", {})
        changes = self._options.apply_application(self._application_options)
        changed = {change.option.section for change in changes}
        if "log" in changed:
            try:
                self._apply_log_options()
            except ConfigurationError as e:
                _log.warning("%s; logging goes on as before", e)
        if "csproxy" in changed and self._server is not None:
            self._server.settings = self._server_settings(self._server.settings)
            self._apply_balancers()
            self._apply_following()
            if self._writing is not None:
                self._writing.apply_options()
            if self._copy is not None:
                self._copy.is_enabled = bool(self._options.get("csproxy", "proxy-snapshot"))
        if "system" in changed:
            self._apply_load_control()
        if "security" in changed and self._passwords is not None:
            self._passwords.apply_options()
            self._apply_following()
        if "security" in changed:
            self._apply_peer_limits()
        if "history-log" in changed:
            self._apply_history_options()
        if self._source is not None:
            self._source.apply_connection()
        log_changes(changes, running=self._is_serving)
        if self._chain is not None:
            self._chain.apply(self._application_options)

    def _keep_history(self, server: ConfigurationServer, history: MasterHistory | ProxyHistory) -> None:
        self._history = server.history = history
        self._apply_history_options()

    def _apply_history_options(self) -> None:
        if self._history is not None:
            self._history.settings, complaints = history_settings(
                lambda name: self._options.get("history-log", name), self._history.settings
            )
            for complaint in complaints:
                _log.warning("%s", complaint)

    def _server_settings(self, present: ServerSettings) -> ServerSettings:
        return msgspec.structs.replace(
            present,
            packet_bytes=self._number("packet-size"),
            max_client_output_bytes=self._number("max-client-output-queue-size") * 1024,
            client_response_timeout_s=float(self._number("client-response-timeout")),
        )

    def _apply_following(self) -> None:
        """How a proxy follows its master, or a backup master its primary."""
        if self._database is not None:
            self._database.delay_reload_s = float(self._number("delay-reload-backup"))
        if self._source is not None:
            is_backup = self._server is not None and self._server.role == "backup"
            self._source.delay_reload_s = float(self._number("delay-reload-backup" if is_backup else "delay-reload"))
            self._source.has_consistent_ports = bool(self._options.get("system", "consistent-port-selection"))

    def _apply_balancers(self) -> None:
        if self._listener is not None:
            found = self._options.get("csproxy", "balancer-addresses")
            assert isinstance(found, tuple)
            self._listener.balancers = parse_networks(",".join(found))

    def _apply_load_control(self) -> None:
        """[system], at a master."""
        if self._server is None or self._server.role != "master":
            return
        settings = AdmissionSettings(
            serialize=bool(self._options.get("system", "serialize-write-transactions")),
            load_max=self._number("proxy-load-max", "system"),
            load_timeout_s=float(self._number("proxy-load-timeout", "system")),
            deferral_s=float(self._number("deferred-requests-expiration", "system")),
            throttle_s=self._number("throttle-updates-interval", "system") / 1000,
        )
        self._server.load_control.settings = settings
        if not settings.serialize and settings != AdmissionSettings():
            _log.warning(
                "options of [system] for loads and writes are ignored: they need serialize-write-transactions = true"
            )

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
        outputs: dict[str, tuple[str, ...]] = {}
        for level in LOG_OUTPUT_LEVELS:
            targets = self._options.get("log", level)
            if isinstance(targets, tuple):
                outputs[level] = targets
        self._logs.apply(str(self._options.get("log", "verbose")), outputs)

    def _number(self, name: str, section: str = "csproxy") -> int:
        value = self._options.get(section, name)
        assert isinstance(value, int)
        return value


def _age_s(time_s: float | None) -> float | None:
    """Seconds since a time of the event loop's clock."""
    return None if time_s is None else round(anyio.current_time() - time_s, 1)


def _random_epoch() -> int:
    # below 2^53: a reader of JSON whose numbers are doubles (JavaScript, jq) still gets it exactly
    return 1 + secrets.randbelow(2**53 - 1)


class _Starting:
    """Stands for authenticator and writer until the source of data exists; no port is open that long."""

    async def authenticate(self, user: str, password: str) -> NoReturn:
        """Refuse."""
        self._refuse()

    async def write(self, request: object, author: object) -> NoReturn:
        """Refuse."""
        self._refuse()

    async def apply(self, request: object, author: object) -> NoReturn:
        """Refuse."""
        self._refuse()

    async def outcome(self, request: object, author: object) -> NoReturn:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RetryableError(ErrorCode.SERVER_NOT_FOUND, "this server is starting", retry_after_s=1.0)
