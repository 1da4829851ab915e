"""How much each client may change through a proxy: a bucket that fills at a steady rate. No clock, no I/O."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

__all__ = ["BURST_S", "MAX_BUDGETS", "WriteBudgets"]

BURST_S: Final = 10.0
"""A client that has changed nothing for this long may make as many changes at once as it otherwise may in this time."""
MAX_BUDGETS: Final = 10_000
"""Clients remembered; beyond it the one longest unseen starts anew, with a full bucket."""


class _Bucket(NamedTuple):
    changes: float
    at_s: float


class WriteBudgets:
    """The buckets of all clients. ``rate`` is in changes per second, 0 for no limit; it may be set at any time."""

    def __init__(self, rate: float = 0.0) -> None:
        self.rate = rate
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def __repr__(self) -> str:
        return f"<WriteBudgets {self.rate:g} changes/s, {len(self._buckets)} clients>"

    @property
    def most(self) -> float:
        """The changes that one request may hold at most."""
        return self.rate * BURST_S if self.rate else math.inf

    def spend(self, client: Hashable, changes: int, now_s: float) -> float:
        """Take ``changes`` out of a client's bucket. Returns 0, or the seconds until it holds so many.

        Nothing is taken then; more than `most` never fit: infinity.
        """
        if not self.rate:
            self._buckets.clear()
            return 0.0
        if changes > self.most:
            return math.inf
        bucket = self._buckets.pop(client, _Bucket(self.most, now_s))
        present = min(self.most, bucket.changes + self.rate * max(now_s - bucket.at_s, 0.0))
        missing = changes - present
        self._buckets[client] = _Bucket(present - (changes if missing <= 0 else 0), now_s)
        if len(self._buckets) > MAX_BUDGETS:
            self._buckets.popitem(last=False)
        return max(missing, 0.0) / self.rate
