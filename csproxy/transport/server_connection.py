"""One connected client, from the server's side: requests in, answers and changes out.

Requests that need no waiting are answered inside the receive call, and all answers of one call
leave in one write. What takes longer goes two ways: bulk answers are *pumped*, part by part as the
channel takes them; what must wait for something (a log-in, a commit) becomes a task of the server.

Flow control: while a client does not take its answers, or has too much under way, its further
requests stay unprocessed and its channel is paused. Changes do not wait here: see replay.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from csproxy.core import codec
from csproxy.core.cache import View
from csproxy.core.changes import Epoch, Position
from csproxy.core.sessions import Session
from csproxy.core.shifts import Shift
from csproxy.core.sight import Access
from csproxy.core.subscriptions import Interest, SubscriptionClass
from csproxy.errors import ErrorCode, ModelError, RemoteProtocolError, ServerError
from csproxy.transport import message_log
from csproxy.transport.channel import HIGH_WATER_BYTES, Channel
from csproxy.transport.refusals import REFUSALS, error_payload, unknown_message
from csproxy.transport.replay import Replay, progress_mark
from csproxy.transport.wire.exchanges import message_name
from csproxy.transport.wire.frames import FLAG_END, Frame, encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.server_protocol import ServerProtocol, ServerState
from csproxy.transport.wire.texts import check_texts

if TYPE_CHECKING:
    from csproxy.transport.fanout import Member
    from csproxy.transport.keepalive import WatchedClient
    from csproxy.transport.peer_link import PairPeer
    from csproxy.transport.server import ConfigurationServer

__all__ = ["Handler", "ServerConnection"]

log = logging.getLogger("csproxy.server")

MAX_PUMPS: Final = 64
"""Bulk answers that may wait on one connection before its further requests are deferred."""
MAX_MOVES: Final = 64
"""Stretches of the log that one connection may have before it when its sight changes once more."""
MAX_WRITES: Final = 256
"""Write requests that may wait on one connection before its further requests are deferred."""
PUMP_BUDGET_S: Final = 0.002
"""Time that one connection's bulk answers may take in one turn of the event loop, by a clock of milliseconds."""
PUMP_BYTES: Final = 4 * 1024 * 1024
"""What all bulk answers together may put into sockets in one turn: it takes 2 ms."""

Handler = Callable[["ServerConnection", Frame], None]


