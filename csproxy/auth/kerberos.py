"""Log-ins with a Kerberos ticket that comes with the registration, instead of a password.

A client gets a ticket for this service (its SPN) from the KDC and sends it as a GSS-API token, or as the bare AP-REQ;
both are accepted. Who it is comes from the ticket: the principal's name without the realm is the user name.

A ticket works once: MIT's replay cache remembers it in a file that all processes of this account share. The environment
variable KRB5RCACHETYPE=none turns that off, which a pool behind a balancer may need: its members share the
SPN, and the same ticket may reach several of them.

Source: SPN, realm, keytab and KRB5RCACHETYPE are the vendor's; the rest is ours.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import anyio

from csproxy.errors import ConfigurationError, ErrorCode, ServerError
from csproxy.transport.blocking import run_blocking

__all__ = ["KerberosAuthenticator", "KerberosSettings"]

log = logging.getLogger("csproxy.auth.kerberos")

_THREADS: Final = 2
_MAX_TOKEN_BYTES: Final = 64 * 1024
_KERBEROS_AP_REQ: Final = bytes.fromhex("06092a864886f7120102020100")
"""The object identifier of Kerberos and the token number of an AP-REQ."""

_TEXTS: Final = {
    -1765328352: "the Kerberos ticket has expired: get a new one (log in to Windows again, or kinit)",
    -1765328351: "the Kerberos ticket is not valid yet: the clocks of this computer, the KDC and the server differ",
    -1765328347: "the clocks of this computer and of the server differ by more than Kerberos allows: set them right",
    -1765328350: "this Kerberos ticket was used already: get a new one for each log-in",
    -1765328353: "the Kerberos ticket was made with another key than the server has: get a new one; if that does not "
    "help, the server's keytab is out of date",
    -1765328349: "the Kerberos ticket is for another service than the server's (SPN)",
    -1765328340: "the server's keytab does not have this version of the service's key: it is out of date",
    -1765328339: "the server's keytab does not have the key that the ticket was made with",
}
"""What MIT's minor codes (krb5.h) mean to a person."""
_UNKNOWN: Final = "the Kerberos ticket was not accepted"


@dataclass(frozen=True, kw_only=True)
class KerberosSettings:
    """All three are needed: ``spn`` is service/host, ``keytab`` a file that holds its keys."""

    spn: str
    realm: str
    keytab: str

    def __post_init__(self) -> None:
        missing = [
            name for name, text in (("SPN", self.spn), ("realm", self.realm), ("keytab", self.keytab)) if not text
        ]
        if missing:
            raise ConfigurationError(f"[gauth_kerberos] needs {', '.join(missing)}")


class KerberosAuthenticator:
    """Accepts tickets for one service."""

    def __init__(self, settings: KerberosSettings) -> None:
        self._settings = settings
        self._limiter: anyio.CapacityLimiter | None = None

    def __repr__(self) -> str:
        return f"<KerberosAuthenticator {self._settings.spn!r}>"

    async def user_of(self, token: bytes) -> str:
        """The user name that a ticket proves.

        Raises `ServerError`: LOGIN_INCORRECT with a sentence for the user, EXTERNAL_AUTHENTICATION_ERROR when
        this server cannot check tickets now.
        """
        if not token or len(token) > _MAX_TOKEN_BYTES:
            raise _refused(_UNKNOWN)
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_THREADS)
        try:
            principal = await run_blocking(_accept, token, self._settings, limiter=self._limiter)
        except ConfigurationError as e:
            log.error("Kerberos tickets cannot be checked: %s", e, extra={"event": 31042})
            raise ServerError.from_code(
                ErrorCode.EXTERNAL_AUTHENTICATION_ERROR, "the server cannot check Kerberos tickets now"
            ) from e
        return self._user(principal)

    def _user(self, principal: str) -> str:
        user, _, realm = principal.rpartition("@")
        if realm != self._settings.realm:
            log.info("log-in of principal %r refused: not of realm %s", principal, self._settings.realm)
            raise _refused(f"the Kerberos ticket is from realm {realm}: users of {self._settings.realm} may log in")
        if not user or any(character in user for character in "\\/@"):
            log.info("log-in of principal %r refused: the name of a service, or with escapes", principal)
            raise _refused(f"{user!r} is not the principal of a user")
        return user


def _accept(token: bytes, settings: KerberosSettings) -> str:
    """The principal of a ticket, in a worker thread. Raises as `KerberosAuthenticator.user_of`."""
    try:
        import gssapi
    except (ImportError, OSError) as e:  # OSError: the Kerberos library of the system is missing
        raise ConfigurationError(f"Kerberos needs the package gssapi: install csproxy[kerberos] ({e})") from e
    try:
        credentials = _credentials(gssapi, settings)
    except gssapi.exceptions.GSSError as e:
        raise ConfigurationError(f"SPN {settings.spn!r} in keytab {settings.keytab!r}: {_said(e)}") from e
    context = gssapi.SecurityContext(creds=credentials, usage="accept")
    try:
        context.step(_framed(token))
        complete, principal = context.complete, str(context.initiator_name)  # gssapi may raise what step met here
    except gssapi.exceptions.GSSError as e:
        log.info("a Kerberos ticket is refused: %s (minor code %d)", _said(e), e.min_code)
        raise _refused(_TEXTS.get(_signed(e.min_code), _UNKNOWN)) from e
    if not complete:
        raise _refused("Kerberos needs more than one message: send a ticket of Kerberos itself, not of SPNEGO")
    return principal


def _framed(token: bytes) -> bytes:
    """A bare AP-REQ in the frame that GSS-API expects around it (RFC 4121, section 4.1); anything else as it is."""
    if token[:1] != b"\x6e":
        return token
    body = _KERBEROS_AP_REQ + token
    return b"\x60\x84" + len(body).to_bytes(4, "big") + body


def _credentials(gssapi: Any, settings: KerberosSettings) -> Any:
    spn = settings.spn if "@" in settings.spn else f"{settings.spn}@{settings.realm}"
    name = gssapi.Name(spn, gssapi.NameType.kerberos_principal)
    return gssapi.Credentials(
        name=name,
        usage="accept",
        store={"keytab": f"FILE:{settings.keytab}"},
        mechs=[gssapi.MechType.kerberos],
    )


def _said(error: Any) -> str:
    return str(error).replace("\n", " ")


def _signed(code: int) -> int:
    """gssapi gives minor codes without sign."""
    return code - 2**32 if code >= 2**31 else code


def _refused(text: str) -> ServerError:
    return ServerError.from_code(ErrorCode.LOGIN_INCORRECT, text)
