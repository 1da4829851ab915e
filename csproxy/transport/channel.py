"""A channel: the smallest thing the server and the client need from a connection.

A channel, not a stream, stands at the bottom because a request that needs no waiting is answered
inside the receive call: 119,000 requests/s with an asyncio Protocol on uvloop against 41,000 with
a stream and a task per connection. Two implementations exist: `csproxy.transport.protocol_channel`
(asyncio Protocol) and `csproxy.transport.stream_channel` (any anyio byte stream, trio included);
`csproxy.testing` adds one over simulated memory networks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["HIGH_WATER_BYTES", "LOW_WATER_BYTES", "Channel", "Connector", "PeerCertificate", "Receiver"]

HIGH_WATER_BYTES: Final = 64 * 1024
"""Unsent bytes above which a channel counts as full: notifications are parked, bulk parts wait."""
LOW_WATER_BYTES: Final = 16 * 1024
"""Unsent bytes below which a full channel counts as writable again."""


@dataclass(frozen=True, kw_only=True)
class PeerCertificate:
    """The certificate that the peer has shown and proved to own, verified against the trusted authorities.

    ``subject`` and ``issuer`` are distinguished names as in ``"CN=proxy1,O=Example"``. ``names`` holds what
    the certificate is valid for (DNS names, addresses, URIs: its subject alternative names), and the common
    name of the subject only if it stands there, too. ``serial`` is hexadecimal, ``not_after_s`` in seconds since 1970.
    """

    subject: str
    issuer: str
    common_name: str
    names: tuple[str, ...]
    serial: str
    not_after_s: float


class Receiver(Protocol):
    """What a channel calls. All calls come from the event loop's thread, and none may wait."""

    def receive(self, data: bytes) -> None:
        """Bytes arrived (never empty)."""

    def writable(self) -> None:
        """The channel was above HIGH_WATER_BYTES and has fallen to LOW_WATER_BYTES."""

    def closed(self, error: Exception | None) -> None:
        """The connection has ended, called once; ``error`` is None when the peer closed in order."""


class Channel(ABC):
    """One ordered, reliable byte connection. Methods never wait and never raise for a dead peer.

    The order is: create, `start` with a receiver, then calls in any order until `closed` arrives.
    """

    __slots__ = ()

    @abstractmethod
    def start(self, receiver: Receiver) -> None:
        """Begin to deliver to ``receiver``; called once."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Queue ``data`` for sending; dropped silently once the channel is closed."""

    def write_soon(self, data: bytes) -> None:
        """As `write`, but at the end of the event loop's turn if the channel has others to share it with."""
        self.write(data)

    @property
    @abstractmethod
    def pending_bytes(self) -> int:
        """Bytes queued in user space and not yet taken by the kernel; without those of `write_soon` in this turn."""

    @abstractmethod
    def pause(self) -> None:
        """Stop reading from the peer (flow control); idempotent."""

    @abstractmethod
    def resume(self) -> None:
        """Read again; idempotent."""

    @abstractmethod
    def close(self, *, flush: bool = True) -> None:
        """Close: with ``flush`` after the queued bytes are sent, else at once. Idempotent.

        ``Receiver.closed`` is called later, never from inside this method.
        """

    @property
    @abstractmethod
    def peer(self) -> str:
        """The peer's address for logs, ``"127.0.0.1:50123"``."""

    @property
    def is_secure(self) -> bool:
        """Whether the bytes travel encrypted."""
        return False

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        """Who the peer is by its certificate; None unless the channel is secure and the peer has shown one.

        A certificate that cannot be verified ends the handshake: there is no channel with one.
        """
        return None


Connector = Callable[[str, int], Awaitable[Channel]]
"""``await connector(host, port)`` gives a connected, not yet started channel.

Raises `csproxy.errors.ConnectionLostError` (code 1, server not found) when nothing listens there.
"""
