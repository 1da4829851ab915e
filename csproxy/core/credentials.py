"""What a server knows of passwords and log-ins beside its objects: hashes, when they were set, and log-in states.

A `CredentialBook` holds them at a master, and at a proxy that its master trusts. Persons' part of it is replicated,
apart from the change stream and without UENs: entries are sorted into `BUCKETS` by DBID, and each bucket has a digest
that does not depend on the order of entries, so that two books find out quickly in which buckets they differ.

No repr shows a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from csproxy.core.log_in_state import NO_STATE, LogInState
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.ownership import ObjectId

__all__ = ["BUCKETS", "DIGEST_BYTES", "CredentialBook", "PersonEntry", "differing_buckets"]

BUCKETS: Final = 256
DIGEST_BYTES: Final = 16
_PERSON: Final = int(CfgObjectType.CFGPerson)
_RANGE: Final = 1 << (8 * DIGEST_BYTES)


class PersonEntry(msgspec.Struct, frozen=True, array_like=True):
    """All of one Person: its password's hash ("" without one), when that was set (ms), and its log-ins."""

    dbid: int
    hash: str = ""
    changed_ms: int = 0
    state: LogInState = NO_STATE

    def __repr__(self) -> str:
        return f"<PersonEntry {self.dbid}, {'with' if self.hash else 'without'} a password>"


_encode: Final = msgspec.msgpack.Encoder().encode


class CredentialBook:
    """Hashes by object, and for Persons the rest of an entry."""

    def __init__(self) -> None:
        self._hashes: dict[ObjectId, str] = {}
        self._changed_ms: dict[int, int] = {}
        self._states: dict[int, LogInState] = {}
        self._buckets: list[set[int]] = [set() for _ in range(BUCKETS)]
        self._digests = [0] * BUCKETS
        self._touched: set[int] = set()
        self.hashes: Mapping[ObjectId, str] = MappingProxyType(self._hashes)
        """Password hashes by type number and DBID; always the present ones."""

    def __repr__(self) -> str:
        return f"<CredentialBook of {len(self._hashes)} passwords, {len(self._states)} log-in states>"

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, id: object) -> bool:
        """Whether anything is kept of an object, given by type number and DBID."""
        if id in self._hashes:
            return True
        return isinstance(id, tuple) and id[0] == _PERSON and id[1] in self._states

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept of any Person."""
        return not any(self._buckets)

    def changed_ms(self, dbid: int) -> int:
        """When a Person's password was set; 0 if it is not known."""
        return self._changed_ms.get(dbid, 0)

    def state(self, dbid: int) -> LogInState:
        """A Person's log-ins."""
        return self._states.get(dbid, NO_STATE)

    def entry(self, dbid: int) -> PersonEntry | None:
        """All of a Person; None if nothing is kept of it."""
        hash, state = self._hashes.get((_PERSON, dbid), ""), self.state(dbid)
        if not hash and state == NO_STATE:
            return None
        return PersonEntry(dbid, hash, self._changed_ms.get(dbid, 0), state)

    def entries(self, bucket: int) -> list[PersonEntry]:
        """The entries of one bucket, by DBID."""
        found = map(self.entry, sorted(self._buckets[bucket]))
        return [entry for entry in found if entry is not None]

    def digests(self) -> bytes:
        """The digests of all buckets, `DIGEST_BYTES` each."""
        return b"".join(digest.to_bytes(DIGEST_BYTES, "big") for digest in self._digests)

    # changes

    def set_hash(self, id: ObjectId, hash: str | None, *, changed_ms: int = 0) -> None:
        """Put a hash in place, or take it away with None."""
        if id[0] == _PERSON:
            self._set(id[1], hash or "", changed_ms, self.state(id[1]))
        elif hash:
            self._hashes[id] = hash
        else:
            self._hashes.pop(id, None)

    def set_state(self, dbid: int, state: LogInState) -> None:
        """Put a Person's log-ins in place."""
        self._set(dbid, self._hashes.get((_PERSON, dbid), ""), self.changed_ms(dbid), state)

    def put(self, entry: PersonEntry) -> None:
        """Put an entry of another book in place."""
        if entry != self.entry(entry.dbid):
            self._set(entry.dbid, entry.hash, entry.changed_ms, entry.state)

    def remove(self, dbid: int) -> None:
        """Forget a Person."""
        self._set(dbid, "", 0, NO_STATE)

    def replace_bucket(self, bucket: int, entries: Iterable[PersonEntry]) -> None:
        """Put a whole bucket of another book in place."""
        gone = set(self._buckets[bucket])
        for entry in entries:
            gone.discard(entry.dbid)
            self.put(entry)
        for dbid in gone:
            self.remove(dbid)

    def clear(self) -> None:
        """Forget everything."""
        self._touched.update(*self._buckets)
        self._hashes.clear()
        self._changed_ms.clear()
        self._states.clear()
        self._buckets = [set() for _ in range(BUCKETS)]
        self._digests = [0] * BUCKETS

    def take_touched(self) -> set[int]:
        """The Persons whose entries may have changed since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def _set(self, dbid: int, hash: str, changed_ms: int, state: LogInState) -> None:
        """All of a Person in place of what there was, and the digest of its bucket with it."""
        self._touched.add(dbid)
        self._add_digest(dbid, -1)
        if hash:
            self._hashes[_PERSON, dbid] = hash
            self._changed_ms[dbid] = changed_ms
        else:
            self._hashes.pop((_PERSON, dbid), None)
            self._changed_ms.pop(dbid, None)
        if state == NO_STATE:
            self._states.pop(dbid, None)
        else:
            self._states[dbid] = state
        bucket = self._buckets[dbid % BUCKETS]
        if self._add_digest(dbid, 1):
            bucket.add(dbid)
        else:
            bucket.discard(dbid)

    def _add_digest(self, dbid: int, sign: int) -> bool:
        entry = self.entry(dbid)
        if entry is None:
            return False
        digest = hashlib.blake2b(_encode(entry), digest_size=DIGEST_BYTES).digest()
        place = dbid % BUCKETS
        self._digests[place] = (self._digests[place] + sign * int.from_bytes(digest, "big")) % _RANGE
        return True


def differing_buckets(ours: bytes, theirs: bytes) -> list[int]:
    """The buckets whose digests differ; all of them if ``theirs`` are not digests of as many."""
    if len(theirs) != len(ours):
        return list(range(BUCKETS))
    step = DIGEST_BYTES
    return [n for n in range(BUCKETS) if ours[n * step : (n + 1) * step] != theirs[n * step : (n + 1) * step]]
