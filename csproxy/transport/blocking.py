"""The one way into a worker thread, for libraries that block (databases, LDAP, Kerberos)."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Final, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.lowlevel import RunVar

__all__ = ["MAX_THREADS", "run_blocking", "run_inline"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_THREADS: Final = 16
"""Blocking calls under way at once in one event loop; further ones wait their turn."""

run_inline: Final[ContextVar[bool]] = ContextVar("csproxy_run_inline", default=False)
"""True in a simulation, where a thread's timing would make runs differ: calls run in the loop's thread."""

_limiter: Final[RunVar[anyio.CapacityLimiter]] = RunVar("csproxy_blocking_limiter")


async def run_blocking(fn: Callable[[*Ts], T], *args: *Ts, limiter: anyio.CapacityLimiter | None = None) -> T:
    """Call ``fn(*args)`` in a worker thread and return its result.

    At most `MAX_THREADS` calls run at once per event loop, or as many as ``limiter`` allows; give a
    limiter of its own to a service that may hang, so that it cannot use up the threads of others.
    Cancellation while waiting for a thread cancels; once the function runs, its end is awaited.
    Raises what ``fn`` raises.
    """
    if run_inline.get():
        await anyio.lowlevel.checkpoint()
        return fn(*args)
    return await anyio.to_thread.run_sync(partial(fn, *args), limiter=limiter or _default_limiter())


def _default_limiter() -> anyio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(MAX_THREADS)
        _limiter.set(limiter)
        return limiter
