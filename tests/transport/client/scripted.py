"""A server that does what a test tells it, step by step: transcripts instead of a server's logic.

The client's side is a real `Connection` or `ConfigClient`; the server's side is a real
`ServerProtocol`, so that a client that breaks the protocol fails the test.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import msgspec

from csproxy.core import codec
from csproxy.core.changes import Action, ObjectCreated, ObjectDeleted, ObjectUpdated, Position
from csproxy.errors import ConnectionLostError, ErrorCode
from csproxy.transport.channel import HIGH_WATER_BYTES, LOW_WATER_BYTES, Channel, Receiver
from csproxy.transport.turns import call_soon
from csproxy.transport.wire.frames import FLAG_END, FLAG_HISTORY, Frame, encode_frame
from csproxy.transport.wire.messages import PAYLOADS, MessageId, decode_payload
from csproxy.transport.wire.notifications import encode_notification
from csproxy.transport.wire.payload import Empty, Error
from csproxy.transport.wire.reads import ObjectsRead, ObjectsSent
from csproxy.transport.wire.registration import ClientRegistered
from csproxy.transport.wire.server_protocol import ServerProtocol, ServerState

EPOCH = 0xE1
AT_100 = Position(EPOCH, 100)
S = TypeVar("S", bound=msgspec.Struct)


def at(uen: int, epoch: int = EPOCH) -> Position:
    return Position(epoch, uen)


class ScriptedConnection(Channel):
    """Both ends of one connection: the client's channel, and the script's view of what it sent."""

    def __init__(self, *, chunk_bytes: int = 0) -> None:
        self.protocol = ServerProtocol(release="scripted")
        self.is_closed = False
        self.is_paused = False
        self.pending = 0
        self.session = ""
        self._chunk_bytes = chunk_bytes
        self._receiver: Receiver | None = None
        self._requests: deque[Frame] = deque()
        self._news = anyio.Event()
        self._ended = False

    # the client's channel

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def write(self, data: bytes) -> None:
        if not self.is_closed:
            self._requests.extend(self.protocol.receive_data(data))
            self._tell()

    @property
    def pending_bytes(self) -> int:
        return self.pending

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def close(self, *, flush: bool = True) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._tell()
            call_soon(lambda: self._lost(None))

    @property
    def peer(self) -> str:
        return "scripted:2020"

    # the script

    async def next_request(self, expected: MessageId | None = None) -> Frame:
        """The next request of the client, which must be ``expected``."""
        with anyio.fail_after(5):
            while not self._requests:
                if self.is_closed:
                    raise AssertionError(f"the client closed the connection instead of sending {expected!r}")
                self._news = anyio.Event()
                await self._news.wait()
        frame = self._requests.popleft()
        if expected is not None:
            assert frame.message == expected, f"{MessageId(frame.message)!r} instead of {expected!r}"
        return frame

    async def expect(self, message: MessageId, cls: type[S]) -> tuple[Frame, S]:
        """The next request, decoded."""
        frame = await self.next_request(message)
        return frame, decode_payload(cls, frame.payload)

    async def client_closed(self) -> None:
        with anyio.fail_after(5):
            while not self.is_closed:
                self._news = anyio.Event()
                await self._news.wait()

    @property
    def waiting_requests(self) -> int:
        """Requests that arrived and that the script has not looked at."""
        return len(self._requests)

    async def accept_version(self) -> None:
        frame = await self.next_request(MessageId.PROTOCOL_VERSION)
        self.send(self.protocol.version_chosen(frame))

    async def accept_client(
        self, *, session: str = "5e55", position: Position = AT_100, message: MessageId | None = None
    ) -> Frame:
        """Version and registration (or restore), both granted."""
        await self.accept_version()
        return await self.accept_registration(session=session, position=position, message=message)

    async def accept_registration(
        self, *, session: str = "5e55", position: Position = AT_100, message: MessageId | None = None
    ) -> Frame:
        frame = await self.next_request(message or MessageId.REGISTER_CLIENT)
        self.protocol.registered()
        self.grant(frame, session, position)
        return frame

    def grant(self, frame: Frame, session: str, position: Position) -> None:
        granted = ClientRegistered(session=session, protocol_version=1, role="proxy", epochs=[(EPOCH, 1)])
        self.answer(frame, MessageId.CLIENT_REGISTERED, granted, position)

    async def accept_restored(self, *, position: Position = AT_100) -> Frame:
        """Version, RestoreSession and HistoryLog, granted without anything missed; returns the HistoryLog request."""
        await self.accept_client(message=MessageId.RESTORE_SESSION, position=position)
        frame = await self.next_request(MessageId.HISTORY_LOG)
        self.answer(frame, MessageId.HISTORY_LOG_SENT, None, position)
        return frame

    def answer(
        self,
        request: Frame,
        message: MessageId,
        payload: msgspec.Struct | None = None,
        position: Position = AT_100,
        *,
        last: bool = True,
    ) -> None:
        assert payload is None or type(payload) is PAYLOADS[message]
        body = codec.encode(payload or Empty())
        self.send(
            encode_frame(
                message,
                body,
                request=request.request,
                epoch=position.epoch,
                uen=position.uen,
                flags=FLAG_END if last else 0,
            )
        )

    def refuse(self, request: Frame, code: ErrorCode, description: str = "no", *, retry_after_s: float = 0) -> None:
        if self.protocol.state is ServerState.REGISTERING:
            self.protocol.refused()
        error = Error(code=int(code), description=description, retry_after_ms=round(retry_after_s * 1000))
        self.answer(request, MessageId.ERROR, error)

    def answer_read(
        self, request: Frame, kind: int, objects: list[dict[str, Any]], position: Position = AT_100
    ) -> None:
        """ObjectsRead with all objects, then ObjectsSent."""
        self.answer_read_part(request, kind, objects, position)
        self.answer(request, MessageId.OBJECTS_SENT, ObjectsSent(total=len(objects)), position)

    def answer_read_part(
        self, request: Frame, kind: int, objects: list[dict[str, Any]], position: Position = AT_100
    ) -> None:
        raw = [msgspec.Raw(codec.encode(each)) for each in objects]
        part = ObjectsRead(type=kind, total=len(raw), folders=[1] * len(raw), objects=raw)
        self.answer(request, MessageId.OBJECTS_READ, part, position, last=False)

    def mark(self, position: Position) -> None:
        self.send(encode_frame(MessageId.PROGRESS_MARK, b"", epoch=position.epoch, uen=position.uen, flags=FLAG_END))

    def notice(self, code: ErrorCode, description: str, *, retry_after_s: float = 0) -> None:
        self.send(self.protocol.disconnect(code, description, retry_after_s=retry_after_s))

    def send(self, data: bytes) -> None:
        """Deliver bytes to the client in this very call, in small pieces if the script wants that."""
        assert self._receiver is not None
        step = self._chunk_bytes or max(len(data), 1)
        for start in range(0, len(data), step):
            if not self._ended and not self.is_closed:
                self._receiver.receive(data[start : start + step])

    def drop(self, error: Exception | None = None) -> None:
        """The connection breaks."""
        self.is_closed = True
        self._lost(error)

    def fill(self) -> None:
        self.pending = HIGH_WATER_BYTES + 1

    def drain(self) -> None:
        self.pending = LOW_WATER_BYTES
        assert self._receiver is not None
        self._receiver.writable()

    def _lost(self, error: Exception | None) -> None:
        if self._receiver is not None and not self._ended:
            self._ended = True
            self._receiver.closed(error)

    def _tell(self) -> None:
        self._news.set()


class ScriptedServer:
    """A connector that hands the script each connection that the client opens."""

    def __init__(self, *, chunk_bytes: int = 0) -> None:
        self.dialled: list[tuple[str, int]] = []
        self.refusing: set[tuple[str, int]] = set()
        self._chunk_bytes = chunk_bytes
        self._opened: deque[ScriptedConnection] = deque()
        self._news = anyio.Event()

    async def connect(self, host: str, port: int) -> Channel:
        self.dialled.append((host, port))
        self._news.set()
        await anyio.lowlevel.checkpoint()
        if (host, port) in self.refusing:
            raise ConnectionLostError(f"nothing listens at {host}:{port}", code=ErrorCode.SERVER_NOT_FOUND)
        connection = ScriptedConnection(chunk_bytes=self._chunk_bytes)
        self._opened.append(connection)
        self._news.set()
        return connection

    async def wait_dialled(self, count: int) -> None:
        """Until the client has tried so often."""
        with anyio.fail_after(5):
            while len(self.dialled) < count:
                self._news = anyio.Event()
                await self._news.wait()

    async def next_connection(self) -> ScriptedConnection:
        with anyio.fail_after(5):
            while not self._opened:
                self._news = anyio.Event()
                await self._news.wait()
        return self._opened.popleft()

    @property
    def waiting_connections(self) -> int:
        return len(self._opened)


def created(
    kind: int, stored: dict[str, Any], position: Position, *, last: bool = True, history: bool = False
) -> bytes:
    raw = msgspec.Raw(codec.encode(stored))
    payload = codec.encode(ObjectCreated(type=kind, object=raw, folder=1, user="u", application="a", time_ms=5))
    return _notification(Action.CREATED, payload, position, last, history)


def updated(
    kind: int, dbid: int, delta: dict[str, Any], position: Position, *, last: bool = True, history: bool = False
) -> bytes:
    payload = codec.encode(ObjectUpdated(type=kind, dbid=dbid, delta=delta, user="u", application="a", time_ms=5))
    return _notification(Action.UPDATED, payload, position, last, history)


def deleted(
    kind: int, former: dict[str, Any], position: Position, *, last: bool = True, history: bool = False
) -> bytes:
    raw = msgspec.Raw(codec.encode(former))
    payload = codec.encode(
        ObjectDeleted(type=kind, dbid=former["DBID"], former=raw, user="u", application="a", time_ms=5)
    )
    return _notification(Action.DELETED, payload, position, last, history)


def answer_created(request: Frame, kind: int, stored: dict[str, Any], position: Position) -> bytes:
    return _as_answer(created(kind, stored, position), request)


def answer_updated(request: Frame, kind: int, dbid: int, delta: dict[str, Any], position: Position) -> bytes:
    return _as_answer(updated(kind, dbid, delta, position), request)


def answer_deleted(request: Frame, kind: int, former: dict[str, Any], position: Position) -> bytes:
    return _as_answer(deleted(kind, former, position), request)


def _as_answer(notification: bytes, request: Frame) -> bytes:
    """The answer to a write has the payload of the notification, with the id of the request."""
    return notification[:8] + request.request.to_bytes(4, "big") + notification[12:]


def _notification(action: Action, payload: bytes, position: Position, last: bool, history: bool) -> bytes:
    if not history:
        return encode_notification(action, payload, position=position, last=last)
    flags = FLAG_HISTORY | (FLAG_END if last else 0)
    return encode_frame(action, payload, epoch=position.epoch, uen=position.uen, flags=flags)
