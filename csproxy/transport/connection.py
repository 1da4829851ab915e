"""One connection to a server as its client sees it: requests with their answers, and the change stream.

The receive path is synchronous: frames are dispatched inside `Channel`'s receive call, and no task
belongs to a connection or a request. A waiting request holds one event and a deadline. Sessions,
reconnecting and subscriptions are the business of what uses a connection
(`csproxy.transport.client`, `csproxy.transport.upstream`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import anyio
import msgspec

import csproxy
from csproxy.core import codec
from csproxy.core.changes import Change, Position
from csproxy.core.failover import Endpoint
from csproxy.errors import (
    ConnectionLostError,
    CsproxyError,
    ErrorCode,
    LocalProtocolError,
    ModelError,
    ProtocolError,
    RemoteProtocolError,
    ServerError,
    TimedOutError,
)
from csproxy.transport.channel import HIGH_WATER_BYTES, Channel
from csproxy.transport.exchange import EpochOrder, Exchange
from csproxy.transport.keepalive import TRACE
from csproxy.transport.turns import now
from csproxy.transport.wire.client_protocol import ClientProtocol, ClientState
from csproxy.transport.wire.credentials import CredentialsChanged
from csproxy.transport.wire.exchanges import message_name
from csproxy.transport.wire.frames import DEFAULT_MAX_FRAME, FLAG_END, FLAG_HISTORY, HEADER_SIZE, Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.notifications import NOTIFICATIONS, decode_change
from csproxy.transport.wire.pairs import PeerNews
from csproxy.transport.wire.payload import Error
from csproxy.transport.wire.registration import ClientRegistered, RegisterClient, RestoreSession
from csproxy.transport.wire.texts import encoding_error, is_utf8

__all__ = ["MAX_ABANDONED", "Connection", "server_error"]

MAX_ABANDONED: Final = 1000
"""Requests given up (timed out, cancelled) and still unanswered after which a peer counts as dead."""

_log = logging.getLogger("csproxy.client")
_NONE: Final = Position(0, 0)
_OPENING: Final = 1
_CUT_S: Final = 1.0
"""How long a channel may take to end that was cut: it waits for nobody else."""
"""Request id of ProtocolVersion, the first request of every connection."""


class Connection:
    """A channel and the client's protocol on it; made by `open`, ended by `close` or by the peer.

    Set ``on_change``, ``on_mark`` and ``on_closed`` before registering: they are called inside the
    receive call and must not wait.

    - ``on_change(change)``: a notification; `from_history` is true meanwhile if it was replayed.
    - ``on_credentials(changed)``: to a trusted proxy, other passwords and log-ins.
    - ``on_mark(position)``: every matching change up to here has been delivered (ProgressMark,
      HistoryLogSent at the end of a replay, a disconnect notice that names a position).
    - ``on_closed(error)``: the connection ended, and not through `close`. Called once.
    - ``on_peer_news(news)``: the other proxy of a pair says something (`csproxy.transport.peer_link`).
    """

    __slots__ = (
        "__weakref__",
        "_abandoned",
        "_channel",
        "_clock",
        "_ended",
        "_error",
        "_gone",
        "_is_paused",
        "_open",
        "_poll_answer",
        "_protocol",
        "_writable",
        "from_history",
        "has_asked",
        "is_traced",
        "last_received_s",
        "on_change",
        "on_closed",
        "on_credentials",
        "on_mark",
        "on_peer_news",
        "order",
        "position",
    )

    def __init__(
        self, channel: Channel, *, max_frame: int = DEFAULT_MAX_FRAME, clock: Callable[[], float] = now
    ) -> None:
        self._channel = channel
        self._clock = clock
        self._protocol = ClientProtocol(max_frame=max_frame)
        self._open: dict[int, Exchange] = {}
        self._abandoned = 0
        self._error: CsproxyError | None = None
        self._ended = anyio.Event()
        self._gone = anyio.Event()
        self._writable: anyio.Event | None = None
        self._is_paused = False
        self._poll_answer: Exchange | None = None
        self.order = EpochOrder()
        """Which of two positions is later, by the server's epoch table."""
        self.from_history = False
        """True while ``on_change`` is called for a replayed notification."""
        self.position = _NONE
        """The latest position that the server has shown in any frame: what a monotonic read asks for."""
        self.has_asked = False
        """Whether this side has sent a request; who watches over the connection takes note and resets it."""
        self.is_traced = False
        """Whether a poll of the server is written into the log, at the trace level."""
        self.last_received_s = clock()
        """When the last bytes arrived, in seconds of ``clock``."""
        self.on_change: Callable[[Change], object] = _ignore
        self.on_mark: Callable[[Position], object] = _ignore
        self.on_credentials: Callable[[CredentialsChanged], object] = _ignore
        self.on_closed: Callable[[CsproxyError], object] = _ignore
        self.on_peer_news: Callable[[PeerNews], object] = _ignore

    @classmethod
    async def open(
        cls,
        channel: Channel,
        client_name: str,
        *,
        timeout_s: float = 10.0,
        max_frame: int = DEFAULT_MAX_FRAME,
        clock: Callable[[], float] = now,
    ) -> Connection:
        """Send the magic bytes and agree on a protocol version.

        Raises `ConnectionLostError`, `TimedOutError`, `RemoteProtocolError` (the peer speaks another
        protocol) or `ServerError` (it refused the version). The channel is closed if this fails or is
        cancelled.
        """
        connection = cls(channel, max_frame=max_frame, clock=clock)
        opening = connection._open[_OPENING] = Exchange(connection, MessageId.PROTOCOL_VERSION)
        opening.sent(_OPENING)
        try:
            channel.start(connection)
            channel.write(connection._protocol.connect(client_name, csproxy.__version__))
            await opening.wait(timeout_s)
        except BaseException:
            await connection.aclose(grace_s=0)
            raise
        return connection

    def __repr__(self) -> str:
        state = "CLOSED" if self._error is not None else self._protocol.state.name
        return f"<Connection {self._channel.peer} {state} open_requests={len(self._open)}>"

    @property
    def peer(self) -> str:
        """The server's address, for logs."""
        return self._channel.peer

    @property
    def error(self) -> CsproxyError | None:
        """Why the connection ended; None while it lives."""
        return self._error

    @property
    def is_held(self) -> bool:
        """Whether reading is paused because whoever reads a long answer is slow."""
        return self._is_paused

    @property
    def server_release(self) -> str:
        """The release that the server named when it chose the protocol version."""
        return "" if self._protocol.server is None else self._protocol.server.release

    @property
    def server_role(self) -> str:
        """The role that the server named with it; ``backup`` serves nobody now."""
        return "" if self._protocol.server is None else self._protocol.server.role

    @property
    def primary(self) -> Endpoint | None:
        """Where a ``backup`` says that clients are served, if it does."""
        server = self._protocol.server
        return (
            Endpoint(server.primary_host, server.primary_port) if server is not None and server.primary_host else None
        )

    @property
    def retry_after_s(self) -> float:
        """The wait that the server's disconnect notice asked for; 0 if none."""
        notice = self._protocol.disconnect_reason
        return 0.0 if notice is None else notice.retry_after_ms / 1000

    @property
    def has_said_farewell(self) -> bool:
        """Whether the server has ended the connection itself, with a notice."""
        return self._protocol.disconnect_reason is not None

    # requests

    async def register(self, request: RegisterClient, *, timeout_s: float = 30.0) -> ClientRegistered:
        """Log in. Raises `ServerError` when refused; another attempt may follow on the same connection."""
        message = MessageId.REGISTER_CLIENT_2 if request.new_password else MessageId.REGISTER_CLIENT
        return await self._register(message, request, timeout_s)

    async def restore(
        self, request: RestoreSession, *, minimum: Position = _NONE, timeout_s: float = 30.0
    ) -> ClientRegistered:
        """Take up an earlier session, at a server that has reached ``minimum``.

        Raises `ServerError` when it is gone: `register` may follow.
        """
        return await self._register(MessageId.RESTORE_SESSION, request, timeout_s, minimum=minimum)

    async def request(
        self,
        message: MessageId,
        payload: msgspec.Struct | bytes = b"",
        *,
        minimum: Position = _NONE,
        timeout_s: float = 30.0,
        on_part: Callable[[Frame], object] | None = None,
        on_answer: Callable[[Frame], object] | None = None,
    ) -> Frame:
        """Send a request and wait for the last frame of its answer, which is returned.

        ``on_part`` is called for each earlier frame and ``on_answer`` for the last, inside the receive
        call: before any later frame is looked at. What they raise ends this request and is raised
        here. ``timeout_s`` covers everything, a full send buffer included.

        Raises `ServerError` (an Error answer), `TimedOutError`, `ConnectionLostError`,
        `RemoteProtocolError` (this answer broke the protocol), `ModelError` (a text of the request or of an object
        in the answer is not Unicode) or `LocalProtocolError` (not allowed in this state). Cancelling leaves the
        connection usable: what still comes for it is dropped.
        """
        deadline = self._clock() + timeout_s
        await self.until_writable(timeout_s)
        exchange = self.begin(message, payload, minimum=minimum, on_part=on_part, on_answer=on_answer)
        return await exchange.wait(deadline - self._clock())

    def begin(
        self,
        message: MessageId,
        payload: msgspec.Struct | bytes = b"",
        *,
        minimum: Position = _NONE,
        on_part: Callable[[Frame], object] | None = None,
        on_answer: Callable[[Frame], object] | None = None,
        background: bool = False,
    ) -> Exchange:
        """Send a request and return without waiting; see `request`. The caller waits for it or gives it up.

        ``background``: whether reading is paused does not depend on this request.
        """
        if self._error is not None:
            raise self._lost_error()
        body = payload if isinstance(payload, bytes) else _encoded(message, payload)
        server = self._protocol.server
        if server is not None and 0 < server.max_frame < HEADER_SIZE - 4 + len(body):
            raise LocalProtocolError(
                f"{message_name(message)} takes {len(body)} bytes; {self.peer} accepts frames up to {server.max_frame}",
                code=ErrorCode.OBJECT_PACKING_ERROR,
            )
        try:
            request_id, data = self._protocol.request(message, body, minimum=minimum)
        except LocalProtocolError as e:
            self._end(e, flush=False)
            raise
        exchange = self._open[request_id] = Exchange(self, message, on_part=on_part, on_answer=on_answer)
        exchange.sent(request_id)
        exchange.is_background = background
        self.has_asked = True
        self._channel.write(data)
        self.update_reading()
        return exchange

    def post(
        self, message: MessageId, payload: msgspec.Struct | bytes = b"", *, background: bool = False
    ) -> Exchange | None:
        """Send a request that nobody waits for: clean-up that must not wait. None on a connection that has ended.

        ``background`` as for `begin`.
        """
        return None if self._error is not None else self.begin(message, payload, background=background)

    async def until_writable(self, timeout_s: float) -> None:
        """Wait while the send buffer is full: what many callers write must not pile up there.

        Raises `TimedOutError` when it is still full after ``timeout_s``.
        """
        deadline = self._clock() + timeout_s
        while self._error is None and self._channel.pending_bytes > HIGH_WATER_BYTES:
            if self._writable is None:
                self._writable = anyio.Event()
            room = self._writable
            with anyio.move_on_after(deadline - self._clock()):
                await room.wait()
            if not room.is_set():
                raise TimedOutError(f"{self.peer} took no bytes within {timeout_s:g} s; the request was not sent")

    async def wait_closed(self) -> CsproxyError:
        """Wait until the connection has ended, and say why."""
        await self._ended.wait()
        assert self._error is not None
        return self._error

    def leave(self) -> None:
        """Have nobody told any more of changes, marks and the end; answers still come."""
        self.on_change = self.on_mark = self.on_closed = _ignore

    async def wait_answered(self, timeout_s: float) -> None:
        """Wait until all requests are answered or given up, at most ``timeout_s``; no further ones are expected."""
        with anyio.move_on_after(timeout_s):
            for exchange in list(self._open.values()):
                await exchange.done.wait()

    def close(self) -> None:
        """End the connection after what was written; waiting requests get `ConnectionLostError`. Idempotent."""
        if self._error is None:
            self.on_closed = _ignore
            self._end(ConnectionLostError(f"the connection to {self.peer} was closed by this side"), flush=True)

    async def aclose(self, *, grace_s: float = 1.0) -> None:
        """`close`, and wait until the channel is gone; cut it if the peer has not gone within ``grace_s`` seconds.

        Cancellation takes effect only after that, so that an event loop which ends next leaves no socket open.
        """
        self.close()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(grace_s):
                await self._gone.wait()
            if not self._gone.is_set():
                self._channel.close(flush=False)
                with anyio.move_on_after(_CUT_S):
                    await self._gone.wait()

    def abort(self, error: CsproxyError) -> None:
        """End the connection at once because of ``error``, which waiting requests and ``on_closed`` get."""
        self._end(error, flush=False)

    # what exchanges call

    def abandon(self, request_id: int, message: int) -> None:
        """Nobody waits for this request any more; its late answers will be dropped."""
        if self._open.pop(request_id, None) is None:
            return
        self._abandoned += 1
        if self._protocol.state is not ClientState.REGISTERED:
            # a registration that nobody waits for would leave the connection in an unknown state
            problem = f"{self.peer} was not waited for while it was to answer {message_name(message)}"
            self._end(ConnectionLostError(problem), flush=False)
        elif self._abandoned > MAX_ABANDONED:
            problem = f"{self.peer} left {self._abandoned} requests without an answer"
            self._end(ConnectionLostError(problem), flush=False)
        else:
            self.update_reading()

    def update_reading(self) -> None:
        """Read from the peer unless there are open requests and all of them, but those in the background, are held."""
        held = False
        for exchange in self._open.values():
            if exchange.is_held:
                held = True
            elif not exchange.is_background:
                held = False
                break
        if held is not self._is_paused:
            self._is_paused = held
            if held:
                self._channel.pause()
            else:
                self._channel.resume()

    # what the channel calls

    def receive(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._error is not None:
            return
        self.last_received_s = self._clock()
        try:
            frames = self._protocol.receive_data(data)
            for frame in frames:
                if frame.epoch != self.position.epoch or frame.uen > self.position.uen:
                    self._see(frame)
                if frame.request:
                    self._take_answer(frame)
                else:
                    self._take_notification(frame)
                if self._error is not None:
                    return
        except CsproxyError as e:
            self._end(e, flush=False)

    def writable(self) -> None:
        """The channel has room again."""
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    def closed(self, error: Exception | None) -> None:
        """The channel has ended."""
        self._gone.set()
        self._end(self._loss(error), flush=False)

    # inside

    async def _register(
        self, message: MessageId, request: RegisterClient, timeout_s: float, *, minimum: Position = _NONE
    ) -> ClientRegistered:
        answers: list[ClientRegistered] = []

        def registered(frame: Frame) -> None:
            answer = decode_payload(ClientRegistered, frame.payload)
            if not is_utf8(answer.encoding):
                raise encoding_error(f"{self.peer}, at the registration,", answer.encoding)
            self.order = EpochOrder(answer.epochs)
            answers.append(answer)

        await self.request(message, request, minimum=minimum, timeout_s=timeout_s, on_answer=registered)
        return answers[0]

    def _see(self, frame: Frame) -> None:
        position = Position(frame.epoch, frame.uen)
        if position != _NONE and self.order.is_later(position, self.position):
            self.position = position

    def _take_answer(self, frame: Frame) -> None:
        last = bool(frame.flags & FLAG_END)
        exchange = self._open.get(frame.request)
        if exchange is None:
            self._abandoned -= last
        elif not last:
            _deliver(exchange, frame, last=False)
        else:
            del self._open[frame.request]
            if frame.message == MessageId.ERROR:
                exchange.fail(server_error(frame))
            else:
                _deliver(exchange, frame, last=True)
                if frame.message == MessageId.HISTORY_LOG_SENT:
                    self._mark(frame)
            self.update_reading()

    def _take_notification(self, frame: Frame) -> None:
        if frame.message in NOTIFICATIONS:
            change = decode_change(frame)
            self.from_history = bool(frame.flags & FLAG_HISTORY)
            try:
                self.on_change(change)
            finally:
                self.from_history = False
        elif frame.message == MessageId.PROGRESS_MARK:
            self._mark(frame)
        elif frame.message == MessageId.CREDENTIALS_CHANGED:
            self.on_credentials(decode_payload(CredentialsChanged, frame.payload))
        elif frame.message == MessageId.POLL:
            self._answer_poll()
        elif frame.message == MessageId.PEER_NEWS:
            self.on_peer_news(decode_payload(PeerNews, frame.payload))
        elif frame.message == MessageId.DISCONNECTED:
            if frame.epoch:  # the server vouches that everything up to there was sent
                self._mark(frame)
            self._end(self._loss(None), flush=False)

    def _answer_poll(self) -> None:
        """The server asks whether this side is there; one that does not take the answer gets no second one."""
        if self.is_traced:
            _log.log(TRACE, "addp: %s polls this side", self.peer)
        if self._poll_answer is None or self._poll_answer.done.is_set():
            self._poll_answer = self.post(MessageId.PING, background=True)

    def _mark(self, frame: Frame) -> None:
        self.on_mark(Position(frame.epoch, frame.uen))

    def _loss(self, error: Exception | None) -> ConnectionLostError:
        """The end of the connection in words: the peer's notice if it gave one."""
        notice = self._protocol.disconnect_reason
        if notice is not None:
            known = notice.code in ErrorCode._value2member_map_
            code = ErrorCode(notice.code) if known else ErrorCode.UNDEFINED_ERROR
            return ConnectionLostError(
                f"{self.peer} ended the connection: {notice.description or code.name} (error {notice.code})", code=code
            )
        if error is None:
            return ConnectionLostError(f"{self.peer} closed the connection without giving a reason")
        return ConnectionLostError(f"the connection to {self.peer} was lost: {error}")

    def _lost_error(self) -> CsproxyError:
        """What a request gets on a connection that has ended, always as a new exception."""
        error = self._error
        assert error is not None
        code = error.code if isinstance(error, (ConnectionLostError, ProtocolError)) else ErrorCode.CONN_READ_ERROR
        lost = ConnectionLostError(str(error), code=code)
        lost.__cause__ = None if isinstance(error, ConnectionLostError) else error
        return lost

    def _end(self, error: CsproxyError, *, flush: bool) -> None:
        if self._error is not None:
            return
        self._error = error
        self._channel.close(flush=flush)
        self._ended.set()
        self.writable()
        exchanges, self._open = self._open, {}
        for exchange in exchanges.values():
            exchange.fail(self._lost_error())
        on_closed, self.on_closed = self.on_closed, _ignore
        self.on_change = self.on_mark = self.on_peer_news = self.on_credentials = _ignore
        on_closed(error)


def _encoded(message: MessageId, payload: msgspec.Struct) -> bytes:
    try:
        return codec.encode(payload)
    except UnicodeEncodeError as e:
        code = ord(e.object[e.start])
        # how Python holds a byte of the command line or the environment that is not UTF-8
        what = f"the byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else "half of a surrogate pair"
        raise ModelError(
            ErrorCode.UNSUPPORTED_ENCODING,
            f"{message_name(message)} cannot be sent: a text of it is not Unicode, its character at offset {e.start} "
            f"of {len(e.object)} is {what} (U+{code:04X})",
        ) from e


def _deliver(exchange: Exchange, frame: Frame, *, last: bool) -> None:
    """Hand over a frame. What a callback raises belongs to the waiting caller; a peer's violation ends all."""
    try:
        exchange.take(frame, last=last)
    except RemoteProtocolError:
        raise
    except Exception as e:  # noqa: BLE001 - the exchange has it for the task that waits
        _log.debug("the receiver of %r failed: %s", exchange, e)


def server_error(frame: Frame) -> ServerError:
    """The exception that an Error answer stands for. Raises `RemoteProtocolError` if it cannot be read."""
    error = decode_payload(Error, frame.payload)
    return ServerError.from_code(
        error.code,
        error.description,
        object_type=error.object_type,
        property_name=error.property,
        retry_after_s=error.retry_after_ms / 1000,
        outcome_unknown=error.outcome_unknown,
    )


def _ignore(_: object) -> None:
    """The callback of whoever does not care."""
