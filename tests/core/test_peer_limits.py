"""What one address may take: connections, registrations, wrong passwords; against a plain count where it is a rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.peer_limits import PeerLimits, PeerTable, parse_networks

HOST = "192.0.2.7"


@pytest.mark.parametrize(
    ("host", "key"),
    [
        (HOST, HOST),
        ("::ffff:192.0.2.7", HOST),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", ""),
        ("127.9.9.9", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("10.1.2.3", ""),
        ("2001:db8:ff::1", ""),
        ("unknown", ""),
        ("client-7", ""),
        ("", ""),
    ],
)
def test_an_address_counts_for_itself_or_its_network_and_some_for_nothing(host: str, key: str) -> None:
    table = PeerTable(PeerLimits(exempt=parse_networks("10.1.0.0/16, 2001:db8:ff::1")))
    assert table.key(host) == key


def test_connections_of_an_address_are_limited_and_room_is_made_by_each_that_ends() -> None:
    table = PeerTable(PeerLimits(connections=2, unregistered=0))
    assert table.opened(HOST) is None
    table.registered(HOST)
    assert table.opened(HOST) is None
    refusal = table.opened(HOST)
    assert refusal is not None
    assert refusal.text == "there are 2 connections from 192.0.2.7 already"
    assert refusal.retry_after_s > 0
    assert table.opened("192.0.2.8") is None
    table.closed(HOST, was_registered=False)
    assert table.opened(HOST) is None


def test_unregistered_connections_are_limited_until_they_register_or_end() -> None:
    table = PeerTable(PeerLimits(unregistered=1))
    assert table.opened(HOST) is None
    refusal = table.opened(HOST)
    assert refusal is not None
    assert "1 connections from 192.0.2.7 have not registered" in refusal.text
    table.registered(HOST)
    assert table.opened(HOST) is None
    assert table.opened(HOST) is not None
    table.closed(HOST, was_registered=True)
    assert table.opened(HOST) is not None
    table.closed(HOST, was_registered=False)
    assert table.opened(HOST) is None


def test_without_limits_everything_is_admitted() -> None:
    table = PeerTable(PeerLimits(0, 0, 0, 0))
    for _ in range(20):
        assert table.opened(HOST) is None
        assert table.registering(HOST, 0.0) is None
        table.failed(HOST, 0.0)


def test_wrong_log_ins_stop_all_log_ins_of_the_address_until_time_has_passed() -> None:
    table = PeerTable(PeerLimits(failures=6))
    table.opened(HOST)
    for _ in range(6):
        assert table.registering(HOST, 100.0) is None
        table.failed(HOST, 100.0)
    refusal = table.registering(HOST, 100.0)
    assert refusal is not None
    assert "have failed" in refusal.text
    assert refusal.retry_after_s == pytest.approx(10.0)
    assert table.registering(HOST, 109.9) is not None
    assert table.registering(HOST, 110.1) is None


def test_a_minutes_worth_of_registrations_may_come_at_once_and_then_one_at_a_time() -> None:
    table = PeerTable(PeerLimits(registrations=6))
    table.opened(HOST)
    assert [table.registering(HOST, 50.0) for _ in range(6)] == [None] * 6
    refusal = table.registering(HOST, 50.0)
    assert refusal is not None
    assert refusal.text == "too many clients from 192.0.2.7 register at once"
    assert refusal.retry_after_s == pytest.approx(10.0)
    assert table.registering(HOST, 60.1) is None
    assert table.registering(HOST, 60.1) is not None


def test_what_was_used_up_is_remembered_when_all_connections_have_ended() -> None:
    table = PeerTable(PeerLimits(failures=1))
    table.opened(HOST)
    table.failed(HOST, 0.0)
    table.closed(HOST, was_registered=False)
    table.failed(HOST, 0.0)  # one that was being checked when its connection ended
    table.opened(HOST)
    refusal = table.registering(HOST, 0.0)
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(120.0)


def test_the_memory_of_addresses_is_bounded() -> None:
    table = PeerTable(max_peers=10)
    for number in range(1000):
        key = f"10.0.{number // 256}.{number % 256}"
        table.opened(key)
        table.closed(key, was_registered=False)
    assert len(table) == 10
    assert repr(table) == "<PeerTable 0 connected, 10 remembered>"
    table.failed("10.9.9.9", 0.0)  # of an address that was forgotten meanwhile
    assert len(table) == 10


@given(st.integers(1, 50), st.lists(st.floats(0.0, 30.0), max_size=200))
def test_registrations_never_exceed_a_minutes_burst_and_the_rate(per_minute: int, gaps: list[float]) -> None:
    table = PeerTable(PeerLimits(registrations=per_minute))
    table.opened(HOST)
    now, admitted = 1000.0, 0
    for gap in gaps:
        now += gap
        refusal = table.registering(HOST, now)
        if refusal is None:
            admitted += 1
        else:
            assert refusal.retry_after_s > 0
            assert "register at once" in refusal.text
        assert admitted <= per_minute + (now - 1000.0) * per_minute / 60 + 1e-6


@pytest.mark.parametrize("text", ["balancer", "10.0.0.1/33", "1.2.3"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        parse_networks(text)
