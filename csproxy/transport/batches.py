"""Records on their way to another server or a database: bounded, in batches, each handed on until it has arrived."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

__all__ = ["BATCH", "MAX_WAITING", "Batch", "Batches"]

BATCH: Final = 500
MAX_WAITING: Final = 20_000
T = TypeVar("T")


class Batch(NamedTuple, Generic[T]):
    """Records that are handed on together; ``id`` is a random text by which they are known if they come again."""

    id: str
    records: Sequence[T]


class Batches(Generic[T]):
    """Collects records. When `MAX_WAITING` wait, the oldest is given up for each new one, and counted in `lost`.

    ``batch_id`` gives a text of at most 64 characters that is never given twice.
    """

    def __init__(self, batch_id: Callable[[], str]) -> None:
        self._batch_id = batch_id
        self._batch: Batch[T] | None = None
        self._waiting: deque[T] = deque()
        self.lost = 0

    def __len__(self) -> int:
        return len(self._waiting) + (0 if self._batch is None else len(self._batch.records))

    def __iter__(self) -> Iterator[T]:
        if self._batch is not None:
            yield from self._batch.records
        yield from self._waiting

    def add(self, record: T) -> None:
        """Let a record wait."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(record)

    async def flush(self, hand_on: Callable[[Batch[T]], Awaitable[bool]]) -> None:
        """Hand on what waits, until ``hand_on`` returns False: of that batch it is not known whether it arrived.

        It stays what it is, to be repeated.
        """
        while self._batch is not None or self._waiting:
            if self._batch is None:
                count = min(BATCH, len(self._waiting))
                self._batch = Batch(self._batch_id(), [self._waiting.popleft() for _ in range(count)])
            if not await hand_on(self._batch):
                return
            self._batch = None

    def give_up(self) -> None:
        """Count all that waits as lost."""
        self.lost += len(self)
        self._batch = None
        self._waiting.clear()
