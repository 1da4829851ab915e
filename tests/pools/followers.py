"""Thousands of clients, which follow changes while servers come and go.

Most are light ones: a `ClientProtocol` on an asyncio transport that goes where `ServersRoute` says, as `ConfigClient`
does, at a tenth of its cost: what is measured with them is the work of servers. Some are `ConfigClient`.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import anyio
import msgspec

from csproxy.core.changes import Position
from csproxy.core.failover import Endpoint
from csproxy.core.keepalive import KeepAlive
from csproxy.core.model import CfgAppType, CfgPerson
from csproxy.core.routes import ServersRoute
from csproxy.daemon.process import raise_descriptor_limit
from csproxy.errors import ErrorCode, HistoryExpiredError, RemoteProtocolError
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_states import ClientState as LibraryState
from csproxy.transport.wire.client_protocol import ClientProtocol, ClientState
from csproxy.transport.wire.frames import FLAG_END, FLAG_HISTORY, Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.notifications import NOTIFICATIONS
from csproxy.transport.wire.payload import Empty, Error
from csproxy.transport.wire.registration import ClientRegistered, RegisterClient, RestoreSession
from csproxy.transport.wire.subscriptions import HistoryLog, RegisterNotification, ResumeFrom, Subscription
from tests.daemon.servers import PASSWORD
from tests.pools.writers import Writer

PERSON: Final = 3
SETTLE_S: Final = 120.0
SILENCE_S: Final = 3.0
"""A server that says nothing for so long is asked whether it is there,"""
GIVE_UP_S: Final = 9.0
"""and after so long it is given up."""
LOG_INS_AT_ONCE: Final = 50

_NONE: Final = Position(0, 0)
_WANTED: Final = Subscription(object_type=PERSON)
_REGISTER: Final = RegisterClient(type=int(CfgAppType.CFGSCE), name="default", user="default", password=PASSWORD)
_MARKS: Final = frozenset({MessageId.PROGRESS_MARK, MessageId.HISTORY_LOG_SENT})


class Follower(ABC):
    """One client and all that it has received."""

    def __init__(self) -> None:
        self.first: int | None = None
        """UEN after which it must have everything; None until it is subscribed for the first time."""
        self.seen: list[int] = []
        self.registrations = 0
        self.restores = 0
        self.reloads = 0
        """How often a server said that what was missed is not to be had any more."""
        self.violations = 0
        """How often a server broke the rules of the protocol."""
        self.is_following = asyncio.Event()
        self.followed_s = 0.0
        """When it was connected and had what it had missed, last."""
        self.changed_s = 0.0
        self.pause_s = 0.0
        """The longest time between two changes since it was set to 0."""

    @abstractmethod
    async def run(self) -> None:
        """Connect, and again whenever the connection is lost."""

    def give_up_if_silent(self, now_s: float) -> None:  # noqa: B027 - a client may find out itself
        """The connection may be to a process that is frozen."""

    def changed(self, uen: int, now_s: float) -> None:
        """A change has come."""
        self.seen.append(uen)
        self.pause_s = max(self.pause_s, now_s - self.changed_s)
        self.changed_s = now_s


class LibraryFollower(Follower):
    """A `ConfigClient` with a subscription."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        super().__init__()
        self._client = ConfigClient(
            endpoints=endpoints,
            user="default",
            password=PASSWORD,
            connect_wait_s=SETTLE_S,
            keep_alive=KeepAlive(timeout_s=GIVE_UP_S / 2),
        )

    async def run(self) -> None:
        """See `Follower`."""
        loop = asyncio.get_running_loop()
        try:
            async with self._client as client, client.subscribe(CfgPerson) as changes:
                self.first = changes.position.uen
                self._noticed(client.state)
                client.observe(self._noticed)
                async for change in changes:
                    self.changed(change.position.uen, loop.time())
        except HistoryExpiredError:
            self.reloads += 1
        except RemoteProtocolError:
            self.violations += 1

    def _noticed(self, state: LibraryState) -> None:
        now = self._client.statistics()
        self.registrations, self.restores = now.registrations, now.restores
        if state is LibraryState.CONNECTED:
            self.followed_s = asyncio.get_running_loop().time()
            self.is_following.set()
        else:
            self.is_following.clear()


