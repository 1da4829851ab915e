"""Loading: every object of every type at one position, read with a load slot's snapshot.

Parts are handled inside the receive call, as they arrive: encoded objects go to the builder as they
are and nothing piles up. Their texts are checked, since nobody else would before clients get them.
"""

from __future__ import annotations

from typing import Final

import anyio

from csproxy.core.loading import CacheBuilder
from csproxy.core.security_records import STORED_TYPES
from csproxy.errors import CsproxyError, RemoteProtocolError
from csproxy.transport.connection import Connection
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import ObjectsRead, ReadObjects
from csproxy.transport.wire.replication import LoadGranted
from csproxy.transport.wire.texts import check_texts

__all__ = ["TYPES_AT_ONCE", "read_all_types"]

TYPES_AT_ONCE: Final = 4
"""Types being read at the same time: enough to hide the way there and back of small types."""


async def read_all_types(
    connection: Connection, granted: LoadGranted, builder: CacheBuilder, *, timeout_s: float
) -> int:
    """Read all types of the snapshot into ``builder``; returns the number of objects.

    Raises what `Connection.request` raises (each type has ``timeout_s``), and `RemoteProtocolError`
    when the master sends another number of objects than it announced; `ModelError` for an object that is none, or
    has a text that is not UTF-8.
    """
    reading = _Reading(connection, granted, builder, timeout_s)
    async with anyio.create_task_group() as tasks:
        for _ in range(TYPES_AT_ONCE):
            tasks.start_soon(reading.work, tasks.cancel_scope)
    if reading.error is not None:
        raise reading.error
    return reading.objects


class _Reading:
    """What the workers of one load share."""

    def __init__(self, connection: Connection, granted: LoadGranted, builder: CacheBuilder, timeout_s: float) -> None:
        self.objects = 0
        self.error: CsproxyError | None = None
        self._connection = connection
        self._granted = granted
        self._builder = builder
        self._timeout_s = timeout_s
        known = [number for number in sorted(STORED_TYPES) if granted.counts.get(number, 0)]
        self._left = iter(known)

    async def work(self, scope: anyio.CancelScope) -> None:
        """Read one type after the other; the first error of any worker ends all of them."""
        try:
            for number in self._left:
                await self._read_type(number)
        except CsproxyError as e:
            self.error = self.error or e
            scope.cancel()

    async def _read_type(self, number: int) -> None:
        received = 0

        def part(frame: Frame) -> None:
            nonlocal received
            check_texts(frame)
            read = decode_payload(ObjectsRead, frame.payload)
            if len(read.folders) != len(read.objects):
                raise RemoteProtocolError(
                    f"{len(read.objects)} objects of type {number} came with {len(read.folders)} folders"
                )
            self._builder.add(number, list(map(bytes, read.objects)), read.folders)
            received += len(read.objects)

        request = ReadObjects(type=number, filter={"read_folder_dbid": 1}, snapshot=self._granted.snapshot)
        await self._connection.request(MessageId.READ_OBJECTS, request, timeout_s=self._timeout_s, on_part=part)
        if self._granted.counts[number] not in (received, -1):
            raise RemoteProtocolError(
                f"{self._connection.peer} announced {self._granted.counts[number]} objects of type {number} "
                f"and sent {received}"
            )
        self.objects += received
