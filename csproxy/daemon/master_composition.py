"""A master as a process: its database, alone or as one of a pair."""

from __future__ import annotations

import logging
import platform
import secrets
from functools import partial
from typing import Any

from csproxy.auth.passwords import hash_password, verify_password
from csproxy.auth.proxies import ProxyAuthenticator
from csproxy.core.admission import AdmissionSettings
from csproxy.core.connections import partner
from csproxy.core.lease import Holder
from csproxy.core.persistence.processes import own_process
from csproxy.daemon.composition import Daemon
from csproxy.daemon.connectors import pair_connector
from csproxy.daemon.ports import ALL_ADDRESSES, OwnPort
from csproxy.daemon.secure_ports import SecurePorts
from csproxy.errors import ConfigurationError
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.database_check import DatabaseVerifier
from csproxy.transport.database_peer import is_primary
from csproxy.transport.history import MasterHistory
from csproxy.transport.load_control import SerializedWriter
from csproxy.transport.master_administration import MasterAdministration

__all__ = ["MasterDaemon"]

_log = logging.getLogger("csproxy.daemon")


class MasterDaemon(Daemon):
    """A master, or the backup of a pair."""

    role = "master"
    _database: DatabaseMaster | None = None

    async def _run(self) -> None:
        settings = self._settings
        if settings.database is None:
            raise ConfigurationError("a master needs a database: confserv.conf names it")
        where = settings.database
        address = platform.node() if settings.address == ALL_ADDRESSES else settings.address
        async with self._make_server() as server:
            sink = self._watch(server)
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
                    first_options=settings.first_options,
                ) as database,
                MasterHistory(database, settings.application) as history,
                self._check_passwords(server, database.book).serve(database),
            ):
                self._database = database
                for sentence in self._options.hidden():
                    _log.info("%s", sentence)
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
                to_other = self._certificates.connections["connection to the pair"] = pair_connector(
                    lambda: server.cache, settings.application
                )
                database.is_replaced = lambda: is_primary(
                    to_other, partner(server.cache, settings.application), settings.application
                )
                own = OwnPort(settings.address, settings.port, settings.transport)
                ports = SecurePorts(partial(self._wanted_ports, sink, own))
                await self._serve(server, ports, lambda: f"master {settings.application} on {where.shown}")

    def _makes_changes(self) -> bool:
        return self._database is not None and self._database.is_primary

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

    def _status(self) -> dict[str, Any]:
        shown = None if self._settings.database is None else self._settings.database.shown
        primary = None if self._database is None else self._database.primary
        return {"database": shown, "primary": None if primary is None else primary.application}

    def _apply_own_options(self, changed: set[str]) -> None:
        if "csproxy" in changed:
            self._apply_following()
        if "system" in changed:
            self._apply_load_control()

    def _apply_following(self) -> None:
        """How a backup follows its primary."""
        if self._database is not None:
            self._database.delay_reload_s = float(self._number("delay-reload-backup"))

    def _apply_load_control(self) -> None:
        if self._server is None:
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
                "options of [system] for loads and writes are ignored: they need serialize-write-transactions = true",
                extra={"event": 31005},
            )


def _random_epoch() -> int:
    # below 2^53: a reader of JSON whose numbers are doubles (JavaScript, jq) still gets it exactly
    return 1 + secrets.randbelow(2**53 - 1)
