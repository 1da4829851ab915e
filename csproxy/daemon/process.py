"""What a serving process asks of the interpreter and the kernel: event loop, garbage collector, file descriptors."""

from __future__ import annotations

import gc
import importlib.util
import resource
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

__all__ = ["event_loop", "freeze_heap", "quieten_collector", "raise_descriptor_limit", "run_event_loop", "single_error"]

_GC_THRESHOLDS = (50_000, 20, 100)


def event_loop() -> dict[str, Any]:
    """The keyword arguments of `anyio.run` that choose the event loop: uvloop if it is installed, else asyncio's."""
    use_uvloop = importlib.util.find_spec("uvloop") is not None
    return {"backend": "asyncio", "backend_options": {"use_uvloop": use_uvloop}}


def run_event_loop(main: Callable[[], Awaitable[int]]) -> int:
    """Run ``main`` on asyncio, with uvloop if it is installed; returns its exit status.

    A group that holds one exception is raised as that exception.
    """
    try:
        return anyio.run(main, **event_loop())
    except BaseExceptionGroup as group:
        raise single_error(group) from group


def single_error(error: BaseException) -> BaseException:
    """The exception inside groups of one; the group itself if it holds several."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def raise_descriptor_limit() -> int:
    """Allow as many open files as the hard limit says (each client takes one); returns the number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard


def quieten_collector() -> None:
    """Let the collector run seldom, from before the first data set is loaded.

    What is there now, modules above all, it need not look at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def freeze_heap() -> None:
    """Take all that is loaded out of the collector's sight; called when a data set has taken its place.

    Objects of the configuration live long and form no cycles. The first collection that looks at the indexes of
    1,000,000 of them stops the event loop for a tenth of a second, whatever the generation.
    """
    gc.freeze()
