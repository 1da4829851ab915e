"""When a silent peer is polled and when it is lost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.keepalive import Deadlines, KeepAlive, Silence, Trace, Verdict, connection_keep_alive
from csproxy.errors import ConfigurationError


def make(timeout_s: float, owner: object = "peer", now: float = 0.0) -> Silence[object]:
    return Silence(owner, timeout_s=timeout_s, now=now)


@pytest.mark.parametrize("value", [-1.0, 3600.5, math.nan])
@pytest.mark.parametrize("field", ["timeout_s", "remote_timeout_s"])
def test_settings_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match="0 \\(off\\) to 3600 s are possible"):
        KeepAlive(**{field: value})


@pytest.mark.parametrize(
    ("trace", "here", "there"),
    [
        (Trace.OFF, False, False),
        (Trace.LOCAL, True, False),
        (Trace.REMOTE, False, True),
        (Trace.BOTH, True, True),
    ],
)
def test_a_trace_is_written_by_one_side_by_both_or_by_none(trace: Trace, here: bool, there: bool) -> None:
    settings = KeepAlive(timeout_s=1, trace=trace)
    assert (settings.traces_here, settings.traces_there) == (here, there)


def test_a_peer_that_says_nothing_is_polled_once_and_then_lost() -> None:
    silence = make(10)
    assert silence.due_s == 10
    assert silence.check(9.9) is Verdict.WAIT
    assert silence.check(10) is Verdict.POLL
    assert "polled at 10" in repr(silence)
    assert silence.due_s == 20
    assert silence.check(19.9) is Verdict.WAIT
    assert silence.check(20) is Verdict.LOST


def test_whatever_arrives_after_a_poll_is_a_sign_of_life() -> None:
    silence = make(10)
    assert silence.check(10) is Verdict.POLL
    silence.heard_s = 12
    assert silence.due_s == 22
    assert silence.check(20) is Verdict.WAIT
    assert silence.check(22) is Verdict.POLL


def test_a_silence_that_is_excused_begins_anew() -> None:
    silence = make(10)
    assert silence.check(10) is Verdict.POLL
    silence.excuse(20)
    assert silence.check(29) is Verdict.WAIT
    assert silence.check(30) is Verdict.POLL


def test_without_a_time_out_nobody_watches() -> None:
    silence = make(0)
    assert silence.due_s == math.inf
    assert silence.check(1e9) is Verdict.WAIT
    assert repr(silence) == "<Silence 0 s, heard at 0>"


def test_a_shorter_time_out_counts_at_once() -> None:
    silence = make(100)
    silence.timeout_s = 5
    assert silence.check(6) is Verdict.POLL


# many of them


def test_deadlines_come_in_order_and_in_ticks() -> None:
    deadlines: Deadlines[object] = Deadlines(tick_s=1.0)
    assert not deadlines
    for timeout_s in (5, 3.5, 0):
        deadlines.add(make(timeout_s, owner=timeout_s))
    assert repr(deadlines) == "<Deadlines 2 in 2 steps>"
    assert [silence.owner for silence in deadlines.due(3.9)] == []
    assert [silence.owner for silence in deadlines.due(4)] == [3.5]
    assert [silence.owner for silence in deadlines.due(100)] == [5]
    assert len(deadlines) == 0


def test_a_peer_that_was_heard_is_put_where_it_belongs() -> None:
    deadlines: Deadlines[object] = Deadlines(tick_s=1.0)
    silence = make(5)
    deadlines.add(silence)
    silence.heard_s = 3
    assert list(deadlines.due(5)) == []
    assert list(deadlines.due(8)) == [silence]


def test_what_moved_forward_or_ended_is_not_looked_at_where_it_was() -> None:
    deadlines: Deadlines[object] = Deadlines(tick_s=1.0)
    sooner, ended, off = make(10), make(10), make(10)
    for silence in (sooner, ended, off):
        deadlines.add(silence)
    sooner.timeout_s = 2
    deadlines.add(sooner)
    ended.owner = None
    off.timeout_s = 0
    deadlines.add(off)
    assert list(deadlines.due(2)) == [sooner]
    assert list(deadlines.due(20)) == []


def test_a_peer_that_changes_its_mind_again_and_again_takes_few_places() -> None:
    deadlines: Deadlines[object] = Deadlines(tick_s=1.0)
    silence = make(3600)
    for n in range(1000):
        silence.timeout_s = (3600, 0, 1800)[n % 3]
        deadlines.add(silence)
    assert repr(deadlines) == "<Deadlines 2 in 2 steps>"
    silence.timeout_s = 0
    assert list(deadlines.due(10_000)) == []
    silence.timeout_s = 3600
    deadlines.add(silence)
    assert list(deadlines.due(10_000)) == [silence]


@given(
    timeout_s=st.floats(0.3, 30),
    heard=st.lists(st.floats(0, 100), max_size=30),
    step_s=st.floats(0.01, 3),
)
def test_a_peer_is_never_lost_early_and_never_much_too_late(
    timeout_s: float, heard: list[float], step_s: float
) -> None:
    """A sweep that runs every ``step_s`` finds the silence after the last sign of life in time, and no other."""
    deadlines: Deadlines[object] = Deadlines()
    silence = make(timeout_s)
    deadlines.add(silence)
    pending = sorted(heard)
    now, last, lost_s = 0.0, 0.0, None
    polls: list[float] = []
    while lost_s is None:
        now += step_s
        while pending and pending[0] <= now:
            last = silence.heard_s = pending.pop(0)
        for each in deadlines.due(now):
            verdict = each.check(now)
            if verdict is Verdict.LOST:
                lost_s = now
                continue
            if verdict is Verdict.POLL:
                assert now - silence.heard_s >= timeout_s * 0.999
                polls.append(now)
            deadlines.add(each)
    late_s = 2 * (step_s + 0.25)
    assert timeout_s * 2 * 0.999 <= lost_s - last <= timeout_s * 2 + late_s
    assert polls[-1] <= last + timeout_s + step_s + 0.25


# from a Connection object


def test_a_connection_of_protocol_addp_says_how() -> None:
    info = {"appServerDBID": 99, "connProtocol": "ADDP", "timoutLocal": 20, "timoutRemote": 30, "mode": 4}
    assert connection_keep_alive(info) == KeepAlive(timeout_s=20, remote_timeout_s=30, trace=Trace.BOTH)


@pytest.mark.parametrize(("mode", "trace"), [(0, Trace.OFF), (1, Trace.OFF), (2, Trace.LOCAL), (3, Trace.REMOTE)])
def test_trace_modes_are_those_of_the_object_model(mode: int, trace: Trace) -> None:
    found = connection_keep_alive({"connProtocol": "addp", "timoutLocal": 20, "mode": mode})
    assert found is not None
    assert found.trace is trace


def test_a_connection_of_another_protocol_or_none_says_nothing() -> None:
    assert connection_keep_alive({}) is None
    assert connection_keep_alive({"appServerDBID": 99, "connProtocol": "simple", "timoutLocal": 20}) is None
