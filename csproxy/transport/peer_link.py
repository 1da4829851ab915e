"""The link between the two proxies of a pair, at either end: updates go both ways, one at a time in each.

The configured backup connects to its primary and registers there as a proxy does at its master. What it has to say are
requests (1020), what the other has to say comes unasked (1022); the answer to a request, and ``taken`` in the next
request, say that an update has arrived. So each side has one update on its way, and `PeerLink.send` waits for the other
to take it: a slow link slows the mirror down and holds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec

from csproxy.core import codec
from csproxy.errors import ConnectionLostError, ErrorCode
from csproxy.transport.connection import Connection
from csproxy.transport.wire.frames import FLAG_END, Frame, encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.pairs import PeerNews, PeerUpdate

if TYPE_CHECKING:
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["AcceptedLink", "InitiatedLink", "PairPeer", "PeerLink"]


class PairPeer(Protocol):
    """The other proxy of a pair, as a server meets it: `csproxy.transport.pair.PairMember`."""

    def is_other(self, application: str) -> bool:
        """Whether this is the name of the other's Application."""

    @property
    def is_undecided(self) -> bool:
        """Whether it is known soon, and not yet, who of the two serves."""

    async def decided(self) -> None:
        """Wait while `is_undecided`, for a bounded time."""

    def accept(self, connection: ServerConnection, frame: Frame) -> None:
        """Answer what the other says (request 1020). Raises `ServerError`."""

    def connection_closed(self, connection: ServerConnection) -> None:
        """Any connection of the server has ended."""


class PeerLink(Protocol):
    """One end of a link. ``on_update(update)`` is called for each that arrives, and must not wait."""

    @property
    def peer(self) -> str:
        """The other end's address, for logs."""

    @property
    def heard_s(self) -> float:
        """When something came from the other end last, by the clock; infinite if keep-alive does not watch."""

    async def send(self, update: PeerUpdate) -> None:
        """Send, and wait until the other end has taken it. Raises `CsproxyError` when the link ends before."""

    def close(self) -> None:
        """End it; idempotent."""


class InitiatedLink:
    """The end that connected, over a registered ``connection``."""

    def __init__(self, connection: Connection, on_update: Callable[[PeerUpdate], object]) -> None:
        self._connection = connection
        self._on_update = on_update
        connection.on_peer_news = self._take

    def __repr__(self) -> str:
        return f"<InitiatedLink to {self.peer}>"

    @property
    def peer(self) -> str:
        """As `PeerLink.peer`."""
        return self._connection.peer

    @property
    def heard_s(self) -> float:
        """As `PeerLink.heard_s`."""
        return self._connection.last_received_s

    async def send(self, update: PeerUpdate) -> None:
        """As `PeerLink.send`."""
        await self._connection.request(MessageId.PEER_UPDATE, update)

    def close(self) -> None:
        """As `PeerLink.close`."""
        self._connection.abort(ConnectionLostError(f"the link to {self.peer} was ended by this side"))

    def _take(self, news: PeerNews) -> None:
        self._on_update(news)
        self._connection.post(MessageId.PEER_UPDATE, PeerUpdate(taken=True))


class AcceptedLink:
    """The end that was connected to, over the other's registered ``connection``."""

    def __init__(self, connection: ServerConnection, on_update: Callable[[PeerUpdate], object]) -> None:
        self.connection = connection
        self._on_update = on_update
        self._taken = anyio.Event()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<AcceptedLink from {self.peer}>"

    @property
    def peer(self) -> str:
        """As `PeerLink.peer`."""
        return self.connection.channel.peer

    @property
    def heard_s(self) -> float:
        """As `PeerLink.heard_s`."""
        watched = self.connection.silence
        return inf if watched is None else watched.heard_s

    async def send(self, update: PeerUpdate) -> None:
        """As `PeerLink.send`."""
        if self._is_closed:
            raise ConnectionLostError(f"the link from {self.peer} has ended")
        self._taken = anyio.Event()
        news = codec.encode(PeerNews(**msgspec.structs.asdict(update)))
        self.connection.send(encode_frame(MessageId.PEER_NEWS, news, flags=FLAG_END))
        await self._taken.wait()
        if self._is_closed:
            raise ConnectionLostError(f"the link from {self.peer} has ended")

    def receive(self, update: PeerUpdate) -> None:
        """A request of the other end has arrived."""
        if update.taken:
            self._taken.set()
        else:
            self._on_update(update)

    def closed(self) -> None:
        """The connection is gone."""
        self._is_closed = True
        self._taken.set()

    def close(self) -> None:
        """As `PeerLink.close`."""
        self.connection.disconnect(ErrorCode.FORCED_DISCONNECT, "the link of the pair was ended by the other end")
        self.closed()
