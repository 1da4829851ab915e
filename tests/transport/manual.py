"""A server driven by hand: no event loop, no time, no sockets.

`ManualChannel` takes bytes only when told to, `Turns` runs the next loop turn when told to, and
`Client` speaks the real client protocol over them, so that a test decides every interleaving.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from csproxy.core import codec
from csproxy.core.changes import Action, Change, Epoch, ObjectCreated, ObjectDeleted, ObjectUpdated, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA, CfgAppType
from csproxy.core.model.delta import encode_object
from csproxy.core.sessions import Account
from csproxy.transport.channel import HIGH_WATER_BYTES, LOW_WATER_BYTES, Channel, Receiver
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter, ServerSettings
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.frames import HEADER_SIZE, Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.notifications import encode_notification
from csproxy.transport.wire.registration import RegisterClient, RestoreSession
from csproxy.transport.wire.subscriptions import Subscription

__all__ = ["EPOCH", "Client", "ManualChannel", "Turns", "application", "change", "manual_server", "transaction"]

EPOCH = 77
NOWHERE = Position(0, 0)


class Turns:
    """An event loop's ready queue: `run` makes one turn, `run_all` all that follow from it."""

    def __init__(self) -> None:
        self._ready: deque[Callable[[], object]] = deque()

    def call_soon(self, fn: Callable[[], object]) -> None:
        self._ready.append(fn)

    def run(self) -> None:
        for _ in range(len(self._ready)):
            self._ready.popleft()()

    def run_all(self) -> None:
        for _ in range(10_000):
            if not self._ready:
                return
            self.run()
        raise AssertionError("the loop never becomes idle")


class ManualChannel(Channel):
    """Keeps what is written until `take`; ``taken`` holds what the peer has received."""

    def __init__(self) -> None:
        self._receiver: Receiver | None = None
        self._pending = bytearray()
        self._is_full = False
        self.taken = bytearray()
        self.is_paused = False
        self.is_closing = False
        self.most_pending = 0

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def write(self, data: bytes) -> None:
        if not self.is_closing:
            self._pending += data
            self.most_pending = max(self.most_pending, len(self._pending))
            self._is_full |= len(self._pending) > HIGH_WATER_BYTES

    @property
    def pending_bytes(self) -> int:
        return len(self._pending)

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def close(self, *, flush: bool = True) -> None:
        self.is_closing = True
        if not flush:
            self._pending.clear()

    @property
    def peer(self) -> str:
        return "by hand"

    def deliver(self, data: bytes) -> None:
        assert self._receiver is not None
        self._receiver.receive(data)

    def take(self, count: int) -> None:
        """The peer takes up to ``count`` bytes."""
        self.taken += self._pending[:count]
        del self._pending[:count]
        if self._is_full and len(self._pending) <= LOW_WATER_BYTES:
            self._is_full = False
            assert self._receiver is not None
            self._receiver.writable()

    def lose(self) -> None:
        """The connection ends; what was not taken is lost."""
        self.is_closing = True
        self._pending.clear()
        assert self._receiver is not None
        self._receiver.closed(None)


