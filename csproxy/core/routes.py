"""Where a client goes next, and how long it waits before: a server and its backups, or the pools of two sites. No I/O.

`Route` is what keeps a client connected asks. `ServersRoute` is a server and its backups, tried in turn with
an exponential back-off. `PoolsRoute` is a preferred and a backup pool (business continuity): any member of a pool
is as good as another, so that members are tried in random order, every member of both pools once in a round, and
only then there is a pause. Both keep thousands of clients that lose one server at the same moment from
coming back at the same moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from csproxy.core.failover import SHORTEST_DELAY_S, Backoff, Endpoint, EndpointPolicy
from csproxy.errors import ConfigurationError

__all__ = ["Pools", "PoolsRoute", "Route", "ServersRoute"]


class Route(Protocol):
    """What a client needs to know: where, and when. Times are seconds of any monotonic clock."""

    @property
    def current(self) -> Endpoint:
        """The endpoint to try now, or the one in use."""

    @property
    def round_size(self) -> int:
        """How many attempts try every endpoint once."""

    def failed(self, *, hint_s: float = 0.0) -> None:
        """The attempt at `current` failed; ``hint_s`` is the server's own wish when to come again."""

    def connected(self, now: float) -> None:
        """The attempt at `current` succeeded."""

    def lost(self, now: float, *, hint_s: float = 0.0, elsewhere: bool = False) -> None:
        """The established connection ended; ``elsewhere``: its server will hardly answer, others are tried before."""

    def pause_s(self) -> float:
        """Seconds to wait before the attempt at `current`; asked once for each attempt."""


class ServersRoute:
    """A server and its backups: ``attempts`` tries on one before the next, and so on round.

    There is full jitter before each try (`Backoff`). Pauses grow, and heed what servers have asked for, before a server
    is tried that has been tried since the loss; the next one in a round is not to blame and is tried within 50 ms.
    """

    def __init__(self, servers: Sequence[Endpoint], random: Callable[[], float], *, attempts: int = 1) -> None:
        if attempts < 1:
            raise ConfigurationError(f"attempts {attempts} on one server before the other: at least 1 is needed")
        self._policy = EndpointPolicy(servers)
        self._policy.learn((), attempts=attempts)
        self._backoff = Backoff(random, is_light=True)
        self._hint_s = 0.0
        self._is_within_round = False
        self.round_size = len(servers)

    def __repr__(self) -> str:
        return f"<ServersRoute {self.current} of {self.round_size}>"

    @property
    def current(self) -> Endpoint:
        """The server to try now, or the one in use."""
        return self._policy.current

    def failed(self, *, hint_s: float = 0.0) -> None:
        """The next one, once this one had its attempts."""
        failed = self._policy.current
        self._policy.failed()
        self._is_within_round = self._policy.on_backup and self._policy.current != failed
        self._hint_s = max(self._hint_s, hint_s)

    def connected(self, now: float) -> None:
        """Stay here until `lost`."""
        self._policy.connected()
        self._backoff.connected(now)
        self._hint_s = 0.0
        self._is_within_round = False

    def lost(self, now: float, *, hint_s: float = 0.0, elsewhere: bool = False) -> None:
        """The primary is next, or ``elsewhere`` the server after the one that is lost, after a short pause."""
        if elsewhere:
            self._policy.pass_over()
        else:
            self._policy.lost()
        self._backoff.lost(now)
        self._hint_s = hint_s

    def pause_s(self) -> float:
        """Between 0 and a bound that doubles from round to round, after the longest hint of the last one."""
        if self._is_within_round:
            return self._backoff.jitter_s(SHORTEST_DELAY_S)
        hint_s, self._hint_s = self._hint_s, 0.0
        return self._backoff.next_delay_s(at_least_s=hint_s)


class Pools(NamedTuple):
    """The pools of two sites, as (host, port) of their members or balancers.

    All of ``preferred`` are tried before any of ``backup``. ``retry_delay_s`` lies between two rounds, and
    up to ``random_delay_s`` before the server that was lost is tried again. A client on the backup pool returns once
    the preferred one has been reachable for ``return_after_s``, and up to as long again after that, so that
    thousands do not return at once; None: it stays until its connection is lost.
    """

    preferred: Sequence[tuple[str, int]]
    backup: Sequence[tuple[str, int]] = ()
    retry_delay_s: float = 10.0
    random_delay_s: float = 2.0
    return_after_s: float | None = 60.0


