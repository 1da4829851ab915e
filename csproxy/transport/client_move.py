"""A planned change of servers: the new connection has taken over before the old one ends.

Both connections deliver for a while. Each stream takes a transaction from whichever brings it first, and drops it from
the other, by its position; that is exact because the new connection brings a stream everything from the stream's place
on. So it brings a stream nothing before the server has accepted its subscription: what the new connection shows of
other streams' changes, or marks, would let a stream believe that it stands further than it does.
"""

from __future__ import annotations

from typing import Final

from csproxy.errors import ConnectionLostError
from csproxy.transport.client_changes import RawTransaction
from csproxy.transport.client_feed import TransactionFeed
from csproxy.transport.client_subscriptions import ChangeStream, SubscriptionHub
from csproxy.transport.connection import Connection
from csproxy.transport.exchange import EpochOrder
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId

__all__ = ["Move"]

_ROUNDS: Final = 20
"""So often new subscriptions may come in between before the move is put off."""


class Move:
    """The streams of ``hub`` on their way to ``connection``, which is registered and has no subscriptions yet."""

    def __init__(self, hub: SubscriptionHub, connection: Connection) -> None:
        self._hub = hub
        self._connection = connection
        self._followed: dict[ChangeStream, int] = {}
        self._feed = TransactionFeed(connection, self._take)

    def __repr__(self) -> str:
        return f"<Move to {self._connection.peer}, {len(self._followed)} streams>"

    async def follow_all(self, *, timeout_s: float) -> None:
        """Subscribe every live stream from its place; returns when none is missing and none is about to subscribe.

        Raises `ServerError` (the new server does not know the history, or is behind), `ConnectionLostError` or
        `TimedOutError`; nothing has changed for the streams then. `finish` must follow without waiting.
        """
        for _ in range(_ROUNDS):
            missing = [stream for stream in self._hub.live() if not self._follows(stream)]
            if not missing and not self._hub.is_registering:
                return
            for stream in missing:
                await self._follow(stream, timeout_s)
            await self._hub.settled(timeout_s)
        raise ConnectionLostError("subscriptions come and go too fast to move them to another server")

    def finish(self) -> None:
        """The new connection is the client's only one from now on."""
        self._feed.take = self._hub.offer
        self._hub.moved({stream.wanted for stream in self._followed})

    async def _follow(self, stream: ChangeStream, timeout_s: float) -> None:
        starts = stream.starts

        def accepted(frame: Frame) -> None:
            self._followed[stream] = starts

        await self._connection.request(
            MessageId.REGISTER_NOTIFICATION,
            stream.registration,
            minimum=stream.received,
            timeout_s=timeout_s,
            on_answer=accepted,
        )

    def _follows(self, stream: ChangeStream) -> bool:
        return self._followed.get(stream) == stream.starts

    def _take(self, transaction: RawTransaction, order: EpochOrder) -> None:
        for stream in tuple(self._followed):
            if self._follows(stream):
                stream.offer(transaction, order)
