"""One number per object type that two servers compare: equal data, equal digest.

The digest of a type is the sum, modulo 2**128, of a 16-byte BLAKE2b hash per object over its
DBID, its folder and its canonical bytes. A sum does not depend on order and can be kept up to
date: a change subtracts the old hash and adds the new one. Nothing is hashed until somebody asks
for a type's digest (1.1 µs an object), because most embedded caches never do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final

from csproxy.core.segments import TableSnapshot

__all__ = ["Digests", "object_hash"]

_MODULUS: Final = 1 << 128
_STEP: Final = 1024


def object_hash(dbid: int, folder: int, stored: bytes) -> int:
    """The share of one object in its type's digest."""
    prefix = dbid.to_bytes(4, "big") + folder.to_bytes(4, "big")
    return int.from_bytes(blake2b(prefix + stored, digest_size=16).digest(), "big")


class Digests:
    """The digests of a cache, per type.

    ``snapshot`` gives a type's objects as they are now. A digest asked for the first time is the
    hash of a snapshot plus all changes since that snapshot, so it may be computed in steps while
    the data changes.
    """

    def __init__(self, snapshot: Callable[[int], TableSnapshot]) -> None:
        self._snapshot = snapshot
        self._sums: dict[int, int] = {}
        self._unfinished: dict[int, Iterator[None]] = {}

    def steps(self, type_number: int) -> Iterator[None]:
        """Work of at most about 1 ms per step; afterwards `hexadecimal` answers at once.

        Steps of several callers for one type advance the same work.
        """
        if type_number not in self._sums:
            self._sums[type_number] = 0
            self._unfinished[type_number] = self._hash_all(type_number, self._snapshot(type_number))
        while (work := self._unfinished.get(type_number)) is not None:
            if next(work, self) is self:
                self._unfinished.pop(type_number, None)
                return
            yield

    def forget(self, type_number: int) -> None:
        """Compute the type's digest anew when it is asked for next."""
        self._sums.pop(type_number, None)
        self._unfinished.pop(type_number, None)

    def hexadecimal(self, type_number: int) -> str:
        """The digest as 32 hexadecimal digits; finishes the work of `steps` if necessary."""
        for _ in self.steps(type_number):
            pass
        return f"{self._sums[type_number]:032x}"

    def note(
        self, type_number: int, dbid: int, *, former: tuple[int, bytes] | None, now: tuple[int, bytes] | None
    ) -> None:
        """An object changed; ``former`` and ``now`` are its folder and bytes, None for *not there*."""
        total = self._sums.get(type_number)
        if total is None:
            return
        if former is not None:
            total -= object_hash(dbid, *former)
        if now is not None:
            total += object_hash(dbid, *now)
        self._sums[type_number] = total % _MODULUS

    def _hash_all(self, type_number: int, snapshot: TableSnapshot) -> Iterator[None]:
        for segment in snapshot.segments:
            for start in range(0, len(segment.dbids), _STEP):
                end = start + _STEP
                share = sum(
                    map(object_hash, segment.dbids[start:end], segment.folders[start:end], segment.objects[start:end])
                )
                self._sums[type_number] = (self._sums[type_number] + share) % _MODULUS
                yield
