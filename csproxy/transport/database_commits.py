"""Committing, and finding out what became of a commit that failed.

A failed commit may be in the database all the same, because only its answer was lost. So the
database is asked before anybody is answered, and before anything new is planned on top of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import anyio

from csproxy.errors import ErrorCode, OutcomeUnknownError, StoreError
from csproxy.transport.database_store import OpenStore
from csproxy.transport.database_transactions import PendingTransaction

__all__ = ["Committer"]

_FIRST_RETRY_S: Final = 0.05
_LONGEST_RETRY_S: Final = 1.0


class Committer:
    """Writes transactions, also several at once. ``settle_s``: how long a commit of unknown outcome is looked into."""

    def __init__(self, *, settle_s: float) -> None:
        self.failures = 0
        """Commits that failed, whatever was found out about them then."""
        self._settle_s = settle_s
        self._unsettled: Sequence[PendingTransaction] = ()

    def __repr__(self) -> str:
        state = f"UEN {self._unsettled[-1].end.uen} unsettled" if self._unsettled else "settled"
        return f"<Committer {state}, {self.failures} failures>"

    async def commit(
        self,
        store: OpenStore,
        *pending: PendingTransaction,
        time_ms: int,
        note: Callable[[StoreError], None],
    ) -> None:
        """Write ``pending``, which follow each other; they are in the database when this returns.

        ``note`` is told of an error at once, before its outcome is known.

        Raises `StoreError`: none of them is. Raises `OutcomeUnknownError`: that stays unknown, until `settle`.
        """
        batches = [each.batch for each in pending]
        try:
            await store.call(lambda store: store.commit(*batches, time_ms=time_ms))
        except StoreError as e:
            self.failures += 1
            self._unsettled = pending
            note(e)
            if not await self._was_written(store, pending, e):
                raise

    async def settle(self, store: OpenStore) -> Sequence[PendingTransaction]:
        """The transactions that were written although their commit stayed unknown, and are still to be published.

        Raises `StoreError` if the database cannot be asked: nothing may be planned before it can.
        """
        pending = self._unsettled
        if not pending:
            return ()
        written = await store.call(lambda store: store.was_committed(*pending[-1].end))
        self._unsettled = ()
        return pending if written else ()

    def forget(self) -> None:
        """Leave what is unsettled to whoever follows the database."""
        self._unsettled = ()

    async def _was_written(self, store: OpenStore, pending: Sequence[PendingTransaction], error: StoreError) -> bool:
        """Ask the database whether the failed commit is in it, for ``settle_s``."""
        wait_s = _FIRST_RETRY_S
        deadline = anyio.current_time() + self._settle_s
        while True:
            try:
                return bool(await self.settle(store))
            except StoreError:
                if anyio.current_time() + wait_s > deadline:
                    raise OutcomeUnknownError(
                        ErrorCode.DB_ERROR,
                        f"it is unknown whether this was written, because the database cannot be reached: {error}",
                        object_type=pending[-1].changes[-1].type,
                    ) from error
                await anyio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_RETRY_S)
