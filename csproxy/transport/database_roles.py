"""What a server that comes to a database may become: its master, or the backup of the one that has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import anyio

from csproxy.core import codec
from csproxy.core.lease import Holder, Lease, LeaseWatch
from csproxy.core.pairs import are_pair
from csproxy.core.persistence.processes import is_alive
from csproxy.core.persistence.store import Store
from csproxy.errors import ErrorCode, StoreError
from csproxy.transport.database_store import OpenStore

__all__ = ["FirstRole", "wait_for_role"]

_APPLICATION: Final = 9
_LOOK_S: Final = 0.5


class FirstRole(NamedTuple):
    """Whether the database may be taken, and the lease as it was seen then."""

    may_be_taken: bool
    seen: Lease | None


async def wait_for_role(
    store: OpenStore, holder: Holder, *, lease_s: float, clock: Callable[[], float] = anyio.current_time
) -> FirstRole:
    """Find out the role of ``holder``, at once if that is possible.

    Only when it cannot be known whether the owner of the lease lives (it ran on another machine) and the two are
    no pair, the lease is watched until it moves or has run out. Raises `StoreError` naming the owner when
    it lives and the two are no pair.
    """
    watch = LeaseWatch(lease_s)
    first: Lease | None = None
    while True:
        lease = (await store.call(Store.beat)).lease
        if lease is None or watch.has_run_out(lease, clock()):
            return FirstRole(True, lease)
        other = lease.holder
        alive = await store.call(partial(_is_alive, other))
        if alive is False:
            return FirstRole(True, lease)
        if first is None and await _are_pair(store, holder.application, other.application):
            return FirstRole(False, lease)
        if alive or (first is not None and lease != first):
            raise StoreError(
                f"the database is in use by {other}: stop that server first, make one of the two the backup "
                "of the other (serverInfo.backupServerDBID), or give this one its own database",
                code=ErrorCode.NO_DB_ACCESS,
            )
        first = lease
        await anyio.sleep(_LOOK_S)


def _is_alive(other: Holder, store: Store) -> bool | None:
    del store  # its thread is where files are read
    return is_alive(other.process)


async def _are_pair(store: OpenStore, one: str, other: str) -> bool:
    if one == other:
        return False
    rows = await store.call(lambda store: store.objects_of(_APPLICATION))
    return are_pair([codec.decode_map(body) for _, body in rows], one, other)
