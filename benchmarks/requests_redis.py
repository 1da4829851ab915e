"""Request templates of the Redis protocol for the load generator, and filling a server."""

from __future__ import annotations

import socket

VALUE_BYTES = 500
ANSWER_BYTES = len(b"$500\r\n") + VALUE_BYTES + len(b"\r\n")


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


_STAMP = b"@TTTTTTTTTTTTTTTTTTT"
GET = _command(b"GET", b"obj########")
SUBSCRIBE = _command(b"SUBSCRIBE", b"cfg")
PUBLISH = _command(b"PUBLISH", b"cfg", _STAMP + b"c" * (VALUE_BYTES - len(_STAMP)))


def fill(port: int, objects: int) -> None:
    """Store ``objects`` values of 500 bytes."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for first in range(0, objects, 1000):
            batch = range(first, min(first + 1000, objects))
            connection.sendall(b"".join(_command(b"SET", b"obj%08d" % i, b"v" * VALUE_BYTES) for i in batch))
            answered = 0
            while answered < len(batch) * len(b"+OK\r\n"):
                answered += len(connection.recv(65536))
