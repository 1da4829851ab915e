"""Simulated time: an asyncio event loop whose clock jumps, so that an hour passes in milliseconds.

A simulation has no sockets, no threads and no waiting. When nothing is ready to run, time jumps to
the next timer. One seed gives one run: the random source is the simulation's own, calls through
`csproxy.transport.blocking.run_blocking` run in the loop's thread, tasks hash in the order of their
creation, so that sets of tasks have one order, and so has the cancellation of anyio's scopes. What
stays outside: sets of other objects are in the order of memory addresses, and sets of strings differ
between processes unless ``PYTHONHASHSEED`` is set.

A `csproxy.testing.programs.Program` is a part of a simulation that can be stopped and goes on later.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, Final, NoReturn, TypeVar

import anyio
from anyio._backends import _asyncio as _asyncio_backend

from csproxy.testing.programs import HeldHandle, HeldTimer
from csproxy.transport.blocking import carrier, run_inline

__all__ = ["DeadlockError", "SimulatedLoop", "Simulation", "TimeLimitError", "run_simulated"]

T = TypeVar("T")

_WAITING_LIBRARIES: Final = (*(os.path.dirname(str(library.__file__)) for library in (asyncio, anyio)), __file__)

_MAX_TURNS_WITHOUT_TIME: Final = 1_000_000
_CLOCK_RESOLUTION_S: Final = 1e-6
"""Timers this close fire together; must exceed the spacing of floats at the largest times (1e-7 s after 30 years)."""
_WALL_CLOCK_START_S: Final = 1_700_000_000.0


class DeadlockError(Exception):
    """The simulation can never go on; ``tasks`` describes those that wait, one line each."""

    def __init__(self, message: str, tasks: list[str]) -> None:
        super().__init__("\n  ".join([message, *tasks]))
        self.tasks = tasks


class TimeLimitError(Exception):
    """The simulation's main function did not end within its time limit (in simulated seconds)."""


class Simulation:
    """What a simulated function is given: the random source, the clocks and the loop."""

    def __init__(self, loop: SimulatedLoop, seed: int) -> None:
        self.loop = loop
        self.seed = seed
        self.rng = random.Random(seed)
        self.wall_clock_offset_s = _WALL_CLOCK_START_S

    def __repr__(self) -> str:
        return f"<Simulation seed={self.seed} at {self.now():.6f} s>"

    def now(self) -> float:
        """Simulated seconds since the start, the same clock as ``anyio.current_time()``."""
        return self.loop.time()

    def wall_clock(self) -> float:
        """Simulated seconds since 1970; set ``wall_clock_offset_s`` to let the wall clock jump."""
        return self.wall_clock_offset_s + self.loop.time()

    def random_bytes(self, count: int) -> bytes:
        """Bytes from the simulation's random source, in place of ``os.urandom``."""
        return self.rng.randbytes(count)

    async def sleep(self, seconds: float) -> None:
        """Let simulated time pass."""
        await anyio.sleep(seconds)


def run_simulated(
    function: Callable[[Simulation], Coroutine[Any, Any, T]], *, seed: int, time_limit_s: float = 3600.0
) -> T:
    """Run ``function(simulation)`` on a simulated loop to its end and return its result.

    Raises what ``function`` raises; `DeadlockError` when nothing at all is scheduled, or time stands
    still for a million turns; `TimeLimitError` after ``time_limit_s`` simulated seconds. Must not be
    called while an event loop runs.
    """

    loop = SimulatedLoop(time_limit_s=time_limit_s)

    async def main() -> T:
        carrier.set(run_inline)
        return await function(Simulation(loop, seed))

    with _scopes_in_order(), asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            return runner.run(main())
        finally:
            loop.time_limit_s = float("inf")  # the runner still cancels what is left, which may take time


