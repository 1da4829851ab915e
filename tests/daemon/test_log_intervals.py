"""Check-points and statistics: when they are due, also when options or the clock change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from csproxy.daemon.log_intervals import LogIntervals, next_due

HOUR_S = 3600.0


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def test_intervals_are_multiples_of_the_day() -> None:
    assert next_due(0.0, 3600) == 3600
    assert next_due(3599.9, 3600) == 3600
    assert next_due(3600.0, 3600) == 7200
    midnight_s = 86_400 - 19_800  # of a place that is five and a half hours ahead
    assert next_due(midnight_s - 1, 6 * 3600, offset_s=19_800) == midnight_s
    assert next_due(midnight_s, 6 * 3600, offset_s=19_800) == midnight_s + 6 * 3600


def test_a_check_point_comes_when_the_hours_are_over_and_tells_how_the_server_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines: list[Mapping[str, Any]] = []
    start_s = 1_746_360_000.0
    clock = Clock(start_s + 100)
    intervals = LogIntervals(lambda: "well", lambda: {"clients": 3}, lines.append, clock=clock)
    intervals.set(check_point_h=1, statistics_s=60)
    with caplog.at_level(logging.INFO, "csproxy.daemon.log"):
        assert intervals.step() == 20
        clock.now_s = start_s + 119
        assert intervals.step() == 1
        assert (lines, caplog.records) == ([], [])
        clock.now_s += 1
        assert intervals.step() == 30
        assert lines == [{"clients": 3}]
        clock.now_s = start_s + HOUR_S
        intervals.step()
        intervals.step()
        assert len(lines) == 2, "what was missed is not caught up"
        (entry,) = caplog.records
        assert entry.__dict__["event"] == 31003
        assert entry.getMessage().startswith("check-point 2025-05-04 ")
        assert entry.getMessage().endswith(": well")
        intervals.set(check_point_h=0, statistics_s=0)
        clock.now_s += 10 * HOUR_S
        assert intervals.step() == 30
        assert (len(lines), len(caplog.records)) == (2, 1)


def test_a_clock_that_is_put_back_holds_nothing_up() -> None:
    lines: list[Mapping[str, Any]] = []
    clock = Clock(1_746_360_000.0)
    intervals = LogIntervals(lambda: "", lambda: {}, lines.append, clock=clock)
    intervals.set(check_point_h=0, statistics_s=20)
    intervals.step()
    clock.now_s -= 10 * HOUR_S
    assert intervals.step() == 20
    clock.now_s += 20
    intervals.step()
    assert len(lines) == 1


@pytest.mark.anyio
async def test_a_change_of_the_options_counts_at_once() -> None:
    lines: list[Mapping[str, Any]] = []
    clock = Clock(1_746_360_000.0)
    written = anyio.Event()

    def write(values: Mapping[str, Any]) -> None:
        lines.append(values)
        written.set()

    intervals = LogIntervals(lambda: "", lambda: {"n": 1}, write, clock=clock)
    intervals.set(check_point_h=0, statistics_s=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intervals.run)
        await anyio.wait_all_tasks_blocked()
        intervals.set(check_point_h=0, statistics_s=1)
        await anyio.wait_all_tasks_blocked()
        clock.now_s += 1
        with anyio.fail_after(20):
            await written.wait()
        tasks.cancel_scope.cancel()
    assert lines == [{"n": 1}]
