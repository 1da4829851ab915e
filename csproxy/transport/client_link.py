"""Keeping a client connected: states, reconnecting, and requests that wait for a connection.

`ClientLink` owns the task that reconnects and checks that the server is alive. What the requests
mean is `csproxy.transport.client`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from csproxy.core.changes import Position
from csproxy.core.containers import ENVIRONMENT, TENANT
from csproxy.core.failover import Endpoint
from csproxy.core.keepalive import KeepAlive
from csproxy.core.routes import PoolsRoute, Route
from csproxy.errors import (
    ConnectionLostError,
    CsproxyError,
    HistoryExpiredError,
    LocalProtocolError,
    OutcomeUnknownError,
    ServerError,
    SilentPeerError,
    TimedOutError,
)
from csproxy.transport.channel import Connector
from csproxy.transport.client_move import Move
from csproxy.transport.client_session import ClientSession, is_final
from csproxy.transport.client_states import ClientEvent, ClientState, ClientStates, Step
from csproxy.transport.client_subscriptions import SubscriptionHub
from csproxy.transport.connection import Connection
from csproxy.transport.exchange import EpochOrder, Exchange
from csproxy.transport.keepalive import ServerWatch
from csproxy.transport.leaving import leave_tasks
from csproxy.transport.tickets import TicketSource
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.registration import RegisterClient

__all__ = ["ClientLink"]

log = logging.getLogger("csproxy.client")

_NONE: Final = Position(0, 0)
_LONGEST_WAIT_S: Final = 5.0
_ENVIRONMENT: Final = ReadObjects(type=TENANT, filter={"dbid": ENVIRONMENT})
"""The smallest question that a server answers only where it has come to the position asked for."""


class ClientLink:
    """The connection of a client, re-established for as long as the client lives.

    The first connection is made while entering: each endpoint is tried once, and on for ``wait_s``
    seconds. Times in seconds of ``clock``.
    """

    def __init__(
        self,
        request: RegisterClient,
        *,
        connector: Connector,
        route: Route,
        wait_s: float,
        attempt_timeout_s: float,
        request_timeout_s: float,
        keep_alive: KeepAlive,
        clock: Callable[[], float],
        tickets: TicketSource | None = None,
    ) -> None:
        self.hub = SubscriptionHub(self)
        self.session = ClientSession(
            request, connector=connector, hub=self.hub, timeout_s=attempt_timeout_s, clock=clock, tickets=tickets
        )
        self.states = ClientStates(self._describe)
        self.connection: Connection | None = None
        self.reconnects = 0
        self.switches = 0
        self.connected_endpoint = ""
        self.request_timeout_s = request_timeout_s
        self.keep_alive = ServerWatch(keep_alive, clock=clock)
        self._route = route
        self._wait_s = wait_s
        self._attempt_timeout_s = attempt_timeout_s
        self._clock = clock
        self._order = EpochOrder()
        self._seen = _NONE
        self._last_received_s = 0.0
        self._last_error: CsproxyError | None = None
        self._tasks: TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<ClientLink {self.state.value}, {self._route.current}>"

    # life

    async def __aenter__(self) -> Self:
        if self.state is not ClientState.NEW:
            raise LocalProtocolError("a client is entered once: make another")
        connection = await self._connect_first()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._keep, connection)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        closed = ConnectionLostError("the client was closed")
        connection, self.connection = self.connection, None
        self._last_error = closed
        self._take(Step.CLOSE)
        self.hub.fail_all(closed)
        self._tasks.cancel_scope.cancel()  # before the connection closes: nothing is to reconnect
        if connection is not None:
            await connection.aclose()
        return await leave_tasks(self._tasks, exc_type, exc, traceback)

    # for observers

    @property
    def state(self) -> ClientState:
        """How the client stands to its servers."""
        return self.states.present

    @property
    def age_s(self) -> float:
        """Seconds since a server last said something; 0 if none ever did."""
        return max(self._clock() - self.last_received_s, 0.0) if self.last_received_s else 0.0

    @property
    def position(self) -> Position:
        """The latest position that any server has shown to this client."""
        if self.connection is not None:
            self._see(self.connection)
        return self._seen

    def forget_position(self) -> None:
        """Accept an older state, or another history, from now on."""
        self._seen = _NONE
        if self.connection is not None:
            self.connection.position = _NONE

    @property
    def last_received_s(self) -> float:
        """When a server last said something, on this connection or the one that was lost; 0 if never."""
        return self._last_received_s if self.connection is None else self.connection.last_received_s

    # requests

    async def ready(self, deadline: float | None = None) -> Connection:
        """The connection, waiting for one until ``deadline`` (the time limit of requests, if not given).

        Raises `ConnectionLostError` if there is none then.
        """
        if deadline is None:
            deadline = self._clock() + self.request_timeout_s
        while True:
            if self.connection is not None:
                return self.connection
            if self.state in (ClientState.LOST, ClientState.CLOSED, ClientState.NEW):
                raise self._ended()
            if not await self.states.wait_changed(max(deadline - self._clock(), 0)):
                why = f": {self._last_error}" if self._last_error is not None else ""
                raise ConnectionLostError(
                    f"no connection to {self._route.current} within {self.request_timeout_s:g} s{why}"
                )

    async def repeatable(
        self,
        message: MessageId,
        payload: msgspec.Struct,
        *,
        minimum: Callable[[], Position] = lambda: _NONE,
        on_part: Callable[[Frame], object] | None = None,
        on_answer: Callable[[Frame], object] | None = None,
        restart: Callable[[], object] = lambda: None,
    ) -> Frame:
        """A request without effect at the server: repeated after a lost connection or a retryable refusal.

        ``restart`` is called before each repetition, since parts of the answer may have come before.
        """
        deadline = self._clock() + self.request_timeout_s
        refusals = 0
        while True:
            connection = await self.ready(deadline)
            try:
                return await connection.request(
                    message,
                    payload,
                    minimum=minimum(),
                    timeout_s=max(deadline - self._clock(), 0),
                    on_part=on_part,
                    on_answer=on_answer,
                )
            except ConnectionLostError:
                if self._clock() >= deadline or self.connection is connection:
                    raise
            except HistoryExpiredError:
                self.forget_position()  # what was seen belongs to another history
                raise
            except ServerError as e:
                # the server's hint has jitter; a server that stays behind is asked ever less often
                wait_s = min(e.retry_after_s * 2**refusals, max(e.retry_after_s, _LONGEST_WAIT_S))
                if not e.retry_after_s or self._clock() + wait_s >= deadline:
                    raise
                refusals += 1
                await anyio.sleep(wait_s)
            restart()

    async def once(self, message: MessageId, payload: msgspec.Struct, *, unknown: str) -> Frame:
        """A request with an effect, sent once. If its answer is lost, the error says what is ``unknown``."""
        deadline = self._clock() + self.request_timeout_s
        connection = await self.ready(deadline)
        await connection.until_writable(deadline - self._clock())
        exchange = connection.begin(message, payload)
        try:
            return await exchange.wait(deadline - self._clock())
        except ConnectionLostError as e:
            raise ConnectionLostError(f"{e}; {unknown}", code=e.code) from e
        except TimedOutError as e:
            raise TimedOutError(f"{e}; {unknown}") from e
        except OutcomeUnknownError as e:
            raise OutcomeUnknownError(e.code, f"{e.description}; {unknown}", object_type=e.object_type) from e

    async def ask(
        self, message: MessageId, payload: Any, *, minimum: Position, on_answer: Callable[[Frame], object]
    ) -> Frame:
        """A request of the hub."""
        return await self.repeatable(message, payload, minimum=lambda: minimum, on_answer=on_answer)

    def has_seen_more(self, position: Position) -> bool:
        """Whether any server has shown something later than ``position``, a place of the present server."""
        return self._order.is_later(self.position, position)

    async def catch_up(self) -> None:
        """Wait until the server is not behind what this client has seen; raises as `repeatable` if it stays so.

        What belongs to a history that has ended is forgotten.
        """
        with suppress(HistoryExpiredError):
            await self.repeatable(MessageId.READ_OBJECTS, _ENVIRONMENT, minimum=lambda: self.position)

    def post(self, message: MessageId, payload: Any) -> Exchange | None:
        """A clean-up request of the hub; None without a connection."""
        return None if self.connection is None else self.connection.post(message, payload)

    # the task

    async def _connect_first(self) -> Connection:
        """Connect, or raise why not: after one attempt per endpoint, and more for ``wait_s``."""
        give_up = self._clock() + self._wait_s
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt()
            except CsproxyError as e:
                delay = self._route.pause_s()
                if is_final(e) or (attempt >= self._route.round_size and self._clock() + delay >= give_up):
                    raise
                log.info("not connected yet: %s", e)
            if self._clock() + delay < give_up:
                await anyio.sleep(delay)

    async def _attempt(self) -> Connection:
        endpoint = self._route.current
        try:
            connection = await self.session.connect(endpoint)
            if connection.error is not None:
                raise connection.error
        except CsproxyError as e:
            self._last_error = e
            self._route.failed(hint_s=_hint_s(e))
            raise
        self._route.connected(self._clock())
        log.info("connected to %s as %r", connection.peer, self.session.request.name)
        self._use(connection, endpoint)
        self.hub.connected(restored=self.session.is_restored)
        self._take(Step.CONNECT)
        return connection

    def _use(self, connection: Connection, endpoint: Endpoint) -> None:
        self._order = connection.order
        connection.on_closed = lambda error: self._lost(connection, error)
        self.connected_endpoint = str(endpoint)
        self.connection = connection
        self.keep_alive.begin(connection)

    async def _keep(self, connection: Connection) -> None:
        while True:
            moved_to = await self._until_ended(connection)
            if moved_to is not None:
                connection = moved_to
                continue
            next_connection = await self._reconnect()
            if next_connection is None:
                return
            self.reconnects += 1
            connection = next_connection

    async def _until_ended(self, connection: Connection) -> Connection | None:
        """Wait until the connection is lost; returns another if the client has moved to that instead."""
        moved_to: list[Connection] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.keep_alive.run, connection)
            route = self._route
            if isinstance(route, PoolsRoute) and route.is_to_return:

                async def go_back() -> None:
                    moved_to.append(await self._return(connection, route))
                    tasks.cancel_scope.cancel()

                tasks.start_soon(go_back)
            await connection.wait_closed()
            tasks.cancel_scope.cancel()
        return moved_to[0] if moved_to else None

    async def _reconnect(self) -> Connection | None:
        """Try until a server takes the client, or refuses it for good (None)."""
        while True:
            await anyio.sleep(self._route.pause_s())
            try:
                return await self._attempt()
            except CsproxyError as e:
                log.info("not reconnected: %s", e)
                if is_final(e):
                    self._take(Step.GIVE_UP)
                    self.hub.fail_all(self._ended())
                    return None

    def _lost(self, connection: Connection, error: CsproxyError) -> None:
        """Called by the connection, inside the receive call."""
        self._see(connection)
        self._last_received_s = connection.last_received_s
        elsewhere = connection.has_said_farewell or isinstance(error, SilentPeerError)
        self._route.lost(self._clock(), hint_s=connection.retry_after_s, elsewhere=elsewhere)
        self._last_error = error
        log.info("connection lost: %s", error)
        if self.connection is connection:
            self.connection = None
            self._take(Step.LOSE)

    def _see(self, connection: Connection) -> None:
        # what belongs to another history is forgotten when the server says so, not passed over
        if self._order.is_later(connection.position, self._seen) and not self._order.rules_out(self._seen):
            self._seen = connection.position

    def _take(self, step: Step) -> None:
        self.states.take(step)

    def _describe(self, state: ClientState) -> ClientEvent:
        reason = self._last_error if state in (ClientState.SUSPENDED, ClientState.LOST) else None
        return ClientEvent(state, self.connected_endpoint, self.age_s, reason)

    # back to the preferred pool

    async def _return(self, connection: Connection, route: PoolsRoute) -> Connection:
        """Look whether the preferred pool is there again, and move to it once it has been for a while."""
        while True:
            await anyio.sleep(route.look_back_pause_s())
            try:
                await self._look(route.look_back())
                await anyio.sleep(route.return_pause_s())
                return await self._move(connection, route.look_back(), route)
            except CsproxyError as e:
                log.info("not back at the preferred pool yet: %s", e)

    async def _look(self, endpoint: Endpoint) -> None:
        """Raise if nobody there would take this client."""
        connection = await self.session.open(endpoint)
        connection.close()
        if connection.server_role == "backup":
            raise ConnectionLostError(f"{endpoint} is a backup")

    async def _move(self, old: Connection, endpoint: Endpoint, route: PoolsRoute) -> Connection:
        """Be registered and follow everything at ``endpoint``, too, then give the old connection up."""
        new = await self.session.open(endpoint)
        move = Move(self.hub, new)
        try:
            registered = await self.session.register_beside(new)
            await move.follow_all(timeout_s=self._attempt_timeout_s)
            for each in (new, old):
                if each.error is not None:
                    raise each.error
        except BaseException:
            new.close()
            raise
        # no await from here on: nothing may be requested or arrive in between
        self._see(old)
        old.leave()
        self.session.adopt(registered)
        route.returned(endpoint, self._clock())
        self._use(new, endpoint)
        move.finish()
        self.switches += 1
        log.info("moved from %s to %s", old.peer, new.peer)
        self._take(Step.SWITCH)
        assert self._tasks is not None
        self._tasks.start_soon(self._retire, old)
        return new

    async def _retire(self, old: Connection) -> None:
        """Let requests under way have their answers."""
        try:
            await old.wait_answered(self.request_timeout_s)
        finally:
            await old.aclose()

    def _ended(self) -> CsproxyError:
        if self.state is ClientState.NEW:
            return LocalProtocolError("the client is not connected: use 'async with'")
        if self.state is ClientState.CLOSED:
            return ConnectionLostError("the client was closed")
        lost = ConnectionLostError(f"the client has given up: {self._last_error}")
        lost.__cause__ = self._last_error
        return lost


def _hint_s(error: CsproxyError) -> float:
    return error.retry_after_s if isinstance(error, ServerError) else 0.0
