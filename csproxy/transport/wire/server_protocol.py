"""The server's side of one connection, as a state machine without I/O.

    MAGIC         nothing but the eight bytes of MAGIC may arrive
    VERSION       nothing but one ProtocolVersion request
    NEGOTIATING   it arrived; `version_chosen` builds the answer
    UNREGISTERED  only registration requests (3, 103, 40), in short frames
    REGISTERING   one arrived; the server calls `registered`, or `refused` so that the client may try again
    REGISTERED    every request except those above; `registered` was called
    FAILED        the client broke a rule; what still arrives is ignored, `disconnect` may be called
    CLOSED        `disconnect` built the last frame

A client need not wait for answers: what it sends while the state is NEGOTIATING or REGISTERING is
held, up to 64 KiB, and comes out of `take_held` when the state allows it.

Rules beyond the table: a request has a request id above 0; numbers that only servers send are a
violation; numbers that nobody knows are not, once registered, because a newer client may try them:
the server answers error 3. A violation raises `RemoteProtocolError` and the connection is FAILED; a
verb in the wrong state raises `LocalProtocolError`.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from csproxy.transport.wire.exchanges import NOT_FROM_CLIENTS, REGISTRATIONS, message_name
from csproxy.transport.wire.frames import (
    DEFAULT_MAX_FRAME,
    FLAG_END,
    HEADER_SIZE,
    MAGIC,
    UNREGISTERED_MAX_FRAME,
    Frame,
    FrameReader,
    encode_frame,
)
from csproxy.transport.wire.messages import PROTOCOL_VERSIONS, MessageId, decode_payload
from csproxy.transport.wire.payload import Disconnected
from csproxy.transport.wire.registration import ProtocolVersion, ProtocolVersionRead
from csproxy.transport.wire.texts import encoding_error, is_utf8

__all__ = ["ServerProtocol", "ServerState"]


class ServerState(Enum):
    """Where the connection stands; the module header has the rules."""

    __hash__ = object.__hash__  # that of Enum is written in Python, and the table is asked thirty times for a log-in

    MAGIC = auto()
    VERSION = auto()
    NEGOTIATING = auto()
    UNREGISTERED = auto()
    REGISTERING = auto()
    REGISTERED = auto()
    FAILED = auto()
    CLOSED = auto()


class _Event(Enum):
    __hash__ = object.__hash__

    MAGIC = "the magic bytes"
    VERSION_ASKED = "a ProtocolVersion request"
    VERSION_CHOSEN = "version_chosen()"
    REGISTRATION = "a registration request"
    REGISTERED = "registered()"
    REFUSED = "refused()"
    REQUEST = "a request"
    VIOLATION = "a violation"
    DISCONNECT = "disconnect()"


_S = ServerState
_TABLE: Final[dict[tuple[ServerState, _Event], ServerState]] = {
    (_S.MAGIC, _Event.MAGIC): _S.VERSION,
    (_S.VERSION, _Event.VERSION_ASKED): _S.NEGOTIATING,
    (_S.NEGOTIATING, _Event.VERSION_CHOSEN): _S.UNREGISTERED,
    (_S.UNREGISTERED, _Event.REGISTRATION): _S.REGISTERING,
    (_S.REGISTERING, _Event.REGISTERED): _S.REGISTERED,
    (_S.REGISTERING, _Event.REFUSED): _S.UNREGISTERED,
    (_S.REGISTERED, _Event.REQUEST): _S.REGISTERED,
    **{(state, _Event.VIOLATION): _S.FAILED for state in _S if state is not _S.CLOSED},
    **{(state, _Event.DISCONNECT): _S.CLOSED for state in _S if state is not _S.CLOSED},
}

_EXPECTED: Final = {
    _S.VERSION: "the first request must be ProtocolVersion (49)",
    _S.UNREGISTERED: "the client must register first: RegisterClient (3), RegisterClient2 (103), RestoreSession (40)",
    _S.REGISTERED: "the client is registered already",
}

_REGISTERED: Final = _S.REGISTERED
_ANSWERING: Final = frozenset({_S.NEGOTIATING, _S.REGISTERING})
_DEAD: Final = frozenset({_S.FAILED, _S.CLOSED})

_NOT_WHEN_REGISTERED: Final = NOT_FROM_CLIENTS | REGISTRATIONS | {MessageId.PROTOCOL_VERSION}

_NOWHERE: Final = Position(0, 0)

_OTHER_PROTOCOLS: Final = {
    0x16: "a TLS handshake on a port without TLS; connect without TLS or use a secure port",
    0x0D: "a PROXY protocol header (version 2), which this port is not set to expect",
    0x50: "a PROXY protocol header (or HTTP), which this port is not set to expect",
    0x47: "an HTTP request; this port speaks the csproxy protocol",
    0x48: "an HTTP request; this port speaks the csproxy protocol",
}


class ServerProtocol:
    """The rules that one client's bytes must keep; see the module header.

    ``max_frame`` (bytes) is the limit for a registered client and is announced to it; ``release`` is
    announced in ProtocolVersionRead.
    """

    __slots__ = ("_held_bytes", "_magic", "_max_frame", "_reader", "_release", "held", "offer", "state", "version")

    def __init__(self, *, max_frame: int = DEFAULT_MAX_FRAME, release: str = "") -> None:
        self.state = ServerState.MAGIC
        self.version = 0
        self.offer: ProtocolVersion | None = None
        """The client's ProtocolVersion request, once `version_chosen` has read it."""
        self._max_frame = max_frame
        self._release = release
        self._magic = b""
        self.held: list[Frame] = []
        """Requests that were sent ahead of an answer, for `take_held`."""
        self._held_bytes = 0
        self._reader = FrameReader(max_frame=min(max_frame, UNREGISTERED_MAX_FRAME))

    def __repr__(self) -> str:
        return f"<ServerProtocol {self.state.name} version={self.version}>"

    @property
    def buffered_bytes(self) -> int:
        """Bytes kept here: of an incomplete frame, and of requests sent ahead of an answer."""
        return self._reader.buffered_bytes + self._held_bytes

    def receive_data(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the requests that they complete, in order.

        Every frame returned is one that the state allows. After `disconnect`, or a violation, bytes
        are ignored. Raises `RemoteProtocolError`, whose ``code`` belongs into the notice.
        """
        if self.state is _REGISTERED:
            try:
                frames = self._reader.receive_data(data)
            except RemoteProtocolError:
                self._move(_Event.VIOLATION)
                raise
            for frame in frames:
                if not frame[2] or frame[0] in _NOT_WHEN_REGISTERED:
                    self._refuse(frame)
            return frames
        if self.state is _S.FAILED or self.state is _S.CLOSED:
            return []
        return self._receive_unregistered(data)

    def version_chosen(self, frame: Frame, *, role: str = "", primary: tuple[str, int] = ("", 0)) -> bytes:
        """Answer the ProtocolVersion request ``frame`` with the best version that both speak.

        ``role`` is announced with it, and for a backup the address of the ``primary``. Raises `RemoteProtocolError`
        when there is none (code 2), the client announces another encoding than UTF-8 (code 41), or the payload cannot
        be read.
        """
        self._require(_Event.VERSION_CHOSEN)
        try:
            offer = decode_payload(ProtocolVersion, frame.payload)
            if not is_utf8(offer.encoding):
                raise encoding_error("the client", offer.encoding)
            common = [version for version in PROTOCOL_VERSIONS if version in offer.versions]
            if not common:
                raise RemoteProtocolError(
                    f"the client speaks protocol versions {offer.versions}, this server {list(PROTOCOL_VERSIONS)}"
                )
        except RemoteProtocolError:
            self._move(_Event.VIOLATION)
            raise
        self._move(_Event.VERSION_CHOSEN)
        self.offer = offer
        self.version = common[-1]
        answer = ProtocolVersionRead(
            version=self.version,
            release=self._release,
            max_frame=self._max_frame,
            role=role,
            primary_host=primary[0],
            primary_port=primary[1],
        )
        return encode_frame(
            MessageId.PROTOCOL_VERSION_READ, codec.encode(answer), request=frame.request, flags=FLAG_END
        )

    def registered(self) -> None:
        """The client's registration was accepted: all requests are allowed, and long frames."""
        self._require(_Event.REGISTERED)
        self._move(_Event.REGISTERED)
        self._reader.max_frame = self._max_frame

    def refused(self) -> None:
        """The client's registration was refused: it may try again."""
        self._require(_Event.REFUSED)
        self._move(_Event.REFUSED)

    def take_held(self) -> list[Frame]:
        """Requests sent ahead of an answer, as far as the state allows them now; raises as `receive_data`."""
        if not self.held or self.state in _ANSWERING or self.state in _DEAD:
            return []
        held, self.held, self._held_bytes = self.held, [], 0
        return self._admit(held)

    def disconnect(
        self, code: ErrorCode, description: str, position: Position = _NOWHERE, retry_after_s: float = 0
    ) -> bytes:
        """Build the last frame of the connection (4): why it ends, and up to which position all was sent.

        Allowed once, in every state, after a violation too.
        """
        self._require(_Event.DISCONNECT)
        self._move(_Event.DISCONNECT)
        notice = Disconnected(code=int(code), description=description, retry_after_ms=round(retry_after_s * 1000))
        return encode_frame(
            MessageId.DISCONNECTED, codec.encode(notice), epoch=position.epoch, uen=position.uen, flags=FLAG_END
        )

    def _receive_unregistered(self, data: bytes) -> list[Frame]:
        try:
            if self.state is _S.MAGIC:
                data = self._receive_magic(data)
            frames = self._reader.receive_data(data) if data else []
        except RemoteProtocolError:
            self._move(_Event.VIOLATION)
            raise
        return self._admit(frames)

    def _admit(self, frames: list[Frame]) -> list[Frame]:
        """Let frames through as the table allows; hold those that came ahead of an answer."""
        for index, frame in enumerate(frames):
            if self.state in _ANSWERING:
                self._hold(frames[index:])
                return frames[:index]
            event = _event_of(frame)
            if event is None or (self.state, event) not in _TABLE:
                self._refuse(frame)
            else:
                self._move(event)
        return frames

    def _hold(self, frames: list[Frame]) -> None:
        self.held += frames
        self._held_bytes += sum(HEADER_SIZE + len(frame.payload) for frame in frames)
        if self._held_bytes > UNREGISTERED_MAX_FRAME:
            self._move(_Event.VIOLATION)
            raise RemoteProtocolError(
                f"more than {UNREGISTERED_MAX_FRAME} bytes of requests were sent ahead of the registration's answer"
            )

    def _receive_magic(self, data: bytes) -> bytes:
        """Compare what arrived with MAGIC as early as possible; return the bytes after it."""
        seen = self._magic + data[: len(MAGIC) - len(self._magic)]
        if not MAGIC.startswith(seen):
            what = _OTHER_PROTOCOLS.get(seen[0], f"{seen.hex(' ')}, which is not this protocol")
            raise RemoteProtocolError(f"the connection starts with {what}")
        rest = data[len(seen) - len(self._magic) :]
        self._magic = seen
        if len(seen) == len(MAGIC):
            self._move(_Event.MAGIC)
        return rest

    def _refuse(self, frame: Frame) -> None:
        """Raise what is wrong with a frame that the state does not allow."""
        name = message_name(frame.message)
        if frame.message in NOT_FROM_CLIENTS:
            problem = f"{name} from a client: only servers send it"
        elif frame.request == 0:
            problem = f"{name} with request id 0, which is kept for what nobody asked for"
        else:
            problem = f"{name} in state {self.state.name}: {_EXPECTED[self.state]}"
        self._move(_Event.VIOLATION)
        raise RemoteProtocolError(problem)

    def _require(self, event: _Event) -> None:
        if (self.state, event) not in _TABLE:
            problem = f"{event.value} is not possible in state {self.state.name}"
            if self.state is not _S.CLOSED:
                self._move(_Event.VIOLATION)
            raise LocalProtocolError(problem)

    def _move(self, event: _Event) -> None:
        self.state = _TABLE[self.state, event]


def _event_of(frame: Frame) -> _Event | None:
    """What a received frame is to the table; None for what no client may ever send."""
    if frame.request == 0 or frame.message in NOT_FROM_CLIENTS:
        return None
    if frame.message == MessageId.PROTOCOL_VERSION:
        return _Event.VERSION_ASKED
    return _Event.REGISTRATION if frame.message in REGISTRATIONS else _Event.REQUEST
