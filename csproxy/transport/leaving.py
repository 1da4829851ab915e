"""How an ``async with`` ends: for owners of tasks, and for what closes without waiting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

__all__ = ["Closing", "leave_tasks"]


class Closing(ABC):
    """Base of what is opened at a server and given up without waiting: leaving it calls `close`."""

    async def __aenter__(self) -> Self:
        """Open it. What is raised, cancellation too, closes it."""
        try:
            await self._open()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _open(self) -> None:  # noqa: B027 - not everything has something to open
        """Called on entering."""

    @abstractmethod
    def close(self) -> None:
        """Give it up. Idempotent and without waiting."""


async def leave_tasks(
    tasks: TaskGroup,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    traceback: TracebackType | None,
) -> bool | None:
    """Cancel the tasks of an owner whose ``async with`` is left, and wait for their end; for its ``__aexit__``.

    An error of the body leaves the block as it is, not wrapped into a group of the task group. A
    cancellation goes through the group, which knows whose it is.
    """
    tasks.cancel_scope.cancel()
    if isinstance(exc, anyio.get_cancelled_exc_class()):
        return await tasks.__aexit__(exc_type, exc, traceback)
    await tasks.__aexit__(None, None, None)
    return None
