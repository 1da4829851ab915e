"""What checks internal passwords, put together for a master and for a proxy, and the options of that."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from csproxy.auth.internal import InternalAuthenticator
from csproxy.auth.passwords import hash_password
from csproxy.auth.upstream import UpstreamAuthenticator
from csproxy.core.cache import ConfigurationCache
from csproxy.core.credentials import CredentialBook
from csproxy.core.failure_alarm import AlarmSettings
from csproxy.core.log_in_state import LogIn
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.sessions import Account
from csproxy.daemon.runtime_options import RuntimeOptions
from csproxy.errors import CsproxyError, ErrorCode, ServerError
from csproxy.transport.credential_follower import CredentialFollower
from csproxy.transport.credential_service import CredentialService
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.log_ins import LogIns, LogInSettings
from csproxy.transport.server import Authenticator, ConfigurationServer
from csproxy.transport.upstream import UpstreamSource

__all__ = ["Passwords"]

_log = logging.getLogger("csproxy.daemon")
_PERSON: Final = int(CfgObjectType.CFGPerson)


class Passwords:
    """A server's log-ins and password checks. ``book`` holds what they are checked with.

    It is the `Authenticator` of passwords, behind the option allow-empty-password.
    """

    def __init__(
        self,
        server: ConfigurationServer,
        options: RuntimeOptions,
        book: CredentialBook,
        *,
        is_filled: bool = False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._options = options
        self._is_filled = is_filled
        self.book = book
        self.log_ins = LogIns(
            book,
            self._cache,
            wall_clock=wall_clock,
            clock=server.clock,
            report=self._report,
            is_keeping=self._checks_here,
        )
        self._internal = InternalAuthenticator(self._cache, self.log_ins, rehash=self._rehash)
        self._service: CredentialService | None = None
        self._follower: CredentialFollower | None = None
        self.upstream: Authenticator | None = None
        """Asks the master, at a proxy."""
        server.log_ins = self.log_ins
        server.authenticator = self
        self.log_ins.settings = LogInSettings(
            last_login=bool(options.get("csproxy", "last-login")),
            is_shared=server.role == "master" or bool(options.get("csproxy", "last-login-synchronization")),
        )
        self.apply_options()

    def __repr__(self) -> str:
        return f"<Passwords {self._follower or self._service or self.book!r}>"

    def serve(self, database: DatabaseMaster) -> CredentialService:
        """The service of a master, to be entered."""
        self._service = CredentialService(database, self.log_ins, hash_password=hash_password)
        self._server.credentials = self._service
        return self._service

    def follow(self, source: UpstreamSource) -> CredentialFollower:
        """What keeps a proxy's book equal to its master's, to be entered."""
        self._follower = CredentialFollower(source, self.book, is_filled=self._is_filled)
        self.upstream = UpstreamAuthenticator(source, self._server)
        return self._follower

    def apply_options(self) -> None:
        """Take the options of [security] that count at once."""
        period, failures, percent = (
            int(str(self._options.get("security", f"failure-alarm-{name}"))) for name in ("period", "count", "percent")
        )
        self.log_ins.alarm.settings = AlarmSettings(period * 60.0, failures, percent)

    def status(self) -> dict[str, Any]:
        """The key ``passwords`` of the Status answer of a proxy."""
        waiting = 0 if self._follower is None else self._follower.unreported
        return {
            "passwords": {"checked_here": self._checks_here(), "count": len(self.book.hashes), "unreported": waiting}
        }

    async def authenticate(self, user: str, password: str) -> Account:
        """Check here if the book is complete, else ask the master; raises as they do, and error 39."""
        if not password and not self._options.get("csproxy", "allow-empty-password"):
            raise ServerError.from_code(ErrorCode.EMPTY_PASSWORD_DENIED, "empty passwords are not accepted here")
        if self.upstream is None or self._checks_here():
            return await self._internal.authenticate(user, password)
        return await self.upstream.authenticate(user, password)

    def _checks_here(self) -> bool:
        """Not at a proxy that its master does not trust, or has not yet told what it needs."""
        return self._follower is None or self._follower.is_complete

    def _cache(self) -> ConfigurationCache:
        return self._server.cache

    def _report(self, log_in: LogIn) -> None:
        if self._follower is not None:
            self._follower.report(log_in)

    def _rehash(self, dbid: int, stored: str, password: str) -> None:
        if self._service is not None:
            self._service.rehash(dbid, stored, password)
        elif self.upstream is not None:
            user = (self._server.cache.stored(_PERSON, dbid) or {}).get("userName", "")
            self._server.spawn(self._let_master_rehash, user, password, name=f"a log-in of {user!r} at the master")

    async def _let_master_rehash(self, user: str, password: str) -> None:
        """The master makes a better hash when it sees the log-in."""
        assert self.upstream is not None
        try:
            await self.upstream.authenticate(user, password)
        except CsproxyError as e:
            _log.debug("the hash of the password of %r stays what it is for now: %s", user, e)
