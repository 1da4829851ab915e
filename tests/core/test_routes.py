"""Where a client goes next and how long it waits: servers in turn, pools in rounds, thousands at once."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.failover import Endpoint
from csproxy.core.routes import Pools, PoolsRoute, ServersRoute
from csproxy.errors import ConfigurationError

A, B, C, X, Y = (Endpoint(name, 2020) for name in "abcxy")
SITES = Pools(preferred=[A, B, C], backup=[X, Y])


def pools(settings: Pools = SITES, *, seed: int = 1) -> PoolsRoute:
    return PoolsRoute(settings, random.Random(seed).random)


def a_round(route: PoolsRoute) -> list[Endpoint]:
    """What is tried until a pause comes."""
    tried = [route.current]
    route.failed()
    while not route.pause_s():
        tried.append(route.current)
        route.failed()
    return tried


# servers


def test_servers_are_tried_in_turn_each_as_often_as_wanted() -> None:
    route = ServersRoute([A, B], lambda: 0.5, attempts=2)
    tried = []
    for _ in range(5):
        tried.append(route.current)
        route.failed()
    assert tried == [A, A, B, B, A]
    assert route.round_size == 2
    assert repr(route) == "<ServersRoute a:2020 of 2>"


def test_after_a_loss_the_primary_is_next_with_short_pauses_that_grow() -> None:
    route = ServersRoute([A, B], lambda: 0.5)
    route.failed()
    route.connected(0)
    assert route.current == B
    route.lost(100)
    assert route.current == A
    assert [route.pause_s() for _ in range(3)] == [0.025, 0.05, 0.1]


def test_within_a_round_the_next_server_is_tried_soon_and_only_rounds_make_pauses_grow() -> None:
    route = ServersRoute([A, B, C], lambda: 0.5)
    route.connected(0)
    route.lost(10)
    tried = []
    for hint_s in (0, 2, 1, 0, 0, 0, 0):
        tried.append((route.current, route.pause_s()))
        route.failed(hint_s=hint_s)
    assert tried == [(A, 0.025), (B, 0.025), (C, 0.025), (A, 2.05), (B, 0.025), (C, 0.025), (A, 0.1)]


def test_another_server_is_next_at_once_after_a_farewell_or_silence() -> None:
    route = ServersRoute([A, B], lambda: 0.5, attempts=3)
    for here, there in ((A, B), (B, A)) * 4:
        assert route.current == here
        route.connected(0)
        route.lost(10, elsewhere=True)
        assert route.current == there
        assert route.pause_s() == 0.025


def test_a_servers_hint_is_the_least_pause_until_a_connection_stands() -> None:
    route = ServersRoute([A], lambda: 0.5)
    route.failed(hint_s=3)
    assert route.pause_s() == 3.025
    route.connected(0)
    route.lost(0.05, hint_s=2)
    assert route.pause_s() == 2.05
    route.connected(2)
    assert route.pause_s() < 1


def test_at_least_one_attempt_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="attempts 0 on one server"):
        ServersRoute([A], lambda: 0.5, attempts=0)


# pools


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"preferred": []}, "the preferred pool has no member"),
        ({"preferred": [A], "backup": [X, A]}, "a:2020 is in both pools"),
        ({"preferred": [A], "retry_delay_s": 0}, "retry delay 0 s"),
        ({"preferred": [A], "random_delay_s": -1}, "random delay -1 s"),
        ({"preferred": [A], "return_after_s": 0}, "return after 0 s"),
    ],
)
def test_pools_that_cannot_be_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        pools(Pools(**settings))


def test_a_round_tries_every_preferred_member_then_every_backup_in_random_order() -> None:
    route = pools()
    assert route.round_size == 5
    assert route.pause_s() == 0
    rounds = [a_round(route) for _ in range(50)]
    for tried in rounds:
        assert set(tried[:3]) == {A, B, C}
        assert set(tried[3:]) == {X, Y}
    assert {tuple(tried[:3]) for tried in rounds} > {(A, B, C)}
    assert {tried[3] for tried in rounds} == {X, Y}
    assert "of the preferred pool, 4 left in this round" in repr(route)


def test_between_rounds_lies_the_retry_delay_with_jitter_or_the_longest_hint() -> None:
    route = pools(Pools(preferred=[A, B]))
    pauses = []
    for _ in range(100):
        a_round(route)
        pauses.append(route.pause_s())
    assert 10 <= min(pauses) < 10.3
    assert 11.7 < max(pauses) <= 12
    route.failed(hint_s=30)
    assert route.pause_s() == 0
    route.failed(hint_s=1)
    assert 30 <= route.pause_s() <= 32
    route.failed()
    route.failed()
    assert route.pause_s() <= 12


def test_a_lost_server_is_tried_first_after_a_random_delay_then_both_pools() -> None:
    route = pools()
    while route.current != X:
        route.failed()
    route.connected(0)
    route.lost(100)
    assert route.current == X
    assert 0 < route.pause_s() <= 2
    tried = a_round(route)
    assert tried[0] == X
    assert set(tried[1:4]) == {A, B, C}
    assert tried[4:] == [Y]


def test_a_server_that_stops_is_tried_last() -> None:
    route = pools()
    stopped = route.current
    route.connected(0)
    route.lost(100, hint_s=5)
    assert a_round(route)[-1] == stopped
    dismissed = route.current
    route.connected(0)
    route.lost(100, elsewhere=True)
    assert a_round(route)[-1] == dismissed


def test_the_only_server_is_left_alone_as_long_as_it_wants() -> None:
    route = pools(Pools(preferred=[A]))
    route.connected(0)
    route.lost(100, hint_s=5)
    assert route.current == A
    assert 5 <= route.pause_s() <= 7


def test_a_server_that_accepts_and_drops_is_met_once_in_a_round() -> None:
    route = pools()
    now, met = 0.0, Counter[Endpoint]()
    while now < 60:
        met[route.current] += 1
        if route.current == A:
            route.connected(now)
            now += 0.1
            route.lost(now)
        else:
            route.failed()
        now += route.pause_s()
    assert max(met.values()) - min(met.values()) <= 1
    assert met[A] <= 7


def test_only_a_client_on_the_backup_pool_is_to_return_unless_it_is_to_stay() -> None:
    for settings, wanted in ((SITES, True), (SITES._replace(return_after_s=None), False)):
        route = pools(settings)
        assert not route.is_to_return
        while route.current != X:
            route.failed()
        assert route.is_to_return is wanted
        assert "of the backup pool" in repr(route)
        if wanted:
            assert {route.look_back() for _ in range(50)} == {A, B, C}
            assert all(30 <= route.look_back_pause_s() <= 90 for _ in range(50))
            assert all(60 <= route.return_pause_s() <= 120 for _ in range(50))
            route.returned(B, 0)
            assert route.current == B
            assert not route.is_to_return
            route.lost(100)
            assert route.current == B


@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(["failed", "hint", "held", "dropped"]), max_size=60))
def test_whatever_happens_no_member_is_left_out_for_long(seed: int, steps: list[str]) -> None:
    """Between two pauses after failures every member is tried at most twice, and in two rounds all are."""
    route = pools(seed=seed)
    now = 0.0
    for step in steps:
        if step in ("failed", "hint"):
            route.failed(hint_s=3 if step == "hint" else 0)
        else:
            route.connected(now)
            now += 1000 if step == "held" else 1
            route.lost(now)
    tried = set(a_round(route)) | set(a_round(route))
    assert tried == {A, B, C, X, Y}


def test_five_thousand_clients_of_a_dead_server_spread_over_time_and_over_the_others() -> None:
    clients = [pools(Pools(preferred=[A, B, C]), seed=n) for n in range(5000)]
    arrivals, at = [], Counter[Endpoint]()
    for route in clients:
        while route.current != A:
            route.failed()
        route.connected(0)
        route.lost(100)
        pause_s = route.pause_s()
        assert route.current == A
        route.failed()
        arrivals.append(pause_s + route.pause_s())
        at[route.current] += 1
    per_tenth = Counter(int(arrival * 10) for arrival in arrivals)
    assert max(per_tenth.values()) < 2 * 5000 / 20
    assert set(at) == {B, C}
    assert abs(at[B] - at[C]) < 500
