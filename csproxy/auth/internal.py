"""Log-ins checked against the configuration itself: Persons, their password hashes, and the rules for both.

Hashing is slow on purpose (50 ms), so it runs in worker threads, few at a time, for which the event loop does not
wait; and a log-in that was right a moment ago is recognised without hashing, because thousands of clients come back
at once after a switchover. What is remembered is a keyed digest under a random key of this process, together with the
stored hash it was checked against: it counts only while that hash is the present one.

Unknown users, wrong passwords, disabled Persons, locked and expired accounts get the same answer after the same
work: a locked account's password is hashed like any other. What differs is the log.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

import anyio

from csproxy.auth.passwords import DUMMY_HASH, needs_rehash, verify_password
from csproxy.auth.texts import WRONG_PASSWORD
from csproxy.core.cache import ConfigurationCache
from csproxy.core.model.enumerations import CfgObjectState, CfgObjectType
from csproxy.core.password_rules import PasswordRules
from csproxy.core.sessions import Account
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.blocking import run_in_background
from csproxy.transport.log_ins import LogIns

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

    ``cache()`` gives the present data set; ``log_ins`` knows the present password hashes, and hears of wrong
    passwords. ``allow_empty_password`` False refuses empty passwords with error 39; it may be
    changed at any time. ``at_once`` passwords are hashed at once, ``max_waiting`` log-ins may wait for that, further
    ones get error 28 with a hint when to come back; ``max_remembered`` right log-ins are remembered.
    ``rehash(dbid, hash, password)`` is called with a right password whose hash was made with parameters of the past;
    it must not wait.
    """

    def __init__(
        self,
        cache: Callable[[], ConfigurationCache],
        log_ins: LogIns,
        *,
        allow_empty_password: bool = True,
        at_once: int = 2,
        max_waiting: int = 1_000,
        max_remembered: int = 10_000,
        rehash: Callable[[int, str, str], None] = lambda dbid, hash, password: None,
    ) -> None:
        self.allow_empty_password = allow_empty_password
        self._cache = cache
        self._log_ins = log_ins
        self._rehash = rehash
        self._max_waiting = max_waiting
        self._max_remembered = max_remembered
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._turn = anyio.Semaphore(at_once)
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
        dbid = self._dbid(user)
        stored = self._hash(dbid)
        if dbid is not None and digest in self._remembered:
            rules = self._log_ins.rules(dbid)
            if self._is_remembered(digest, dbid, stored, rules):
                self._remembered.move_to_end(digest)
                return self._account(user, dbid, rules)
            del self._remembered[digest]
        while True:
            checked, right = stored, await self._verify(digest, dbid, stored, password)
            # asked again: meanwhile the password may have been set, or hashed anew, or the Person deleted
            dbid = self._dbid(user)
            stored = self._hash(dbid)
            if stored == checked:
                break
        if dbid is None or stored is None:
            raise _refusal(user, "unknown user, or one without a password")
        if not right:
            self._log_ins.wrong_password(dbid, self._log_ins.rules(dbid))
            raise _refusal(user, "wrong password")
        account = self._account(user, dbid, self._log_ins.rules(dbid))
        self._remembered[digest] = _Remembered(dbid, stored)
        if len(self._remembered) > self._max_remembered:
            self._remembered.popitem(last=False)
        if needs_rehash(stored):
            self._rehash(dbid, stored, password)
        return account

    async def _verify(self, digest: bytes, dbid: int | None, stored: str | None, password: str) -> bool:
        """Check a password, unless the same log-in was found right while this one waited.

        When thousands come back at once, many of them are the same few accounts.
        """
        if self._waiting >= self._max_waiting:
            raise ServerError.from_code(
                ErrorCode.FORCED_DISCONNECT,
                f"{self._waiting} log-ins are waiting already: try again",
                retry_after_s=_RETRY_S,
            )
        self._waiting += 1
        try:
            async with self._turn:
                if dbid is not None and self._is_remembered(digest, dbid, stored, self._log_ins.rules(dbid)):
                    return True
                return await run_in_background(verify_password, password, stored or DUMMY_HASH)
        finally:
            self._waiting -= 1

    def _is_remembered(self, digest: bytes, dbid: int, stored: str | None, rules: PasswordRules) -> bool:
        return self._remembered.get(digest) == (dbid, stored) and not self._log_ins.is_locked(dbid, rules)

    def _dbid(self, user: str) -> int | None:
        return self._cache().find(_PERSON, userName=user) if user else None

    def _hash(self, dbid: int | None) -> str | None:
        return None if dbid is None else self._log_ins.book.hashes.get((_PERSON, dbid))

    def _account(self, user: str, dbid: int, rules: PasswordRules) -> Account:
        """The account of a right password, if it may log in."""
        log_ins = self._log_ins
        person = self._cache().stored(_PERSON, dbid)
        if person is None or person.get("state") != CfgObjectState.CFGEnabled:
            raise _refusal(user, f"person {dbid} is disabled")
        if log_ins.is_locked(dbid, rules):
            raise _refusal(user, f"person {dbid} is locked out")
        if log_ins.is_account_old(dbid, rules):
            raise _refusal(user, f"person {dbid} has expired: account-expiration is {rules.account_expiration} days")
        return Account(dbid, user, log_ins.is_password_old(dbid, rules))

    def _digest(self, user: str, password: str) -> bytes:
        text = f"{len(user)}:{user}{password}".encode()
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()


def _refusal(user: str, why: str) -> ServerError:
    """The same words for every reason; the log says which."""
    log.info("log-in of %r refused: %s", user, why)
    return ServerError.from_code(ErrorCode.LOGIN_INCORRECT, REFUSAL)
