"""The lease on a database: who has it, and when another server may take it.

The owner counts a number up while it lives. Another server watches that number with its own
monotonic clock; no two clocks are ever compared. What protects the data is not the lease but the
fence: every commit checks that its epoch is the newest. The lease only says when to begin a new one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["LEASE_S", "Holder", "Lease", "LeaseWatch"]

LEASE_S: Final = 10.0
"""How long a lease holds that is not renewed."""


class Holder(NamedTuple):
    """A server that has, or may take, the database: its Application, its process, its address for clients."""

    application: str
    process: str = ""
    address: str = ""
    port: int = 0

    def __str__(self) -> str:
        where = f" at {self.address}:{self.port}" if self.address else ""
        return f"{self.application!r}{where}"


class Lease(NamedTuple):
    """The row as it stands; ``epoch`` 0 says that the last owner gave it up."""

    epoch: int
    counter: int
    lease_s: float
    holder: Holder

    @property
    def is_given_up(self) -> bool:
        """Whether nobody has the database."""
        return self.epoch == 0


class LeaseWatch:
    """Watches somebody else's lease; ``now`` is seconds of the watcher's monotonic clock.

    ``lease_s`` is the watcher's own time; the owner's counts when it is longer.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: tuple[int, int] | None = None
        self._since_s = 0.0

    def __repr__(self) -> str:
        return f"<LeaseWatch {self._seen}>"

    def has_run_out(self, lease: Lease, now: float) -> bool:
        """Whether the database may be taken: the lease was given up, or not renewed for its time."""
        if lease.is_given_up:
            return True
        seen = (lease.epoch, lease.counter)
        if seen != self._seen:
            self._seen, self._since_s = seen, now
        return now - self._since_s >= max(self._lease_s, lease.lease_s)

    def forget(self) -> None:
        """The database could not be read, so the owner may have been unable to renew: begin anew."""
        self._seen = None
