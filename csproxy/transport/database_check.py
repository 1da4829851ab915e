"""A master compares its data with its database: what clients are shown is what is stored."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import anyio

from csproxy.core.changes import Position
from csproxy.core.digests import object_hash
from csproxy.core.replica import ReplicaSink
from csproxy.core.security_records import STORED_TYPES
from csproxy.errors import ErrorCode, RetryableError
from csproxy.transport.verification import compute_digests, verified_types
from csproxy.transport.wire.verification import Verified

if TYPE_CHECKING:
    from csproxy.transport.database import DatabaseMaster

__all__ = ["DatabaseVerifier"]

log = logging.getLogger("csproxy.master")

_MODULUS: Final = 1 << 128
_RETRY_S: Final = 5.0


class DatabaseVerifier:
    """The `csproxy.transport.verification.Verifier` of a master.

    Nothing is healed: of two that differ, nobody here can tell which is right. A restart of the master takes
    what the database says.
    """

    def __init__(self, database: DatabaseMaster, sink: ReplicaSink) -> None:
        self._database = database
        self._sink = sink

    def __repr__(self) -> str:
        return f"<DatabaseVerifier of {self._database!r}>"

    async def ask(self, *, timeout_s: float) -> tuple[Position, Verified]:
        """Compare now. Writes wait while the own digests are computed, not while the rows are read.

        Raises `StoreError`, and `RetryableError` after ``timeout_s``.
        """
        with anyio.move_on_after(timeout_s):
            return await self._compare()
        raise RetryableError(
            ErrorCode.DB_RESPONSE_TIMED_OUT, f"the comparison took longer than {timeout_s:g} s", retry_after_s=_RETRY_S
        )

    async def _compare(self) -> tuple[Position, Verified]:
        cache = self._sink.cache
        async with self._database.standing_still() as store:
            for number in STORED_TYPES:
                cache.forget_digest(number)
            await compute_digests(lambda: cache, STORED_TYPES)
            ours = {number: cache.digest(number) for number in STORED_TYPES}
            position = cache.position
            parts = await store.call(lambda store: store.load())
            part = await store.next_part(parts)  # from here on it reads the database as it is now
        sums = dict.fromkeys(STORED_TYPES, 0)
        try:
            while part is not None:
                share = sum(map(object_hash, part.dbids, part.folders, part.bodies))
                sums[part.type] = (sums.get(part.type, 0) + share) % _MODULUS
                part = await store.next_part(parts)
        finally:
            with anyio.CancelScope(shield=True):  # the read transaction must not stay open
                await store.call(lambda _: parts.close())
        states = {
            number: "equal" if ours.get(number) == f"{total:032x}" else "different" for number, total in sums.items()
        }
        differing = [STORED_TYPES[number].name for number, state in states.items() if state != "equal"]
        if differing:
            log.error(
                "the data served differs from the database at UEN %d in %s",
                position.uen,
                ", ".join(differing),
                extra={"event": 31060},
            )
        return position, Verified(compared_with="its database", types=verified_types(cache, states))
