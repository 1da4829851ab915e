"""Keeping a client connected: states, reconnecting, and requests that wait for a connection.

`ClientLink` owns the task that reconnects and checks that the server is alive. What the requests
mean is `csproxy.transport.client`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from csproxy.core.changes import Position
from csproxy.core.failover import Backoff, EndpointPolicy
from csproxy.core.keepalive import KeepAlive
from csproxy.errors import (
    ConnectionLostError,
    CsproxyError,
    HistoryExpiredError,
    LocalProtocolError,
    ServerError,
)
from csproxy.transport.channel import Connector
from csproxy.transport.client_session import ClientSession, is_final
from csproxy.transport.client_subscriptions import SubscriptionHub
from csproxy.transport.connection import Connection
from csproxy.transport.exchange import EpochOrder, Exchange
from csproxy.transport.keepalive import ServerWatch
from csproxy.transport.leaving import leave_tasks
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import RegisterClient

__all__ = ["ClientLink", "ClientState"]

log = logging.getLogger("csproxy.client")

_NONE: Final = Position(0, 0)
_LONGEST_WAIT_S: Final = 5.0


class ClientState(Enum):
    """How a client stands to its servers."""

    NEW = "new"
    """Not entered yet, or connecting for the first time."""
    CONNECTED = "connected"
    """Registered with a server; subscriptions are followed."""
    SUSPENDED = "suspended"
    """The connection was lost and is being re-established; requests wait, subscriptions go on afterwards."""
    LOST = "lost"
    """Given up: the servers refuse this client. Requests and subscriptions fail with the reason."""
    CLOSED = "closed"
    """The ``async with`` was left."""


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
        policy: EndpointPolicy,
        backoff: Backoff,
        endpoints: int,
        wait_s: float,
        attempt_timeout_s: float,
        request_timeout_s: float,
        keep_alive: KeepAlive,
        clock: Callable[[], float],
    ) -> None:
        self.hub = SubscriptionHub(self)
        self.session = ClientSession(
            request, connector=connector, policy=policy, hub=self.hub, timeout_s=attempt_timeout_s, clock=clock
        )
        self.state = ClientState.NEW
        self.connection: Connection | None = None
        self.reconnects = 0
        self.connected_endpoint = ""
        self._policy = policy
        self._backoff = backoff
        self._endpoints = endpoints
        self._wait_s = wait_s
        self.request_timeout_s = request_timeout_s
        self.keep_alive = ServerWatch(keep_alive, clock=clock)
        self._clock = clock
        self._order = EpochOrder()
        self._seen = _NONE
        self._last_received_s = 0.0
        self._changed = anyio.Event()
        self._observers: dict[object, Callable[[ClientState], object]] = {}
        self._last_error: CsproxyError | None = None
        self._tasks: TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<ClientLink {self.state.value}, {self._policy.current}>"

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
        connection = self.connection
        self._set(ClientState.CLOSED, None)
        self._last_error = closed
        self.hub.fail_all(closed)
        self._tasks.cancel_scope.cancel()  # before the connection closes: nothing is to reconnect
        if connection is not None:
            await connection.aclose()
        return await leave_tasks(self._tasks, exc_type, exc, traceback)

    # for observers

    def observe(self, callback: Callable[[ClientState], object]) -> Callable[[], None]:
        """Call ``callback(state)`` at every change of `state`, at once; returns what ends that."""
        key = object()
        self._observers[key] = callback

        def stop() -> None:
            self._observers.pop(key, None)

        return stop

    async def wait_changed(self) -> ClientState:
        """Wait for the next change of `state`."""
        await self._changed.wait()
        return self.state

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
            changed = self._changed
            with anyio.move_on_after(max(deadline - self._clock(), 0)):
                await changed.wait()
            if not changed.is_set():
                why = f": {self._last_error}" if self._last_error is not None else ""
                raise ConnectionLostError(
                    f"no connection to {self._policy.current} within {self.request_timeout_s:g} s{why}"
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

    async def ask(
        self, message: MessageId, payload: Any, *, minimum: Position, on_answer: Callable[[Frame], object]
    ) -> Frame:
        """A request of the hub."""
        return await self.repeatable(message, payload, minimum=lambda: minimum, on_answer=on_answer)

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
                hint = e.retry_after_s if isinstance(e, ServerError) else 0.0
                delay = self._backoff.next_delay_s(at_least_s=hint)
                if is_final(e) or (attempt >= self._endpoints and self._clock() + delay >= give_up):
                    raise
                log.info("not connected yet: %s", e)
            if self._clock() + delay < give_up:
                await anyio.sleep(delay)

    async def _attempt(self) -> Connection:
        try:
            connection = await self.session.connect()
        except CsproxyError as e:
            self._last_error = e
            self._policy.failed()
            raise
        if connection.error is not None:
            self._policy.failed()
            raise connection.error
        self._backoff.connected(self._clock())
        self._policy.connected()
        self._order = connection.order
        connection.on_closed = lambda error: self._lost(connection, error)
        log.info("connected to %s as %r", connection.peer, self.session.request.name)
        self.connected_endpoint = str(self._policy.current)
        self.connection = connection
        self.hub.connected(restored=self.session.is_restored)
        self._set(ClientState.CONNECTED, connection)
        return connection

    async def _keep(self, connection: Connection) -> None:
        while True:
            async with anyio.create_task_group() as watch:
                watch.start_soon(self.keep_alive.run, connection)
                error = await connection.wait_closed()
                watch.cancel_scope.cancel()
            next_connection = await self._reconnect(connection.retry_after_s, error)
            if next_connection is None:
                return
            self.reconnects += 1
            connection = next_connection

    async def _reconnect(self, hint_s: float, error: CsproxyError) -> Connection | None:
        """Try until a server takes the client, or refuses it for good (None)."""
        while True:
            await anyio.sleep(self._backoff.next_delay_s(at_least_s=hint_s))
            try:
                return await self._attempt()
            except CsproxyError as e:
                log.info("not reconnected: %s", e)
                if is_final(e):
                    self._set(ClientState.LOST, None)
                    self.hub.fail_all(self._ended())
                    return None
                hint_s = e.retry_after_s if isinstance(e, ServerError) else 0.0

    def _lost(self, connection: Connection, error: CsproxyError) -> None:
        """Called by the connection, inside the receive call."""
        self._see(connection)
        self._last_received_s = connection.last_received_s
        self.hub.forget_open()
        now = self._clock()
        self._backoff.lost(now)
        self._policy.lost()
        self._last_error = error
        log.info("connection lost: %s", error)
        if self.connection is connection:
            self._set(ClientState.SUSPENDED, None)

    def _see(self, connection: Connection) -> None:
        if self._order.is_later(connection.position, self._seen):
            self._seen = connection.position

    def _set(self, state: ClientState, connection: Connection | None) -> None:
        self.connection = connection
        self.state = state
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        for callback in tuple(self._observers.values()):
            callback(state)

    def _ended(self) -> CsproxyError:
        if self.state is ClientState.NEW:
            return LocalProtocolError("the client is not connected: use 'async with'")
        if self.state is ClientState.CLOSED:
            return ConnectionLostError("the client was closed")
        lost = ConnectionLostError(f"the client has given up: {self._last_error}")
        lost.__cause__ = self._last_error
        return lost
