"""Consistent reads at a proxy: as new as the master was when the read was asked for.

The master is asked where it stands, once for all who ask meanwhile, and the read waits until the
proxy stands there too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio

from csproxy.core.changes import Position
from csproxy.errors import CsproxyError, ErrorCode, RetryableError

if TYPE_CHECKING:
    from csproxy.transport.server import ConfigurationServer

__all__ = ["SharedQuestion", "wait_for_master"]

_RETRY_S: Final = 1.0


class _Round:
    """One question and all who want its answer."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.answer: Position | None = None
        self.error: CsproxyError | None = None


class SharedQuestion:
    """Asks ``ask()`` for a position, one question at a time.

    Who comes while a question is under way shares the next one: the answer to the present one may have
    been given before he came. ``ask`` must have a deadline.
    """

    def __init__(self, ask: Callable[[], Awaitable[Position]]) -> None:
        self._ask = ask
        self._lock = anyio.Lock()
        self._next: _Round | None = None
        self.questions = 0
        """How often was asked."""

    def __repr__(self) -> str:
        return f"<SharedQuestion asked {self.questions} times>"

    async def position(self) -> Position:
        """The answer to a question that is asked after this call began.

        Raises what ``ask`` raises, and `RetryableError` when the one who asked for all was cancelled.
        """
        own = self._next
        if own is not None:
            await own.done.wait()
        else:
            own = self._next = _Round()
            await self._lead(own)
        if own.answer is None:
            raise RetryableError(
                ErrorCode.SERVER_NOT_FOUND,
                f"the master cannot be asked for its position: {own.error or 'the question was given up'}",
                retry_after_s=_RETRY_S,
            )
        return own.answer

    async def _lead(self, own: _Round) -> None:
        try:
            async with self._lock:
                self._next = None
                self.questions += 1
                own.answer = await self._ask()
        except CsproxyError as e:
            own.error = e
        finally:
            if self._next is own:
                self._next = None
            own.done.set()


async def wait_for_master(server: ConfigurationServer) -> None:
    """Return when the server's data is as new as its master's was at the time of this call.

    Raises `RetryableError` when the master is away, or after the server's ``reach_timeout_s``, and what
    `ConfigurationServer.has_reached` raises.
    """
    assert server.upstream_position is not None
    wanted: Position | None = None
    with anyio.move_on_after(server.settings.reach_timeout_s):
        wanted = await server.upstream_position.position()
        await server.wait_until_reached(wanted)
        return
    present = f"this server is at UEN {server.position.uen} of epoch {server.position.epoch}"
    missing = "has not heard where its master is" if wanted is None else f"its master at UEN {wanted.uen}"
    raise RetryableError(
        ErrorCode.UNDEFINED_ERROR,
        f"a consistent read took longer than {server.settings.reach_timeout_s:g} s: {present}, {missing}",
        retry_after_s=server.retry_after_s(),
    )
