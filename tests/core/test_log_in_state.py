"""What wrong and right passwords do to an account."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.log_in_state import NO_STATE, LogIn, LogInState, after, is_locked
from csproxy.core.password_rules import MINUTE_MS, PasswordRules

THREE = PasswordRules(account_lockout_threshold=3, account_lockout_attempts_period=10, account_lockout_duration=30)


def wrong(state: LogInState, minute: float, rules: PasswordRules = THREE) -> LogInState:
    return after(state, LogIn(101, round(minute * MINUTE_MS), is_right=False), rules)


def right(state: LogInState, minute: float, *, is_kept: bool = True) -> LogInState:
    log_in = LogIn(101, round(minute * MINUTE_MS), True, is_kept, "wde", "10.0.0.1")
    return after(state, log_in, THREE)


def test_an_account_is_locked_by_wrong_passwords_that_follow_each_other_and_opens_by_itself() -> None:
    state = wrong(wrong(NO_STATE, 1), 10)
    assert not is_locked(state, THREE, 10 * MINUTE_MS)
    state = wrong(state, 19)
    assert is_locked(state, THREE, 19 * MINUTE_MS)
    assert is_locked(state, THREE, 49 * MINUTE_MS - 1)
    assert not is_locked(state, THREE, 49 * MINUTE_MS)
    assert not is_locked(state, PasswordRules(), 20 * MINUTE_MS), "without the rule nothing is locked"


def test_wrong_passwords_while_it_is_locked_do_not_keep_it_locked() -> None:
    state = wrong(wrong(wrong(NO_STATE, 1), 2), 3)
    for minute in range(4, 30):
        state = wrong(state, minute)
    assert not is_locked(state, THREE, 33 * MINUTE_MS)
    assert state.failed == 29
    assert not is_locked(wrong(wrong(state, 34), 35), THREE, 35 * MINUTE_MS), "counting begins anew"


def test_a_right_log_in_is_kept_and_forgets_the_wrong_ones() -> None:
    state = right(wrong(wrong(NO_STATE, 1), 2), 3)
    assert state == LogInState(last_ms=3 * MINUTE_MS, application="wde", address="10.0.0.1")
    assert right(wrong(NO_STATE, 1), 2, is_kept=False) == NO_STATE


def test_what_is_reported_late_takes_nothing_back() -> None:
    state = right(NO_STATE, 10)
    assert right(state, 5) == state
    failed = wrong(state, 12)
    assert right(failed, 11).failed == 1
    assert wrong(failed, 11).failed_ms == 12 * MINUTE_MS


def test_a_new_password_unlocks() -> None:
    state = wrong(wrong(wrong(NO_STATE, 1), 2), 3)
    assert is_locked(state, THREE, 4 * MINUTE_MS, changed_ms=2 * MINUTE_MS)
    assert not is_locked(state, THREE, 4 * MINUTE_MS, changed_ms=4 * MINUTE_MS)


class PlainAccount:
    """The rules as a person would tell them."""

    def __init__(self, threshold: int, period: int, duration: int) -> None:
        self.threshold, self.period, self.duration = threshold, period, duration
        self.counted: list[int] = []
        self.locked_until = 0.0
        self.last_wrong = 0

    def wrong(self, now: int) -> None:
        last, self.last_wrong = self.last_wrong, now
        if now < self.locked_until or not self.threshold:
            return
        if self.period and now - last > self.period * MINUTE_MS:
            self.counted = []
        self.counted.append(now)
        if len(self.counted) >= self.threshold:
            self.counted = []
            self.locked_until = now + self.duration * MINUTE_MS if self.duration else math.inf

    def right(self) -> None:
        self.counted = []
        self.locked_until = 0.0
        self.last_wrong = 0


@given(
    threshold=st.integers(0, 4),
    period=st.sampled_from([0, 1, 5]),
    duration=st.sampled_from([0, 1, 7]),
    events=st.lists(st.tuples(st.integers(1, 3 * MINUTE_MS), st.sampled_from(["wrong", "wrong", "right", "look"]))),
)
def test_lockout_does_what_a_plain_reading_of_the_rules_does(
    threshold: int, period: int, duration: int, events: list[tuple[int, str]]
) -> None:
    rules = PasswordRules(
        account_lockout_threshold=threshold,
        account_lockout_attempts_period=period,
        account_lockout_duration=duration,
    )
    plain, state, now = PlainAccount(threshold, period, duration), NO_STATE, 0
    for pause, what in events:
        now += pause
        if what != "look":
            state = after(state, LogIn(1, now, what == "right"), rules)
            plain.wrong(now) if what == "wrong" else plain.right()
        assert is_locked(state, rules, now) == (now < plain.locked_until)
