"""What an upstream source counts."""

from __future__ import annotations

from dataclasses import dataclass

from csproxy.core.changes import Position
from csproxy.transport.upstream_digests import DigestStatistics

__all__ = ["Totals", "UpstreamStatistics"]


@dataclass(frozen=True)
class UpstreamStatistics:
    """What an upstream source has done since its start.

    ``endpoint`` is the address in use or tried now; ``live_since_s`` is a time of the source's
    clock, None while it is not live.
    """

    state: str
    endpoint: str
    position: Position
    connects: int
    losses: int
    refusals: int
    resumes: int
    loads: int
    deferrals: int
    objects_loaded: int
    transactions: int
    changes: int
    live_since_s: float | None
    last_error: str
    digests: DigestStatistics


@dataclass
class Totals:
    """Counters over all connections; those of the present link are added when it ends."""

    connects: int = 0
    losses: int = 0
    refusals: int = 0
    resumes: int = 0
    loads: int = 0
    deferrals: int = 0
    objects_loaded: int = 0
    transactions: int = 0
    changes: int = 0
