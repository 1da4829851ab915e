"""Request templates of etcd's gRPC protocol for the load generator, and filling a server through its JSON gateway.

Written out by hand: HTTP/2 frames (RFC 9113), header literals (RFC 7541) and protobuf fields. The generator numbers
the streams.
"""

from __future__ import annotations

import base64
import http.client
import json
import struct

from site_data import SiteSize

VALUE_BYTES = 500
_STAMP = b"@TTTTTTTTTTTTTTTTTTT"
_VALUE = _STAMP + b"c" * (VALUE_BYTES - len(_STAMP))
_KEY = b"obj########"
_PUTS = 100
_HEADERS, _DATA, _SETTINGS, _WINDOW_UPDATE = 1, 0, 4, 8
_END_HEADERS, _END_STREAM = 4, 1
_WIDEST = 2**31 - 1


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _bytes_field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _number_field(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _frame(kind: int, flags: int, payload: bytes, *, stream: int = 1) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name: int | bytes, value: bytes) -> bytes:
    """A header that is not to be indexed: its name by number of the static table, or as it is."""
    if isinstance(name, bytes):
        first = b"\x10" + bytes([len(name)]) + name
    else:
        first = bytes([0x10 | name]) if name < 15 else bytes([0x1F, name - 15])
    return first + bytes([len(value)]) + value


def _call(path: bytes, message: bytes, *, is_whole: bool = True) -> bytes:
    headers = (
        b"\x83\x86" + _literal(4, path) + _literal(1, b"localhost") + _literal(31, b"application/grpc")
    ) + _literal(b"te", b"trailers")
    body = b"\0" + struct.pack(">I", len(message)) + message
    return _frame(_HEADERS, _END_HEADERS, headers) + _frame(_DATA, _END_STREAM if is_whole else 0, body)


HELLO = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + _frame(_SETTINGS, 0, struct.pack(">HIHI", 4, _WIDEST, 2, 0), stream=0)
    + _frame(_WINDOW_UPDATE, 0, struct.pack(">I", _WIDEST - 65535), stream=0)
)
_SERIALIZABLE = _number_field(7, 1)
GET = _call(b"/etcdserverpb.KV/Range", _bytes_field(1, _KEY) + _SERIALIZABLE)
READ_ALL = _call(b"/etcdserverpb.KV/Range", _bytes_field(1, b"obj") + _bytes_field(2, b"obk") + _SERIALIZABLE)
PUT = _call(b"/etcdserverpb.KV/Put", _bytes_field(1, _KEY) + _bytes_field(2, _VALUE))
PUBLISH = _call(b"/etcdserverpb.KV/Put", _bytes_field(1, b"watched") + _bytes_field(2, _VALUE))
SUBSCRIBE = HELLO + _call(b"/etcdserverpb.Watch/Watch", _bytes_field(1, _bytes_field(1, b"watched")), is_whole=False)


def fill(port: int, size: SiteSize) -> None:
    """Store the objects."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    value = base64.b64encode(b"v" * VALUE_BYTES).decode()
    for first in range(0, size.persons, _PUTS):
        keys = [base64.b64encode(b"obj%08d" % n).decode() for n in range(first, min(first + _PUTS, size.persons))]
        body = json.dumps({"success": [{"requestPut": {"key": key, "value": value}} for key in keys]})
        connection.request("POST", "/v3/kv/txn", body)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"etcd refused what it was to store: {text[:200]!r}")
