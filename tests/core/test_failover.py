from __future__ import annotations

import pytest

from csproxy.core.failover import Backoff, Endpoint, EndpointPolicy
from csproxy.errors import ConfigurationError

PRIMARY = Endpoint("primary", 2020)
BACKUP = Endpoint("backup", 2020)


def always_most() -> float:
    return 1.0


def test_the_bound_doubles_from_50_ms_to_10_s() -> None:
    backoff = Backoff(always_most)
    delays = [backoff.next_delay_s() for _ in range(12)]
    assert delays[:5] == [0.05, 0.1, 0.2, 0.4, 0.8]
    assert delays[-2:] == [10.0, 10.0]


def test_the_longest_delay_may_change_at_any_time() -> None:
    backoff = Backoff(always_most)
    for _ in range(12):
        backoff.next_delay_s()
    backoff.longest_s = 4.0
    assert backoff.next_delay_s() == 4.0
    backoff.longest_s = 30.0
    assert [backoff.next_delay_s() for _ in range(2)] == [4.0, 8.0], "it grows from there"


def test_jitter_is_full() -> None:
    draws = iter([0.0, 0.5])
    backoff = Backoff(lambda: next(draws))
    assert backoff.next_delay_s() == 0.0
    assert backoff.next_delay_s() == 0.05


def test_a_retry_hint_is_never_shortened() -> None:
    backoff = Backoff(lambda: 0.0)
    assert backoff.next_delay_s(at_least_s=7.0) == 7.0
    backoff = Backoff(always_most)
    assert backoff.next_delay_s(at_least_s=7.0) == 7.05


def test_a_stable_connection_resets_the_bound() -> None:
    backoff = Backoff(always_most)
    for _ in range(12):
        backoff.next_delay_s()
    backoff.connected(100.0)
    backoff.lost(110.0)
    assert backoff.next_delay_s() == 0.05


def test_a_short_connection_does_not_reset_the_bound() -> None:
    backoff = Backoff(always_most)
    backoff.next_delay_s()
    backoff.connected(100.0)
    backoff.lost(109.9)
    assert backoff.next_delay_s() == 0.1


def test_where_it_costs_little_a_connection_as_long_as_the_next_pause_resets_the_bound() -> None:
    backoff = Backoff(always_most, is_light=True)
    for now in range(10):
        for _ in range(3):
            backoff.next_delay_s()  # the other server has not taken over yet
        backoff.connected(float(now))
        backoff.lost(now + 1.0)
        assert backoff.next_delay_s(at_least_s=7.0) == 7.05


def test_a_server_that_takes_clients_only_to_drop_them_is_met_ever_more_seldom() -> None:
    backoff = Backoff(always_most, is_light=True)
    pauses = []
    for now in range(5):
        backoff.connected(float(now))
        backoff.lost(now + 0.04)
        pauses.append(backoff.next_delay_s())
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8]


def test_a_loss_without_a_connection_changes_nothing() -> None:
    backoff = Backoff(always_most)
    backoff.next_delay_s()
    backoff.lost(1e9)
    assert backoff.next_delay_s() == 0.1


def test_one_connection_resets_only_once() -> None:
    backoff = Backoff(always_most)
    backoff.connected(0.0)
    backoff.lost(1000.0)
    backoff.next_delay_s()
    backoff.lost(2000.0)
    assert backoff.next_delay_s() == 0.1
    assert repr(backoff) == "<Backoff next delay up to 0.2 s>"


@pytest.mark.parametrize(("shortest", "longest"), [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_impossible_bounds_are_refused(shortest: float, longest: float) -> None:
    with pytest.raises(ConfigurationError, match="back-off from"):
        Backoff(always_most, shortest_s=shortest, longest_s=longest)


def test_attempts_alternate_between_primary_and_backup() -> None:
    policy = EndpointPolicy([PRIMARY, BACKUP])
    tried = []
    for _ in range(4):
        tried.append(policy.current)
        policy.failed()
    assert tried == [PRIMARY, BACKUP, PRIMARY, BACKUP]


def test_each_server_gets_its_attempts() -> None:
    policy = EndpointPolicy([PRIMARY])
    policy.learn([BACKUP], attempts=2)
    tried = []
    for _ in range(6):
        tried.append(policy.current)
        policy.failed()
    assert tried == [PRIMARY, PRIMARY, BACKUP, BACKUP, PRIMARY, PRIMARY]


def test_a_connection_stays_on_the_backup_until_it_is_lost() -> None:
    policy = EndpointPolicy([PRIMARY, BACKUP])
    policy.learn([], attempts=2)
    policy.failed()
    policy.failed()
    policy.failed()
    policy.connected()
    assert policy.current == BACKUP
    assert policy.on_backup
    policy.lost()
    assert policy.current == PRIMARY
    assert not policy.on_backup
    policy.failed()
    assert policy.current == PRIMARY, "the failures before the connection do not count any more"


def test_a_single_server_is_tried_for_ever() -> None:
    policy = EndpointPolicy([PRIMARY])
    for _ in range(5):
        policy.failed()
        assert policy.current == PRIMARY


def test_a_server_that_will_not_serve_is_asked_once() -> None:
    policy = EndpointPolicy([PRIMARY])
    policy.learn([BACKUP], attempts=3)
    policy.failed()
    policy.pass_over()
    assert policy.current == BACKUP
    policy.failed()
    assert policy.current == BACKUP, "the failure before was another server's"


def test_a_policy_needs_an_endpoint() -> None:
    with pytest.raises(ConfigurationError, match="at least one host"):
        EndpointPolicy([])


def test_endpoints_print_as_addresses() -> None:
    assert str(PRIMARY) == "primary:2020"
    assert str(Endpoint("::1", 2020)) == "[::1]:2020"
    assert repr(EndpointPolicy([PRIMARY, BACKUP])) == "<EndpointPolicy primary:2020 of 2, 0 failures>"


def test_learnt_endpoints_come_after_the_given_ones_and_replace_each_other() -> None:
    first, second, third = Endpoint("a", 1), Endpoint("b", 1), Endpoint("c", 1)
    policy = EndpointPolicy([first])
    policy.learn([first, second, second], attempts=1)
    policy.failed()
    assert policy.current == second
    policy.learn([first, second], attempts=1)
    assert policy.current == second, "the one in use stays"
    policy.learn([third], attempts=1)
    assert policy.current == first, "it is gone: from the beginning"
    policy.failed()
    assert policy.current == third
    policy.failed()
    assert policy.current == first


def test_a_suggestion_counts_where_no_other_server_is_known() -> None:
    policy = EndpointPolicy([PRIMARY])
    policy.suggested(None)
    policy.suggested(BACKUP)
    policy.suggested(Endpoint("third", 1))
    policy.failed()
    assert policy.current == BACKUP
    policy.failed()
    assert policy.current == PRIMARY


def test_a_jitter_doubles_nothing() -> None:
    backoff = Backoff(lambda: 0.5)
    assert [backoff.jitter_s(1.0) for _ in range(5)] == [0.5] * 5
    assert backoff.next_delay_s() == 0.025
