"""The broken inputs of `generate_vectors.py`: what a correct peer must refuse, and with which error."""

from __future__ import annotations

from typing import Final, NamedTuple

from vector_examples import MESSAGES, OFFER, Example

from csproxy.transport.wire.frames import DEFAULT_MAX_FRAME, FLAG_END, MAGIC, UNREGISTERED_MAX_FRAME, encode_frame
from csproxy.transport.wire.messages import MessageId


class Breakage(NamedTuple):
    """``data`` breaks a rule when ``side`` receives it in ``state``.

    ``open_request`` is what the client has asked before, with request id 3. ``says`` is part of the
    error text of this implementation.
    """

    side: str
    state: str
    data: bytes
    code: int
    says: str
    open_request: MessageId | None = None


def _length(length: int) -> bytes:
    return length.to_bytes(4, "big") + bytes(24)


def _frame(example: Example, *, request: int, flags: int = 0) -> bytes:
    return encode_frame(example.message, example.encoded_payload, request=request, flags=flags)


def _offer(payload: bytes) -> bytes:
    return encode_frame(MessageId.PROTOCOL_VERSION, payload, request=1)


_OFFER: Final = _frame(Example("client", MessageId.PROTOCOL_VERSION, OFFER), request=1)
_REGISTER: Final = MESSAGES["RegisterClient"]
_READ: Final = MESSAGES["ReadObjects"]
_PART: Final = MESSAGES["ObjectsRead"]
_SENT: Final = MESSAGES["ObjectsSent"]
_MARK: Final = MESSAGES["ProgressMark"]

BROKEN: Final[dict[str, Breakage]] = {
    "a TLS handshake on a plain port": Breakage("server", "MAGIC", bytes.fromhex("1603010200010001fc0303"), 2, "TLS"),
    "PROXY header, text form": Breakage(
        "server", "MAGIC", b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 2020\r\n", 2, "PROXY"
    ),
    "PROXY header, binary form": Breakage("server", "MAGIC", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", 2, "PROXY"),
    "HTTP": Breakage("server", "MAGIC", b"GET / HTTP/1.1\r\n", 2, "HTTP"),
    "other bytes": Breakage("server", "MAGIC", b"\0\0\0\x18", 2, "not this protocol"),
    "magic with a wrong last byte": Breakage("server", "MAGIC", MAGIC[:-1] + b"Y", 2, "not this protocol"),
    "registration before the version": Breakage(
        "server", "VERSION", _frame(_REGISTER, request=1), 2, "ProtocolVersion"
    ),
    "no common version": Breakage(
        "server", "VERSION", _offer(b"\x81\xa8versions\x92\xcd\x03\xe7\xcd\x03\xe8"), 2, "protocol versions [999, 1000]"
    ),
    "no versions at all": Breakage("server", "VERSION", _offer(b""), 2, "protocol versions []"),
    "version payload is no map": Breakage("server", "VERSION", _offer(b"\x93\x01\x02\x03"), 25, "not a valid"),
    "version payload is cut": Breakage("server", "VERSION", _offer(b"\x81\xa8versi"), 25, "not a valid"),
    "read before registration": Breakage("server", "UNREGISTERED", _frame(_READ, request=2), 2, "must register first"),
    "Authenticate before registration": Breakage(
        "server", "UNREGISTERED", _frame(MESSAGES["Authenticate"], request=2), 2, "must register first"
    ),
    "unknown request before registration": Breakage(
        "server", "UNREGISTERED", encode_frame(4711, b"", request=2), 2, "must register first"
    ),
    "frame too long before registration": Breakage(
        "server", "UNREGISTERED", _length(UNREGISTERED_MAX_FRAME + 1), 25, "above the limit of 65536"
    ),
    "frame shorter than a header": Breakage("server", "REGISTERED", _length(23), 2, "too short"),
    "frame too long": Breakage("server", "REGISTERED", _length(DEFAULT_MAX_FRAME + 1), 25, "above the limit"),
    "request id 0": Breakage("server", "REGISTERED", _frame(_READ, request=0), 2, "request id 0"),
    "an answer from a client": Breakage("server", "REGISTERED", _frame(_SENT, request=2), 2, "only servers send"),
    "a notification from a client": Breakage("server", "REGISTERED", _frame(_MARK, request=0), 2, "only servers send"),
    "a second registration": Breakage("server", "REGISTERED", _frame(_REGISTER, request=2), 2, "registered already"),
    "a second version request, ahead of the registration": Breakage(
        "server", "UNREGISTERED", _OFFER, 2, "must register first"
    ),
    "a second version request": Breakage("server", "REGISTERED", _OFFER, 2, "registered already"),
    "a version that was not offered": Breakage(
        "client",
        "VERSION",
        encode_frame(MessageId.PROTOCOL_VERSION_READ, b"\x81\xa7version\x02", request=1, flags=FLAG_END),
        2,
        "chose protocol version 2",
    ),
    "an answer to nothing": Breakage("client", "REGISTERED", _frame(_SENT, request=9, flags=FLAG_END), 2, "not open"),
    "an answer to another request": Breakage(
        "client", "REGISTERED", _frame(_SENT, request=3, flags=FLAG_END), 2, "does not answer", MessageId.PING
    ),
    "an answer after the last": Breakage(
        "client", "REGISTERED", _frame(_SENT, request=3, flags=FLAG_END) * 2, 2, "not open", MessageId.READ_OBJECTS
    ),
    "a last answer without END": Breakage(
        "client", "REGISTERED", _frame(_SENT, request=3), 2, "must carry END", MessageId.READ_OBJECTS
    ),
    "a part with END": Breakage(
        "client",
        "REGISTERED",
        _frame(_PART, request=3, flags=FLAG_END),
        2,
        "must not carry END",
        MessageId.READ_OBJECTS,
    ),
    "a notification before registration": Breakage(
        "client", "UNREGISTERED", _frame(_MARK, request=0, flags=FLAG_END), 2, "in state UNREGISTERED"
    ),
    "an error that nobody asked for": Breakage(
        "client", "REGISTERED", _frame(MESSAGES["Error"], request=0, flags=FLAG_END), 2, "request id 0"
    ),
    "a disconnect notice that is no map": Breakage(
        "client", "REGISTERED", encode_frame(MessageId.DISCONNECTED, b"\xc0", flags=FLAG_END), 25, "not a valid"
    ),
    "a frame shorter than a header": Breakage("client", "REGISTERED", _length(0), 2, "too short"),
    "a frame above the client's limit": Breakage("client", "REGISTERED", _length(2**32 - 1), 25, "above the limit"),
}
"""Inputs that end a connection: the server sends Disconnected with ``code``, the client closes."""