class PoolsRoute:
    """One round after the other through both pools; ``random`` gives floats in [0, 1).

    A connection that lasted is tried again at its own server first, where its session is, unless that server said
    that it stops, or was silent. One that was lost within ``retry_delay_s`` counts as a failure: the round goes on.
    """

    def __init__(self, pools: Pools, random: Callable[[], float]) -> None:
        self._preferred = tuple(dict.fromkeys(Endpoint(*each) for each in pools.preferred))
        self._backup = tuple(dict.fromkeys(Endpoint(*each) for each in pools.backup))
        if not self._preferred:
            raise ConfigurationError("the preferred pool has no member: at least one host and port is needed")
        both = set(self._preferred) & set(self._backup)
        if both:
            raise ConfigurationError(f"{min(both)} is in both pools: a member belongs to one")
        if not (pools.retry_delay_s > 0 and pools.random_delay_s >= 0):
            raise ConfigurationError(
                f"retry delay {pools.retry_delay_s} s, random delay {pools.random_delay_s} s: "
                "the first must be above 0, the second not below"
            )
        if pools.return_after_s is not None and not pools.return_after_s > 0:
            raise ConfigurationError(f"return after {pools.return_after_s} s: above 0, or None for never")
        self._pools = pools
        self._random = random
        self._round = self._new_round()
        self._current = self._round.pop(0)
        self._hint_s = 0.0
        self._pause_s = 0.0
        self._connected_s: float | None = None
        self.round_size = len(self._preferred) + len(self._backup)

    def __repr__(self) -> str:
        pool = "preferred" if self._current in self._preferred else "backup"
        return f"<PoolsRoute {self._current} of the {pool} pool, {len(self._round)} left in this round>"

    @property
    def current(self) -> Endpoint:
        """The member to try now, or the one in use."""
        return self._current

    @property
    def is_to_return(self) -> bool:
        """Whether `current` is of the backup pool, and the client does not mean to stay there."""
        return self._current in self._backup and self._pools.return_after_s is not None

    def failed(self, *, hint_s: float = 0.0) -> None:
        """The next member at once; after the last one a pause, not shorter than the longest hint of the round."""
        self._hint_s = max(self._hint_s, hint_s)
        if self._round:
            self._pause_s = 0.0
        else:
            self._pause_s = max(self._pools.retry_delay_s, self._hint_s) + self._jitter_s()
            self._round = self._new_round()
            self._hint_s = 0.0
        self._current = self._round.pop(0)

    def connected(self, now: float) -> None:
        """Stay here until `lost`, or `returned`."""
        self._connected_s = now

    def lost(self, now: float, *, hint_s: float = 0.0, elsewhere: bool = False) -> None:
        """A new round, which begins where the client was, or ends there if that server stops or was silent."""
        since_s, self._connected_s = self._connected_s, None
        if since_s is None or now - since_s < self._pools.retry_delay_s:
            self.failed(hint_s=hint_s)
            return
        was = self._current
        self._hint_s = hint_s
        self._round = [each for each in self._new_round() if each != was]
        self._round.insert(len(self._round) if hint_s or elsewhere else 0, was)
        self._current = self._round.pop(0)
        self._pause_s = self._jitter_s() + (hint_s if self._current == was else 0.0)

    def pause_s(self) -> float:
        """What the last failure or loss has set."""
        return self._pause_s

    def look_back(self) -> Endpoint:
        """A member of the preferred pool, to see whether it is reachable again."""
        return self._preferred[int(self._random() * len(self._preferred))]

    def look_back_pause_s(self) -> float:
        """Between two looks: as long as the preferred pool must be reachable, half of it more or less."""
        assert self._pools.return_after_s is not None
        return self._pools.return_after_s * (0.5 + self._random())

    def return_pause_s(self) -> float:
        """From the first look that found it to the return: once to twice ``return_after_s``."""
        assert self._pools.return_after_s is not None
        return self._pools.return_after_s * (1 + self._random())

    def returned(self, endpoint: Endpoint, now: float) -> None:
        """The client is connected to ``endpoint`` now, and its connection was never lost."""
        self._current = endpoint
        self._connected_s = now

    def _new_round(self) -> list[Endpoint]:
        return [*self._shuffled(self._preferred), *self._shuffled(self._backup)]

    def _shuffled(self, members: Sequence[Endpoint]) -> list[Endpoint]:
        return sorted(members, key=lambda _: self._random())

    def _jitter_s(self) -> float:
        return self._random() * self._pools.random_delay_s
