"""What a directory said of a password a while ago.

Passwords are kept only as keyed digests under a random key of this process. An entry counts until it
expires, and as long as its ``basis`` (the Person's bytes and the settings in force) is what it was. Of a user's
wrong passwords only the last is kept, so that guessing cannot fill the memory.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

__all__ = ["MAX_REMEMBERED", "VerdictCache"]

MAX_REMEMBERED: Final = 10_000
"""Users remembered of each kind; beyond it the one longest unused is forgotten."""


class _Verdict(NamedTuple):
    digest: bytes
    basis: object
    expires_s: float
    text: str


class VerdictCache:
    """Right and wrong passwords of the last while, by the Person's DBID. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float], *, max_remembered: int = MAX_REMEMBERED) -> None:
        self._clock = clock
        self._max = max_remembered
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[int, _Verdict] = OrderedDict()
        self._wrong: OrderedDict[int, _Verdict] = OrderedDict()

    def __repr__(self) -> str:
        return f"<VerdictCache {len(self._right)} right, {len(self._wrong)} wrong>"

    def find(self, dbid: int, password: str, basis: object) -> str | None:
        """What is known of this password: "" it is right, a text it was refused with that, None nothing."""
        digest = self._digest(dbid, password)
        for kept in (self._right, self._wrong):
            verdict = kept.get(dbid)
            if verdict is None:
                continue
            if verdict.basis != basis or self._clock() >= verdict.expires_s:
                del kept[dbid]
            elif hmac.compare_digest(verdict.digest, digest):
                kept.move_to_end(dbid)
                return verdict.text
        return None

    def accepted(self, dbid: int, password: str, basis: object, *, keep_s: float) -> None:
        """The directory has just found the password right."""
        digest = self._digest(dbid, password)
        self._forget(self._wrong, dbid, digest)
        self._keep(self._right, dbid, _Verdict(digest, basis, self._clock() + keep_s, ""), keep_s)

    def refused(self, dbid: int, password: str, basis: object, text: str, *, keep_s: float) -> None:
        """The directory has just found the password wrong, and ``text`` (not empty) was told."""
        digest = self._digest(dbid, password)
        self._forget(self._right, dbid, digest)
        self._keep(self._wrong, dbid, _Verdict(digest, basis, self._clock() + keep_s, text), keep_s)

    def _forget(self, kept: OrderedDict[int, _Verdict], dbid: int, digest: bytes) -> None:
        if dbid in kept and hmac.compare_digest(kept[dbid].digest, digest):
            del kept[dbid]

    def _keep(self, kept: OrderedDict[int, _Verdict], dbid: int, verdict: _Verdict, keep_s: float) -> None:
        if keep_s <= 0:
            return
        kept[dbid] = verdict
        kept.move_to_end(dbid)
        if len(kept) > self._max:
            kept.popitem(last=False)

    def _digest(self, dbid: int, password: str) -> bytes:
        return hmac.digest(self._key, f"{dbid}:{password}".encode("utf-8", "surrogatepass"), "sha256")
