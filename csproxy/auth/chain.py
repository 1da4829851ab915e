"""Which way a log-in is checked: token, directories, RADIUS servers, passwords here, or the master.

1. A password that begins with the token preamble is a token, and nothing else.
2. The library of the Person's annex, else of its Tenant's, else of the server names the external systems. They are
   asked if the Person has an External ID, or enforce-external-auth says so; in their order, until one accepts.
3. What such a check needs and this server does not have configured, the master is asked for (at a proxy).
4. Everybody else, unknown users too, is left to the internal check.

Kerberos tickets come in fields of their own and are independent of the library. Whatever accepts a log-in: the
user must be a Person, and enabled.

Source: the vendor's [authentication] options; what is passed to the master is documented, how is ours.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from csproxy.auth.kerberos import KerberosAuthenticator, KerberosSettings
from csproxy.auth.ldap import LdapAuthenticator, LdapUser
from csproxy.auth.ldap_settings import LdapSettings, ldap_settings
from csproxy.auth.radius import RadiusAuthenticator, RadiusServer, radius_servers
from csproxy.auth.texts import WRONG_PASSWORD
from csproxy.auth.tokens import TokenSettings, check_token, is_token
from csproxy.core.auth_options import ANNEX_OPTIONS, AUTH_OPTIONS, SECRETS, OptionValues, read_options
from csproxy.core.cache import ConfigurationCache
from csproxy.core.model.enumerations import CfgObjectState, CfgObjectType
from csproxy.core.options import Effect, OptionValue
from csproxy.core.sessions import Account
from csproxy.core.wellknown import DEFAULT_PERSON
from csproxy.errors import ConfigurationError, ErrorCode, LoginIncorrectError, ServerError
from csproxy.transport.server import Authenticator
from csproxy.transport.tickets import NoTickets

__all__ = ["AuthenticationChain", "build_authenticator"]

log = logging.getLogger("csproxy.auth")

_PERSON: Final = int(CfgObjectType.CFGPerson)
_TENANT: Final = int(CfgObjectType.CFGTenant)
_INTERNAL: Final = ("internal",)
_KERBEROS: Final = "gauth_kerberos"
_TRACE: Final = 15
"""The published level of event 04110, between DEBUG and INFO."""
_ROWS: Final = {(option.section, option.name): option for option in AUTH_OPTIONS}


@dataclass(frozen=True)
class _Settings:
    """The server's options, put together."""

    values: OptionValues = field(default_factory=dict)
    token: TokenSettings | None = None
    radius: tuple[RadiusServer, ...] = ()

    def get(self, section: str, name: str) -> Any:
        """The value of a row, as given or by default."""
        return self.values.get((section, name), _ROWS[section, name].default)


class _Person(NamedTuple):
    dbid: int
    user: str
    external_id: str
    stored: bytes
    levels: tuple[OptionValues, OptionValues]
    """The options of the annexes, the Person's and the Tenant's."""


def build_authenticator(
    options: Mapping[str, Any],
    *,
    cache: Callable[[], ConfigurationCache],
    internal: Authenticator,
    upstream: Authenticator | None = None,
) -> AuthenticationChain:
    """The chain for a server whose Application object has ``options`` ({section: {option: value}}).

    ``cache`` gives the present data set, ``internal`` checks passwords that no external system checks, ``upstream``
    (at a proxy) asks the master. Enter the chain before use; it is also the server's ``tickets``.
    """
    chain = AuthenticationChain(cache=cache, internal=internal, upstream=upstream)
    chain.apply(options)
    return chain