class Client:
    """A registered client of a manual server; with ``session``, one that has restored it and ``relies_on`` these."""

    def __init__(
        self,
        server: ConfigurationServer,
        name: str,
        *,
        session: str = "",
        relies_on: list[Subscription] | None = None,
        channel: ManualChannel | None = None,
    ) -> None:
        self.server = server
        self.name = name
        self.channel = channel or ManualChannel()
        self.protocol = ClientProtocol()
        self.frames: list[Frame] = []
        server.connect(self.channel)
        self.channel.deliver(self.protocol.connect(name, "test"))
        self.receive()
        who = {"type": int(CfgAppType.CFGStatServer), "name": name}
        if session:
            self.request(MessageId.RESTORE_SESSION, RestoreSession(**who, session=session, subscriptions=relies_on))
        else:
            self.request(MessageId.REGISTER_CLIENT, RegisterClient(**who))
        self.session = codec.decode_map(self.answer(MessageId.CLIENT_REGISTERED).payload)["session"]

    def request(self, message: MessageId, payload: Any = b"", *, minimum: Position = NOWHERE) -> int:
        number, data = self.protocol.request(message, payload, minimum=minimum)
        self.channel.deliver(data)
        return number

    def receive(self, count: int = 1 << 30) -> list[Frame]:
        """Take up to ``count`` bytes and return the frames that they complete."""
        self.channel.take(count)
        data = bytes(self.channel.taken)
        self.channel.taken.clear()
        new = self.protocol.receive_data(data) if data else []
        self.frames += new
        return new

    def receive_all(self) -> list[Frame]:
        """Take everything that comes, over as many turns of the loop as it needs."""
        first = len(self.frames)
        turns = self.server.call_soon.__self__  # type: ignore[attr-defined]
        self.receive()
        turns.run_all()
        while self.receive():
            turns.run_all()
        return self.frames[first:]

    def answer(self, message: MessageId) -> Frame:
        """Take everything; the last frame must be ``message``."""
        self.receive_all()
        frame = self.frames[-1]
        assert frame.message == message, (MessageId(frame.message).name, frame.payload)
        return frame

    def changes(self) -> list[tuple[int, int, int, int]]:
        """The notifications received so far as (UEN, number, type, DBID)."""
        return [
            (frame.uen, frame.message, payload["type"], payload.get("dbid") or payload["object"]["DBID"])
            for frame in self.frames
            if frame.request == 0 and frame.message in set(Action)
            for payload in [codec.decode_map(frame.payload)]
        ]


class NoUsers:
    """No test here logs a user in."""

    async def authenticate(self, user: str, password: str) -> Account:
        raise AssertionError(f"log-in of {user!r}")


def application(dbid: int, name: str, type_: CfgAppType = CfgAppType.CFGStatServer) -> dict[str, Any]:
    return {"DBID": dbid, "name": name, "type": int(type_), "version": "8.5.1", "isServer": 2, "state": 1}


def manual_server(
    objects: Sequence[tuple[int, dict[str, Any]]], *, settings: ServerSettings | None = None, role: str = "master"
) -> tuple[ConfigurationServer, Turns]:
    """A complete server at UEN 0 of EPOCH with these objects, and its turns."""
    turns = Turns()
    counter = itertools.count(1)
    server = ConfigurationServer(
        role=role,
        name="server",
        authenticator=NoUsers(),
        writer=ReadOnlyWriter("read-only for this test"),
        random=lambda: 0.5,
        random_bytes=lambda n: next(counter).to_bytes(n, "big"),
        settings=settings,
        clock=lambda: 0.0,
        call_soon=turns.call_soon,
    )
    builder = CacheBuilder(None)
    for number, item in objects:
        builder.add(number, [encode_object(SCHEMA.types[number], item)], [0])
    server.replace(builder, Position(EPOCH, 0), [Epoch(EPOCH, 1)])
    return server, turns


def change(
    action: Action,
    type_: int,
    item: dict[str, Any],
    uen: int,
    *,
    last: bool = True,
    delta: dict[str, Any] | None = None,
    epoch: int = EPOCH,
) -> Change:
    """One change; ``item`` is the object after a creation, or before a deletion."""
    stored = encode_object(SCHEMA.types[type_], item)
    position = Position(epoch, uen)
    payload: msgspec.Struct
    if action is Action.CREATED:
        payload = ObjectCreated(type=type_, object=msgspec.Raw(stored))
    elif action is Action.UPDATED:
        payload = ObjectUpdated(type=type_, dbid=item["DBID"], delta=delta)
    else:
        payload = ObjectDeleted(type=type_, dbid=item["DBID"], former=msgspec.Raw(stored))
    frame = encode_notification(action, codec.encode(payload), position=position, last=last)
    assert len(frame) > HEADER_SIZE
    return Change(
        action=action,
        type=type_,
        dbid=item["DBID"],
        position=position,
        frame=frame,
        last=last,
        object=stored if action is Action.CREATED else None,
        delta=delta if action is Action.UPDATED else None,
        former=stored if action is Action.DELETED else None,
    )


def transaction(first_uen: int, *steps: tuple[Action, int, dict[str, Any], dict[str, Any] | None]) -> list[Change]:
    """Changes with ascending UENs; the last one ends the transaction."""
    return [
        change(action, type_, item, first_uen + i, last=i == len(steps) - 1, delta=delta)
        for i, (action, type_, item, delta) in enumerate(steps)
    ]
