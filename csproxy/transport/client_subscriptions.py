"""Subscriptions of a client: from the one change stream of its connection to many consumers.

A `SubscriptionHub` hands each whole transaction (see `csproxy.transport.client_feed`) to each
`ChangeStream` that wants it. Every stream has a position of its own, the end of the last
transaction that it took; what lies at or before it is dropped. So a replay for one stream repeats
nothing for another, and after a lost connection, when a transaction may have arrived in part,
everything is asked for again from the last complete one.

A stream's buffer is bounded. When it is full, the stream takes no more, lets the server go on
(other users of the client do not notice) and, once its consumer has emptied the buffer, subscribes
again from its position: the server's change log is the buffer behind the buffer. Reading is not
paused instead, because a consumer that reads an object for every change would then wait for itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from enum import Enum, auto
from typing import Any, Final, Protocol, Self

import anyio

from csproxy.core.changes import Change, Position
from csproxy.core.model import SCHEMA
from csproxy.errors import (
    ConfigurationError,
    ConnectionLostError,
    CsproxyError,
    HistoryExpiredError,
    LocalProtocolError,
    ServerError,
    TimedOutError,
)
from csproxy.transport.client_changes import ObjectChange, RawTransaction
from csproxy.transport.exchange import EpochOrder, Exchange
from csproxy.transport.leaving import Closing
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.subscriptions import RegisterNotification, Subscription, UnregisterNotification

__all__ = ["BUFFER_BYTES", "ChangeStream", "SubscriptionHub"]

BUFFER_BYTES: Final = 4 * 1024 * 1024
"""Frames that a stream keeps for a slow consumer; a single larger transaction is still taken whole."""

_NONE: Final = Position(0, 0)


class _State(Enum):
    NEW = auto()  # not subscribed yet
    LIVE = auto()  # takes what the server sends
    BEHIND = auto()  # the buffer was full: takes nothing until it has subscribed again
    ENDED = auto()  # left by its consumer, or failed


class Subscriber(Protocol):
    """What the hub needs of the client: requests that survive a reconnect, and posts that do not wait."""

    async def ask(
        self,
        message: MessageId,
        payload: Any,
        *,
        minimum: Position,
        on_answer: Callable[[Frame], object],
    ) -> Frame:
        """Send a request on the present or next connection and wait for the answer."""

    def has_seen_more(self, position: Position) -> bool:
        """Whether the client has been shown something later than ``position``, by any server."""

    async def catch_up(self) -> None:
        """Wait until the server is not behind what the client has seen."""

    def post(self, message: MessageId, payload: Any) -> Exchange | None:
        """Send a request on the present connection, if there is one, and do not wait."""

    def forget_position(self) -> None:
        """Accept an older state from now on."""


class ChangeStream(Closing):
    """The changes of one subscription: ``async with client.subscribe(...) as changes: async for change in changes``.

    For one consumer. Delivers every matching change after where it started, in order, each once,
    whatever connections are lost meanwhile. Raises where that is no longer possible:
    `HistoryExpiredError` (the gap is longer than the server's history: read everything anew) or
    `ConnectionLostError` (the client was closed or gave up). What was buffered is delivered first.
    """

    def __init__(
        self, hub: SubscriptionHub, wanted: Subscription, *, since: Position | None, buffer_bytes: int = BUFFER_BYTES
    ) -> None:
        self.wanted = wanted
        self._hub = hub
        self._since = since
        self._buffer_bytes = buffer_bytes
        self._state = _State.NEW
        self._received = since or _NONE
        self._taken = self._received
        self._buffer: deque[RawTransaction] = deque()
        self._buffered_bytes = 0
        self._rest: deque[ObjectChange] = deque()
        self._rest_end = self._received
        self._corrected = _NONE
        self._error: CsproxyError | None = None
        self._news: anyio.Event | None = None
        self.overflows = 0
        """How often the buffer was full, so that the server was asked again."""
        self.starts = 0
        """How often a server has accepted the subscription of a stream that took nothing before."""

    def __repr__(self) -> str:
        what = SCHEMA.types[self.wanted.object_type].name if self.wanted.object_type in SCHEMA.types else "everything"
        waiting = f"{len(self._buffer)} transactions waiting"
        return f"<ChangeStream {what} {self._state.name} at UEN {self._taken.uen}, {waiting}>"

    @property
    def position(self) -> Position:
        """Everything that matches, up to here, has been taken by the consumer: where to continue later."""
        return self._taken if self._buffer or self._rest else self._received

    @property
    def received(self) -> Position:
        """Everything that matches, up to here, has been received; some of it may still be buffered."""
        return self._received

    # the consumer

    async def __aenter__(self) -> Self:
        """Subscribe. Raises `HistoryExpiredError` when ``since`` is too old, else as `ConfigClient.read`."""
        if self._state is not _State.NEW:
            raise LocalProtocolError("a change stream is entered once: make another with subscribe()")
        return await super().__aenter__()

    async def _open(self) -> None:
        await self._hub.add(self)

    def close(self) -> None:
        """Unsubscribe; a waiting consumer's iteration ends. Idempotent and without waiting."""
        if self._state is not _State.ENDED:
            self._hub.remove(self)
            self._state = _State.ENDED
            self._buffer.clear()
            self._rest.clear()
            self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ObjectChange:
        while not self._rest:
            transaction = await self._pop()
            if transaction is None:
                raise StopAsyncIteration
            self._rest.extend(self.decode(transaction))
            self._rest_end = transaction.end
        change = self._rest.popleft()
        if not self._rest:
            self._taken = self._rest_end
        return change

    def transactions(self) -> AsyncIterator[tuple[ObjectChange, ...]]:
        """Whole transactions (what matches of each), instead of single changes."""
        return _Transactions(self)

    async def next_transaction(self) -> RawTransaction | None:
        """The next transaction undecoded; None once the stream was closed. Raises as the class says."""
        transaction = await self._pop()
        if transaction is not None:
            self._taken = transaction.end
        return transaction

    async def _pop(self) -> RawTransaction | None:
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self._state is _State.ENDED:
                return None
            if self._state is _State.BEHIND:
                await self._catch_up()
            else:
                self._news = anyio.Event()
                await self._news.wait()
        transaction = self._buffer.popleft()
        self._buffered_bytes -= transaction.frame_bytes
        return transaction

    async def _catch_up(self) -> None:
        """The buffer has been emptied: ask the server to go on from there, as long as the client lives."""
        try:
            await self._hub.register(self)
        except (ConnectionLostError, TimedOutError):
            return  # the client goes on trying, or has ended this stream with the reason
        except ServerError as e:
            self.fail(e)

    def decode(self, transaction: RawTransaction) -> tuple[ObjectChange, ...]:
        """The typed changes. What cannot be understood must not be passed over: the stream ends there."""
        try:
            return transaction.typed()
        except CsproxyError as e:
            self.fail(e)
            raise

    # the hub

    @property
    def registration(self) -> RegisterNotification:
        """The request that subscribes to what this stream wants."""
        wanted = self.wanted
        return RegisterNotification(
            object_type=wanted.object_type,
            tenant_id=wanted.tenant_id,
            object_dbid=wanted.object_dbid,
            exclude_bytecode=wanted.exclude_bytecode,
        )

    @property
    def is_live(self) -> bool:
        """Whether the server has been asked to send what this stream wants."""
        return self._state is _State.LIVE

    def start(self, position: Position) -> None:
        """The server has accepted the subscription; ``position`` is the server's."""
        if self._state in (_State.NEW, _State.BEHIND):
            self._state = _State.LIVE
            self.starts += 1
            if self._received == _NONE:
                self._received = self._taken = position

    def fall_behind(self) -> None:
        """Take nothing more until the consumer has what is buffered; then the stream subscribes again."""
        self._state = _State.BEHIND
        self._wake()

    def offer(self, transaction: RawTransaction, order: EpochOrder) -> None:
        """Take what matches of a complete transaction, unless it was taken before."""
        if self._state is not _State.LIVE or not self._is_new(transaction, order):
            return
        wanted = [index for index, change in enumerate(transaction.changes) if self._wants(change)]
        if wanted:
            if len(wanted) < len(transaction.changes):
                transaction = RawTransaction(
                    tuple(transaction.changes[index] for index in wanted),
                    tuple(transaction.from_history[index] for index in wanted),
                    transaction.end,
                )
            size = transaction.frame_bytes
            if self._buffer and self._buffered_bytes + size > self._buffer_bytes:
                self._state = _State.BEHIND
                self.overflows += 1
                self._hub.unregister(self)
                return
            if not self._buffer and not self._rest:
                self._taken = self._received  # marks came since: `position` must not fall back behind them
            self._buffer.append(transaction)
            self._buffered_bytes += size
            self._wake()
        self._received = transaction.end

    def _is_new(self, transaction: RawTransaction, order: EpochOrder) -> bool:
        """Whether it lies after what was received, or corrects that.

        A correction comes at a position that may have been received before, and again when the stream is
        resumed from there: the server cannot know who has seen it, but a stream that took it live can.
        """
        if order.is_later(transaction.end, self._received):
            return True
        if not transaction.is_correction or transaction.end != self._received:
            return False
        if transaction.from_history[-1]:
            return self._corrected != transaction.end
        self._corrected = transaction.end
        return True

    def fail(self, error: CsproxyError) -> None:
        """The stream cannot go on; the consumer learns it after what is buffered."""
        if self._state is not _State.ENDED:
            self._hub.remove(self)
            self._state = _State.ENDED
            self._error = error
            self._wake()

    def _wants(self, change: Change) -> bool:
        wanted = self.wanted
        return wanted.object_type in (0, change.type) and wanted.object_dbid in (0, change.dbid)

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None


class _Transactions:
    """The async iterator of `ChangeStream.transactions`; holds nothing that needs an end."""

    def __init__(self, stream: ChangeStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[ObjectChange, ...]:
        transaction = await self._stream.next_transaction()
        if transaction is None:
            raise StopAsyncIteration
        return self._stream.decode(transaction)


class SubscriptionHub:
    """All change streams of one client."""

    def __init__(self, client: Subscriber) -> None:
        self._client = client
        self._streams: dict[ChangeStream, None] = {}
        self._registering: dict[ChangeStream, None] = {}
        self._settled = anyio.Event()
        self._leaving: dict[Subscription, Exchange | None] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def __repr__(self) -> str:
        return f"<SubscriptionHub {len(self._streams)} streams>"

    def offer(self, transaction: RawTransaction, order: EpochOrder) -> None:
        """A whole transaction, or a mark without changes, has arrived: all streams take what they want of it."""
        for stream in tuple(self._streams):
            stream.offer(transaction, order)

    # streams

    async def add(self, stream: ChangeStream) -> None:
        """Subscribe a new stream."""
        self._check_tenant(stream.wanted)
        self._streams[stream] = None
        await self.register(stream)

    async def register(self, stream: ChangeStream) -> None:
        """Ask the server for what the stream wants, from the stream's position if it has one.

        Else from where the server stands, once that is not behind what the client has seen, perhaps elsewhere.
        """
        is_late, looks = False, stream.received == _NONE

        def accepted(frame: Frame) -> None:
            nonlocal is_late
            position = Position(frame.epoch, frame.uen)
            is_late = looks and self._client.has_seen_more(position)
            if not is_late:
                stream.start(position)

        self._leaving.pop(stream.wanted, None)
        self._registering[stream] = None
        try:
            await self._register(stream, accepted)
            if is_late:
                await self._client.catch_up()
                looks = False  # two names of one position may look as if one were later
                await self._register(stream, accepted)
        except ServerError as e:
            self._has_registered(stream)
            if is_late:
                self.unregister(stream)
            if isinstance(e, HistoryExpiredError):
                self._client.forget_position()
            raise
        except BaseException:  # nobody waits any more for what the server may grant or has granted
            self._has_registered(stream)
            self.unregister(stream)
            raise
        self._has_registered(stream)

    async def _register(self, stream: ChangeStream, accepted: Callable[[Frame], None]) -> None:
        await self._client.ask(
            MessageId.REGISTER_NOTIFICATION, stream.registration, minimum=stream.received, on_answer=accepted
        )

    @property
    def is_registering(self) -> bool:
        """Whether a subscription is under way whose answer is not there yet."""
        return bool(self._registering)

    async def settled(self, timeout_s: float) -> None:
        """Wait until no subscription is under way, at most ``timeout_s``."""
        with anyio.move_on_after(timeout_s):
            while self._registering:
                self._settled = anyio.Event()
                await self._settled.wait()

    def _has_registered(self, stream: ChangeStream) -> None:
        del self._registering[stream]
        if not self._registering:
            self._settled.set()

    def unregister(self, stream: ChangeStream) -> None:
        """Tell the server to stop, unless another stream wants the same or is about to."""
        wanted = stream.wanted
        if any(other.wanted == wanted and (other.is_live or other in self._registering) for other in self._streams):
            return
        for key, exchange in list(self._leaving.items()):
            if exchange is not None and exchange.done.is_set():
                del self._leaving[key]
        self._leaving[wanted] = self._client.post(MessageId.UNREGISTER_NOTIFICATION, _unregister(wanted))

    def remove(self, stream: ChangeStream) -> None:
        """The stream ends."""
        if self._streams.pop(stream, ...) is None and stream.is_live:
            self.unregister(stream)

    def fail_all(self, error: CsproxyError) -> None:
        """The client has ended: so do all streams."""
        for stream in tuple(self._streams):
            stream.fail(error)

    # after a reconnect

    def live(self) -> list[ChangeStream]:
        """The streams that the server is to go on with."""
        return [stream for stream in self._streams if stream.is_live]

    def resume_point(self, order: EpochOrder) -> tuple[list[Subscription], Position]:
        """What a restored session goes on with, and since when: the earliest position that a stream has."""
        live = self.live()
        oldest = _NONE
        for stream in live:
            if oldest == _NONE or order.is_later(oldest, stream.received):
                oldest = stream.received
        return list(dict.fromkeys(stream.wanted for stream in live)), oldest

    def newest_point(self, order: EpochOrder) -> tuple[list[Subscription], Position]:
        """What to subscribe to again in a new session, and since when: the latest position that a stream has.

        Streams that stand elsewhere take nothing until they have subscribed again, each from its own
        place. Together they could not be resumed: the server may be behind some of them, or may have
        read everything anew in between, and then tells the difference since a place that they have left.
        """
        newest = _NONE
        for stream in self.live():
            if order.is_later(stream.received, newest):
                newest = stream.received
        for stream in self.live():
            if stream.received != newest:
                stream.fall_behind()
        return list(dict.fromkeys(stream.wanted for stream in self.live())), newest

    def expire(self, position: Position, error: CsproxyError) -> None:
        """The server has no history since ``position``: end the streams that stand there.

        What the client reads from now on is a new start, perhaps in another history (a database
        restored from a backup), so it no longer asks for what it had seen before.
        """
        self._client.forget_position()
        for stream in self.live():
            if stream.received == position:
                stream.fail(error)

    def connected(self, *, restored: bool) -> None:
        """Requests can be sent again. A restored session may still hold what was given up meanwhile."""
        if not restored:
            self._leaving.clear()
            return
        held = {stream.wanted for stream in self.live()}
        for wanted in [key for key in self._leaving if key not in held]:
            self._leaving[wanted] = self._client.post(MessageId.UNREGISTER_NOTIFICATION, _unregister(wanted))

    def moved(self, held: Collection[Subscription]) -> None:
        """The client is connected to another server, which holds these subscriptions for it."""
        self._leaving.clear()
        wanted = {stream.wanted for stream in self.live()}
        for each in held:
            if each not in wanted:
                self._leaving[each] = self._client.post(MessageId.UNREGISTER_NOTIFICATION, _unregister(each))

    def _check_tenant(self, wanted: Subscription) -> None:
        """A notification of an update names no tenant, so streams of one client must not differ in it."""
        for other in self._streams:
            held = other.wanted
            if held.tenant_id != wanted.tenant_id and (
                held.object_type == wanted.object_type or 0 in (held.object_type, wanted.object_type)
            ):
                raise ConfigurationError(
                    f"this client already holds a subscription with tenant_dbid={held.tenant_id} for these objects; "
                    f"one with tenant_dbid={wanted.tenant_id} needs another ConfigClient, "
                    "because a change does not tell which tenant it concerns"
                )


def _unregister(wanted: Subscription) -> UnregisterNotification:
    return UnregisterNotification(
        object_type=wanted.object_type,
        tenant_id=wanted.tenant_id,
        object_dbid=wanted.object_dbid,
        exclude_bytecode=wanted.exclude_bytecode,
    )
