"""What a seed decides before its run begins: sizes, speeds, limits, how rough the faults are."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from csproxy.core.changelog import WindowLimits

TOGETHER: Final = 100_000
"""From this seed on the two proxies belong together; before, each stands alone."""
PAIR, POOL = "pair", "pool"
CROWD: Final = 12


@dataclass(frozen=True)
class RunPlan:
    """The parameters of one run; times in seconds, sizes in bytes.

    ``step_s`` above 0: latency is constant and all waits are multiples of it, so that much happens
    in one turn of the event loop. ``pair``: the master has a backup; ``same_machine``: each of the two
    sees whether the other's process lives; ``is_database_rough``: disks and the ways to the database
    fail, too; ``backups_are_restored``: the operator puts back older copies of the database; ``writable``: writers
    write through the proxies, too;
    ``persistent``: proxies begin with the database while no master answers; ``load_max`` above 0: writes and loads take
    turns (serialize-write-transactions, proxy-load-max). ``limited``: so many subscribers read only a part, and what
    that is changes. ``crowd``: so many more clients of a pair follow one object each, so that there are many sessions.
    ``standby_lags``: once at least its standby takes over while it is behind its master.
    ``together``: the proxies are a warm-standby pair (`PAIR`), or members of a pool behind a load
    balancer (`POOL`), or stand alone (empty). ``link_timeout_s``: the keep-alive of the proxies' Connections to the
    master; 0 = they have none. ``last_switch``: the primary of the pair hands over, is killed, or loses
    its power once more after the last fault; empty: nothing of that.
    """

    duration_s: float
    clients: int
    writers: int
    latency_s: tuple[float, float]
    step_s: float
    window_bytes: int
    history: WindowLimits
    packet_bytes: int
    mark_interval_s: float
    filler_bytes: int
    write_pause_s: float
    fault_pause_s: float
    delay_reload_s: float
    proxies_listen_early: bool
    commit_errors: float
    ping_interval_s: float
    clients_per_turn: int
    high_water_bytes: int
    local_copies: bool
    pair: bool
    same_machine: bool
    proxies_know_both: bool
    lease_s: float
    is_database_rough: bool
    backups_are_restored: bool
    writable: bool
    persistent: bool
    load_max: int
    limited: int
    together: str
    link_timeout_s: int
    last_switch: str
    crowd: int
    standby_lags: bool

    @property
    def max_detached(self) -> int:
        """How many sessions a server keeps whose clients are gone; after a takeover these are all of the other's."""
        return 30 + 3 * self.crowd if self.together == PAIR else 6

    @staticmethod
    def draw(seed: int) -> RunPlan:
        """Draw everything. What was added later has sources of its own, so that the rest of a seed stays as it was."""
        rng, pairs = random.Random(f"{seed} world"), random.Random(f"{seed} pairs")
        limits, together = random.Random(f"{seed} limited"), random.Random(f"{seed} together")
        kind = "" if seed < TOGETHER else PAIR if together.random() < 0.65 else POOL
        small_window = rng.random() < 0.6
        step_s = rng.choice([0.0, 0.0, 0.02, 0.1])
        return RunPlan(
            duration_s=rng.uniform(12, 25),
            clients=rng.randint(3, 6),
            writers=rng.randint(1, 2),
            latency_s=(step_s, step_s) if step_s else (0.0005, rng.choice([0.002, 0.02, 0.1])),
            step_s=step_s,
            window_bytes=rng.choice([1_500, 16 * 1024, 256 * 1024]),
            history=WindowLimits(rng.randint(3, 40), rng.choice([0.0, 0.0, 5.0]), rng.choice([500, 5_000, 50_000]))
            if small_window
            else WindowLimits(),
            packet_bytes=rng.choice([500, 2_000, 64 * 1024]),
            mark_interval_s=rng.choice([1.0, 3.0, 10.0]),
            filler_bytes=rng.choice([0, 300, 12_000]),
            write_pause_s=rng.choice([0.15, 0.3, 0.8]),
            fault_pause_s=rng.choice([0.7, 2.0, 5.0]),
            delay_reload_s=rng.choice([0.0, 0.0, 3.0]),
            proxies_listen_early=rng.random() < 0.5,
            commit_errors=rng.choice([0.0, 0.0, 0.05]),
            ping_interval_s=rng.choice([2.0, 6.0]),
            clients_per_turn=rng.choice([1, 128]),
            high_water_bytes=rng.choice([4 * 1024, 64 * 1024]),
            local_copies=random.Random(f"{seed} copies").random() < 0.5,
            pair=pairs.random() < 0.4,
            same_machine=pairs.random() < 0.3,
            proxies_know_both=pairs.random() < 0.5,
            lease_s=pairs.choice([1.5, 3.0, 5.0]),
            is_database_rough=pairs.random() < 0.6,
            backups_are_restored=pairs.random() < 0.15,
            writable=random.Random(f"{seed} writable").random() < 0.5,
            persistent=pairs.random() < 0.15 and kind != PAIR,  # in persistent mode a proxy serves alone
            load_max=pairs.choice([0, 1]),
            limited=limits.randint(1, 2) if limits.random() < 0.12 else 0,
            together=kind,
            link_timeout_s=together.choice([0, 1, 2]),
            last_switch=together.choice(["", "", "hand_over", "hand_over", "crash", "power_off"])
            if kind == PAIR
            else "",
            crowd=CROWD if kind == PAIR and random.Random(f"{seed} crowd").random() < 0.25 else 0,
            standby_lags=kind == PAIR and random.Random(f"{seed} lag").random() < 0.5,
        )
