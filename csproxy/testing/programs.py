"""Programs within a simulation: what can be stopped in the middle of anything and goes on later, as processes can."""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar
from typing import Any, Final

__all__ = ["HeldHandle", "HeldTimer", "Program", "is_frozen"]


class Program:
    """Tasks that can be stopped like those of a process (SIGSTOP), and go on (SIGCONT).

        with Program() as program:
            tasks.start_soon(serve)
        program.freeze()

    To it belongs what is started in its ``with`` block, and what that starts. While it is frozen nothing of it runs;
    its timers fire when it is thawed. The kernel goes on: `csproxy.testing.MemoryNetwork` takes what is sent to it.
    """

    def __init__(self) -> None:
        self.is_frozen = False
        self._held: list[asyncio.Handle] = []

    def __repr__(self) -> str:
        return f"<Program {'frozen' if self.is_frozen else 'running'}, {len(self._held)} calls held>"

    def __enter__(self) -> Program:
        self._before = _program.set(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _program.reset(self._before)

    def freeze(self) -> None:
        """Let nothing of it run any more; idempotent."""
        self.is_frozen = True

    def thaw(self) -> None:
        """Let it go on with everything that was held, in its order; idempotent."""
        self.is_frozen = False
        held, self._held = self._held, []
        loop: Any = asyncio.get_running_loop()
        loop._ready.extend(held)

    def hold(self, handle: asyncio.Handle) -> None:
        """A call of it is due while it is frozen."""
        self._held.append(handle)


_program: Final[ContextVar[Program | None]] = ContextVar("csproxy_simulated_program", default=None)


def is_frozen(context: Context) -> bool:
    """Whether what runs in ``context`` belongs to a program that is frozen."""
    program = context.get(_program)
    return program is not None and program.is_frozen


class _HeldWhileFrozen(asyncio.Handle):
    """A call that waits while the program is frozen that it belongs to."""

    _context: Context

    def _run(self) -> None:
        program = self._context.get(_program)
        if program is not None and program.is_frozen:
            program.hold(self)
        else:
            super()._run()


class HeldHandle(_HeldWhileFrozen):
    """A call that is due now."""


class HeldTimer(_HeldWhileFrozen, asyncio.TimerHandle):
    """A call that is due later."""

    _scheduled: bool
