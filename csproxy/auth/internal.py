"""Log-ins checked against the configuration itself: Persons and their password hashes.

Hashing is slow on purpose (50 ms), so it runs in worker threads, few at a time; and a log-in that
was right a moment ago is recognised without hashing, because thousands of clients come back at
once after a switchover. What is remembered is a keyed digest under a random key of this process,
together with the stored hash it was checked against: it counts only while that hash is the
present one.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import anyio

from csproxy.auth.passwords import DUMMY_HASH, verify_password
from csproxy.auth.texts import WRONG_PASSWORD
from csproxy.core.cache import ConfigurationCache
from csproxy.core.model.enumerations import CfgObjectState, CfgObjectType
from csproxy.core.sessions import Account
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.blocking import run_blocking

__all__ = ["REFUSAL", "InternalAuthenticator"]

log = logging.getLogger("csproxy.auth")

REFUSAL: Final = WRONG_PASSWORD

_PERSON: Final = int(CfgObjectType.CFGPerson)
_RETRY_S: Final = 1.0


class _Remembered(NamedTuple):
    person_dbid: int
    hash: str


class InternalAuthenticator:
    """An Authenticator (`csproxy.transport.server.Authenticator`) over a configuration.

    ``cache()`` gives the present data set; ``credentials`` the present password hashes by type
    number and DBID. ``allow_empty_password`` False refuses empty passwords with error 39; it may be
    changed at any time. ``max_waiting`` log-ins may wait for a thread, further ones get error 28
    with a hint when to come back; ``max_remembered`` right log-ins are remembered.
    """

    def __init__(
        self,
        cache: Callable[[], ConfigurationCache],
        credentials: Mapping[tuple[int, int], str],
        *,
        allow_empty_password: bool = True,
        threads: int = 2,
        max_waiting: int = 1_000,
        max_remembered: int = 10_000,
    ) -> None:
        self.allow_empty_password = allow_empty_password
        self._cache = cache
        self._credentials = credentials
        self._threads = threads
        self._max_waiting = max_waiting
        self._max_remembered = max_remembered
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._limiter: anyio.CapacityLimiter | None = None
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<InternalAuthenticator {self._waiting} waiting, {len(self._remembered)} remembered>"

    async def authenticate(self, user: str, password: str) -> Account:
        """The account of a Person whose password this is.

        Raises `ServerError`: LOGIN_INCORRECT (one text for every reason), EMPTY_PASSWORD_DENIED,
        FORCED_DISCONNECT with ``retry_after_s`` when too many log-ins wait.
        """
        if not password and not self.allow_empty_password:
            raise ServerError.from_code(ErrorCode.EMPTY_PASSWORD_DENIED, "empty passwords are not accepted here")
        digest = self._digest(user, password)
        stored = self._stored_hash(user)
        known = self._remembered.get(digest)
        if known is not None:
            if stored == known.hash:
                self._remembered.move_to_end(digest)
                return self._account(user, known.person_dbid)
            del self._remembered[digest]
        right = await self._verify(password, stored or DUMMY_HASH)
        dbid = self._cache().find(_PERSON, userName=user)
        # asked again: the password may have been changed, or the Person deleted, during the check
        if not right or stored is None or dbid is None or self._credentials.get((_PERSON, dbid)) != stored:
            log.info("log-in of %r refused: unknown user or wrong password", user)
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, REFUSAL)
        account = self._account(user, dbid)
        self._remembered[digest] = _Remembered(dbid, stored)
        if len(self._remembered) > self._max_remembered:
            self._remembered.popitem(last=False)
        return account

    async def _verify(self, password: str, stored: str) -> bool:
        if self._waiting >= self._max_waiting:
            raise ServerError.from_code(
                ErrorCode.FORCED_DISCONNECT,
                f"{self._waiting} log-ins are waiting already: try again",
                retry_after_s=_RETRY_S,
            )
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._threads)
        self._waiting += 1
        try:
            return await run_blocking(verify_password, password, stored, limiter=self._limiter)
        finally:
            self._waiting -= 1

    def _stored_hash(self, user: str) -> str | None:
        dbid = self._cache().find(_PERSON, userName=user) if user else None
        return None if dbid is None else self._credentials.get((_PERSON, dbid))

    def _account(self, user: str, dbid: int) -> Account:
        person = self._cache().stored(_PERSON, dbid)
        if person is None or person.get("userName") != user or person.get("state") != CfgObjectState.CFGEnabled:
            log.info("log-in of %r refused: person %d is disabled", user, dbid)
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, REFUSAL)
        return Account(dbid, user)

    def _digest(self, user: str, password: str) -> bytes:
        text = f"{len(user)}:{user}{password}".encode()
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()
