"""Who has to wait: loads of proxies and write transactions of a master for their turn, bulk reads for a token.

The order of loads and writes is decided in `csproxy.core.admission`; here are the tasks that wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio

from csproxy.core.admission import Admission, AdmissionSettings, Ticket, Turn
from csproxy.core.changes import Change, Position
from csproxy.core.sessions import Author
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.wire.writes import (
    ApplyTransaction,
    TransactionApplied,
    UpdateObject,
    WriteOutcome,
    WriteOutcomeRead,
    WriteRequest,
)
from csproxy.transport.writers import QueueingWriter, Writer

if TYPE_CHECKING:
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["MAX_BULK_READERS", "BulkReaders", "LoadControl", "SerializedWriter"]

HOLD_S: Final = 5.0
"""How long a load that has to wait is left without an answer; then it is told to ask again."""
_ASK_AGAIN_S: Final = 0.1
_LEAST_S: Final = 0.001

MAX_BULK_READERS: Final = 16
"""Clients that are sent long answers at the same time: each more makes all of them slower."""
_STALLED_S: Final = 2.0
"""A client that has taken nothing for so long costs nothing and keeps nobody waiting."""


class LoadControl:
    """The queue of a server, with the tasks that wait in it. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._admission = Admission()
        self._loads: dict[ServerConnection, Ticket] = {}
        self._waiting: dict[Ticket, anyio.Event] = {}

    def __repr__(self) -> str:
        return f"<LoadControl {self._admission!r}>"

    @property
    def settings(self) -> AdmissionSettings:
        """The options in force; setting them counts at once, for those who wait, too."""
        return self._admission.settings

    @settings.setter
    def settings(self, settings: AdmissionSettings) -> None:
        self._admission.settings = settings
        self._go_on()

    def statistics(self) -> dict[str, int]:
        """Loads that run and that wait."""
        return {"loads": self._admission.loads, "waiting_loads": self._admission.waiting_loads}

    # loads

    def ask_to_load(self, connection: ServerConnection) -> bool:
        """Whether the connection may load now; else it has a place in the queue: `wait_to_load`.

        Raises `ServerError` when it is loading already.
        """
        ticket = self._loads.get(connection)
        if ticket is None:
            ticket = self._loads[connection] = self._admission.ask(Turn.LOAD, self._clock())
        elif ticket.granted_s is not None:
            raise ServerError.from_code(
                ErrorCode.WRONG_API_PARAMETERS, "this client is loading already: end that load first"
            )
        ticket.is_asking = True
        self._go_on()
        return ticket.granted_s is not None

    async def wait_to_load(self, connection: ServerConnection) -> float:
        """Wait for the turn, a few seconds at most. Returns 0.0 when it has come, else when to ask again, in seconds.

        Raises `ServerError` DB_RESPONSE_TIMED_OUT when the request has waited for as long as one may.
        """
        ticket = self._loads.get(connection)
        if ticket is None:
            return _ASK_AGAIN_S  # the client has gone
        try:
            await self._wait(ticket, HOLD_S)
        except ServerError:
            self.leave(connection)
            raise
        if ticket.granted_s is not None:
            return 0.0
        ticket.is_asking = False
        self._go_on()
        return _ASK_AGAIN_S

    def leave(self, connection: ServerConnection) -> None:
        """The connection has loaded, or has gone; one that has no load is let pass."""
        ticket = self._loads.pop(connection, None)
        if ticket is not None:
            self._admission.done(ticket, self._clock())
            self._go_on()

    def take_back(self) -> list[ServerConnection]:
        """Give the slots of loads that take too long to others; returns whose they were. Such a load may go on."""
        overdue = set(self._admission.overdue(self._clock()))
        found = [connection for connection, ticket in self._loads.items() if ticket in overdue]
        for connection in found:
            self.leave(connection)
        return found

    # writes

    @asynccontextmanager
    async def write_turn(self) -> AsyncIterator[None]:
        """``async with`` around a write transaction. Raises `ServerError` as `wait_to_load`."""
        ticket = self._admission.ask(Turn.WRITE, self._clock())
        try:
            self._go_on()
            await self._wait(ticket, self._admission.remaining_s(ticket, self._clock()))
            yield
        finally:
            self._admission.done(ticket, self._clock())
            self._go_on()

    async def _wait(self, ticket: Ticket, at_most_s: float) -> None:
        """Until it is the ticket's turn or ``at_most_s`` have passed."""
        end_s = self._clock() + at_most_s
        while ticket.granted_s is None:
            now = self._clock()
            left_s = self._admission.remaining_s(ticket, now)
            if not left_s:
                raise ServerError.from_code(
                    ErrorCode.DB_RESPONSE_TIMED_OUT,
                    f"the {ticket.turn.value} waited {self.settings.deferral_s:g} s for others to end and is given up",
                )
            if now >= end_s:
                return
            event = self._waiting[ticket] = anyio.Event()
            throttled_s = self._admission.throttled_s(now) or left_s
            with anyio.move_on_after(max(min(left_s, end_s - now, throttled_s), _LEAST_S)):
                await event.wait()
            self._waiting.pop(ticket, None)
            self._go_on()

    def _go_on(self) -> None:
        for ticket in self._admission.grant(self._clock()):
            event = self._waiting.pop(ticket, None)
            if event is not None:
                event.set()