class LightFollower(Follower):
    """A client's protocol on a transport: its session, and the place to which it has followed."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        super().__init__()
        self.route = ServersRoute(endpoints, random.random)
        self.session = ""
        self.position = _NONE
        self.heard_s = 0.0
        self.link: Link | None = None

    async def run(self) -> None:
        """See `Follower`."""
        loop = asyncio.get_running_loop()
        while True:
            await anyio.sleep(self.route.pause_s())
            self.heard_s = loop.time()
            self.link = link = Link(self, loop)
            try:
                await loop.create_connection(lambda link=link: link, *self.route.current)
            except OSError:
                self.route.failed()
                continue
            await link.ended.wait()
            if link.was_useful:
                self.route.lost(loop.time(), hint_s=link.hint_s, elsewhere=link.leads_elsewhere)
            else:
                self.route.failed(hint_s=link.hint_s)
            self.is_following.clear()

    def give_up_if_silent(self, now_s: float) -> None:
        """See `Follower`."""
        if self.link is not None and now_s - self.heard_s > GIVE_UP_S:
            self.link.give_up()
        elif self.link is not None and now_s - self.heard_s > SILENCE_S:
            self.link.ping()

    def take(self, frame: Frame, now_s: float) -> None:
        """A notification has come."""
        self.changed(frame.uen, now_s)
        if frame.flags & (FLAG_END | FLAG_HISTORY) == FLAG_END:
            self.position = Position(frame.epoch, frame.uen)


class Link(asyncio.Protocol):
    """One connection of a follower: restores or registers, subscribes, and takes what comes."""

    def __init__(self, follower: LightFollower, loop: asyncio.AbstractEventLoop) -> None:
        self.ended = asyncio.Event()
        self.was_useful = False
        self.hint_s = 0.0
        self.leads_elsewhere = False
        self._follower = follower
        self._clock = loop.time
        self._protocol = ClientProtocol()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of a class of its own
        self._transport.write(self._protocol.connect("follower"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        follower = self._follower
        follower.heard_s = now_s = self._clock()
        try:
            frames = self._protocol.receive_data(data)
        except RemoteProtocolError:
            follower.violations += 1
            self.close()
            return
        for frame in frames:
            if frame.message in NOTIFICATIONS and not frame.request:
                follower.take(frame, now_s)
            elif self._protocol.state is not ClientState.CLOSED:  # a farewell stands behind: nothing more to ask
                self._take(frame)
        if self._protocol.state is ClientState.CLOSED:
            reason = self._protocol.disconnect_reason
            self.leads_elsewhere = reason is not None
            self.hint_s = 0.0 if reason is None else reason.retry_after_ms / 1000
            self.close()

    def ping(self) -> None:
        """Ask whether the server is there, unless an answer is waited for."""
        is_idle = self._protocol.state is ClientState.REGISTERED and not self._protocol.open_requests
        if is_idle and self._transport is not None and not self._transport.is_closing():
            self._send(MessageId.PING, Empty())

    def give_up(self) -> None:
        """The server is silent: another one may not be."""
        self.leads_elsewhere = True
        self.close()

    def close(self) -> None:
        """End the connection without waiting for what is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self, frame: Frame) -> None:
        follower, message = self._follower, frame.message
        if message in _MARKS or (message == MessageId.NOTIFICATION_REGISTERED and follower.first is None):
            follower.position = Position(frame.epoch, frame.uen)
        if message == MessageId.PROTOCOL_VERSION_READ:
            self._register()
        elif message == MessageId.CLIENT_REGISTERED:
            self._subscribe(decode_payload(ClientRegistered, frame.payload).session)
        elif message in (MessageId.HISTORY_LOG_SENT, MessageId.NOTIFICATION_REGISTERED):
            self._follow(frame)
        elif message == MessageId.ERROR:
            self._refused(decode_payload(Error, frame.payload))

    def _register(self) -> None:
        session = self._follower.session
        if session:
            fields = {name: getattr(_REGISTER, name) for name in RegisterClient.__struct_fields__} | {"password": ""}
            self._send(MessageId.RESTORE_SESSION, RestoreSession(**fields, session=session, subscriptions=[_WANTED]))
        else:
            self._send(MessageId.REGISTER_CLIENT, _REGISTER)

    def _subscribe(self, session: str) -> None:
        follower = self._follower
        if follower.session:
            follower.restores += 1
            self._send(MessageId.HISTORY_LOG, HistoryLog(session=session), minimum=follower.position)
            return
        follower.session = session
        follower.registrations += 1
        if follower.first is None:
            self._send(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=PERSON))
        else:
            self._send(MessageId.RESUME_FROM, ResumeFrom(subscriptions=[_WANTED]), minimum=follower.position)

    def _follow(self, frame: Frame) -> None:
        follower = self._follower
        if follower.first is None:
            follower.first = frame.uen
        follower.route.connected(self._clock())
        self.was_useful = True
        follower.followed_s = self._clock()
        follower.is_following.set()

    def _refused(self, error: Error) -> None:
        follower, state = self._follower, self._protocol.state
        self.hint_s = error.retry_after_ms / 1000
        if state is ClientState.UNREGISTERED and follower.session and not error.retry_after_ms:
            follower.session = ""
            self._register()
            return
        if error.code == ErrorCode.HISTORY_LOG_EXPIRED:
            follower.reloads += 1
        if state is ClientState.REGISTERED:
            follower.session = ""  # it may hold no subscription, and would look as if nothing was missed
        self.close()

    def _send(self, message: MessageId, payload: msgspec.Struct, *, minimum: Position = _NONE) -> None:
        assert self._transport is not None
        self._transport.write(self._protocol.request(message, payload, minimum=minimum)[1])