class AuthenticationChain:
    """An Authenticator and TicketAuthenticator over all ways of logging in; an async context manager.

    ``wall_clock`` gives seconds since 1970, for tokens.
    """

    def __init__(
        self,
        *,
        cache: Callable[[], ConfigurationCache],
        internal: Authenticator,
        upstream: Authenticator | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._cache = cache
        self._internal = internal
        self._upstream = upstream
        self._wall_clock = wall_clock
        self._settings = _Settings()
        self._applied = False
        self._ldap = LdapAuthenticator()
        self._radius = RadiusAuthenticator()
        self._kerberos: KerberosAuthenticator | None = None

    def __repr__(self) -> str:
        library = ", ".join(self._settings.get("authentication", "library")) or "internal"
        return f"<AuthenticationChain {library}>"

    async def __aenter__(self) -> Self:
        await self._ldap.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._ldap.__aexit__(exc_type, exc, traceback)

    def apply(self, options: Mapping[str, Any]) -> None:
        """Take the Application object's options, at the start and whenever they change.

        A bad value is logged and the former one stays; so do options that take effect at a restart.
        """
        before = self._settings.values
        values, complaints = read_options(options, before=before)
        if self._applied:
            complaints += _keep_until_restart(values, before)
        radius, incomplete = radius_servers(values)
        self._settings = _Settings(values, self._token_settings(values, complaints), radius)
        if not self._applied:
            self._kerberos = self._kerberos_authenticator(complaints)
            self._applied = True
        self._ldap.queue_threshold = self._settings.get("authentication", "authentication-queue-threshold")
        for complaint in (*complaints, *incomplete):
            log.warning("%s", complaint, extra={"event": 31004})
        _log_changes(before, values)
        self._warn_of_default_user()

    # log-ins

    async def authenticate(self, user: str, password: str) -> Account:
        """The account of a right log-in.

        Raises `ServerError`: LOGIN_INCORRECT, EMPTY_PASSWORD_DENIED, EXTERNAL_AUTHENTICATION_ERROR, FORCED_DISCONNECT
        while too many wait, and what the internal check and the master say.
        """
        settings = self._settings
        if settings.token is not None and is_token(password, settings.token):
            check_token(password, user, now=self._wall_clock(), settings=settings.token)
            return self._account(user)
        person = self._person(user)
        if person is None:
            return await self._internal.authenticate(user, password)
        libraries = self._libraries(person)
        if libraries == _INTERNAL or not (
            person.external_id or settings.get("authentication", "enforce-external-auth")
        ):
            return await self._internal.authenticate(user, password)
        ldap = self._ldap_settings(person)
        configured = {"gauth_ldap": bool(ldap.servers), "gauth_radius": bool(settings.radius)}
        if not libraries or not all(configured[library] for library in libraries):
            return await self._elsewhere(user, password, libraries)
        if not password and not settings.get("csproxy", "allow-external-empty-password"):
            raise ServerError.from_code(ErrorCode.EMPTY_PASSWORD_DENIED, "empty passwords are not accepted here")
        await self._ask(person, password, libraries, ldap)
        return self._account(user)

    async def authenticate_ticket(self, ticket: bytes, user: str) -> Account:
        """The account of a Kerberos ticket; ``user``, if not empty, must be that of the ticket."""
        if self._kerberos is None:
            return await NoTickets().authenticate_ticket(ticket, user)
        proven = await self._kerberos.user_of(ticket)
        if user not in ("", proven):
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, f"the Kerberos ticket is that of {proven!r}")
        return self._account(proven)

    async def _ask(self, person: _Person, password: str, libraries: tuple[str, ...], ldap: LdapSettings) -> None:
        """Ask the external systems until one accepts; that a password is wrong is told before that a system failed."""
        error: ServerError | None = None
        for library in libraries:
            try:
                if library == "gauth_ldap":
                    user = LdapUser(person.dbid, person.external_id or person.user, person.stored)
                    await self._ldap.check(user, password, ldap)
                else:
                    await self._radius.check(person.user, password, self._settings.radius)
            except ServerError as e:
                if e.code is ErrorCode.FORCED_DISCONNECT:
                    raise
                if error is None or not isinstance(error, LoginIncorrectError):
                    error = e
            except ConfigurationError as e:
                log.error("%s cannot check log-ins: %s", library, e, extra={"event": 31042})
                error = error or _cannot()
            else:
                return
        assert error is not None
        raise error

    async def _elsewhere(self, user: str, password: str, libraries: tuple[str, ...]) -> Account:
        """The check that this server is not configured for."""
        if self._upstream is not None:
            return await self._upstream.authenticate(user, password)
        if not libraries:
            return await self._internal.authenticate(user, password)
        log.error("log-in of %r refused: %s is not configured here", user, ", ".join(libraries), extra={"event": 31042})
        raise _cannot()

    # Persons

    def _person(self, user: str) -> _Person | None:
        cache = self._cache()
        dbid = cache.find(_PERSON, userName=user) if user else None
        stored = None if dbid is None else cache.get(_PERSON, dbid)
        person = None if dbid is None else cache.stored(_PERSON, dbid)
        if dbid is None or stored is None or person is None:
            return None
        tenant = cache.stored(_TENANT, person.get("tenantDBID", 0)) or {}
        return _Person(
            dbid,
            user,
            person.get("externalID", ""),
            stored,
            (_annex(f"Person {user!r}", person), _annex("Tenant", tenant)),
        )

    def _libraries(self, person: _Person) -> tuple[str, ...]:
        key = "authentication", "library"
        for level in person.levels:
            if key in level:
                return level[key]  # type: ignore[return-value]
        return tuple(library for library in self._settings.get(*key) if library != _KERBEROS)

    def _ldap_settings(self, person: _Person) -> LdapSettings:
        return ldap_settings(
            (*person.levels, self._settings.values),
            cache_time_s=float(self._settings.get("authentication", "ldap-cache-time")),
            negative_cache_time_s=float(self._settings.get("authentication", "ldap-negative-cache-time")),
        )

    def _account(self, user: str) -> Account:
        """Asked after the check: the Person may have been disabled or deleted meanwhile."""
        cache = self._cache()
        dbid = cache.find(_PERSON, userName=user) if user else None
        person = None if dbid is None else cache.stored(_PERSON, dbid)
        if dbid is None or person is None or person.get("state") != CfgObjectState.CFGEnabled:
            log.info("log-in of %r refused: no such Person here, or it is disabled", user)
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, WRONG_PASSWORD)
        return Account(dbid, user)

    # options

    def _token_settings(self, values: OptionValues, complaints: list[str]) -> TokenSettings | None:
        settings = _Settings(values)
        if not settings.get("system", "token-authentication-mode"):
            return None
        try:
            return TokenSettings(
                preamble=settings.get("system", "token-preamble"),
                uuid=settings.get("system", "token-uuid"),
                ttl_s=settings.get("system", "token-ttl") * 60.0,
                tolerance_s=float(settings.get("system", "token-tolerance")),
            )
        except ConfigurationError as e:
            complaints.append(f"tokens are not accepted: {e}")
            return None

    def _kerberos_authenticator(self, complaints: list[str]) -> KerberosAuthenticator | None:
        if _KERBEROS not in self._settings.get("authentication", "library"):
            return None
        try:
            settings = KerberosSettings(
                **{name.lower(): self._settings.get(_KERBEROS, name) for name in ("SPN", "realm", "keytab")}
            )
        except ConfigurationError as e:
            complaints.append(f"Kerberos tickets are not accepted: {e}")
            return None
        return KerberosAuthenticator(settings)

    def _warn_of_default_user(self) -> None:
        person = self._cache().stored(_PERSON, DEFAULT_PERSON)
        if person is not None and person.get("externalID") and self._settings.get("authentication", "library"):
            log.warning(
                "the default user (%r, DBID %d) has an External ID: nobody can log in as it while the external system "
                "is away; remove the External ID",
                person.get("userName", ""),
                DEFAULT_PERSON,
                extra={"event": 31043},
            )


