"""A proxy as a process: following its master, from a copy on disk, in persistent mode, alone, in a pair or a pool."""

from __future__ import annotations

import logging
import secrets
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from csproxy.auth.proxies import ProxyAuthenticator
from csproxy.core.credentials import CredentialBook
from csproxy.core.failover import Endpoint
from csproxy.core.replication import State
from csproxy.daemon.advice import advise_proxy
from csproxy.daemon.application_watch import ApplicationWatch
from csproxy.daemon.composition import Daemon
from csproxy.daemon.connectors import master_connector, pair_connector
from csproxy.daemon.copy_status import announce_copy, copy_status
from csproxy.daemon.pairing import apply_connection, join_pool, pair_member, pair_status
from csproxy.daemon.persistent import PersistentMode, master_answers, read_database
from csproxy.daemon.secure_ports import SecurePorts
from csproxy.daemon.writing import ProxyWriting
from csproxy.errors import ConfigurationError, CsproxyError
from csproxy.transport.administration import ReplicaAdministration, UpstreamAdministration
from csproxy.transport.consistent_reads import SharedQuestion
from csproxy.transport.history import ProxyHistory
from csproxy.transport.local_copy import LocalCopy
from csproxy.transport.pair import PairMember
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.upstream import UpstreamSource

__all__ = ["ProxyDaemon"]

_log = logging.getLogger("csproxy.daemon")

_QUESTION_S: Final = 1.0
"""How long the master is asked for its position to show the lag."""


class ProxyDaemon(Daemon):
    """A proxy of one master."""

    role = "proxy"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._source: UpstreamSource | None = None
        self._copy: LocalCopy | None = None
        self._persistent: PersistentMode | None = None
        self._book = CredentialBook()
        self._writing: ProxyWriting | None = None
        self._member: PairMember | None = None

    async def _run(self) -> None:
        settings = self._settings
        async with self._make_server() as server:
            server.is_current = lambda: self._source is not None and self._source.state is State.LIVE
            sink = self._watch(server)
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
            if not await self._shutdown.unless_requested(partial(self._wait_data, source)):
                return
            if source.serves_copy and mode is None:
                announce_copy(copy, source, server.statistics().objects)
            await self._serve_as_proxy(server, sink)

    async def _wait_data(self, source: UpstreamSource) -> None:
        try:
            await source.wait_data()
        except ConfigurationError as e:
            advise_proxy(e, self._master)
            raise

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
            join_pool(server, pool)
            return None
        to_other = self._certificates.connections["connection to the pair"] = pair_connector(
            lambda: server.cache, server.name
        )
        server.trust = ProxyAuthenticator(self._book.hashes, loopback_is_trusted=self._trusts_loopback)
        return pair_member(
            server,
            to_other,
            app_password=self._settings.upstream.app_password,
            on_role=lambda role: self._role_in_pair_changed(),
        )

    def _role_in_pair_changed(self) -> None:
        self._apply_following()
        self._announce_role()

    async def promote(self) -> None:
        """As `Daemon.promote`."""
        if self._member is None:
            raise self._is_no_member()
        self._member.promote()

    async def hand_over(self) -> None:
        """As `Daemon.hand_over`."""
        if self._member is None:
            raise self._is_no_member()
        await self._member.hand_over()

    async def _leave(self) -> None:
        if self._member is not None:
            await self._member.leave()

    def _doubt(self) -> str:
        if self._persistent is not None and self._persistent.is_on:
            return self._persistent.refusal
        if self._source is None or self._source.state is State.LIVE:
            return ""
        kept = "the local copy, which no master has confirmed" if self._source.serves_copy else "what it has"
        return f"{self._link()}; it serves {kept}"

    def _awaits(self) -> str:
        return f"loading: {self._link()}" if self._source is not None else super()._awaits()

    def _link(self) -> str:
        assert self._source is not None
        now = self._source.statistics()
        return f"the master {now.endpoint} is {now.state}" + (f" ({now.last_error})" if now.last_error else "")

    async def _behind(self) -> dict[str, Any]:
        source, server = self._source, self._server
        if source is None or server is None:
            return {}
        found: dict[str, Any] = {"state": source.state.value}
        if source.state is State.LIVE and server.upstream_position is not None:
            with suppress(CsproxyError), anyio.move_on_after(_QUESTION_S):
                theirs = await server.upstream_position.position()
                own = server.position
                found["master_uen"] = theirs.uen
                if theirs.epoch == own.epoch:
                    found["lag_changes"] = max(theirs.uen - own.uen, 0)
        return {"replication": found}

    def _apply_own_options(self, changed: set[str]) -> None:
        if changed & {"csproxy", "system"}:
            self._apply_following()
        if "csproxy" in changed:
            if self._writing is not None:
                self._writing.apply_options()
            if self._copy is not None:
                self._copy.is_enabled = bool(self._options.get("csproxy", "proxy-snapshot"))
        if self._source is not None:
            self._source.apply_connection()
        if self._member is not None and self._server is not None:
            apply_connection(self._member, self._server)

    def _apply_following(self) -> None:
        """How the master is followed."""
        if self._source is not None:
            is_backup = self._server is not None and self._server.role == "backup"
            self._source.delay_reload_s = float(self._number("delay-reload-backup" if is_backup else "delay-reload"))
            self._source.has_consistent_ports = bool(self._options.get("system", "consistent-port-selection"))

    def _make_source(self, sink: LocalCopy, *, from_copy: bool = False) -> UpstreamSource:
        assert self._settings.upstream is not None
        _log.info("connecting to the master %s as Application %r", self._master, self._settings.application)
        connector = self._certificates.connections["connection to the master"] = master_connector(
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

    def _status(self) -> dict[str, Any]:
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
            **({} if self._passwords is None else self._passwords.status()),
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


def _age_s(time_s: float | None) -> float | None:
    """Seconds since a time of the event loop's clock."""
    return None if time_s is None else round(anyio.current_time() - time_s, 1)
