"""Passwords checked by directories (LDAP): find the user by External ID, then bind as that user.

A log-in asks the servers in order, from the one that answered last. A server that does not answer, or answers with a
code marked for retry, is followed by the next one; after all of them the round is repeated, up to
retry-attempts rounds. Nothing but a directory's success lets anybody in: time-outs, lost connections and
every other code refuse.

Source: order, stickiness, retries, caches and queue are the vendor's documented behaviour.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Final, NamedTuple, Self

import anyio
from anyio.abc import TaskGroup

from csproxy.auth.ldap_cache import VerdictCache
from csproxy.auth.ldap_codes import (
    ERROR_TABLE,
    INVALID_CREDENTIALS,
    SERVER_DOWN,
    SUCCESS,
    TIMEOUT,
    Row,
    is_retried,
    user_text,
)
from csproxy.auth.ldap_connection import Found, LdapConnection, LdapResult
from csproxy.auth.ldap_pool import LdapPool
from csproxy.auth.ldap_settings import LdapServer, LdapSettings
from csproxy.core.ldap_url import parse_referral
from csproxy.errors import (
    ConfigurationError,
    ConnectionLostError,
    ErrorCode,
    RetryableError,
    ServerError,
    TimedOutError,
)
from csproxy.transport.turns import now

__all__ = ["LdapAuthenticator", "LdapStatistics", "LdapUser"]

log = logging.getLogger("csproxy.auth.ldap")

_MAX_REFERRALS: Final = 5
_MAX_ORDERS: Final = 1_000
_RETRY_S: Final = 5.0
_QUEUE_RETRY_S: Final = 1.0
_REOPEN_AT: Final = 0.9


class LdapUser(NamedTuple):
    """Whom to look for. ``basis`` is whatever of the Person a kept verdict depends on."""

    dbid: int
    external_id: str
    basis: object


class LdapStatistics(NamedTuple):
    """What happens now."""

    waiting: int
    idle_connections: int


class _Outcome(NamedTuple):
    """An answer; ``is_verdict`` if it concerns the user, and not the search for it."""

    code: int
    text: str = ""
    is_verdict: bool = False


class LdapAuthenticator:
    """Checks passwords with directories; an async context manager that owns its connections.

    ``queue_threshold`` log-ins may wait at once (0: any number); it may be changed at any time. ``threads`` of
    them are carried out at once. ``table`` holds the texts and says which codes are retried.
    """

    def __init__(
        self,
        *,
        queue_threshold: int = 1_000,
        threads: int = 16,
        clock: Callable[[], float] = now,
        sweep_interval_s: float = 5.0,
        table: Mapping[int, Row] = ERROR_TABLE,
    ) -> None:
        self.queue_threshold = queue_threshold
        self._threads = threads
        self._clock = clock
        self._sweep_interval_s = sweep_interval_s
        self._table = table
        self._cache = VerdictCache(clock)
        self._current: OrderedDict[tuple[LdapServer, ...], int] = OrderedDict()
        self._waiting = 0
        self._is_full = False
        self._pool: LdapPool
        self._slots: anyio.CapacityLimiter
        self._tasks: TaskGroup

    def __repr__(self) -> str:
        return f"<LdapAuthenticator {self._waiting} waiting>"

    async def __aenter__(self) -> Self:
        self._pool = LdapPool(self._clock, threads=self._threads)
        self._slots = anyio.CapacityLimiter(self._threads)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._sweep)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._pool.sweep(everything=True)

    def statistics(self) -> LdapStatistics:
        """Log-ins and connections at this moment."""
        return LdapStatistics(self._waiting, self._pool.idle)

    async def check(self, user: LdapUser, password: str, settings: LdapSettings) -> None:
        """Return if a directory accepts the password.

        Raises `ServerError`: LOGIN_INCORRECT for what a directory says of the user, EXTERNAL_AUTHENTICATION_ERROR
        (retryable if no directory could be asked) for anything else, FORCED_DISCONNECT while too many wait.
        """
        if not password:
            # a bind without a password is an anonymous log-in, which succeeds (RFC 4513, 5.1.2)
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, user_text(INVALID_CREDENTIALS, "", self._table))
        basis = (user.basis, user.external_id, settings)
        known = self._cache.find(user.dbid, password, basis)
        if known == "":
            return
        if known is not None:
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, known)
        self._enter(settings)
        try:
            outcome = await self._ask_all(user, password, settings)
        finally:
            self._waiting -= 1
        if outcome.code == SUCCESS:
            self._cache.accepted(user.dbid, password, basis, keep_s=settings.cache_time_s)
            return
        text = user_text(outcome.code, outcome.text, self._table)
        if is_retried(outcome.code, self._table):
            raise RetryableError(ErrorCode.EXTERNAL_AUTHENTICATION_ERROR, text, retry_after_s=_RETRY_S)
        if not outcome.is_verdict:
            raise ServerError.from_code(ErrorCode.EXTERNAL_AUTHENTICATION_ERROR, text)
        self._cache.refused(user.dbid, password, basis, text, keep_s=settings.negative_cache_time_s)
        raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, text)

    def _enter(self, settings: LdapSettings) -> None:
        """Count a log-in in, or refuse it: full at the threshold, open again 10 % below it."""
        limit = self.queue_threshold
        if self._waiting >= limit:
            self._is_full = True
        elif self._waiting <= limit * _REOPEN_AT:
            self._is_full = False
        if limit and self._is_full:
            server = settings.servers[self._current.get(settings.servers, 0)]
            raise ServerError.from_code(
                ErrorCode.FORCED_DISCONNECT,
                f"LDAP server {server}: {self._waiting} log-ins wait for it already; try again",
                retry_after_s=_QUEUE_RETRY_S,
            )
        self._waiting += 1

    async def _ask_all(self, user: LdapUser, password: str, settings: LdapSettings) -> _Outcome:
        servers = settings.servers
        outcome = _Outcome(SERVER_DOWN)
        for attempt in range(settings.retry_attempts):
            if attempt:
                await anyio.sleep(settings.retry_interval_s)
            first = self._current.get(servers, 0)
            for place in (*range(first, len(servers)), *range(first)):
                outcome = await self._ask(servers[place], user, password)
                if not is_retried(outcome.code, self._table):
                    self._stay(servers, place)
                    return outcome
        return outcome

    def _stay(self, servers: tuple[LdapServer, ...], place: int) -> None:
        self._current[servers] = place
        self._current.move_to_end(servers)
        if len(self._current) > _MAX_ORDERS:
            self._current.popitem(last=False)

    async def _ask(self, server: LdapServer, user: LdapUser, password: str) -> _Outcome:
        level = logging.INFO if server.verbose else logging.DEBUG
        async with self._slots:
            try:
                found = await self._find(server, user, level)
                if isinstance(found, _Outcome):
                    return found
                where, name = found
                result = await self._pool.use(where, "bind", LdapConnection.bind, name, password)
            except (ConnectionLostError, TimedOutError, ConfigurationError) as e:
                log.warning("External ID %r cannot be checked: %s", user.external_id, e, extra={"event": 31040})
                return _Outcome(TIMEOUT if isinstance(e, TimedOutError) else SERVER_DOWN)
        log.log(
            level if result.code == SUCCESS else logging.INFO,
            "LDAP server %s: bind of %r: code %d %s",
            where,
            name,
            result.code,
            result.text,
        )
        return _Outcome(result.code, result.text, is_verdict=True)

    async def _find(self, server: LdapServer, user: LdapUser, level: int) -> tuple[LdapServer, str] | _Outcome:
        """The user's distinguished name and the server that has it; several or none are a refusal."""
        filter_text = server.url.filter_for(user.external_id)
        to_ask, asked = [server], 0
        while to_ask and asked <= _MAX_REFERRALS:
            where = to_ask.pop(0)
            asked += 1
            found = await self._pool.use(
                where, "search", LdapConnection.search, where.url.base, where.url.scope, filter_text
            )
            if isinstance(found, LdapResult):
                log.error(
                    "LDAP server %s refuses app-user: code %d %s", where, found.code, found.text, extra={"event": 31040}
                )
                return _Outcome(found.code if is_retried(found.code, self._table) else _APP_USER_REFUSED)
            log.log(level, "LDAP server %s: search %s: code %d, %r", where, filter_text, found.result.code, found.names)
            if len(found.names) > 1:
                log.error(
                    "LDAP server %s: External ID %r fits several entries",
                    where,
                    user.external_id,
                    extra={"event": 31043},
                )
                return _Outcome(INVALID_CREDENTIALS, is_verdict=True)
            if found.names and found.names[0]:
                return where, found.names[0]
            if found.result.code != SUCCESS and not found.referrals:
                log.error(
                    "LDAP server %s: search failed: code %d %s",
                    where,
                    found.result.code,
                    found.result.text,
                    extra={"event": 31040},
                )
                return _Outcome(found.result.code)
            if server.chase_referrals:
                to_ask += _referred(where, found)
        return _Outcome(INVALID_CREDENTIALS, is_verdict=True)

    async def _sweep(self) -> None:
        while True:
            await anyio.sleep(self._sweep_interval_s)
            await self._pool.sweep()


_APP_USER_REFUSED: Final = -1
"""A code of our own: the user is not told of the credentials of others."""


def _referred(server: LdapServer, found: Found) -> list[LdapServer]:
    """The servers that a search refers to; app-user and certificates are those of ``server``."""
    servers: list[LdapServer] = []
    for text in found.referrals:
        try:
            servers.append(replace(server, url=parse_referral(text, server.url)))
        except ValueError as e:
            log.warning(
                "LDAP server %s refers to %r, which is not followed: %s", server, text, e, extra={"event": 31040}
            )
    return servers
