"""Writes that wait for the database, and which of them are written together.

A commit has to reach the disk, and that takes the same time for one transaction as for many. So what has come while
one was under way is written by one commit, each transaction with UENs, an idempotency key and an answer of its own;
nobody is answered before the commit. Each is planned as if those before it were published (`csproxy.core.overlay`).
A transaction after which that cannot be known ends the group; one that sets passwords, or must be tried alone because
the commit of a group failed, is a group of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from csproxy.core.authority import Authority
from csproxy.core.cache import ConfigurationCache
from csproxy.core.overlay import Overlay, StateBefore, may_be_followed
from csproxy.core.persistence.records import Outcome
from csproxy.core.sessions import Author
from csproxy.core.writes import Plan
from csproxy.transport.database_transactions import PendingTransaction
from csproxy.transport.wire.writes import ApplyTransaction, WriteRequest

__all__ = ["MAX_TOGETHER", "MAX_CHANGES_TOGETHER", "Group", "QueuedWrite", "WriteQueue"]

MAX_TOGETHER: Final = 32
"""Transactions of one commit, planned in about 6 ms: with 64 the first of a burst come later to subscribers."""
MAX_CHANGES_TOGETHER: Final = 1000
"""A group ends with the transaction that reaches so many changes."""

Done = PendingTransaction | Outcome


class QueuedWrite:
    """A write request that waits: what it came to, or the error, once it is settled."""

    __slots__ = ("alone", "author", "done", "error", "hashes", "is_taken", "key", "request")

    def __init__(
        self, request: WriteRequest | ApplyTransaction, author: Author, hashes: Sequence[str], key: str
    ) -> None:
        self.request = request
        self.author = author
        self.hashes = hashes
        self.key = key
        self.alone = bool(hashes)
        self.is_taken = False
        self.done: Done | None = None
        self.error: Exception | None = None

    def __repr__(self) -> str:
        state = "settled" if self.is_settled else "taken" if self.is_taken else "waits"
        return f"<QueuedWrite {type(self.request).__name__} {state}>"

    @property
    def is_settled(self) -> bool:
        """Whether there is something to answer."""
        return self.done is not None or self.error is not None

    def result(self) -> Done:
        """What it came to. Raises the error."""
        if self.error is not None:
            raise self.error
        assert self.done is not None
        return self.done


class Group:
    """Transactions that follow each other and are to be written by one commit; ``cache`` is the state before them.

    ``admit`` says what an author may do; the answer holds for all of the group, since none but its last transaction
    changes who may do what.
    """

    def __init__(self, cache: ConfigurationCache, admit: Callable[[Author], Authority | None]) -> None:
        self.overlay = Overlay()
        self.before = StateBefore(cache, self.overlay)
        self.writes: list[QueuedWrite] = []
        self.pending: list[PendingTransaction] = []
        self._admit = admit
        self._authorities: dict[Author, Authority | None] = {}
        self._keys: set[str] = set()
        self._may_grow = True
        self._changes = 0

    def __len__(self) -> int:
        return len(self.pending)

    def authority_of(self, author: Author) -> Authority | None:
        """What an author may do, None for everything. Raises what ``admit`` raises."""
        if author not in self._authorities:
            self._authorities[author] = self._admit(author)
        return self._authorities[author]

    def takes(self, write: QueuedWrite) -> bool:
        """Whether a write may come into it."""
        if not self.writes:
            return True
        return self._may_grow and not write.alone and (not write.key or write.key not in self._keys)

    def add(self, write: QueuedWrite, plan: Plan, pending: PendingTransaction) -> None:
        """Take a planned write in."""
        self.writes.append(write)
        self.pending.append(pending)
        self._keys.add(write.key)
        self._changes += len(plan.changes)
        self._may_grow = (
            not write.alone
            and len(self.writes) < MAX_TOGETHER
            and self._changes < MAX_CHANGES_TOGETHER
            and may_be_followed(plan)
        )
        if self._may_grow:
            self.overlay.add(plan)


class WriteQueue:
    """The writes that wait, in the order of arrival."""

    def __init__(self) -> None:
        self._waiting: deque[QueuedWrite] = deque()

    def __repr__(self) -> str:
        return f"<WriteQueue {len(self._waiting)} waiting>"

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, write: QueuedWrite) -> None:
        """Let a write wait."""
        self._waiting.append(write)

    def withdraw(self, write: QueuedWrite) -> None:
        """Nobody waits for this write any more: it is not carried out, unless it is under way or done already."""
        if not write.is_taken and not write.is_settled:
            self._waiting.remove(write)

    def next_for(self, group: Group) -> QueuedWrite | None:
        """The next write if the group takes it; it is under way then."""
        if not self._waiting or not group.takes(self._waiting[0]):
            return None
        write = self._waiting.popleft()
        write.is_taken = True
        return write

    def try_alone(self, writes: Sequence[QueuedWrite]) -> None:
        """The commit of these failed: each is to be carried out by itself, before all others."""
        for write in reversed(writes):
            write.alone, write.is_taken = True, False
            self._waiting.appendleft(write)