@dataclass(frozen=True)
class Faults:
    """What must not be: changes left out, received twice, out of order, not to be had any more; broken rules."""

    gaps: int = 0
    duplicates: int = 0
    disorders: int = 0
    reloads: int = 0
    violations: int = 0


class Followers:
    """``size`` clients that follow all persons, and ``writers``: one that changes a person at the master all the time.

    ``library``: so many more that are `ConfigClient`. ``interval_s``: time between two changes.
    """

    def __init__(
        self,
        master_port: int,
        endpoints: Sequence[tuple[str, int]],
        size: int,
        *,
        library: int = 0,
        interval_s: float = 0.1,
    ) -> None:
        raise_descriptor_limit()
        servers = [Endpoint(*each) for each in endpoints]
        self.everybody: list[Follower] = [LightFollower(servers) for _ in range(size)]
        self.everybody += [LibraryFollower(servers) for _ in range(library)]
        self.writers = [Writer([("127.0.0.1", master_port)], interval_s=interval_s)]
        self._is_over = False
        self._has_written = anyio.Event()

    async def run(self, trouble: Callable[[], Awaitable[None]]) -> None:
        """Everybody follows, then trouble is made, then everybody must have everything."""
        async with anyio.create_task_group() as tasks:
            at_once = anyio.Semaphore(LOG_INS_AT_ONCE)
            for follower in self.everybody:
                tasks.start_soon(self._begin, follower, at_once)
            await self.until(lambda: all(each.first is not None for each in self.everybody), "not all are connected")
            tasks.start_soon(self._write)
            tasks.start_soon(self._watch)
            await self.served()
            await trouble()
            self._is_over = True
            for writer in self.writers:
                writer.is_over = True
            await self._has_written.wait()
            await self.served()
            tasks.cancel_scope.cancel()

    async def served(self) -> None:
        """Wait until everybody is connected and has a change that is made after now, by each writer."""
        if not self._is_over:
            counts = [len(writer.written) for writer in self.writers]
            await self.until(
                lambda: all(len(one.written) > count for one, count in zip(self.writers, counts, strict=True)),
                "nothing is written",
            )
        head = max(writer.written[-1] for writer in self.writers)
        await self.until(
            lambda: all(each.seen and each.seen[-1] >= head and each.is_following.is_set() for each in self.everybody),
            "somebody lacks a change, or is not connected",
        )

    @property
    def written(self) -> list[int]:
        """UENs of all changes that were acknowledged, ascending."""
        return sorted(uen for writer in self.writers for uen in writer.written)

    async def until(self, holds: Callable[[], bool], problem: str) -> None:
        """Wait until ``holds()``."""
        deadline = time.monotonic() + SETTLE_S
        while not holds():
            assert time.monotonic() < deadline, f"{problem}: {self.describe()}"
            await anyio.sleep(0.05)

    def begin_round(self) -> None:
        """Forget the pauses so far."""
        for each in self.everybody:
            each.pause_s = 0.0

    def pauses_s(self) -> list[float]:
        """The longest time between two changes of each client since `begin_round`, ascending."""
        return sorted(each.pause_s for each in self.everybody)

    def counts(self) -> Counter[str]:
        """Log-ins and restored sessions of all together."""
        found: Counter[str] = Counter()
        for each in self.everybody:
            found["registrations"] += each.registrations
            found["restores"] += each.restores
        return found

    def faults(self) -> Faults:
        """Everything that any client received otherwise than it was written after the client began."""
        gaps = duplicates = disorders = 0
        written = self.written
        for each in self.everybody:
            assert each.first is not None
            due = [uen for uen in written if uen > each.first]
            gaps += len(set(due) - set(each.seen))
            duplicates += len(each.seen) - len(set(each.seen))
            disorders += sum(later < earlier for earlier, later in zip(each.seen, each.seen[1:], strict=False))
            assert set(each.seen) <= set(due), "a change that nobody made"
        reloads = sum(each.reloads for each in self.everybody)
        return Faults(gaps, duplicates, disorders, reloads, sum(each.violations for each in self.everybody))

    def describe(self) -> str:
        """For a wait that was in vain."""
        following = sum(each.is_following.is_set() for each in self.everybody)
        return f"{following} of {len(self.everybody)} follow, {len(self.written)} changes, {self.counts()}"

    async def _begin(self, follower: Follower, at_once: anyio.Semaphore) -> None:
        async with anyio.create_task_group() as tasks:
            await at_once.acquire()
            tasks.start_soon(follower.run)
            await follower.is_following.wait()
            at_once.release()

    async def _write(self) -> None:
        async with anyio.create_task_group() as tasks:
            for writer in self.writers:
                tasks.start_soon(writer.run)
        self._has_written.set()

    async def _watch(self) -> None:
        """Look for servers that have fallen silent: a frozen process."""
        loop = asyncio.get_running_loop()
        while True:
            await anyio.sleep(SILENCE_S / 4)
            for each in self.everybody:
                each.give_up_if_silent(loop.time())
