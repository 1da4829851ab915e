"""The alarm of failed log-ins."""

from __future__ import annotations

from csproxy.core.failure_alarm import AlarmSettings, FailureAlarm


def alarm(period_s: float = 600.0, count: int = 0, percent: int = 0) -> FailureAlarm:
    made = FailureAlarm()
    made.settings = AlarmSettings(period_s, count, percent)
    return made


def fail(watched: FailureAlarm, *times_s: float) -> list[str]:
    return [watched.note(time_s, is_right=False) for time_s in times_s]


def test_so_many_failures_within_the_period_are_told_once() -> None:
    watched = alarm(count=3)
    assert fail(watched, 0, 100, 200, 300) == ["", "", "3 of 3 log-ins have failed within 10 minutes", ""]
    assert fail(watched, 799) == [""], "silent for a period"
    assert fail(watched, 800) == ["3 of 3 log-ins have failed within 10 minutes"]


def test_failures_that_are_spread_out_are_not_many() -> None:
    assert fail(alarm(count=3), *range(0, 9000, 301)) == [""] * 30


def test_a_share_of_failures_counts_from_ten_log_ins_on() -> None:
    watched = alarm(percent=50)
    assert [watched.note(n, is_right=True) for n in range(4)] == [""] * 4
    assert fail(watched, 4, 5, 6, 7, 8) == [""] * 5
    assert fail(watched, 9) == ["6 of 10 log-ins have failed within 10 minutes"]
    assert [watched.note(700 + n, is_right=n % 3 != 0) for n in range(30)] == [""] * 30


def test_without_settings_nothing_is_counted_and_new_ones_begin_anew() -> None:
    assert fail(FailureAlarm(), 1, 2, 3) == fail(alarm(count=0), 1, 2, 3) == ["", "", ""]
    watched = alarm(count=2)
    fail(watched, 1)
    watched.settings = AlarmSettings(600.0, 2, 0)
    assert fail(watched, 2) != [""], "the same settings again change nothing"
    watched.settings = AlarmSettings(300.0, 2, 0)
    assert watched.settings.period_s == 300.0
    assert fail(watched, 3) == [""]
    assert repr(watched) == "<FailureAlarm AlarmSettings(period_s=300.0, failures=2, percent=0)>"