class BulkReaders:
    """The clients that are being sent long answers. A short answer, a change, a proxy's load need no token."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._readers: dict[ServerConnection, None] = {}

    def __repr__(self) -> str:
        return f"<BulkReaders {len(self._readers)}>"

    def __len__(self) -> int:
        return len(self._readers)

    def admit(self, connection: ServerConnection) -> bool:
        """Whether a long answer to this client may begin; `leave` when it has ended."""
        readers = self._readers
        if connection not in readers and len(readers) >= MAX_BULK_READERS and self._active() >= MAX_BULK_READERS:
            return False
        readers[connection] = None
        return True

    def leave(self, connection: ServerConnection) -> None:
        """The client has been sent everything, or has gone."""
        self._readers.pop(connection, None)

    def _active(self) -> int:
        stalled_since = self._clock() - _STALLED_S
        return sum(
            reader.congested_since_s is None or reader.congested_since_s > stalled_since for reader in self._readers
        )


class SerializedWriter:
    """A `Writer` whose transactions wait for their turn."""

    def __init__(self, inner: Writer, control: LoadControl) -> None:
        self._inner = inner
        self._control = control
        self._queueing = inner if isinstance(inner, QueueingWriter) else None

    def __repr__(self) -> str:
        return f"<SerializedWriter {self._inner!r}, {self._control!r}>"

    async def write(self, request: WriteRequest, author: Author) -> Sequence[Change]:
        """As the inner writer, in turn."""
        async with self._control.write_turn():
            return await self._inner.write(request, author)

    async def apply(self, request: ApplyTransaction, author: Author) -> tuple[Position, TransactionApplied]:
        """As the inner writer, in turn."""
        async with self._control.write_turn():
            return await self._inner.apply(request, author)

    def enqueue(self, request: UpdateObject, author: Author) -> Any:
        """As the inner writer; None while writes wait for their turn, one at a time."""
        if self._queueing is None or self._control.settings.serialize:
            return None
        return self._queueing.enqueue(request, author)

    async def finish(self, write: Any) -> Sequence[Change]:
        """As the inner writer."""
        assert self._queueing is not None
        return await self._queueing.finish(write)

    def withdraw(self, write: Any) -> None:
        """As the inner writer."""
        assert self._queueing is not None
        self._queueing.withdraw(write)

    async def outcome(self, request: WriteOutcome, author: Author) -> WriteOutcomeRead:
        """As the inner writer, at once."""
        return await self._inner.outcome(request, author)
