"""The running event loop's clock and turns, for code that runs in callbacks as well as in tasks.

The server collects what a turn produced and sends it once at the turn's end; anyio has no call for
that, and its clock (``anyio.current_time``) answers in tasks only, while channels call their
receivers from callbacks. So this module asks asyncio (uvloop included) or trio directly.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

__all__ = ["Timers", "call_soon", "now", "start_soon", "waker"]

_log = logging.getLogger("csproxy.turns")


def now() -> float:
    """Seconds of the running loop's clock, the same as ``anyio.current_time()``, in tasks and in callbacks.

    Raises RuntimeError if no event loop is running.
    """
    loop = asyncio._get_running_loop()
    if loop is not None:
        return loop.time()
    import trio  # only programs that run on trio have it

    return trio.current_time()


def call_soon(fn: Callable[[], object]) -> None:
    """Run ``fn`` in the next turn of the running loop; functions run in the order of the calls.

    To be called in the loop's thread. An exception of ``fn`` is logged and goes nowhere else.
    Raises RuntimeError if no event loop is running.
    """
    loop = asyncio._get_running_loop()
    if loop is not None:
        loop.call_soon(fn)
        return
    import trio  # only programs that run on trio have it

    # trio ends the whole run when such a function raises; asyncio logs
    trio.lowlevel.current_trio_token().run_sync_soon(_call_and_log, fn)


def waker() -> Callable[[Callable[[], object]], object]:
    """A function for other threads: it runs what it is given in a later turn of the loop that runs now.

    Raises RuntimeError if no event loop is running.
    """
    loop = asyncio._get_running_loop()
    if loop is not None:
        return loop.call_soon_threadsafe
    import trio  # only programs that run on trio have it

    return trio.lowlevel.current_trio_token().run_sync_soon


def _call_and_log(fn: Callable[[], object]) -> None:
    try:
        fn()
    except Exception:  # noqa: BLE001 - the end of a turn is a task boundary
        _log.exception("a function of the event loop's turn failed: %r", fn, extra={"event": 31090})


def start_soon(tasks: TaskGroup, fn: Callable[..., Coroutine[Any, Any, Any]], *args: object) -> None:
    """Run ``fn(*args)`` as a task of ``tasks``, also when called from a callback.

    In a callback of a loop that ``asyncio.run`` started, anyio cannot tell which event loop runs
    (through sniffio it sees only tasks, and what ``anyio.run`` has noted in the context).
    """
    if asyncio._get_running_loop() is None or asyncio.current_task() is not None:
        tasks.start_soon(fn, *args)
    else:
        contextvars.copy_context().run(_start_on_asyncio, tasks, fn, args)


def _start_on_asyncio(tasks: TaskGroup, fn: Callable[..., Coroutine[Any, Any, Any]], args: tuple[object, ...]) -> None:
    try:
        from sniffio import current_async_library_cvar
    except ImportError:  # then anyio asks asyncio itself
        pass
    else:
        current_async_library_cvar.set("asyncio")
    tasks.start_soon(fn, *args)


class Timers:
    """Delayed calls that end with their owner: ``async with Timers() as timers``.

    On asyncio a timer is the loop's own timer handle; on trio it is a small task. Leaving the
    context cancels what is still waiting.
    """

    __slots__ = ("_group", "_handles", "_is_open")

    def __init__(self) -> None:
        self._handles: set[asyncio.TimerHandle] = set()
        self._group: TaskGroup | None = None
        self._is_open = False

    async def __aenter__(self) -> Self:
        if asyncio._get_running_loop() is None:
            self._group = anyio.create_task_group()
            await self._group.__aenter__()
        self._is_open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()
        if self._group is not None:
            group, self._group = self._group, None
            group.cancel_scope.cancel()
            await group.__aexit__(None, None, None)  # the body's exception goes on as it is, in no group

    def call_later(self, delay_s: float, fn: Callable[[], object]) -> Callable[[], None]:
        """Run ``fn`` after ``delay_s`` seconds; returns a function that cancels the call (idempotent).

        An exception of ``fn`` is logged and goes nowhere else. Raises RuntimeError when the owner's
        context is not entered or already left.
        """
        if not self._is_open:
            raise RuntimeError("Timers are used outside of their context: enter it with 'async with' first")
        if self._group is None:
            return self._call_on_asyncio(delay_s, fn)
        scope = anyio.CancelScope()
        self._group.start_soon(_wait_and_call, now() + delay_s, fn, scope)
        return scope.cancel

    def _call_on_asyncio(self, delay_s: float, fn: Callable[[], object]) -> Callable[[], None]:
        handle: asyncio.TimerHandle

        def fire() -> None:
            self._handles.discard(handle)
            fn()

        def cancel() -> None:
            self._handles.discard(handle)
            handle.cancel()

        handle = asyncio.get_running_loop().call_later(delay_s, fire)
        self._handles.add(handle)
        return cancel


async def _wait_and_call(when: float, fn: Callable[[], Any], scope: anyio.CancelScope) -> None:
    with scope:
        await anyio.sleep_until(when)
    if not scope.cancel_called:
        _call_and_log(fn)
