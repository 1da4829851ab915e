"""Requests about the truth of a server's data: ReadDigest, and Verify, which compares with where the data comes from.

A proxy compares with its master (`csproxy.transport.upstream_digests`), a master with its database
(`csproxy.transport.database_check`). Here are the handlers, and what both kinds of comparison share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import anyio.lowlevel
import msgspec

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Position
from csproxy.core.security_records import STORED_TYPES
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.server_connection import Handler
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.replication import Digest, ReadDigest
from csproxy.transport.wire.verification import Verified, VerifiedType

if TYPE_CHECKING:
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["VERIFICATION_HANDLERS", "NoVerifier", "Verifier", "compute_digests", "verified_types"]

_AT_ONCE: Final = 1000
"""Objects whose digest takes about 1 ms."""
VERIFY_TIMEOUT_S: Final = 600.0
"""Longest comparison that a client waits for: it may include reading a type anew."""


class Verifier(Protocol):
    """Compares a server's data with where it comes from."""

    async def ask(self, *, timeout_s: float) -> tuple[Position, Verified]:
        """Compare now; returns where the data stood, and what was found and healed.

        Raises `ServerError` (retryable when the other side is away) or `StoreError`.
        """


class NoVerifier:
    """For servers whose data comes from nowhere: refuses with error 8."""

    async def ask(self, *, timeout_s: float) -> tuple[Position, Verified]:
        """Raise `ServerError` ACCESS_DENIED."""
        raise ServerError.from_code(
            ErrorCode.ACCESS_DENIED, "this server has nothing that its data could be compared with"
        )


def read_digest(connection: ServerConnection, frame: Frame) -> None:
    """1012: content digests, all as of the position in the answer. The first ones are computed in steps."""
    if connection.is_behind(frame, read_digest):
        return
    if not _may_verify(connection):
        raise ServerError.from_code(ErrorCode.NO_PERMISSION, "digests are for those who may read everything")
    request = msgspec.msgpack.decode(frame.payload or b"\x80", type=ReadDigest)
    numbers = list(request.types or STORED_TYPES)
    if sum(map(connection.server.cache.count, numbers)) <= _AT_ONCE:
        _answer_digest(connection, frame, numbers)
    else:
        connection.wait_for(frame, _read_digest, connection, frame, numbers)


async def _read_digest(connection: ServerConnection, frame: Frame, numbers: Collection[int]) -> None:
    server = connection.server
    await compute_digests(lambda: server.cache, numbers)
    _answer_digest(connection, frame, numbers)


def _answer_digest(connection: ServerConnection, frame: Frame, numbers: Collection[int]) -> None:
    cache = connection.server.cache
    connection.answer(frame, MessageId.DIGEST, Digest(digests={number: cache.digest(number) for number in numbers}))


def verify(connection: ServerConnection, frame: Frame) -> None:
    """1040: compare now with where the data comes from."""
    if connection.is_behind(frame, verify):
        return
    if not _may_verify(connection):
        raise ServerError.from_code(ErrorCode.NO_PERMISSION, "this client may not have the data verified")
    connection.wait_for(frame, _verify, connection, frame)


async def _verify(connection: ServerConnection, frame: Frame) -> None:
    position, verified = await connection.server.verifier.ask(timeout_s=VERIFY_TIMEOUT_S)
    connection.answer(frame, MessageId.VERIFIED, verified, position=position)


def _may_verify(connection: ServerConnection) -> bool:
    """Who reads everything may: digests and numbers of objects are no matter for anybody else."""
    return connection.session is not None and connection.session.access is None


async def compute_digests(cache: Callable[[], ConfigurationCache], types: Collection[int]) -> None:
    """Do the work of the digests in steps of about 1 ms; when this returns, they are there at once.

    ``cache()`` is looked at again and again: it may be replaced, and digests forgotten, meanwhile.
    """
    busy = True
    while busy:
        busy = False
        for number in types:
            for _ in cache().digest_steps(number):
                busy = True
                await anyio.lowlevel.checkpoint()


def verified_types(cache: ConfigurationCache, states: Mapping[int, str]) -> list[VerifiedType]:
    """The types that have objects or differ, with their states."""
    return [
        VerifiedType(type=number, objects=cache.count(number), state=states[number])
        for number in sorted(STORED_TYPES)
        if cache.count(number) or states[number] != "equal"
    ]


VERIFICATION_HANDLERS: Final[dict[int, Handler]] = {
    MessageId.READ_DIGEST: read_digest,
    MessageId.VERIFY: verify,
}
