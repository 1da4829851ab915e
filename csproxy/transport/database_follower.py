"""A backup master: follows the database that another master writes, until it may be taken.

It reads the rows of new changes and publishes them as the primary did: whole transactions, in order. What
was trimmed before it was read is made up for by reading everything again, in parts; that waits for option
delay-reload-backup, unless the database is to be taken over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import anyio

from csproxy.core.lease import Holder, Lease, LeaseWatch
from csproxy.core.persistence.processes import is_alive
from csproxy.core.persistence.store import Beat, Store
from csproxy.core.replica import ReplicaSink
from csproxy.errors import ModelError, StoreError
from csproxy.transport.database_lease import RetryDelay
from csproxy.transport.database_store import OpenStore, load, recorded_transactions

__all__ = ["POLL_S", "Follower"]

log = logging.getLogger("csproxy.master")

POLL_S: Final = 0.5
"""How often the database is asked for changes: how far a backup is behind."""


class Follower:
    """Follows into ``sink``. ``holder`` is this server, as it would stand in the lease.

    ``delay_reload_s()`` is option delay-reload-backup.
    """

    def __init__(
        self,
        store: OpenStore,
        sink: ReplicaSink,
        holder: Holder,
        *,
        lease_s: float,
        reconnect_s: float,
        delay_reload_s: Callable[[], float],
        poll_s: float = POLL_S,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._store = store
        self._sink = sink
        self._holder = holder
        self._watch = LeaseWatch(lease_s)
        self._reconnect_s = reconnect_s
        self._delay_reload_s = delay_reload_s
        self._gone_since_s: float | None = None
        self._poll_s = poll_s
        self._clock = clock
        self._is_lost = False
        self.lease: Lease | None = None
        """The lease as last seen."""
        self.reloads = 0

    def __repr__(self) -> str:
        return f"<Follower at UEN {self._sink.position.uen} of {self.lease and self.lease.holder}>"

    async def until_free(self) -> Lease | None:
        """Follow until the database may be taken; returns the lease as it was then."""
        delay = RetryDelay(self._reconnect_s)
        while True:
            try:
                beat = await self._store.call(Store.beat)
                await self.catch_up(beat, at_once=False)
                if await self._is_free(beat.lease):
                    return beat.lease
            except StoreError as e:
                # the owner may have been unable to renew as well
                self._watch.forget()
                self._note_loss(e)
                await anyio.sleep(delay.next_s())
                continue
            self._note_return()
            delay = RetryDelay(self._reconnect_s)
            await anyio.sleep(self._poll_s)

    async def catch_up(self, beat: Beat, *, at_once: bool = True) -> None:
        """Publish everything up to the head that ``beat`` names; unless ``at_once``, what is gone is waited for first.

        Raises `StoreError`.
        """
        sink = self._sink
        if sink.position == (0, 0):
            await load(self._store, sink)
        if beat.lease is not None and (self.lease is None or beat.lease.epoch != self.lease.epoch):
            sink.set_epochs(await self._store.call(Store.epochs))
        self.lease = beat.lease
        while sink.position.uen < beat.head:
            if self._gone_since_s is None and await self._publish_some(beat.head):
                continue
            if not at_once and self._must_wait():
                return
            self.reloads += 1
            log.warning(
                "changes after UEN %d are gone: everything is read again", sink.position.uen, extra={"event": 31052}
            )
            await load(self._store, sink)
            self._gone_since_s = None

    def _must_wait(self) -> bool:
        """Whether what is gone may not be read again yet."""
        now_s = self._clock()
        if self._gone_since_s is None:
            self._gone_since_s = now_s
        return now_s - self._gone_since_s < self._delay_reload_s()

    async def _publish_some(self, head: int) -> bool:
        """Publish the next transactions; False when the next change is not there, or does not fit."""
        after = self._sink.position.uen
        transactions = await recorded_transactions(self._store, after=after, until=head)
        if not transactions or transactions[0][0].position.uen != after + 1:
            return False
        try:
            for transaction in transactions:
                self._sink.publish(transaction)
        except ModelError as e:
            log.warning(
                "change %d of the database does not fit: %s", self._sink.position.uen + 1, e, extra={"event": 31052}
            )
            return False
        return True

    async def _is_free(self, lease: Lease | None) -> bool:
        if lease is None or lease.holder == self._holder:
            return True
        if self._watch.has_run_out(lease, self._clock()):
            return True
        process = lease.holder.process
        return await self._store.call(lambda _: is_alive(process)) is False

    def _note_loss(self, error: StoreError) -> None:
        if not self._is_lost:
            log.warning("the database cannot be followed: %s", error, extra={"event": 4504})
        self._is_lost = True

    def _note_return(self) -> None:
        if self._is_lost:
            log.warning("the database is followed again", extra={"event": 4503})
        self._is_lost = False
