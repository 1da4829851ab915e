"""Which proxies a master believes, and for whom they may then speak.

A proxy that is trusted may write for its clients (OnBehalfOf), and is given what a proxy needs to check passwords
itself. It is decided once, when the proxy registers, and stands in `csproxy.core.sessions.Session.trusted_by`.

| a Configuration Server Proxy is trusted if | `trusted_by` |
|---|---|
| its certificate was verified, and names the Application, or its Host by name or address | ``mutual TLS`` |
| it registered with the password of its Application | ``password`` |
| it connected from the master's own machine, and the option proxy-trust-loopback is on | ``loopback`` |

A restored session is trusted for its new channel only: the session id stands for no password.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, Protocol

from csproxy.core.cache import ConfigurationCache
from csproxy.core.model import CfgApplication
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.sessions import Author, Session
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.channel import Channel
from csproxy.transport.wire.payload import OnBehalfOf

__all__ = ["LOOPBACK", "MUTUAL_TLS", "PASSWORD", "NoTrust", "ProxyTrust", "author_of", "is_loopback", "names_of"]

MUTUAL_TLS: Final = "mutual TLS"
PASSWORD: Final = "password"
LOOPBACK: Final = "loopback"
_HOST: Final = int(CfgObjectType.CFGHost)


class ProxyTrust(Protocol):
    """Decides which proxies are trusted."""

    def by_channel(self, channel: Channel, names: frozenset[str]) -> str:
        """`MUTUAL_TLS` or `LOOPBACK` if whoever is at the other end is trusted for that alone, else ``""``.

        ``names``: those that a certificate of the Application may have (`names_of`).
        """

    async def by_password(self, application_dbid: int, password: str) -> str:
        """`PASSWORD` if this is the password of an Application.

        Raises `ServerError` LOGIN_INCORRECT if it is not, and a retryable one when too many are being checked.
        """


class NoTrust:
    """For servers that trust nobody: proxies among them."""

    def by_channel(self, channel: Channel, names: frozenset[str]) -> str:
        """Not trusted."""
        return ""

    async def by_password(self, application_dbid: int, password: str) -> str:
        """Not trusted, whatever the password is."""
        return ""


def names_of(cache: ConfigurationCache, application: CfgApplication) -> frozenset[str]:
    """What a certificate says of whom this Application may be: its name, or its Host's name or address; lower case.

    That an authority has made the certificate is not enough: it makes those of clients, too.
    """
    info = application.serverInfo
    host = cache.stored(_HOST, info.hostDBID if info is not None else 0) or {}
    names = (application.name, host.get("name", ""), host.get("IPaddress", ""))
    return frozenset(name.lower() for name in names if name)


def is_loopback(peer: str) -> bool:
    """Whether a channel's peer (``"127.0.0.1:50123"``, ``"[::1]:50123"``) is a program of this machine."""
    host = peer.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def author_of(session: Session, on_behalf_of: OnBehalfOf | None) -> Author:
    """Who makes a request: the session's own client, or the one that its trusted proxy names.

    Whether that client may do it, and whether there is such a user at all, is for the writer to decide, when
    everything before it is done. Raises `ServerError` ACCESS_DENIED for whoever is not trusted.
    """
    if on_behalf_of is None:
        return session.author
    if not session.trusted:
        raise ServerError.from_code(
            ErrorCode.ACCESS_DENIED,
            f"{session.application!r} may not make requests for others: that is for a Configuration Server Proxy that "
            "has shown its master who it is, by its Application's password (option app-password) or by mutual TLS",
            property_name="on_behalf_of",
        )
    client = on_behalf_of
    return Author(client.user, client.application, client.person_dbid, via=session.application)
