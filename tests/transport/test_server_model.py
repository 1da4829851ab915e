"""Fan-out, parking, replay and resuming against a plain model, in every interleaving hypothesis finds.

The model is a list of transactions and, for each client, the changes that it must receive: those
published while it held a matching subscription, each once, in order.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from csproxy.core.changes import Action, Position
from csproxy.transport.channel import HIGH_WATER_BYTES
from csproxy.transport.wire.frames import FLAG_END, FLAG_HISTORY
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.subscriptions import (
    HistoryLog,
    RegisterNotification,
    ResumeFrom,
    Subscription,
    UnregisterNotification,
)
from tests.transport.manual import EPOCH, Client, application, manual_server, transaction

SKILL, CODE = 13, 14
NAMES = [f"client_{i}" for i in range(4)]
INTERESTS = [
    Subscription(),
    Subscription(object_type=SKILL),
    Subscription(object_type=CODE),
    Subscription(tenant_id=2),
    Subscription(object_type=SKILL, object_dbid=3),
]
Key = tuple[int, int, int, int]
TRAFFIC: Counter[str] = Counter()


def matches(interest: Subscription, type_: int, dbid: int) -> bool:
    return (
        interest.object_type in (0, type_)
        and interest.object_dbid in (0, dbid)
        and interest.tenant_id in (0, tenant_of(dbid))
    )


def tenant_of(dbid: int) -> int:
    return 1 + dbid % 2


def item(type_: int, dbid: int, version: int) -> dict[str, Any]:
    # 20 KB each: a handful of changes fills a channel.
    return {
        "DBID": dbid,
        "tenantDBID": tenant_of(dbid),
        "name": f"object {type_} {dbid}",
        "state": 1,
        "userProperties": {"v": {"n": version, "filler": "x" * 20_000}},
    }


class Expectation:
    """What one client must have received, and how far it has been checked."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.interests: set[int] = set()
        self.live: list[Key] = []
        self.history: list[Key] = []

    def received(self, *, history: bool) -> list[Key]:
        kept = self.client.frames
        self.client.frames = [f for f in kept if bool(f.flags & FLAG_HISTORY) is history]
        try:
            return self.client.changes()
        finally:
            self.client.frames = kept


class ServerMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        objects = [(9, application(200 + i, name)) for i, name in enumerate(NAMES)]
        self.server, self.turns = manual_server(objects)
        self.objects: dict[tuple[int, int], int] = {}
        self.uen = 0
        self.log: list[tuple[Key, int, int, bool]] = []
        self.clients: dict[str, Expectation] = {}
        self.sessions: dict[str, tuple[str, set[int], Position]] = {}

    # the master's side

    @rule(steps=st.lists(st.tuples(st.sampled_from([SKILL, CODE]), st.integers(1, 6), st.booleans()), min_size=1))
    def publish(self, steps: list[tuple[int, int, bool]]) -> None:
        planned = []
        for type_, dbid, delete in steps[:8]:
            version = self.objects.get((type_, dbid))
            if version is None:
                self.objects[type_, dbid] = 1
                planned.append((Action.CREATED, type_, item(type_, dbid, 1), None))
            elif delete:
                del self.objects[type_, dbid]
                planned.append((Action.DELETED, type_, item(type_, dbid, version), None))
            else:
                self.objects[type_, dbid] = version + 1
                delta = {"userProperties": {"changed": {"v": {"n": version + 1, "filler": "y" * 20_000}}}}
                planned.append((Action.UPDATED, type_, item(type_, dbid, version + 1), delta))
        changes = transaction(self.uen + 1, *planned)
        self.server.publish(changes)
        self.uen += len(changes)
        for one in changes:
            key = (one.position.uen, int(one.action), one.type, one.dbid)
            self.log.append((key, one.type, one.dbid, one.last))
            for expected in self.clients.values():
                if any(matches(INTERESTS[i], one.type, one.dbid) for i in expected.interests):
                    expected.live.append(key)

    @rule()
    def turn(self) -> None:
        self.turns.run()

    @rule()
    def marks(self) -> None:
        self.server.fan_out.mark(self.server.position)

    # clients

    @precondition(lambda self: len(self.clients) < len(NAMES))
    @rule()
    def connect(self) -> None:
        free = [name for name in NAMES if name not in self.clients]
        name = min(free, key=lambda name: name in self.sessions)
        self.sessions.pop(name, None)
        self.clients[name] = Expectation(Client(self.server, name))

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), interest=st.integers(0, len(INTERESTS) - 1), back=st.none() | st.integers(0, 20))
    def subscribe(self, data: st.DataObject, interest: int, back: int | None) -> None:
        expected = self.pick(data)
        if interest in expected.interests:
            return
        since = Position(0, 0)
        if back is not None:
            since = Position(EPOCH, self.boundary(self.uen - back))
            expected.history += self.since(since, {interest})
        fields = {name: getattr(INTERESTS[interest], name) for name in INTERESTS[interest].__struct_fields__}
        expected.client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(**fields), minimum=since)
        expected.interests.add(interest)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        expected = self.pick(data)
        if expected.interests:
            interest = expected.interests.pop()
            fields = {name: getattr(INTERESTS[interest], name) for name in INTERESTS[interest].__struct_fields__}
            expected.client.request(MessageId.UNREGISTER_NOTIFICATION, UnregisterNotification(**fields))

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), count=st.sampled_from([100, 5_000, 50_000, 1 << 30]))
    def take(self, data: st.DataObject, count: int) -> None:
        self.pick(data).client.receive(count)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """The connection breaks; what the client has seen completely is where it can resume."""
        self.drop(self.pick(data))

    def drop(self, expected: Expectation) -> None:
        client = expected.client
        self.check(expected, complete=False)
        reached = self.reached(client)
        client.channel.lose()
        del self.clients[client.name]
        if reached is not None:
            self.sessions[client.name] = (client.session, set(expected.interests), reached)

    @precondition(lambda self: self.sessions)
    @rule(restore=st.booleans())
    def come_back(self, restore: bool) -> None:
        self.come_back_as(next(iter(self.sessions)), restore)

    def come_back_as(self, name: str, restore: bool) -> None:
        session, interests, reached = self.sessions.pop(name)
        client = Client(self.server, name, session=session if restore else "")
        TRAFFIC["restored" if restore else "resumed"] += 1
        expected = self.clients[name] = Expectation(client)
        expected.interests = interests
        expected.history += self.since(reached, interests)
        if restore:
            client.request(MessageId.HISTORY_LOG, HistoryLog(session=session), minimum=reached)
        else:
            wanted = ResumeFrom(subscriptions=[INTERESTS[i] for i in interests])
            client.request(MessageId.RESUME_FROM, wanted, minimum=reached)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), count=st.sampled_from([1_000, 50_000, 1 << 30]), restore=st.booleans())
    def blink(self, data: st.DataObject, count: int, restore: bool) -> None:
        """A connection breaks somewhere in what it was sent, and the client is back at once."""
        expected = self.pick(data)
        self.turns.run_all()
        expected.client.receive(count)
        self.drop(expected)
        if expected.client.name in self.sessions:
            self.come_back_as(expected.client.name, restore)

    # what must hold

    @invariant()
    def nobody_holds_much(self) -> None:
        for expected in getattr(self, "clients", {}).values():
            # What fills the channel, and one piece on top: a burst or a replay, each with one frame too many.
            assert expected.client.channel.most_pending <= 2 * HIGH_WATER_BYTES + 2 * 21_000
            TRAFFIC["parked"] += expected.client.channel.pending_bytes > HIGH_WATER_BYTES

    def teardown(self) -> None:
        for _ in range(200):
            self.turns.run_all()
            for expected in self.clients.values():
                expected.client.receive()
        for expected in self.clients.values():
            self.check(expected, complete=True)
            TRAFFIC["live"] += len(expected.live)
            TRAFFIC["history"] += len(expected.history)

    def check(self, expected: Expectation, *, complete: bool) -> None:
        live, history = expected.received(history=False), expected.received(history=True)
        if complete:
            assert live == expected.live
            assert history == expected.history
        else:
            assert live == expected.live[: len(live)]
            assert history == expected.history[: len(history)]
        self.check_marks(expected.client)

    def check_marks(self, client: Client) -> None:
        boundaries = {key[0] for key, _, _, last in self.log if last} | {0}
        marked = seen = 0
        for frame in client.frames:
            if frame.request or frame.flags & FLAG_HISTORY:
                continue
            if frame.message == MessageId.PROGRESS_MARK:
                assert frame.uen in boundaries
                assert frame.uen >= marked
                marked = frame.uen
            elif frame.message in set(Action):
                assert frame.uen > marked, "a change at or below a progress mark"
                assert frame.uen > seen, "UENs of the live stream must ascend"
                seen = frame.uen

    def pick(self, data: st.DataObject) -> Expectation:
        return self.clients[data.draw(st.sampled_from(sorted(self.clients)))]

    def boundary(self, uen: int) -> int:
        """The newest end of a transaction at or before ``uen``."""
        return max([key[0] for key, _, _, last in self.log if last and key[0] <= uen], default=0)

    def since(self, position: Position, interests: set[int]) -> list[Key]:
        return [
            key
            for key, type_, dbid, _ in self.log
            if key[0] > position.uen and any(matches(INTERESTS[i], type_, dbid) for i in interests)
        ]

    def reached(self, client: Client) -> Position | None:
        """The last place up to which the client knows it has everything; None before that, or in a replay."""
        reached: int | None = None
        in_replay = False
        for frame in client.frames:
            if frame.flags & FLAG_HISTORY:
                in_replay = True
            elif frame.message == MessageId.NOTIFICATION_REGISTERED and reached is None:
                reached = frame.uen
            elif frame.message in (MessageId.HISTORY_LOG_SENT, MessageId.PROGRESS_MARK):
                reached, in_replay = frame.uen, False
            elif frame.message in set(Action) and frame.flags & FLAG_END:
                reached = frame.uen
        return None if in_replay or reached is None else Position(EPOCH, reached)


def test_the_server_agrees_with_the_model() -> None:
    """A model test that never parks or resumes anybody would prove nothing: examples are drawn until it has."""
    kinds = ("live", "history", "parked", "restored", "resumed")
    for _ in range(5):
        run_state_machine_as_test(ServerMachine, settings=hypothesis_settings(max_examples=300, stateful_step_count=50))
        if all(TRAFFIC[kind] >= 20 for kind in kinds):
            break
    assert all(TRAFFIC[kind] >= 20 for kind in kinds), TRAFFIC