class SimulatedLoop(asyncio.BaseEventLoop):
    """An asyncio event loop with virtual time and without sockets, threads and signals.

    ``time()`` starts at 0. Also usable with ``asyncio.Runner`` or ``anyio.run`` directly.
    """

    def __init__(self, *, time_limit_s: float = float("inf")) -> None:
        super().__init__()
        self.time_limit_s = time_limit_s
        self._now = 0.0
        self._clock_resolution = _CLOCK_RESOLUTION_S
        self._turns_without_time = 0
        self._task_count = 0
        self._selector = self  # BaseEventLoop asks it in every turn what to do next
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def select(self, timeout: float | None) -> Iterable[Any]:
        """Called by the base class once per turn: let ``timeout`` seconds pass at once."""
        if timeout is None:
            raise DeadlockError("deadlock: nothing is scheduled, and these tasks wait:", self._describe_tasks())
        if timeout <= 0:
            self._turns_without_time += 1
            if self._turns_without_time > _MAX_TURNS_WITHOUT_TIME:
                raise DeadlockError("time stands still; these tasks are there:", self._describe_tasks())
            return ()
        self._turns_without_time = 0
        self._now += timeout
        if self._now > self.time_limit_s:
            self.time_limit_s = float("inf")
            raise TimeLimitError(
                "the time limit has passed; these tasks are there:\n  " + "\n  ".join(self._describe_tasks())
            )
        return ()

    def _call_soon(self, callback: Callable[..., Any], args: Any, context: Context | None) -> asyncio.Handle:
        handle = HeldHandle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_at(  # type: ignore[override]  # its type variable has no use here
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call ``callback(*args)`` at this time of the loop's clock."""
        timer = HeldTimer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True
        return timer

    def _process_events(self, event_list: Iterable[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        self._task_count += 1
        return _NumberedTask(self._task_count, coro, loop=loop, **options)

    def _describe_tasks(self) -> list[str]:
        tasks = sorted(asyncio.all_tasks(self), key=hash)
        return [_describe(task) for task in tasks]

    # what a simulation cannot have

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(
            "a simulation has no sockets, threads or processes: use csproxy.testing.MemoryNetwork for "
            "connections and csproxy.transport.blocking.run_blocking for blocking calls"
        )

    run_in_executor = _refuse  # type: ignore[assignment]
    create_connection = _refuse
    create_server = _refuse
    create_datagram_endpoint = _refuse
    create_unix_connection = _refuse
    create_unix_server = _refuse
    connect_accepted_socket = _refuse
    subprocess_exec = _refuse
    subprocess_shell = _refuse
    getaddrinfo = _refuse
    getnameinfo = _refuse
    add_reader = _refuse  # type: ignore[assignment]
    add_writer = _refuse  # type: ignore[assignment]
    sock_connect = _refuse
    sock_accept = _refuse
    sock_recv = _refuse
    sock_sendall = _refuse


class _OrderedSet(dict[Any, None]):
    """As much of a set as anyio's scopes use, in the order of insertion."""

    def add(self, item: object) -> None:
        self[item] = None

    def remove(self, item: object) -> None:
        del self[item]

    def discard(self, item: object) -> None:
        self.pop(item, None)


@contextmanager
def _scopes_in_order() -> Iterator[None]:
    """Let anyio's cancel scopes keep the scopes inside of them in the order of their creation.

    anyio keeps them in a set, so that cancelling a task group cancels its tasks in the order of
    memory addresses, another one in each run.
    """
    scope_type: Any = _asyncio_backend.CancelScope
    original = scope_type.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        self._child_scopes = _OrderedSet()

    scope_type.__init__ = init
    try:
        yield
    finally:
        scope_type.__init__ = original


class _NumberedTask(asyncio.Task[Any]):
    """A task that hashes to its number: sets of tasks are then in the same order in every run."""

    def __init__(self, number: int, coro: Any, *, name: str | None = None, **options: Any) -> None:
        self.number = number
        super().__init__(coro, name=name or f"Task-{number}", **options)

    def __hash__(self) -> int:
        return self.number


def _describe(task: asyncio.Task[Any]) -> str:
    """Name the task and the innermost line at which it waits, outside of the libraries for waiting."""
    waiting: Any = task.get_coro()
    place = "its start"
    while (frame := getattr(waiting, "cr_frame", None)) is not None:
        if place == "its start" or not frame.f_code.co_filename.startswith(_WAITING_LIBRARIES):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        waiting = waiting.cr_await
    return f"{task.get_name()}: waits at {place}"
