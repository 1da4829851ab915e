"""The states of a client: the table of them, who is told, and with what.

    NEW        not entered yet, or connecting for the first time
    CONNECTED  registered with a server; subscriptions are followed
    SUSPENDED  the connection was lost and is being re-established; requests wait, subscriptions go on afterwards
    LOST       given up: the servers refuse this client. Requests and subscriptions fail with the reason
    CLOSED     the ``async with`` was left

LOST and CLOSED are ends. A switch of servers without a loss leads from CONNECTED to CONNECTED.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, Self
from weakref import WeakSet

import anyio

from csproxy.core.changes import Position
from csproxy.errors import CsproxyError, LocalProtocolError

__all__ = [
    "TRANSITIONS",
    "ClientEvent",
    "ClientEvents",
    "ClientState",
    "ClientStates",
    "ClientStatistics",
    "Step",
    "diagram",
]

KEPT_EVENTS: Final = 100
"""Events that wait for a slow consumer; of more, the oldest are dropped."""


class ClientState(Enum):
    """How a client stands to its servers; the module header has the meaning."""

    NEW = "new"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    LOST = "lost"
    CLOSED = "closed"


class Step(Enum):
    """What leads from one state to the next."""

    CONNECT = "connect"
    LOSE = "lose"
    SWITCH = "switch"
    GIVE_UP = "give up"
    CLOSE = "close"


_S = ClientState
TRANSITIONS: Final[dict[tuple[ClientState, Step], ClientState]] = {
    (_S.NEW, Step.CONNECT): _S.CONNECTED,
    (_S.CONNECTED, Step.LOSE): _S.SUSPENDED,
    (_S.CONNECTED, Step.SWITCH): _S.CONNECTED,
    (_S.SUSPENDED, Step.CONNECT): _S.CONNECTED,
    (_S.SUSPENDED, Step.GIVE_UP): _S.LOST,
    **{(state, Step.CLOSE): _S.CLOSED for state in _S if state is not _S.CLOSED},
}
_ENDS: Final = frozenset({_S.LOST, _S.CLOSED})


class ClientEvent(NamedTuple):
    """A client has come into ``state``.

    ``endpoint`` is the server in use, or used last ("" before the first). ``age_s``: seconds since a server was last
    heard of, which is how old a near cache may be; while suspended it grows. ``reason``: why the connection was lost,
    or the client gave up; else None.
    """

    state: ClientState
    endpoint: str
    age_s: float
    reason: CsproxyError | None


class ClientStatistics(NamedTuple):
    """What a client does and did; a snapshot.

    ``switches``: moves to another server without a loss. ``quiet_s``: since a server last said something.
    """

    state: str
    endpoint: str
    position: Position
    subscriptions: int
    reconnects: int
    registrations: int
    restores: int
    switches: int
    quiet_s: float


class ClientEvents:
    """An async iterator over the events of one client, the present state first; it ends after LOST or CLOSED.

    A consumer that falls behind by more than `KEPT_EVENTS` loses the oldest.
    """

    def __init__(self, present: ClientEvent) -> None:
        self._waiting: deque[ClientEvent] = deque([present], maxlen=KEPT_EVENTS)
        self._news = anyio.Event()
        self._has_ended = False

    def __repr__(self) -> str:
        return f"<ClientEvents {len(self._waiting)} waiting>"

    def put(self, event: ClientEvent) -> None:
        """Another event."""
        self._waiting.append(event)
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ClientEvent:
        if self._has_ended:
            raise StopAsyncIteration
        while not self._waiting:
            self._news = anyio.Event()
            await self._news.wait()
        event = self._waiting.popleft()
        self._has_ended = event.state in _ENDS
        return event


class ClientStates:
    """Where a client stands, and those who want to know. ``describe(state)`` makes the event of a state."""

    def __init__(self, describe: Callable[[ClientState], ClientEvent]) -> None:
        self.present = ClientState.NEW
        self._describe = describe
        self._changed = anyio.Event()
        self._observers: dict[object, Callable[[ClientState], object]] = {}
        self._consumers: WeakSet[ClientEvents] = WeakSet()

    def __repr__(self) -> str:
        return f"<ClientStates {self.present.value}>"

    def take(self, step: Step) -> None:
        """Go on to the next state and tell everybody. Raises `LocalProtocolError` if the table has no such step."""
        if (self.present, step) not in TRANSITIONS:
            raise LocalProtocolError(f"a client that is {self.present.value} cannot {step.value}")
        self.present = TRANSITIONS[self.present, step]
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        event = self._describe(self.present)
        for consumer in tuple(self._consumers):
            consumer.put(event)
        for callback in tuple(self._observers.values()):
            callback(self.present)

    def observe(self, callback: Callable[[ClientState], object]) -> Callable[[], None]:
        """Call ``callback(state)`` at every step, at once; returns what ends that."""
        key = object()
        self._observers[key] = callback

        def stop() -> None:
            self._observers.pop(key, None)

        return stop

    def events(self) -> ClientEvents:
        """The present state and every step from now on."""
        consumer = ClientEvents(self._describe(self.present))
        self._consumers.add(consumer)
        return consumer

    async def wait_changed(self, timeout_s: float | None = None) -> bool:
        """Wait for the next step; False when there was none within ``timeout_s``."""
        changed = self._changed
        with anyio.move_on_after(timeout_s):
            await changed.wait()
        return changed.is_set()


def diagram() -> str:
    """The table as a mermaid state diagram, for the documentation; CLOSE, possible everywhere, is left out."""
    lines = ["stateDiagram-v2", "    [*] --> new"]
    lines += [
        f"    {state.value} --> {target.value}: {step.value}"
        for (state, step), target in TRANSITIONS.items()
        if step is not Step.CLOSE
    ]
    return "\n".join(lines) + "\n"
