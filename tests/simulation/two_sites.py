"""Clients that know their servers as the pools of two sites, instead of as a server and its backups."""

from __future__ import annotations

import random
from typing import Any

from csproxy.core.routes import Pools

__all__ = ["way_to"]

_SHARE = 0.12
"""None of the seeds that are kept because they once failed is among those, so that they stay what they were."""


def way_to(endpoints: list[tuple[str, int]], *, seed: int, name: str) -> dict[str, Any]:
    """Which servers a client is given, and how: the arguments of its `ConfigClient`.

    In some seeds the clients with several servers go by pools, and return in haste, so that runs see many moves.
    """
    if len(endpoints) < 2 or random.Random(f"{seed} clients with two sites").random() >= _SHARE:
        return {"endpoints": endpoints}
    preferred = random.Random(f"{seed} {name} preferred").randint(1, len(endpoints) - 1)
    pools = Pools(
        endpoints[:preferred], endpoints[preferred:], retry_delay_s=0.5, random_delay_s=0.3, return_after_s=0.7
    )
    return {"pools": pools}