class ServerConnection:
    """Receiver of one client's channel and member of the fan-out.

    Its queues are lists, empty nearly always: an empty deque costs 600 bytes, and there are thousands of clients.
    """

    __slots__ = (
        "_backlog",
        "_has_lagged",
        "_is_due",
        "_out",
        "_out_bytes",
        "_pumps",
        "_reaching",
        "_replays",
        "_waiting",
        "channel",
        "cls",
        "congested_since_s",
        "forwarding",
        "is_blocked",
        "is_closed",
        "is_traced",
        "live",
        "next_ordinal",
        "opened_s",
        "peer",
        "port_id",
        "protocol",
        "sending",
        "server",
        "session",
        "silence",
        "snapshots",
        "told_epochs",
        "writes",
    )

    def __init__(self, server: ConfigurationServer, channel: Channel, port_id: str, peer: str = "") -> None:
        self.server = server
        self.channel = channel
        self.peer = peer
        """The address that limits count by; "" for one without limits."""
        self.port_id = port_id
        self.protocol = ServerProtocol(max_frame=server.settings.max_request_frame, release=server.release)
        self.session: Session | None = None
        self.cls: SubscriptionClass[Member] | None = None
        self.live = False
        self.next_ordinal = 0
        self.opened_s = server.clock()
        self.congested_since_s: float | None = None
        self.snapshots: dict[int, View] = {}
        self.told_epochs: Sequence[Epoch] = ()
        self.writes: list[Frame] = []
        self.forwarding = 0
        """Tasks that take this client's writes to the master of a proxy."""
        self.sending: anyio.Lock | None = None
        """Held by the one of them that sends."""
        self.is_closed = False
        self.is_blocked = False
        self.is_traced = False
        """Whether its messages were wanted in the log when it last sent any."""
        self.silence: WatchedClient | None = None
        self._backlog: list[Frame] = []
        self._has_lagged = False
        self._waiting = 0
        self._reaching: anyio.CancelScope | None = None
        self._out: list[bytes] | None = None
        self._out_bytes = 0
        self._pumps: list[Iterator[bytes]] = []
        self._is_due = False
        """Whether the next turn goes on with bulk answers."""
        self._replays: list[Replay] = []

    def __repr__(self) -> str:
        who = self.session.application if self.session else "unregistered"
        return f"<ServerConnection {self.channel.peer} {who!r} {'live' if self.live else 'not live'}>"

    # Receiver

    def receive(self, data: bytes) -> None:
        """Take bytes of the client and answer what they ask."""
        if self.silence is not None:
            self.silence.heard_s = self.server.keep_alive.now_s
        try:
            protocol = self.protocol
            frames = protocol.receive_data(data) if data else protocol.take_held()
            while frames:
                self.handle(frames)
                frames = protocol.take_held() if protocol.held else []
        except RemoteProtocolError as e:
            self.disconnect(e.code, str(e))
        if self.session is None:
            self.server.peers.received(self)

    def writable(self) -> None:
        """The channel has room again: go on with what was missed, bulk answers and deferred requests."""
        self.congested_since_s = None
        self._work()

    def closed(self, error: Exception | None) -> None:
        """The connection is gone."""
        self.is_closed = True
        if self.silence is not None:
            self.silence.owner = None
            self.server.keep_alive.reads_again(self)
        self._pumps.clear()
        self._replays.clear()
        self._backlog.clear()
        self.snapshots.clear()
        if self._reaching is not None:
            self._reaching.cancel()
        self.leave_class()
        self.server.connection_closed(self, error)

    # requests

    def handle(self, frames: Sequence[Frame]) -> None:
        """Answer requests in order, or keep them while the connection is blocked."""
        if self.is_blocked:
            self._backlog.extend(frames)
            return
        self.is_traced = message_log.is_wanted()
        handlers = self.server.handlers
        out: list[bytes] = []
        self._out, self._out_bytes = out, 0
        try:
            for index, frame in enumerate(frames):
                self._handle_one(handlers.get(frame[0]), frame)
                if self.is_blocked or self._out_bytes > HIGH_WATER_BYTES:
                    self._flush(out)
                    self._check_output()
                    if self.is_blocked:
                        self._backlog.extend(frames[index + 1 :])
                        break
        finally:
            self._out = None
        self._flush(out)

    def _handle_one(self, handler: Handler | None, frame: Frame) -> None:
        if self.is_traced:
            message_log.tell_received(self, frame)
        try:
            if handler is None:
                raise unknown_message(frame.message)
            self.server.requests[frame[0]] += 1
            handler(self, frame)
        except RemoteProtocolError as e:
            self.disconnect(e.code, str(e))
        except REFUSALS as e:
            self.refuse(frame, e)

    def answer(
        self,
        frame: Frame,
        message: MessageId,
        payload: msgspec.Struct | None = None,
        *,
        position: Position | None = None,
    ) -> None:
        """Send the only or last frame of the answer to ``frame``; the position is the server's unless given."""
        at = position or self.server.position
        body = b"" if payload is None else codec.encode(payload)
        if message_log.is_wanted():
            message_log.tell_answered(self, message, frame.request)
        self.send(encode_frame(message, body, request=frame.request, epoch=at.epoch, uen=at.uen, flags=FLAG_END))

    def relay(self, frame: Frame, answer: Frame) -> None:
        """Answer a change with what the master has answered."""
        if message_log.is_wanted():
            message_log.tell_answered(self, answer.message, frame.request)
        self.send(
            encode_frame(
                answer.message,
                answer.payload,
                request=frame.request,
                epoch=answer.epoch,
                uen=answer.uen,
                flags=answer.flags,
            )
        )
        self.has_written(Position(answer.epoch, answer.uen))

    def refuse(self, frame: Frame, error: Exception) -> None:
        """Answer ``frame`` with the Error that ``error`` stands for."""
        if self.protocol.state is ServerState.REGISTERING:
            self.protocol.refused()
        if isinstance(error, UnicodeDecodeError):
            error = self._wrong_text(frame, error)
        payload = error_payload(error)
        self.server.refusals[payload.code] += 1
        self.answer(frame, MessageId.ERROR, payload)

    def _wrong_text(self, frame: Frame, error: UnicodeDecodeError) -> ModelError | ServerError:
        """Whose text is not UTF-8: the client's, or one that this server holds."""
        try:
            check_texts(frame)
        except ModelError as e:
            log.warning("client %r sent a text that is not UTF-8: %s", self, e, extra={"event": 31085})
            return e
        log.error("an object of this server has a text that is not UTF-8: %s", error.reason, extra={"event": 31085})
        return ServerError(ErrorCode.UNDEFINED_ERROR, "an object of this server has a text that is not UTF-8")

    def send(self, data: bytes) -> None:
        """Send bytes now, or together with the other answers of this receive call."""
        if self._out is None:
            self.channel.write(data)
        else:
            self._out.append(data)
            self._out_bytes += len(data)

    def pump(self, parts: Iterator[bytes]) -> None:
        """Send a bulk answer part by part, after those that wait already.

        Raises a retryable `ServerError` when too many clients are being sent such answers, or when too much
        waits for clients that do not take it.
        """
        server = self.server
        is_proxy = self.session is not None and self.session.is_proxy
        if not is_proxy and not server.bulk_readers.admit(self):
            raise ServerError.from_code(
                ErrorCode.UNDEFINED_ERROR,
                "too many clients are reading large answers from this server: try again in a moment",
                retry_after_s=server.retry_after_s(),
            )
        if not is_proxy and not server.has_room():
            if not self._pumps:
                server.bulk_readers.leave(self)
            raise ServerError.from_code(
                ErrorCode.UNDEFINED_ERROR,
                "too much waits for clients that do not take it (max-output-queue-size): try again in a moment",
                retry_after_s=server.retry_after_s(),
            )
        self._pumps.append(parts)
        if len(self._pumps) >= MAX_PUMPS:
            self.block()
        if len(self._pumps) == 1:
            self._pump_soon()

    def block(self) -> None:
        """Process no further requests until `unblock`; what arrives is kept and the channel paused."""
        if not self.is_blocked:
            self.is_blocked = True
            self.channel.pause()
            self.server.keep_alive.stopped_reading(self)

    def unblock(self) -> None:
        """Go on with the requests that were kept."""
        if not self.is_blocked or self.is_closed:
            return
        self.is_blocked = False
        self.server.keep_alive.reads_again(self)
        kept = list(self._backlog)
        self._backlog.clear()
        self.handle(kept)
        if not self.is_blocked:
            self.channel.resume()

    def wait_for(self, frame: Frame, task: Callable[..., Any], *args: object) -> None:
        """Answer ``frame`` by a task of the server; requests behind it wait until it has ended.

        ``task(*args)`` is a coroutine that sends the answer. An exception of `REFUSALS` is the answer.
        """
        self._waiting += 1
        self.block()
        name = f"{message_name(frame.message)} of {self!r} in {task.__qualname__}"
        self.server.spawn(self._wait_for, frame, task, args, name=name)

    async def _wait_for(self, frame: Frame, task: Callable[..., Any], args: tuple[object, ...]) -> None:
        try:
            await task(*args)
        except REFUSALS as e:
            self.refuse(frame, e)
        finally:
            self._waiting -= 1
            self.unblock_if_free()
            if not self.is_closed:
                self.receive(b"")

    def is_behind(self, frame: Frame, handler: Handler) -> bool:
        """Whether the server has not reached the position in the header of a request.

        The request is then handled by ``handler`` as soon as it has, within a bounded time, else refused. Raises
        `ServerError` for a position of another history.
        """
        session = self.session
        if not frame.uen and not frame.epoch and (session is None or session.written is None):
            return False  # as nearly always
        if self._missing(frame) is None:
            return False
        self.wait_for(frame, self._handle_when_reached, frame, handler)
        return True

    def is_undecided(self, frame: Frame, application: str, handler: Handler) -> bool:
        """Whether it is not known yet, but soon, who of a pair serves: then ``handler`` gets the request.

        It does so once: what is handled after the wait is refused if that was in vain.
        """
        pair = self.server.pair
        if pair is None or self._waiting or not pair.is_undecided or pair.is_other(application):
            return False
        self.wait_for(frame, self._handle_when_decided, pair, frame, handler)
        return True

    def has_written(self, position: Position) -> None:
        """A change of this session was answered at ``position``: no request is answered from an older state any more.

        That is so already, unless a proxy lost its master between the answer and the change.
        """
        session = self.session
        if session is None or (session.written is not None and session.written.uen > position.uen):
            return  # answers of several changes may come in any order
        with suppress(ServerError):  # of a history that has ended meanwhile
            if not self.server.has_reached(position):
                session.written = position

    def _missing(self, frame: Frame) -> Position | None:
        """The position that the server has to reach before it may answer a request; None if it has."""
        server, session = self.server, self.session
        if session is not None and session.written is not None:
            written, session.written = session.written, None
            if not server.has_reached(written):
                session.written = written
                return written
        if (frame.uen or frame.epoch) and not server.has_reached(position := Position(frame.epoch, frame.uen)):
            return position
        return None

    async def _handle_when_reached(self, frame: Frame, handler: Handler) -> None:
        with anyio.CancelScope() as self._reaching:
            while (position := self._missing(frame)) is not None:
                await self.server.wait_until_reached(position)
        self._reaching = None
        if not self.is_over:
            handler(self, frame)

    async def _handle_when_decided(self, pair: PairPeer, frame: Frame, handler: Handler) -> None:
        await pair.decided()
        if not self.is_over:
            handler(self, frame)

    @property
    def is_over(self) -> bool:
        """Whether the connection is closed, or the client has been told that it ends: nothing is answered any more."""
        return self.is_closed or self.protocol.state is ServerState.CLOSED

    def disconnect(self, code: ErrorCode, description: str, *, retry_after_s: float = 0.0) -> None:
        """Tell the client why, and close; further calls do nothing.

        The notice carries the server's position if the client has been sent everything up to it,
        else (0, 0).
        """
        if self.is_over:
            return
        log.info("client %r disconnected: %s", self, description, extra={"event": 24301})
        reached = self.server.position if self.live and self._is_current() else Position(0, 0)
        notice = self.protocol.disconnect(code, description, reached, retry_after_s)
        if self._out:
            self._flush(self._out)
        self.channel.write(notice)
        self.channel.close()
        self.live = False
        self._pumps.clear()
        self._replays.clear()
        self._backlog.clear()

    # subscriptions

    def subscribe(self, interests: frozenset[Interest], *, replay: Replay | None = None) -> None:
        """Hold these subscriptions, and no others, from now on.

        ``replay`` is sent before the live stream goes on; the caller has set where it starts, and it
        ends at the present end of the log.
        """
        session, server = self.session, self.server
        assert session is not None
        end = server.log.end
        if self.cls is not None:
            self._finish_class(self.cls, end)
        self.leave_class()
        session.interests = interests
        server.sessions.changed(session)
        if interests:
            self.cls = server.subscriptions.join(self, interests, session.access)
        if replay is not None:
            self._replays.append(replay)
        if self.cls is not None:
            self._replays.append(Replay(end, None, self.cls))
        self.live = False
        self.catch_up()

    def leave_class(self) -> None:
        """Hold no subscription; the session keeps its own record of them."""
        self.live = False
        if self.cls is not None:
            cls, self.cls = self.cls, None
            self.server.subscriptions.leave(self, cls)

    def park(self, cursor: int) -> None:
        """Go on from ``cursor`` of the log when the channel has room."""
        assert self.cls is not None
        self.live = False
        self._has_lagged = True
        self._replays.append(Replay(cursor, None, self.cls))
        self.server.congested(self)
        if self.channel.pending_bytes <= HIGH_WATER_BYTES:
            self.server.call_soon(self._work)

    def move(self, cut: int, former: Access, others: Sequence[Shift]) -> None:
        """The session's sight has changed with the transaction that begins at ordinal ``cut`` and ends the log.

        It was ``former``; ``others`` are objects that the transaction does not touch.
        """
        server, cls = self.server, self.cls
        if cls is None or self.session is None or self.is_closed:
            return
        if len(self._replays) > MAX_MOVES:
            self.disconnect(
                ErrorCode.FORCED_DISCONNECT,
                "the client takes its changes too slowly for what happens to its permissions",
            )
            return
        self._finish_class(cls, cut)
        self.leave_class()
        to = self.cls = server.subscriptions.join(self, self.session.interests, self.session.access)
        first = next(server.log.records(cut, cut + 1)).position if cut < server.log.end else server.position
        self._replays.append(Replay.between(cut, server.log.end, to, former, others, first))
        self._replays.append(Replay(server.log.end, None, to))
        server.sight.later(self._work)

    def go_through_log(self, cut: int) -> None:
        """Objects appeared or disappeared at ordinal ``cut``: go on through the log from what is still due."""
        if self.live and self.cls is not None:
            self.live = False
            self._replays.append(Replay(min(max(self.next_ordinal, self.server.fan_out.floor), cut), None, self.cls))
            self.server.sight.later(self._work)

    def has_left_window(self, start: int) -> bool:
        """Whether the place where a missed stretch goes on lies before ordinal ``start``."""
        return bool(self._replays) and self._replays[0].cursor < start

    def knows(self, epoch: int) -> bool:
        """Whether the table of epochs that the client was told at its registration lists this one."""
        return any(told.epoch == epoch for told in self.told_epochs)

    def bring_up_to_date(self) -> None:
        """Send a live client at once what the fan-out still holds for it, as far as its channel takes it."""
        if self.live and not self._is_current():
            self.park(max(self.next_ordinal, self.server.fan_out.floor))
            self.catch_up()

    def _is_current(self) -> bool:
        server = self.server
        return max(self.next_ordinal, server.fan_out.floor) == server.log.end

    def catch_up(self) -> None:
        """Send missed changes while the channel takes them; become live at the end of the log."""
        log_, channel, clock = self.server.log, self.channel, self.server.clock
        deadline = clock() + PUMP_BUDGET_S
        while self._replays and not self.is_closed:
            replay = self._replays[0]
            if channel.pending_bytes > HIGH_WATER_BYTES and replay.cursor >= log_.start:
                self._has_lagged = True
                self.server.congested(self)
                return
            try:
                data, finished = replay.piece(log_)
            except IndexError:
                self.disconnect(
                    ErrorCode.FORCED_DISCONNECT,
                    "the client took its changes too slowly: its place has left the history window",
                )
                return
            if data:
                self._flush_out()
                channel.write(data)
            if finished:
                self._finish(replay)
            elif clock() >= deadline:
                self._has_lagged = True
                self.server.call_soon(self._work)
                return

    def _finish(self, replay: Replay) -> None:
        self._replays.pop(0)
        if replay.closing is not None:
            self._flush_out()
            self.channel.write(replay.closing())
        if replay.end is None:
            self.live = True
            self.next_ordinal = self.server.log.end
            if self._has_lagged:
                # Its class may have been sent a mark meanwhile, which is not in the log and does not come again.
                self._has_lagged = False
                self._flush_out()
                self.channel.write(progress_mark(self.server.position))

    def _finish_class(self, cls: SubscriptionClass[Member], end: int) -> None:
        """Bound what is still due under the old subscriptions, before new ones apply."""
        if self.live:
            start = max(self.next_ordinal, self.server.fan_out.floor)
            if start < end:
                self._replays.append(Replay(start, end, cls))
        elif self._replays:
            self._replays[-1].end = end

    # output

    def _work(self) -> None:
        if self.is_over:
            return
        self.catch_up()
        self._pump_some()
        self.unblock_if_free()

    def _pump_some(self) -> None:
        pumps, channel, clock = self._pumps, self.channel, self.server.clock
        deadline = clock() + PUMP_BUDGET_S
        room = PUMP_BYTES // max(1, len(self.server.bulk_readers))
        while pumps and channel.pending_bytes <= HIGH_WATER_BYTES:
            try:
                data = next(pumps[0])
            except StopIteration:
                pumps.pop(0)
                continue
            except (ModelError, ServerError) as e:
                log.warning("a bulk answer failed: %s", e, extra={"event": 31090})
                self.disconnect(ErrorCode.UNDEFINED_ERROR, f"a bulk answer failed: {e}")
                return
            if data:
                channel.write(data)
                room -= len(data)
            if room <= 0 or clock() >= deadline:
                break
        if not pumps:
            self.server.bulk_readers.leave(self)
        elif channel.pending_bytes <= HIGH_WATER_BYTES:
            self._pump_soon()
        else:
            self.server.congested(self)

    def _pump_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self.server.call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._is_due = False
        self._work()

    def unblock_if_free(self) -> None:
        """Go on with kept requests if nothing stands against it any more."""
        if (
            self.is_blocked
            and not self._waiting
            and len(self._pumps) < MAX_PUMPS
            and len(self.writes) < MAX_WRITES
            and self.channel.pending_bytes <= HIGH_WATER_BYTES
        ):
            self.unblock()

    def _check_output(self) -> None:
        limit = self.server.settings.max_client_output_bytes
        if limit and self.channel.pending_bytes > limit:
            self.block()
            self.server.congested(self)

    def _flush_out(self) -> None:
        if self._out:
            self._flush(self._out)

    def _flush(self, out: list[bytes]) -> None:
        if out:
            self.channel.write_soon(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
            self._out_bytes = 0
