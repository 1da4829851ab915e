"""When somebody else's lease has run out, by the watcher's own clock."""

from __future__ import annotations

from csproxy.core.lease import Holder, Lease, LeaseWatch


def lease(epoch: int = 1, counter: int = 0, *, lease_s: float = 10.0) -> Lease:
    return Lease(epoch, counter, lease_s, Holder("confserv", address="h", port=1))


def test_a_lease_runs_out_when_its_number_has_not_moved_for_its_time() -> None:
    watch = LeaseWatch(10.0)
    assert not watch.has_run_out(lease(), 1000.0)
    assert not watch.has_run_out(lease(), 1009.9)
    assert watch.has_run_out(lease(), 1010.0)
    assert repr(watch) == "<LeaseWatch (1, 0)>"


def test_every_renewal_and_every_new_owner_begin_the_time_anew() -> None:
    watch = LeaseWatch(10.0)
    for now in range(0, 100, 9):
        assert not watch.has_run_out(lease(counter=now), now)
    assert not watch.has_run_out(lease(2, 99), 120.0)


def test_a_lease_that_was_given_up_may_be_taken_at_once() -> None:
    assert LeaseWatch(10.0).has_run_out(lease(0), 0.0)


def test_the_longer_of_the_two_times_counts() -> None:
    watch = LeaseWatch(10.0)
    assert not watch.has_run_out(lease(lease_s=30.0), 0.0)
    assert not watch.has_run_out(lease(lease_s=30.0), 29.0)
    assert watch.has_run_out(lease(lease_s=30.0), 30.0)


def test_a_time_in_which_the_database_could_not_be_read_does_not_count() -> None:
    watch = LeaseWatch(10.0)
    assert not watch.has_run_out(lease(), 0.0)
    watch.forget()
    assert not watch.has_run_out(lease(), 60.0)
    assert watch.has_run_out(lease(), 70.0)


def test_a_holder_is_shown_with_its_address_if_it_has_one() -> None:
    assert str(Holder("confserv")) == "'confserv'"
    assert str(Holder("confserv", address="h", port=1)) == "'confserv' at h:1"
