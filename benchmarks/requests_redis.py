"""Request templates of the Redis protocol for the load generator, and filling a server.

Every person of the site is a value of 500 bytes. What the site's indexes are is a set of numbers for each key here,
and SORT … BY nosort GET follows it in one round trip.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

from site_data import MEMBERS, SiteSize

VALUE_BYTES = 500
_STAMP = b"@TTTTTTTTTTTTTTTTTTT"
_BATCH = 1000


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


GET = command(b"GET", b"obj########")
SET = command(b"SET", b"obj########", _STAMP + b"c" * (VALUE_BYTES - len(_STAMP)))
BY_USER = command(b"SORT", b"user########", b"BY", b"nosort", b"GET", b"obj*")
BY_GROUP = command(b"SORT", b"group########", b"BY", b"nosort", b"GET", b"obj*")
BY_SITE = command(b"SORT", b"site########", b"BY", b"nosort", b"GET", b"obj*")
SUBSCRIBE = command(b"SUBSCRIBE", b"cfg")
PUBLISH = command(b"PUBLISH", b"cfg", _STAMP + b"c" * (VALUE_BYTES - len(_STAMP)))


def read_all(objects: int) -> bytes:
    """MGETs of a thousand objects each."""
    return b"".join(
        command(b"MGET", *[b"obj%08d" % n for n in range(first, min(first + _BATCH, objects))])
        for first in range(0, objects, _BATCH)
    )


def fill(port: int, size: SiteSize) -> None:
    """Store the objects and what finds them."""
    _send(port, (command(b"SET", b"obj%08d" % n, b"v" * VALUE_BYTES) for n in range(size.persons)))


def fill_indexes(port: int, size: SiteSize) -> None:
    """Store which objects have a user name, are in a group, and belong to a site."""
    _send(port, _indexes(size))


def _indexes(size: SiteSize) -> Iterator[bytes]:
    for n in range(size.persons):
        yield command(b"SADD", b"user%08d" % n, b"%08d" % n)
        yield command(b"SADD", b"group%08d" % (n // MEMBERS), b"%08d" % n)
        yield command(b"SADD", b"site%08d" % (n % size.sites), b"%08d" % n)


def _send(port: int, commands: Iterable[bytes]) -> None:
    """Send commands whose answers are one line each."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        batch: list[bytes] = []
        for each in commands:
            batch.append(each)
            if len(batch) == _BATCH:
                _exchange(connection, batch)
                batch = []
        _exchange(connection, batch)


def _exchange(connection: socket.socket, batch: list[bytes]) -> None:
    connection.sendall(b"".join(batch))
    answered = 0
    while answered < len(batch):
        data = connection.recv(65536)
        if not data or data.startswith(b"-"):
            raise SystemExit(f"Redis refused what it was to store: {data[:100]!r}")
        answered += data.count(b"\n")
