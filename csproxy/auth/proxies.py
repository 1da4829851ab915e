"""How a master recognises its proxies: the rules of `csproxy.transport.trust` over the passwords of Applications."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import anyio

from csproxy.auth.passwords import DUMMY_HASH, verify_password
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.blocking import run_in_background
from csproxy.transport.channel import Channel
from csproxy.transport.trust import LOOPBACK, MUTUAL_TLS, PASSWORD, is_loopback

__all__ = ["MAX_WAITING", "ProxyAuthenticator"]

log = logging.getLogger("csproxy.auth")

MAX_WAITING: Final = 100
"""Passwords that may wait to be checked: 50 ms each, one at a time, so that guessing takes no more than one thread."""
_RETRY_S: Final = 1.0
_APPLICATION: Final = int(CfgObjectType.CFGApplication)


class ProxyAuthenticator:
    """A `csproxy.transport.trust.ProxyTrust`.

    ``credentials`` are the present password hashes by type number and DBID. ``loopback_is_trusted()`` is asked at
    each registration.
    """

    def __init__(
        self, credentials: Mapping[tuple[int, int], str], *, loopback_is_trusted: Callable[[], bool] = lambda: True
    ) -> None:
        self._credentials = credentials
        self._loopback_is_trusted = loopback_is_trusted
        self._turn = anyio.Lock()
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<ProxyAuthenticator {self._waiting} waiting>"

    def by_channel(self, channel: Channel, names: frozenset[str]) -> str:
        """As `ProxyTrust.by_channel`."""
        certificate = channel.peer_certificate
        if certificate is not None:
            shown = {name.lower() for name in (certificate.common_name, *certificate.names)}
            if shown & names:
                return MUTUAL_TLS
            log.warning(
                "the certificate of %s (%s) names none of %s: it shows nothing of the proxy that registers",
                channel.peer,
                certificate.subject,
                ", ".join(sorted(names)),
                extra={"event": 31045},
            )
        return LOOPBACK if self._loopback_is_trusted() and is_loopback(channel.peer) else ""

    async def by_password(self, application_dbid: int, password: str) -> str:
        """As `ProxyTrust.by_password`; an Application without a password has none that is right."""
        if self._waiting >= MAX_WAITING:
            raise ServerError.from_code(
                ErrorCode.FORCED_DISCONNECT,
                f"{self._waiting} passwords of proxies are being checked already: try again",
                retry_after_s=_RETRY_S,
            )
        key = _APPLICATION, application_dbid
        stored = self._credentials.get(key)
        self._waiting += 1
        try:
            async with self._turn:
                right = await run_in_background(verify_password, password, stored or DUMMY_HASH)
        finally:
            self._waiting -= 1
        # asked again: the password may have been changed during the check
        if not right or stored is None or self._credentials.get(key) != stored:
            raise ServerError.from_code(
                ErrorCode.LOGIN_INCORRECT,
                "the Application's password is wrong, or the Application has none: set the same one in its object and "
                "at the proxy (option app-password)",
                object_type=_APPLICATION,
            )
        return PASSWORD
