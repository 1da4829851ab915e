"""A proxy's way of writing: its clients' changes go to the master, under the clients' own names, and come back.

What becomes of a change, by the moment at which the upstream connection ends:

    before it was sent                   refused, retryable: nothing was written
    before the master has answered       the outcome is unknown, by that name; nothing is ever sent again by the proxy
    after the answer, before the change  success at the UEN of the answer; the session is not shown an older state
                                         afterwards (`csproxy.transport.server_connection.ServerConnection.has_written`)

In ordinary times a change is answered when this proxy's own data show it. Many changes are under way on the one
connection at a time, and the master carries them out in the order in which they were sent: those of one client in the
order in which the client sent them (`csproxy.transport.requests`). What does not fit waits (`MAX_UNDER_WAY`), and
with it the client, whose further requests are not read from a point on.

Nothing is queued for a master that is away.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import anyio
import msgspec

from csproxy.core.changes import Position
from csproxy.core.replication import State
from csproxy.core.sessions import Author
from csproxy.core.write_budgets import WriteBudgets
from csproxy.errors import (
    ConnectionLostError,
    ErrorCode,
    LocalProtocolError,
    OutcomeUnknownError,
    RetryableError,
    ServerError,
    TimedOutError,
)
from csproxy.transport.connection import Connection
from csproxy.transport.exchange import Exchange
from csproxy.transport.server import ConfigurationServer
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import Forwardable, OnBehalfOf

__all__ = ["MAX_UNDER_WAY", "Forwarded", "ForwardingLimits", "ForwardingStatistics", "ForwardingWriter"]

MAX_UNDER_WAY: Final = 100
"""Changes that may be under way to the master. With as many that it has left unanswered, it has at most 200 of this
proxy: fewer than it takes from one connection before it reads no more from it, pings and log-ins included."""


class ForwardingLimits(NamedTuple):
    """Deadlines in seconds.

    ``answer_s``: the master's answer; after it the outcome is unknown. ``shown_s``: from the answer until this proxy's
    data show the change; after it the change is answered all the same.
    """

    answer_s: float = 30.0
    shown_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class ForwardingStatistics:
    """Changes forwarded since the start, of them without a known outcome, and those under way."""

    forwarded: int
    unknown: int
    under_way: int


class ForwardingWriter:
    """Forwards every change of ``server``'s clients to the master that ``source`` follows.

    ``refusal()`` says why changes are not taken now, None if they are. ``budgets`` bound how much each client changes.
    It is the server's `csproxy.transport.writers.Forwarder`.
    """

    def __init__(
        self,
        source: UpstreamSource,
        server: ConfigurationServer,
        *,
        refusal: Callable[[], str | None] = lambda: None,
        budgets: WriteBudgets | None = None,
        limits: ForwardingLimits | None = None,
    ) -> None:
        self._source = source
        self._server = server
        self._refusal = refusal
        self.budgets = budgets or WriteBudgets()
        self._limits = limits or ForwardingLimits()
        self._slots = anyio.Semaphore(MAX_UNDER_WAY)
        self._overdue: list[Exchange] = []
        self._unshown: deque[tuple[Position, anyio.Event]] = deque()
        self._forwarded = self._unknown = 0
        server.on_advance.append(self._advance)
        source.on_state.append(self._advance)

    def __repr__(self) -> str:
        return f"<ForwardingWriter to {self._source!r}, {MAX_UNDER_WAY - self._slots.value} under way>"

    def statistics(self) -> ForwardingStatistics:
        """A snapshot of the counters."""
        return ForwardingStatistics(
            forwarded=self._forwarded, unknown=self._unknown, under_way=MAX_UNDER_WAY - self._slots.value
        )

    # requests

    async def forward(self, message: MessageId, request: Forwardable, author: Author, *, changes: int = 1) -> Frame:
        """Have the master carry out a request, as ``author``; returns its answer, which this proxy's data show.

        Raises as `start` and `Forwarded.answer`.
        """
        return await (await self.start(message, request, author, changes=changes)).answer()

    async def start(self, message: MessageId, request: Forwardable, author: Author, *, changes: int = 1) -> Forwarded:
        """Send a request; the caller must wait for its answer. What was started first is carried out first.

        ``changes`` is how many it makes; 0 for a question, which is forwarded whether or not changes are taken now.

        Raises `ServerError`, and then nothing was sent: ACCESS_DENIED (this proxy takes no changes, or not so many, or
        somebody asks for others), or a retryable one (the master is away, or the client has used up its budget).
        """
        if author.via:
            raise ServerError.from_code(
                ErrorCode.ACCESS_DENIED,
                f"{author.via!r} may not make requests for others here: a proxy forwards what its own clients ask for",
                property_name="on_behalf_of",
            )
        if changes:
            self._check_refusal(request)
        self._source.live_connection()
        if changes:
            self._spend(author, changes)
        client = OnBehalfOf(application=author.application, user=author.user, person_dbid=author.person_dbid)
        payload = msgspec.structs.replace(request, on_behalf_of=client)
        await self._slots.acquire()
        try:
            if changes:
                self._check_refusal(request)
            self._check_overdue()
            exchange = await self._begin(self._source.live_connection(), message, payload)
        except BaseException:
            self._slots.release()
            raise
        return Forwarded(self, exchange, is_change=bool(changes))

    def _check_refusal(self, request: Forwardable) -> None:
        reason = self._refusal()
        if reason is not None:
            raise ServerError.from_code(ErrorCode.ACCESS_DENIED, reason, object_type=getattr(request, "type", 0))

    def _spend(self, author: Author, changes: int) -> None:
        wait_s = self.budgets.spend((author.user, author.application), changes, self._server.clock())
        if not wait_s:
            return
        limit = f"at most {self.budgets.rate:g} changes a second for each client (option proxy-write-rate)"
        if math.isinf(wait_s):
            raise ServerError.from_code(
                ErrorCode.ACCESS_DENIED,
                f"{changes} changes in one transaction are too many for this Configuration Server Proxy: it forwards "
                f"{limit}, {self.budgets.most:g} at once; make changes in bulk at the master",
            )
        raise ServerError.from_code(
            ErrorCode.UNDEFINED_ERROR,
            f"this Configuration Server Proxy forwards {limit}: make changes in bulk at the master, or fewer of them",
            retry_after_s=wait_s + self._server.retry_after_s(),
        )

    async def _begin(self, connection: Connection, message: MessageId, payload: Forwardable) -> Exchange:
        """Send a request. What is raised here was not sent."""
        try:
            await connection.until_writable(self._limits.answer_s)
            return connection.begin(message, payload)
        except (ConnectionLostError, TimedOutError) as e:
            raise self.retryable(f"nothing was sent to the master: {e}") from e
        except LocalProtocolError as e:
            raise ServerError.from_code(e.code, str(e)) from e

    def _check_overdue(self) -> None:
        self._overdue = [exchange for exchange in self._overdue if not exchange.done.is_set()]
        if len(self._overdue) >= MAX_UNDER_WAY:
            raise self.retryable(
                f"nothing was sent to the master, which owes this proxy the answers to {len(self._overdue)} requests"
            )

    # what forwarded requests call

    def retryable(self, why: str) -> ServerError:
        """An error that says when to come again."""
        return RetryableError(ErrorCode.SERVER_NOT_FOUND, why, retry_after_s=self._server.retry_after_s())

    async def wait(self, exchange: Exchange) -> Frame:
        """Wait for the master's answer, and give the slot of the request back. Raises `OutcomeUnknownError`."""
        answer_s = self._limits.answer_s
        try:
            with anyio.move_on_after(answer_s):
                await exchange.done.wait()
        finally:
            self._slots.release()
        if not exchange.done.is_set():
            self._overdue.append(exchange)
            raise OutcomeUnknownError(
                ErrorCode.DB_RESPONSE_TIMED_OUT,
                f"the master has not answered within {answer_s:g} s: it is unknown whether it has carried the request "
                "out, or will",
            )
        try:
            return exchange.result(answer_s)
        except ConnectionLostError as e:
            raise OutcomeUnknownError(
                ErrorCode.CONN_READ_ERROR, f"it is unknown whether the master has carried the request out: {e}"
            ) from e

    def count(self, *, unknown: bool) -> None:
        """A change has been forwarded, or its outcome stays unknown."""
        self._unknown += unknown
        self._forwarded += not unknown

    async def until_shown(self, answer: Frame) -> None:
        """Wait until the data show what was answered, as long as they are on the way."""
        position = Position(answer.epoch, answer.uen)
        if self._is_over(position):
            return
        waiting = position, anyio.Event()
        self._unshown.append(waiting)
        try:
            with anyio.move_on_after(self._limits.shown_s):
                await waiting[1].wait()
        finally:
            if not waiting[1].is_set():
                self._unshown.remove(waiting)
                self._advance()

    # inside

    def _advance(self) -> None:
        """The data have moved on, or the source has. Answers come in the order of UENs: the first is due first."""
        while self._unshown and self._is_over(self._unshown[0][0]):
            self._unshown.popleft()[1].set()

    def _is_over(self, position: Position) -> bool:
        """Whether waiting for a position has come to its end, or to none."""
        try:
            return self._source.state is not State.LIVE or self._server.has_reached(position)
        except ServerError:
            return True  # the master's history has changed since it answered: the stream does not lead there


class Forwarded:
    """A request on its way to the master; made by `ForwardingWriter.start`."""

    __slots__ = ("_exchange", "_is_change", "_writer")

    def __init__(self, writer: ForwardingWriter, exchange: Exchange, *, is_change: bool) -> None:
        self._writer = writer
        self._exchange = exchange
        self._is_change = is_change

    def __repr__(self) -> str:
        return f"<Forwarded {self._exchange!r}>"

    async def answer(self) -> Frame:
        """The master's answer, which this proxy's data show; called once.

        Raises the master's refusals as they are, and `OutcomeUnknownError`; for a question a retryable `ServerError`.
        """
        try:
            frame = await self._writer.wait(self._exchange)
        except OutcomeUnknownError as e:
            if not self._is_change:
                raise self._writer.retryable(f"the question was not answered: {e}") from e
            self._writer.count(unknown=True)
            raise
        if self._is_change:
            self._writer.count(unknown=False)
        await self._writer.until_shown(frame)
        return frame
