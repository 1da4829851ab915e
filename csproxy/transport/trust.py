"""Which proxies a master believes, and for whom they may then speak.

A proxy that is trusted may write for its clients (OnBehalfOf), and is given what a proxy needs to check passwords
itself. It is decided once, when the proxy registers, and stands in `csproxy.core.sessions.Session.trusted_by`.

| a Configuration Server Proxy is trusted if | `trusted_by` |
|---|---|
| the TLS layer of its channel has verified its certificate | ``mutual TLS`` |
| it registered with the password of its Application | ``password`` |
| it connected from the master's own machine, and the option proxy-trust-loopback is on | ``loopback`` |

A restored session is trusted for its new channel only: the session id stands for no password.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, Protocol

from csproxy.transport.channel import Channel

__all__ = ["LOOPBACK", "MUTUAL_TLS", "PASSWORD", "NoTrust", "ProxyTrust", "is_loopback"]

MUTUAL_TLS: Final = "mutual TLS"
PASSWORD: Final = "password"
LOOPBACK: Final = "loopback"


class ProxyTrust(Protocol):
    """Decides which proxies are trusted."""

    def by_channel(self, channel: Channel) -> str:
        """`MUTUAL_TLS` or `LOOPBACK` if whoever is at the other end is trusted for that alone, else ``""``."""

    async def by_password(self, application_dbid: int, password: str) -> str:
        """`PASSWORD` if this is the password of an Application.

        Raises `ServerError` LOGIN_INCORRECT if it is not, and a retryable one when too many are being checked.
        """


class NoTrust:
    """For servers that trust nobody: proxies among them."""

    def by_channel(self, channel: Channel) -> str:
        """Not trusted."""
        return ""

    async def by_password(self, application_dbid: int, password: str) -> str:
        """Not trusted, whatever the password is."""
        return ""


def is_loopback(peer: str) -> bool:
    """Whether a channel's peer (``"127.0.0.1:50123"``, ``"[::1]:50123"``) is a program of this machine."""
    host = peer.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
