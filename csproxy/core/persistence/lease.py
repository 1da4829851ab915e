"""The row of the lease (`csproxy.core.lease`): reading, taking, renewing and giving it up, inside a transaction."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from csproxy.core.lease import Holder, Lease
from csproxy.core.persistence import tables

__all__ = ["give_up_lease", "put_lease", "read_lease", "renew_lease"]

_c: Final = tables.lease.c
_read: Final = select(_c.epoch, _c.counter, _c.time_ms, _c.application, _c.process, _c.address, _c.port)
_of_epoch: Final = _c.epoch == bindparam("of_epoch")
_renew: Final = update(tables.lease).where(_of_epoch).values(counter=_c.counter + 1)
_give_up: Final = update(tables.lease).where(_of_epoch).values(epoch=0)


def read_lease(connection: Connection) -> Lease | None:
    """The lease; None before any server of this release has taken the database."""
    row = connection.execute(_read).first()
    if row is None:
        return None
    epoch, counter, time_ms, *holder = row
    return Lease(epoch, counter, time_ms / 1000, Holder(*holder))


def put_lease(connection: Connection, lease: Lease) -> None:
    """Write the whole row."""
    connection.execute(delete(tables.lease))
    row = {"id": 1, "epoch": lease.epoch, "counter": lease.counter, "time_ms": round(lease.lease_s * 1000)}
    names = {"application": lease.holder.application[:255], "process": lease.holder.process[:255]}
    where = {"address": lease.holder.address[:255], "port": lease.holder.port}
    connection.execute(insert(tables.lease), {**row, **names, **where})


def renew_lease(connection: Connection, epoch: int) -> bool:
    """Count the owner's number up; False when the lease is not, or no more, that of ``epoch``."""
    return connection.execute(_renew, {"of_epoch": epoch}).rowcount == 1


def give_up_lease(connection: Connection, epoch: int) -> None:
    """Let another server take the database at once, if the lease is still that of ``epoch``."""
    connection.execute(_give_up, {"of_epoch": epoch})
