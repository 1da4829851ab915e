"""Log-ins of a running server: noted in its `CredentialBook`, told to clients, and an alarm when many fail.

`LogIns` is what a server asks at each log-in, whichever way it was checked. What it notes counts here at once; where
it is kept is the affair of whoever takes what the book says has changed (a master's database, a proxy's local copy),
and of ``report``, by which a proxy tells its master.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from csproxy.core.cache import ConfigurationCache
from csproxy.core.credentials import CredentialBook
from csproxy.core.failure_alarm import FailureAlarm
from csproxy.core.log_in_state import LogIn, LogInState, after, is_locked
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.password_rules import NO_RULES, PasswordRules, password_rules
from csproxy.core.sessions import Account
from csproxy.core.wellknown import DEFAULT_PERSON

__all__ = ["ALARM_EVENT", "LogInKeeper", "LogInSettings", "LogIns", "NoLogIns"]

log = logging.getLogger("csproxy.auth")

ALARM_EVENT: Final = 22123
"""Number of our own, next to the published 22122 (client failed authorisation): too many log-ins have failed."""
_PERSON: Final = int(CfgObjectType.CFGPerson)
_TENANT: Final = int(CfgObjectType.CFGTenant)
_MAX_COMPLAINTS: Final = 1_000


class LogInKeeper(Protocol):
    """What a server tells of log-ins."""

    def logged_in(self, account: Account, *, application: str, address: str, is_kept: bool = True) -> Mapping[str, Any]:
        """A user has logged in; returns what ClientRegistered says of the log-ins before.

        ``is_kept`` False: it was a check only and is not the last log-in.
        """

    def refused(self) -> None:
        """A log-in was refused."""


class NoLogIns:
    """Keeps nothing."""

    def logged_in(self, account: Account, *, application: str, address: str, is_kept: bool = True) -> Mapping[str, Any]:
        """Nothing to tell."""
        return {}

    def refused(self) -> None:
        """Do nothing."""


class LogInSettings(NamedTuple):
    """``last_login``: whether last log-ins are told, and those at this server kept.

    ``is_shared`` False: those at this proxy are not kept, because its master does not hear of them.
    """

    last_login: bool = False
    is_shared: bool = True


class LogIns:
    """A `LogInKeeper` over a book of credentials. ``wall_clock`` gives seconds since 1970, ``clock`` monotonic ones.

    ``is_keeping()`` False: another server keeps the log-ins of this one's users.
    """

    def __init__(
        self,
        book: CredentialBook,
        cache: Callable[[], ConfigurationCache],
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        report: Callable[[LogIn], None] = lambda log_in: None,
        is_keeping: Callable[[], bool] = lambda: True,
    ) -> None:
        self.book = book
        self.settings = LogInSettings()
        self.alarm = FailureAlarm()
        self._cache = cache
        self._wall_clock = wall_clock
        self._clock = clock
        self._report = report
        self._is_keeping = is_keeping
        self._complaints: set[str] = set()

    def __repr__(self) -> str:
        return f"<LogIns {self.settings}, {self.book!r}>"

    def now_ms(self) -> int:
        """The time of the wall clock."""
        return int(self._wall_clock() * 1000)

    def rules(self, dbid: int) -> PasswordRules:
        """The rules for a Person. What cannot be read in an annex is logged once."""
        cache = self._cache()
        rules, complaints = password_rules(cache.stored(_PERSON, dbid) or {}, lambda dbid: cache.stored(_TENANT, dbid))
        for complaint in complaints:
            if complaint not in self._complaints and len(self._complaints) < _MAX_COMPLAINTS:
                self._complaints.add(complaint)
                log.warning("%s", complaint, extra={"event": 31004})
        return rules

    def knows(self, dbid: int) -> bool:
        """Whether there is such a Person."""
        return self._cache().get(_PERSON, dbid) is not None

    # what a password check asks

    def is_locked(self, dbid: int, rules: PasswordRules) -> bool:
        """Whether the account is locked out now."""
        book = self.book
        return is_locked(book.state(dbid), rules, self.now_ms(), changed_ms=book.changed_ms(dbid))

    def is_account_old(self, dbid: int, rules: PasswordRules) -> bool:
        """Whether the account was not used for too long; never where last log-ins are not kept."""
        if not self.settings.last_login or dbid == DEFAULT_PERSON:
            return False
        used_ms = max(self.book.state(dbid).last_ms, self.book.changed_ms(dbid))
        return rules.is_account_old(used_ms=used_ms, now_ms=self.now_ms())

    def is_password_old(self, dbid: int, rules: PasswordRules) -> bool:
        """Whether the password must be changed because of its age."""
        return rules.is_password_old(changed_ms=self.book.changed_ms(dbid), now_ms=self.now_ms())

    def wrong_password(self, dbid: int, rules: PasswordRules) -> None:
        """Somebody gave a wrong password for a Person."""
        self.note(LogIn(dbid, self.now_ms(), is_right=False), rules)

    def note(self, log_in: LogIn, rules: PasswordRules | None = None) -> None:
        """Let a log-in count, and report it."""
        self.take(log_in, rules)
        self._report(log_in)

    def take(self, log_in: LogIn, rules: PasswordRules | None = None) -> None:
        """Let a log-in count that another server has reported, or this one has seen."""
        if rules is None:
            rules = NO_RULES if log_in.is_right else self.rules(log_in.dbid)  # they are about wrong ones
        before = self.book.state(log_in.dbid)
        state = after(before, log_in, rules)
        self.book.set_state(log_in.dbid, state)
        if state.locked_ms > before.locked_ms:
            log.warning(
                "person %d is locked out after %d wrong passwords", log_in.dbid, state.failed, extra={"event": 31044}
            )

    # LogInKeeper

    def logged_in(self, account: Account, *, application: str, address: str, is_kept: bool = True) -> Mapping[str, Any]:
        """As `LogInKeeper.logged_in`."""
        self.alarm.note(self._clock(), is_right=True)
        dbid = account.person_dbid
        if not dbid or not self._is_keeping():
            return {}
        before, settings = self.book.state(dbid), self.settings
        if is_kept and settings.last_login and settings.is_shared:
            self.note(LogIn(dbid, self.now_ms(), True, True, application, address))
        elif before.failed:
            self.note(LogIn(dbid, self.now_ms(), is_right=True))
        return _told(before) if settings.last_login else {}

    def refused(self) -> None:
        """As `LogInKeeper.refused`."""
        sentence = self.alarm.note(self._clock(), is_right=False)
        if sentence:
            log.critical("%s", sentence, extra={"event": ALARM_EVENT})


def _told(state: LogInState) -> dict[str, Any]:
    told: dict[str, Any] = {"failed_log_ins": state.failed}
    if state.last_ms:
        told["last_login_time"] = state.last_ms // 1000
        told["last_login_application"] = state.application
        told["last_login_address"] = state.address
    return told
