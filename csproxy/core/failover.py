"""Where to connect next, and how long to wait before.

`Backoff` answers *when*: full jitter, so that a thousand clients that lose one server at the same
moment do not come back at the same moment. `EndpointPolicy` answers *where*: a server and its
backups in turn. Both are told the time and draw randomness from a callable; neither waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from csproxy.errors import ConfigurationError

__all__ = [
    "LONGEST_DELAY_S",
    "SHORTEST_DELAY_S",
    "Backoff",
    "Endpoint",
    "EndpointPolicy",
]

SHORTEST_DELAY_S: Final = 0.05
"""Upper bound of the first delay."""
LONGEST_DELAY_S: Final = 10.0
"""Upper bound of every later delay."""


class Backoff:
    """Exponential back-off with full jitter: each delay is uniform between 0 and a doubling bound.

    ``random`` returns a float in [0, 1). The bound goes from ``shortest_s`` by doubling to
    ``longest_s`` and falls back to ``shortest_s`` only once a connection has lasted for ``longest_s``: a server that
    accepts and drops at once is no reason to hurry. With ``is_light``, where coming back costs little, it is enough
    that the connection has lasted for as long as the next pause might. `longest_s` may be changed at any time.
    """

    __slots__ = ("_bound_s", "_connected_at", "_is_light", "_random", "_shortest_s", "longest_s")

    def __init__(
        self,
        random: Callable[[], float],
        *,
        shortest_s: float = SHORTEST_DELAY_S,
        longest_s: float = LONGEST_DELAY_S,
        is_light: bool = False,
    ) -> None:
        if not 0 < shortest_s <= longest_s:
            raise ConfigurationError(
                f"back-off from {shortest_s} s to {longest_s} s: the first must be above 0 and not above the second"
            )
        self._random = random
        self._shortest_s = shortest_s
        self.longest_s = longest_s
        self._is_light = is_light
        self._bound_s = shortest_s
        self._connected_at: float | None = None

    def __repr__(self) -> str:
        return f"<Backoff next delay up to {self._bound_s:g} s>"

    def next_delay_s(self, *, at_least_s: float = 0.0) -> float:
        """Seconds to wait before the next attempt; each call doubles the bound.

        ``at_least_s`` is a peer's own retry hint: the jitter is added to it, never taken from it.
        """
        bound = min(self._bound_s, self.longest_s)
        self._bound_s = min(bound * 2, self.longest_s)
        return at_least_s + self._random() * bound

    def jitter_s(self, longest_s: float) -> float:
        """A delay up to ``longest_s`` that is no sign of trouble: it doubles nothing."""
        return self._random() * longest_s

    def connected(self, now: float) -> None:
        """An attempt succeeded at ``now`` (seconds of any monotonic clock)."""
        self._connected_at = now

    def lost(self, now: float) -> None:
        """The connection ended at ``now``; without a connection nothing changes."""
        if self._connected_at is None:
            return
        if now - self._connected_at >= (self._bound_s if self._is_light else self.longest_s):
            self._bound_s = self._shortest_s
        self._connected_at = None


class Endpoint(NamedTuple):
    """A server's address; ``str`` gives ``host:port``, with brackets around an IPv6 address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class EndpointPolicy:
    """Which of a server and its backups is tried next (spec: Connections and HA; feature J1).

    ``endpoints`` holds the primary first. After so many failures in a row (1, until `learn` says more), or
    one answer that the server will not serve, the next one is tried, for ever round. An established
    connection stays where it is, also on a backup; when it is lost, the primary is tried first again.
    """

    __slots__ = ("_attempts", "_configured", "_endpoints", "_failures", "_index")

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        if not endpoints:
            raise ConfigurationError("no server to connect to: at least one host and port is needed")
        self._configured = self._endpoints = tuple(endpoints)
        self._attempts = 1
        self._index = 0
        self._failures = 0

    def __repr__(self) -> str:
        return f"<EndpointPolicy {self.current} of {len(self._endpoints)}, {self._failures} failures>"

    @property
    def current(self) -> Endpoint:
        """The endpoint to try now, or the one in use."""
        return self._endpoints[self._index]

    @property
    def on_backup(self) -> bool:
        """True when `current` is not the primary."""
        return self._index > 0

    def learn(self, endpoints: Sequence[Endpoint], *, attempts: int) -> None:
        """Try these, too, after those that were given at first; all this replaces what was learnt before."""
        self._attempts = attempts
        current = self.current
        learnt = [endpoint for endpoint in dict.fromkeys(endpoints) if endpoint not in self._configured]
        self._endpoints = (*self._configured, *learnt)
        self._index = self._endpoints.index(current) if current in self._endpoints else 0

    def suggested(self, endpoint: Endpoint | None) -> None:
        """A server that stands by names the one that serves (None: it cannot): tried, too, if no other one is known."""
        if endpoint is not None and len(self._endpoints) == 1:
            self.learn([endpoint], attempts=self._attempts)

    def failed(self) -> None:
        """The attempt at `current` failed."""
        self._failures += 1
        if self._failures >= self._attempts:
            self.pass_over()

    def pass_over(self) -> None:
        """The server at `current` has said that it will not serve: the next one, whatever attempts it has left."""
        self._failures = 0
        self._index = (self._index + 1) % len(self._endpoints)

    def connected(self) -> None:
        """The attempt at `current` succeeded: stay here until `lost`, or the server says farewell (`pass_over`)."""
        self._failures = 0

    def lost(self) -> None:
        """The established connection ended: the primary is next."""
        self._failures = 0
        self._index = 0
