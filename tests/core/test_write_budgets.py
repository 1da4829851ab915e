"""Budgets of changes: a burst at once, a steady rate after it, each client for itself."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.write_budgets import BURST_S, MAX_BUDGETS, WriteBudgets


def test_without_a_rate_everything_may_be_changed() -> None:
    budgets = WriteBudgets()
    assert [budgets.spend("a", 1_000_000, 0.0) for _ in range(3)] == [0.0] * 3
    assert budgets.most == math.inf


def test_a_burst_is_followed_by_the_rate() -> None:
    budgets = WriteBudgets(2.0)
    assert budgets.spend("a", 20, 100.0) == 0.0
    assert budgets.spend("a", 3, 100.0) == 1.5
    assert budgets.spend("a", 3, 101.0) == 0.5
    assert budgets.spend("a", 3, 101.5) == 0.0
    assert budgets.spend("a", 1, 101.5) == 0.5


def test_more_than_a_burst_never_fits() -> None:
    budgets = WriteBudgets(2.0)
    assert budgets.spend("a", 21, 0.0) == math.inf
    assert budgets.spend("a", 20, 0.0) == 0.0


def test_one_client_does_not_use_up_what_another_has() -> None:
    budgets = WriteBudgets(1.0)
    assert budgets.spend("a", 10, 0.0) == budgets.spend("b", 10, 0.0) == 0.0
    assert budgets.spend("a", 1, 0.0) > 0


def test_a_rate_that_changes_counts_at_once() -> None:
    budgets = WriteBudgets(1.0)
    budgets.spend("a", 10, 0.0)
    budgets.rate = 0.0
    assert budgets.spend("a", 10, 0.0) == 0.0
    budgets.rate = 5.0
    assert budgets.spend("a", 50, 0.0) == 0.0


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    budgets = WriteBudgets(1.0)
    budgets.spend("a", 10, 50.0)
    assert budgets.spend("a", 1, 40.0) == 1.0


def test_no_more_clients_are_remembered_than_the_bound() -> None:
    budgets = WriteBudgets(1.0)
    for n in range(MAX_BUDGETS + 1):
        budgets.spend(n, 10, 0.0)
    assert repr(budgets) == f"<WriteBudgets 1 changes/s, {MAX_BUDGETS} clients>"
    assert budgets.spend(1, 1, 0.0) > 0
    assert budgets.spend(0, 1, 0.0) == 0.0


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(1, 100), st.floats(0, 5)), max_size=50))
def test_over_any_time_no_client_exceeds_burst_and_rate(rate: int, steps: list[tuple[int, float]]) -> None:
    budgets, now_s, spent = WriteBudgets(float(rate)), 0.0, 0
    for changes, pause_s in steps:
        now_s += pause_s
        wait_s = budgets.spend("a", changes, now_s)
        if wait_s == 0.0:
            spent += changes
        elif wait_s != math.inf:
            now_s += wait_s + 1e-6
            assert budgets.spend("a", changes, now_s) == 0.0
            spent += changes
        assert spent <= rate * (BURST_S + now_s) + 1e-3
