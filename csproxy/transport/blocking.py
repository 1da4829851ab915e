"""The one way into a worker thread, for libraries that block (databases, LDAP, Kerberos)."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, Final, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.lowlevel import RunVar

from csproxy.transport.turns import waker

__all__ = ["MAX_THREADS", "Carrier", "carrier", "run_blocking", "run_each", "run_in_background", "run_inline"]

T = TypeVar("T")
ItemT = TypeVar("ItemT")
Ts = TypeVarTuple("Ts")

MAX_THREADS: Final = 16
"""Blocking calls under way at once in one event loop; further ones wait their turn."""

_BACKGROUND_NICE: Final = 19
"""What the priority of a background call is lower by: beside one busy thread it gets a 70th of the processor.

The kernel deals it out in slices of some milliseconds, in which the loop waits: so it must be seldom.
"""

Carrier = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Makes a call and returns what it returned."""

carrier: Final[ContextVar[Carrier | None]] = ContextVar("csproxy_blocking_carrier", default=None)
"""Set in a simulation, where a thread's timing would make runs differ: makes the calls instead of worker threads."""

_limiter: Final[RunVar[anyio.CapacityLimiter]] = RunVar("csproxy_blocking_limiter")


async def run_blocking(fn: Callable[[*Ts], T], *args: *Ts, limiter: anyio.CapacityLimiter | None = None) -> T:
    """Call ``fn(*args)`` in a worker thread and return its result.

    At most `MAX_THREADS` calls run at once per event loop, or as many as ``limiter`` allows; give a
    limiter of its own to a service that may hang, so that it cannot use up the threads of others.
    Cancellation while waiting for a thread cancels; once the function runs, its end is awaited.
    Raises what ``fn`` raises.
    """
    call = partial(fn, *args)
    limiter = limiter or _default_limiter()
    carry_out = carrier.get()
    if carry_out is None:
        return await anyio.to_thread.run_sync(call, limiter=limiter)
    async with limiter:
        with anyio.CancelScope(shield=True):
            result: T = await carry_out(call)
    return result


async def run_in_background(fn: Callable[[*Ts], T], *args: *Ts) -> T:
    """As `run_blocking`, for calls that compute for long: the event loop's thread comes before theirs.

    Without that the kernel lets the loop wait some milliseconds for each turn while all processors compute. Such calls
    have threads of their own, because only the superuser may raise a thread's priority again, and no more of them
    than processors: a thread that holds the interpreter's lock, and waits for its turn behind another one that
    computes, keeps the loop waiting with it. The calls run in the order in which they came; one that has not begun
    is cancelled. Linux only; elsewhere it is `run_blocking`.
    """
    if carrier.get() is not None or sys.platform != "linux":
        return await run_blocking(fn, *args)
    wake, done = waker(), anyio.Event()
    future = _background_threads().submit(fn, *args)
    future.add_done_callback(lambda _: wake(done.set))
    try:
        await done.wait()
    except BaseException:
        if not future.cancel():
            with anyio.CancelScope(shield=True):
                await done.wait()
        raise
    return future.result()


@cache
def _background_threads() -> ThreadPoolExecutor:
    """They stay, since one that has just begun still has its old priority."""
    processors = len(os.sched_getaffinity(0))
    return ThreadPoolExecutor(min(processors, MAX_THREADS), "csproxy background", initializer=_lower_priority)


def _lower_priority() -> None:
    with suppress(OSError):  # forbidden to this process
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _BACKGROUND_NICE)


async def run_inline(call: Callable[[], T]) -> T:
    """A `Carrier` that makes the call at once, in the loop's thread."""
    return call()


async def run_each(fn: Callable[[ItemT], T], items: Iterable[ItemT], *, at_once: int) -> list[T]:
    """``fn(item)`` of each item in worker threads, at most ``at_once`` of them at a time; the results in order.

    When ``fn`` raises, what has begun is awaited, nothing else begins, and the first error is raised.
    """
    waiting = iter(enumerate(items))
    results: dict[int, T] = {}
    errors: list[Exception] = []

    async def work() -> None:
        for place, item in waiting:
            try:
                results[place] = await run_blocking(fn, item)
            except Exception as e:  # noqa: BLE001 - it is raised below, not wrapped into a group
                errors.append(e)
            if errors:
                break

    async with anyio.create_task_group() as workers:
        for _ in range(at_once):
            workers.start_soon(work)
    if errors:
        raise errors[0]
    return [results[place] for place in sorted(results)]


def _default_limiter() -> anyio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(MAX_THREADS)
        _limiter.set(limiter)
        return limiter