def _annex(whose: str, obj: Mapping[str, Any]) -> OptionValues:
    values, complaints = read_options(obj.get("userProperties", {}), rows=ANNEX_OPTIONS)
    for complaint in complaints:
        log.warning("annex of %s: %s", whose, complaint, extra={"event": 31004})
    return values


def _keep_until_restart(values: dict[tuple[str, str], OptionValue], before: OptionValues) -> list[str]:
    """Put back what takes effect at a restart; returns a sentence for each such change."""
    kept: list[str] = []
    for key, option in _ROWS.items():
        if option.effect is Effect.RESTART and values.get(key) != before.get(key):
            values.pop(key, None)
            if key in before:
                values[key] = before[key]
            kept.append(f"the change of option {key[1]} of [{key[0]}] takes effect at a restart")
    return kept


def _log_changes(before: OptionValues, values: OptionValues) -> None:
    for section, name in sorted({*before, *values}):
        value = values.get((section, name))
        if value != before.get((section, name)):
            shown = "another value" if value is not None and name in SECRETS else _shown(value)
            log.log(_TRACE, "option %s of [%s] is now %s", name, section, shown, extra={"event": 4110})


def _shown(value: OptionValue | None) -> str:
    if value is None:
        return "the default"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _cannot() -> ServerError:
    return ServerError.from_code(
        ErrorCode.EXTERNAL_AUTHENTICATION_ERROR, "the external system that checks this log-in is not configured here"
    )
