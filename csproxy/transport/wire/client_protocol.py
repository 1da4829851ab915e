"""The client's side of one connection, as a state machine without I/O.

    START         nothing was sent; `connect` comes first
    VERSION       magic and ProtocolVersion were sent; only their answer may come
    UNREGISTERED  a registration request (3, 103, 40) may be sent, nothing else
    REGISTERING   it was sent; ClientRegistered leads on, an Error leads back
    REGISTERED    every other request may be sent, and notifications may arrive
    CLOSED        a Disconnected frame came, or one side broke a rule

Rules beyond the table: an answer carries the id of an open request, and a number that this request
allows (`csproxy.transport.wire.exchanges`), or Error; its last frame carries END and closes the
request, earlier ones do not. A known message with request id 0 must be one that servers send
unasked, and only Disconnected may come before registration. An unknown message with request id 0 is
dropped: a newer server may send more than this release knows. What breaks a rule raises
`RemoteProtocolError` (the server did) or `LocalProtocolError` (the calling code did).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

import msgspec

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.errors import LocalProtocolError, RemoteProtocolError
from csproxy.transport.wire.exchanges import ANSWERS, NOT_FROM_CLIENTS, PARTS, REGISTRATIONS, UNASKED, message_name
from csproxy.transport.wire.frames import DEFAULT_MAX_FRAME, FLAG_END, MAGIC, Frame, FrameReader, encode_frame
from csproxy.transport.wire.messages import PROTOCOL_VERSIONS, MessageId, decode_payload
from csproxy.transport.wire.payload import Disconnected
from csproxy.transport.wire.registration import ProtocolVersion, ProtocolVersionRead
from csproxy.transport.wire.texts import encoding_error, is_utf8

__all__ = ["ClientProtocol", "ClientState"]


class ClientState(Enum):
    """Where the connection stands; the module header has the rules."""

    START = auto()
    VERSION = auto()
    UNREGISTERED = auto()
    REGISTERING = auto()
    REGISTERED = auto()
    CLOSED = auto()


class _Event(Enum):
    CONNECT = "connect()"
    VERSION_READ = "ProtocolVersionRead"
    REGISTRATION = "a registration request"
    REGISTERED = "ClientRegistered"
    REQUEST = "a request"
    REFUSED = "Error"
    ANSWER = "an answer"
    UNASKED = "an unasked message"
    DISCONNECTED = "Disconnected"
    VIOLATION = "a violation"


_S = ClientState
_TABLE: Final[dict[tuple[ClientState, _Event], ClientState]] = {
    (_S.START, _Event.CONNECT): _S.VERSION,
    (_S.VERSION, _Event.VERSION_READ): _S.UNREGISTERED,
    (_S.VERSION, _Event.REFUSED): _S.CLOSED,
    (_S.UNREGISTERED, _Event.REGISTRATION): _S.REGISTERING,
    (_S.REGISTERING, _Event.REGISTERED): _S.REGISTERED,
    (_S.REGISTERING, _Event.REFUSED): _S.UNREGISTERED,
    (_S.REGISTERED, _Event.REQUEST): _S.REGISTERED,
    (_S.REGISTERED, _Event.REFUSED): _S.REGISTERED,
    (_S.REGISTERED, _Event.ANSWER): _S.REGISTERED,
    (_S.REGISTERED, _Event.UNASKED): _S.REGISTERED,
    **{(state, _Event.DISCONNECTED): _S.CLOSED for state in _S if state is not _S.START},
    **{(state, _Event.VIOLATION): _S.CLOSED for state in _S},
}

_ANSWER_EVENTS: Final = {
    MessageId.ERROR: _Event.REFUSED,
    MessageId.PROTOCOL_VERSION_READ: _Event.VERSION_READ,
    MessageId.CLIENT_REGISTERED: _Event.REGISTERED,
}
_SENT_EVENTS: Final = dict.fromkeys(REGISTRATIONS, _Event.REGISTRATION)
_ALLOWED: Final = {request: answers | {MessageId.ERROR} for request, answers in ANSWERS.items()}
_NEVER_UNASKED: Final = NOT_FROM_CLIENTS.union(ANSWERS) - UNASKED
_MAX_REQUEST: Final = 0xFFFFFFFF
_ANY: Final = Position(0, 0)


class ClientProtocol:
    """The rules of a connection as its client keeps them and checks them; see the module header.

    ``max_frame`` (bytes) bounds the frames that the server may send.
    """

    __slots__ = ("_last_request", "_open", "_reader", "disconnect_reason", "server", "state")

    def __init__(self, *, max_frame: int = DEFAULT_MAX_FRAME) -> None:
        self.state = ClientState.START
        self.disconnect_reason: Disconnected | None = None
        """Why the server ended the connection, once it has said so."""
        self.server: ProtocolVersionRead | None = None
        """The server's answer to ProtocolVersion: version, release and its limit on frames."""
        self._reader = FrameReader(max_frame=max_frame)
        self._open: dict[int, int] = {}
        self._last_request = 0

    def __repr__(self) -> str:
        return f"<ClientProtocol {self.state.name} open_requests={len(self._open)}>"

    @property
    def open_requests(self) -> int:
        """Number of requests whose last answer has not come yet."""
        return len(self._open)

    def connect(self, client: str, release: str = "") -> bytes:
        """The first bytes of the connection: magic, then ProtocolVersion with all versions spoken here."""
        self._send(_Event.CONNECT)
        offer = ProtocolVersion(client=client, versions=list(PROTOCOL_VERSIONS), release=release)
        return MAGIC + self._frame(MessageId.PROTOCOL_VERSION, offer, _ANY)[1]

    def request(
        self, message: MessageId, payload: msgspec.Struct | bytes, *, minimum: Position = _ANY
    ) -> tuple[int, bytes]:
        """Open a request; return its id and the bytes to send.

        ``minimum`` is the least position the answer must reflect (for RegisterNotification,
        HistoryLog and ResumeFrom: where to start). Raises `LocalProtocolError` when the state does
        not allow this request, or ``message`` is none; the connection is CLOSED then.
        """
        if message not in ANSWERS or message == MessageId.PROTOCOL_VERSION:
            self._fail(f"{message_name(message)} is not a request that request() may send")
        self._send(_SENT_EVENTS.get(message, _Event.REQUEST))
        return self._frame(message, payload, minimum)

    def receive_data(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that they complete, all checked, in order.

        A Disconnected frame is the last one returned; `disconnect_reason` is set then. In state
        CLOSED bytes are ignored. Raises `RemoteProtocolError`; the connection is CLOSED then.
        """
        if self.state is _S.CLOSED:
            return []
        if self.state is _S.START:
            self._fail("bytes were received before connect()")
        try:
            frames = self._reader.receive_data(data)
            dropped = False
            for index, frame in enumerate(frames):
                if frame[2]:
                    self._receive_answer(frame)
                elif frame[0] not in UNASKED:
                    self._receive_unknown(frame)
                    dropped = True
                elif frame[0] == MessageId.DISCONNECTED:
                    self._receive_notice(frame)
                    frames = frames[: index + 1]
                    break
                elif self.state is not _S.REGISTERED:
                    raise RemoteProtocolError(f"{message_name(frame[0])} arrived in state {self.state.name}")
        except RemoteProtocolError:
            self._move(_Event.VIOLATION)
            raise
        return [frame for frame in frames if frame[2] or frame[0] in UNASKED] if dropped else frames

    def _receive_answer(self, frame: Frame) -> None:
        message, flags, request = frame[:3]
        asked = self._open.get(request)
        if asked is None:
            raise RemoteProtocolError(f"{message_name(message)} answers request {request}, which is not open")
        if message not in _ALLOWED[asked]:
            raise RemoteProtocolError(f"{message_name(message)} does not answer {message_name(asked)}")
        last = bool(flags & FLAG_END)
        if last is (message in PARTS):
            problem = "must not" if last else "must"
            raise RemoteProtocolError(f"{message_name(message)}, request {request}: its frame {problem} carry END")
        if last:
            del self._open[request]
        if self.state is _S.REGISTERED:
            return
        event = _ANSWER_EVENTS[MessageId(message)]
        if event is _Event.VERSION_READ:
            self._read_version(frame)
        self._move(event)

    def _read_version(self, frame: Frame) -> None:
        self.server = decode_payload(ProtocolVersionRead, frame.payload)
        if not is_utf8(self.server.encoding):
            raise encoding_error("the server", self.server.encoding)
        if self.server.version not in PROTOCOL_VERSIONS:
            raise RemoteProtocolError(
                f"the server chose protocol version {self.server.version}, offered were {list(PROTOCOL_VERSIONS)}"
            )

    def _receive_notice(self, frame: Frame) -> None:
        self.disconnect_reason = decode_payload(Disconnected, frame.payload)
        self._move(_Event.DISCONNECTED)

    def _receive_unknown(self, frame: Frame) -> None:
        if frame.message in _NEVER_UNASKED:
            raise RemoteProtocolError(f"{message_name(frame.message)} arrived with request id 0")

    def _frame(self, message: MessageId, payload: msgspec.Struct | bytes, minimum: Position) -> tuple[int, bytes]:
        body = payload if isinstance(payload, bytes) else codec.encode(payload)
        request = self._last_request + 1
        while request in self._open or request > _MAX_REQUEST:
            request = request + 1 if request < _MAX_REQUEST else 1
        self._last_request = request
        self._open[request] = message
        return request, encode_frame(message, body, request=request, epoch=minimum.epoch, uen=minimum.uen)

    def _send(self, event: _Event) -> None:
        if (self.state, event) not in _TABLE:
            self._fail(f"{event.value} is not possible in state {self.state.name}")
        self._move(event)

    def _fail(self, problem: str) -> None:
        self._move(_Event.VIOLATION)
        raise LocalProtocolError(problem)

    def _move(self, event: _Event) -> None:
        self.state = _TABLE[self.state, event]
