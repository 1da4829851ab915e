"""The queue of loads and writes: who goes when."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from csproxy.core.admission import Admission, AdmissionSettings, Ticket, Turn

SERIAL = AdmissionSettings(serialize=True)


def test_without_serialize_everything_begins_at_once_whatever_else_is_set() -> None:
    queue = Admission(AdmissionSettings(load_max=1, throttle_s=60.0, load_timeout_s=1.0))
    tickets = [queue.ask(turn, 0.0) for turn in (Turn.WRITE, Turn.LOAD, Turn.LOAD, Turn.WRITE)]
    assert queue.grant(0.0) == tickets
    queue.done(tickets[0], 1.0)
    assert queue.throttled_s(1.0) == 0.0
    assert queue.overdue(1000.0) == []
    assert repr(queue) == "<Admission 2 loads, 1 writes, 0 waiting>"


def test_loads_go_together_up_to_the_limit_in_their_order() -> None:
    queue = Admission(SERIAL._replace(load_max=2))
    one, two, three = (queue.ask(Turn.LOAD, 0.0) for _ in range(3))
    assert queue.grant(0.0) == [one, two]
    assert (queue.loads, queue.waiting_loads) == (2, 1)
    assert (repr(one), repr(three)) == ("<Ticket load goes>", "<Ticket load waits>")
    assert queue.grant(0.0) == []
    queue.done(two, 1.0)
    assert queue.grant(1.0) == [three]


def test_a_write_waits_for_loads_and_later_loads_wait_for_it() -> None:
    queue = Admission(SERIAL)
    load = queue.ask(Turn.LOAD, 0.0)
    assert queue.grant(0.0) == [load]
    write, later = queue.ask(Turn.WRITE, 1.0), queue.ask(Turn.LOAD, 2.0)
    assert queue.grant(2.0) == []
    queue.done(load, 3.0)
    assert queue.grant(3.0) == [write]
    queue.done(write, 4.0)
    assert queue.grant(4.0) == [later]


def test_writes_keep_their_distance() -> None:
    queue = Admission(SERIAL._replace(throttle_s=2.0))
    one, two = queue.ask(Turn.WRITE, 0.0), queue.ask(Turn.WRITE, 0.0)
    assert queue.grant(0.0) == [one]
    queue.done(one, 1.0)
    queue.done(one, 2.5)
    assert queue.throttled_s(1.5) == 1.5
    assert queue.grant(2.9) == []
    assert queue.grant(3.0) == [two]


def test_a_load_that_is_not_asking_keeps_its_place_and_holds_up_nobody() -> None:
    queue = Admission(SERIAL._replace(load_max=1))
    first, away, behind = (queue.ask(Turn.LOAD, 0.0) for _ in range(3))
    queue.grant(0.0)
    away.is_asking = False
    queue.done(first, 1.0)
    assert queue.grant(1.0) == [behind]
    last = queue.ask(Turn.LOAD, 2.0)
    away.is_asking = True
    queue.done(behind, 3.0)
    assert queue.grant(3.0) == [away]
    queue.done(last, 4.0)
    queue.done(away, 4.0)
    assert queue.grant(4.0) == []


def test_a_slot_that_is_held_too_long_is_overdue() -> None:
    queue = Admission(SERIAL._replace(load_timeout_s=10.0))
    load = queue.ask(Turn.LOAD, 0.0)
    queue.grant(5.0)
    assert queue.overdue(14.9) == []
    assert queue.overdue(15.0) == [load]


def test_how_long_a_request_may_wait() -> None:
    queue = Admission(SERIAL._replace(deferral_s=10.0))
    ticket = queue.ask(Turn.WRITE, 5.0)
    assert [queue.remaining_s(ticket, now) for now in (5.0, 14.0, 99.0)] == [10.0, 1.0, 0.0]
    queue.settings = SERIAL._replace(deferral_s=0.0)
    assert queue.remaining_s(ticket, 99.0) == math.inf


class Queue(RuleBasedStateMachine):
    """Any order of events: the limits hold, nobody overtakes, and in the end everybody has had a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue = Admission(SERIAL._replace(load_max=2, throttle_s=1.0))
        self.order: list[Ticket] = []
        self.going: list[Ticket] = []

    def grant(self) -> None:
        for ticket in self.queue.grant(self.now):
            assert ticket is self.order.pop(0)
            self.going.append(ticket)

    @rule(turn=st.sampled_from(Turn))
    def ask(self, turn: Turn) -> None:
        self.order.append(self.queue.ask(turn, self.now))
        self.grant()

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        if self.going:
            ticket = self.going.pop(data.draw(st.integers(0, len(self.going) - 1)))
            self.queue.done(ticket, self.now)
            self.grant()

    @rule(seconds=st.floats(0.1, 3.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.grant()

    @invariant()
    def limits_hold(self) -> None:
        loads = sum(ticket.turn is Turn.LOAD for ticket in self.going)
        writes = len(self.going) - loads
        assert loads <= 2
        assert writes <= 1
        assert not (loads and writes)

    def teardown(self) -> None:
        while self.order or self.going:
            for ticket in self.going:
                self.queue.done(ticket, self.now)
            self.going.clear()
            self.now += 2.0
            self.grant()


Queue.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueue = Queue.TestCase
