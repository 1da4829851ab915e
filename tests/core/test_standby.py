"""The roles of a warm-standby pair: each rule, and two members that talk over a link which may fail at any place."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from csproxy.core.standby import TRANSITIONS, Decision, Event, Role, Standby, Statement, diagram
from csproxy.errors import LocalProtocolError

PATIENCE_S = 10.0
FIRST, SECOND = 101, 102


def configured_primary() -> Standby:
    return Standby(FIRST, is_configured_primary=True, patience_s=PATIENCE_S, now=0.0)


def configured_backup() -> Standby:
    return Standby(SECOND, is_configured_primary=False, patience_s=PATIENCE_S, now=0.0)


def talk(one: Standby, other: Standby) -> list[Decision]:
    """Exchange statements until nothing changes any more."""
    decisions = []
    for _ in range(10):
        before = one.statement, other.statement
        decisions += [one.heard(before[1]), other.heard(before[0])]
        if before == (one.statement, other.statement):
            return [decision for decision in decisions if decision is not Decision.NOTHING]
    raise AssertionError(f"no end: {one!r} {other!r}")


def pair() -> tuple[Standby, Standby]:
    """A primary and its standby."""
    one, other = configured_primary(), configured_backup()
    assert talk(one, other) == [Decision.SERVE]
    assert (one.role, other.role, one.term, other.term) == (Role.PRIMARY, Role.STANDBY, 1, 1)
    return one, other


# the start


def test_two_that_start_together_take_the_roles_they_were_given() -> None:
    pair()


def test_alone_the_configured_primary_serves_at_once_and_the_backup_after_its_patience() -> None:
    one, other = configured_primary(), configured_backup()
    assert one.nothing_listens(1.0) is Decision.SERVE
    assert other.nothing_listens(1.0) is Decision.NOTHING
    assert other.due_s() == PATIENCE_S
    assert other.tick(PATIENCE_S - 0.1) is Decision.NOTHING
    assert other.tick(PATIENCE_S) is Decision.SERVE
    assert other.due_s() is None


# takeovers


def test_a_primary_that_stops_in_good_order_is_followed_at_once() -> None:
    one, other = pair()
    one.stop()
    assert other.other_leaves() is Decision.SERVE
    assert (other.role, other.term) == (Role.PRIMARY, 2)
    assert other.link_lost(5.0) is Decision.NOTHING


def test_a_primary_that_is_silent_is_followed_after_the_patience() -> None:
    _, other = pair()
    assert other.link_lost(5.0) is Decision.NOTHING
    assert (other.role, other.due_s()) == (Role.SEEKING, 5.0 + PATIENCE_S)
    assert other.tick(15.0) is Decision.SERVE


def test_a_primary_that_keep_alive_found_silent_is_followed_at_once() -> None:
    _, other = pair()
    assert other.link_lost(5.0, was_silent=True) is Decision.SERVE


def test_a_primary_whose_process_is_gone_is_followed_at_once() -> None:
    _, other = pair()
    other.link_lost(5.0)
    assert other.nothing_listens(5.1) is Decision.SERVE


def test_a_link_that_comes_back_changes_nothing() -> None:
    one, other = pair()
    one.link_lost(5.0)
    other.link_lost(5.0)
    assert talk(one, other) == []
    assert (one.role, other.role, other.due_s()) == (Role.PRIMARY, Role.STANDBY, None)


def test_the_old_primary_becomes_the_standby_when_it_is_back() -> None:
    _, other = pair()
    other.link_lost(5.0)
    other.tick(15.0)
    again = configured_primary()
    assert talk(again, other) == []
    assert (again.role, other.role, again.term) == (Role.STANDBY, Role.PRIMARY, 2)


def test_a_standby_that_seeks_serves_rather_than_a_primary_that_has_just_started_anew() -> None:
    _, other = pair()
    other.link_lost(5.0)
    again = configured_primary()
    assert talk(again, other) == [Decision.SERVE]
    assert (again.role, other.role) == (Role.STANDBY, Role.PRIMARY)


# both


def test_of_two_primaries_the_younger_steps_down() -> None:
    one, other = pair()
    one.link_lost(5.0)
    other.link_lost(5.0)
    other.tick(15.0)
    assert (one.role, other.role) == (Role.PRIMARY, Role.PRIMARY)
    assert talk(one, other) == [Decision.HAND_OVER]
    assert (one.role, other.role, other.term) == (Role.PRIMARY, Role.STANDBY, 1)


def test_of_two_primaries_of_one_term_the_configured_one_stays() -> None:
    one, other = configured_primary(), configured_backup()
    one.tick(PATIENCE_S)
    other.tick(PATIENCE_S)
    assert talk(one, other) == [Decision.HAND_OVER]
    assert (one.role, other.role) == (Role.PRIMARY, Role.STANDBY)


def test_two_that_are_both_configured_as_primary_agree_all_the_same() -> None:
    one = configured_primary()
    other = Standby(SECOND, is_configured_primary=True, patience_s=PATIENCE_S, now=0.0)
    assert talk(one, other) == [Decision.SERVE]
    assert (one.role, other.role) == (Role.PRIMARY, Role.STANDBY)


# commands


def test_on_command_the_primary_hands_over() -> None:
    one, other = pair()
    assert one.hand_over() is Decision.HAND_OVER
    assert other.other_leaves() is Decision.SERVE
    assert talk(one, other) == []
    assert (one.role, other.role, one.term, other.term) == (Role.STANDBY, Role.PRIMARY, 2, 2)


def test_a_primary_that_handed_over_to_one_that_died_serves_again() -> None:
    one, _ = pair()
    one.hand_over()
    one.link_lost(5.0)
    assert one.nothing_listens(5.0) is Decision.SERVE


def test_what_cannot_be_commanded_is_refused() -> None:
    one, other = pair()
    with pytest.raises(LocalProtocolError, match="the other member of the pair is there: it has to hand over"):
        other.serve()
    with pytest.raises(LocalProtocolError, match="this member of the pair is standby: it has nothing to hand over"):
        other.hand_over()
    assert one.serve() is Decision.NOTHING
    one.link_lost(1.0)
    with pytest.raises(LocalProtocolError, match="the other member of the pair is not there"):
        one.hand_over()
    other.link_lost(1.0)
    assert other.serve() is Decision.SERVE


def test_what_has_stopped_cannot_move() -> None:
    one, _ = pair()
    one.stop()
    with pytest.raises(LocalProtocolError, match="a member that is stopped cannot stop; possible: nothing"):
        one.stop()
    assert repr(one) == "<Standby stopped, term 1, linked to standby>"
    assert repr(configured_backup()) == "<Standby starting, term 0, not linked>"


def test_every_role_can_be_reached_and_the_diagram_shows_every_transition() -> None:
    assert set(TRANSITIONS.values()) | {Role.STARTING} == set(Role)
    text = diagram()
    for (before, event), after in TRANSITIONS.items():
        assert (f"    {before.value} --> {after.value}: {event.value}\n" in text) is (event is not Event.STOP)


# everything at once


class Pair(RuleBasedStateMachine):
    """Two members, a link that is cut at any place, statements that arrive late, processes that die."""

    @initialize()
    def start(self) -> None:
        self.now = 0.0
        self.members = [configured_primary(), configured_backup()]
        self.is_up = False
        self.on_the_way: list[list[Statement]] = [[], []]
        self.last_sent: list[Statement | None] = [None, None]

    def say(self) -> None:
        """Each sends what it is if that has changed."""
        if self.is_up:
            for index, each in enumerate(self.members):
                if each.statement != self.last_sent[index]:
                    self.last_sent[index] = each.statement
                    self.on_the_way[1 - index].append(each.statement)

    @precondition(lambda self: not self.is_up)
    @rule()
    def connect(self) -> None:
        self.is_up = True
        self.last_sent = [None, None]
        self.say()

    @precondition(lambda self: self.is_up)
    @rule()
    def cut(self) -> None:
        self.is_up = False
        self.on_the_way = [[], []]
        for each in self.members:
            each.link_lost(self.now)

    @rule(index=st.sampled_from([0, 1]))
    def deliver(self, index: int) -> None:
        if self.on_the_way[index]:
            self.members[index].heard(self.on_the_way[index].pop(0))
            self.say()

    @rule(seconds=st.sampled_from([0.1, 5.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for each in self.members:
            each.tick(self.now)
        self.say()

    @rule(index=st.sampled_from([0, 1]))
    def die_and_start_again(self, index: int) -> None:
        if self.is_up:
            self.is_up = False
            self.on_the_way = [[], []]
            self.members[1 - index].link_lost(self.now)
        is_first = index == 0
        self.members[index] = Standby(
            SECOND - is_first, is_configured_primary=is_first, patience_s=PATIENCE_S, now=self.now
        )

    @rule(index=st.sampled_from([0, 1]))
    def hand_over(self, index: int) -> None:
        one = self.members[index]
        if one.role is Role.PRIMARY and one.other is not None and not any(self.on_the_way):
            one.hand_over()
            self.members[1 - index].other_leaves()
            self.say()

    @invariant()
    def with_a_link_and_nothing_on_the_way_exactly_one_serves(self) -> None:
        if self.is_up and not any(self.on_the_way):
            assert {each.role for each in self.members} == {Role.PRIMARY, Role.STANDBY}

    def teardown(self) -> None:
        """Left alone long enough, one serves."""
        if not self.is_up:
            self.connect()
        self.say()
        for _ in range(20):
            for index in (0, 1):
                self.deliver(index)
        self.with_a_link_and_nothing_on_the_way_exactly_one_serves()


Pair.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestPair = Pair.TestCase
