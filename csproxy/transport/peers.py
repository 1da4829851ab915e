"""Connections that have not proven anything yet: how many there may be, for how long, and what they may keep here.

A connection beyond the limits of its address gets its notice (28, with a time to come back) without anything of the
server being made for it. When too many connections are unregistered, the oldest that has not even asked for it goes:
whoever registers at once gets in, whatever the others do. What all of them together have sent and the server
has to keep is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from csproxy.core.peer_limits import PeerRefusal, PeerTable
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.channel import Channel
from csproxy.transport.farewells import Farewells
from csproxy.transport.wire.server_protocol import ServerProtocol, ServerState

if TYPE_CHECKING:
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["MAX_BUFFERED_BYTES", "MAX_UNREGISTERED", "Peers"]

MAX_UNREGISTERED: Final = 20_000
"""Connections that may be unregistered at once."""
MAX_BUFFERED_BYTES: Final = 64 * 1024 * 1024
"""What unregistered connections together may have sent without its being complete or answered."""


class Peers:
    """The unregistered connections of a server and the limits of all addresses.

    ``retry_after_s()`` is the server's hint with jitter, ``clock`` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], retry_after_s: Callable[[], float]) -> None:
        self.table = PeerTable()
        self.turned_away = 0
        """Connections refused since the start."""
        self._clock = clock
        self._retry_after_s = retry_after_s
        self._unregistered: dict[ServerConnection, int] = {}
        self._buffered_bytes = 0
        self._farewells = Farewells()

    def __repr__(self) -> str:
        return f"<Peers {len(self)} unregistered, {self.turned_away} turned away>"

    def __len__(self) -> int:
        return len(self._unregistered)

    def admit(self, channel: Channel) -> str | None:
        """The key of a new connection's address, counted; None when it was turned away, with the channel."""
        key = self._key(channel.peer)
        refusal = self.table.opened(key) if key else None
        if refusal is not None:
            self._turn_away(channel, refusal)
            return None
        return key

    def visit(self, peer: str) -> Callable[[], None] | None:
        """Count a connection that is not the server's yet because its TLS handshake is under way, say.

        Returns what ends that, to be called once, right before `admit` or when it has gone. None when its
        address has to wait: then it does not count.
        """
        key = self._key(peer)
        if key and self.table.opened(key) is not None:
            return None
        return partial(self._visited, key)

    def opened(self, connection: ServerConnection) -> None:
        """A connection that was admitted is served from now on."""
        if len(self._unregistered) >= MAX_UNREGISTERED:
            # those that wait for their password to be checked are few: authenticators bound them
            idle = (old for old in self._unregistered if old.protocol.state is not ServerState.REGISTERING)
            old = next(idle, None)
            if old is not None:
                self._drop(old, "too many connections have not registered")
        self._unregistered[connection] = 0

    def received(self, connection: ServerConnection) -> None:
        """An unregistered connection has received bytes: count what of them has to be kept."""
        before = self._unregistered.get(connection)
        if before is None:
            return
        kept = connection.protocol.buffered_bytes
        if kept != before:
            self._unregistered[connection] = kept
            self._buffered_bytes += kept - before
            if kept > before and self._buffered_bytes > MAX_BUFFERED_BYTES:
                self._drop(connection, "unregistered clients have sent too much at once")

    def registering(self, connection: ServerConnection) -> None:
        """A client wants to log in. Raises `ServerError` (28, retryable) when its address has to wait."""
        refusal = self.table.registering(connection.peer, self._clock()) if connection.peer else None
        if refusal is not None:
            raise ServerError(
                ErrorCode.FORCED_DISCONNECT,
                f"{refusal.text}: try again later",
                retry_after_s=refusal.retry_after_s + self._retry_after_s(),
            )

    def failed(self, connection: ServerConnection) -> None:
        """A log-in was wrong."""
        if connection.peer:
            self.table.failed(connection.peer, self._clock())

    def registered(self, connection: ServerConnection) -> None:
        """The client has logged in, or is not waited for any more."""
        if self._forget(connection) and connection.peer:
            self.table.registered(connection.peer)

    def closed(self, connection: ServerConnection) -> None:
        """The connection is gone."""
        was_unregistered = self._forget(connection)
        if connection.peer:
            self.table.closed(connection.peer, was_registered=not was_unregistered)

    def older_than(self, before_s: float) -> Iterator[ServerConnection]:
        """Those opened before ``before_s``; they are kept in the order of opening."""
        for connection in list(self._unregistered):
            if connection.opened_s > before_s:
                return
            yield connection

    def _key(self, peer: str) -> str:
        return self.table.key(peer.rpartition(":")[0].strip("[]"))

    def _visited(self, key: str) -> None:
        if key:
            self.table.closed(key, was_registered=False)

    def _forget(self, connection: ServerConnection) -> bool:
        kept = self._unregistered.pop(connection, None)
        self._buffered_bytes -= kept or 0
        return kept is not None

    def _drop(self, connection: ServerConnection, why: str) -> None:
        """Tell the client, without waiting until it has read that."""
        self.registered(connection)
        connection.disconnect(
            ErrorCode.FORCED_DISCONNECT, f"{why}: try again later", retry_after_s=self._retry_after_s()
        )
        connection.channel.close(flush=False)

    def _turn_away(self, channel: Channel, refusal: PeerRefusal) -> None:
        self.turned_away += 1
        self._farewells.say(
            channel,
            ServerProtocol().disconnect(
                ErrorCode.FORCED_DISCONNECT,
                f"{refusal.text}: try again later",
                retry_after_s=refusal.retry_after_s + self._retry_after_s(),
            ),
        )
