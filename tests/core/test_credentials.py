"""The book of hashes and log-in states: equal books have equal digests, and no repr shows a hash."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.credentials import BUCKETS, CredentialBook, PersonEntry, differing_buckets
from csproxy.core.log_in_state import NO_STATE, LogInState

DBIDS = st.integers(1, 600)
STATES = st.builds(LogInState, last_ms=st.integers(0, 3), failed=st.integers(0, 2))
ENTRIES = st.builds(PersonEntry, DBIDS, st.sampled_from(["", "a", "b"]), st.integers(0, 2), STATES)
STEPS = st.lists(st.one_of(ENTRIES, DBIDS))


def make(steps: list[PersonEntry | int]) -> CredentialBook:
    book = CredentialBook()
    for step in steps:
        book.remove(step) if isinstance(step, int) else book.put(step)
    return book


def content(book: CredentialBook) -> list[PersonEntry]:
    return [entry for bucket in range(BUCKETS) for entry in book.entries(bucket)]


@given(ours=STEPS, theirs=STEPS)
def test_books_become_equal_by_the_buckets_that_differ(
    ours: list[PersonEntry | int], theirs: list[PersonEntry | int]
) -> None:
    one, other = make(ours), make(theirs)
    different = differing_buckets(one.digests(), other.digests())
    assert all(one.entries(n) == other.entries(n) for n in range(BUCKETS) if n not in different)
    assert all(one.entries(n) != other.entries(n) for n in different)
    for bucket in different:
        one.replace_bucket(bucket, other.entries(bucket))
    assert content(one) == content(other)
    assert one.digests() == other.digests()


@given(steps=STEPS)
def test_a_book_holds_what_was_put_last(steps: list[PersonEntry | int]) -> None:
    plain: dict[int, PersonEntry] = {}
    for step in steps:
        if isinstance(step, int):
            plain.pop(step, None)
        else:
            plain[step.dbid] = step
    book = make(steps)
    kept = {entry.dbid: entry for entry in content(book)}
    for dbid in {*plain, *kept}:
        mine = plain.get(dbid, PersonEntry(dbid))
        theirs = kept.get(dbid, PersonEntry(dbid))
        assert (mine.hash, mine.state) == (theirs.hash, theirs.state)
        assert book.changed_ms(dbid) == (mine.changed_ms if mine.hash else 0)
    book.clear()
    assert book.digests() == CredentialBook().digests()
    assert book.is_empty
    assert book.take_touched() >= set(kept)


def test_applications_have_hashes_that_stay_here() -> None:
    book = CredentialBook()
    book.set_hash((9, 100), "of an application")
    assert (content(book), book.take_touched(), len(book)) == ([], set(), 1)
    assert (9, 100) in book
    book.set_hash((9, 100), None)
    assert not book.hashes
    book.set_state(101, LogInState(failed=1))
    assert (3, 101) in book
    assert (9, 101) not in book
    assert "jane" not in book


def test_what_has_changed_is_told_once() -> None:
    book = make([PersonEntry(101, "a"), PersonEntry(102, "b")])
    assert book.take_touched() == {101, 102}
    book.put(PersonEntry(101, "a"))
    assert book.take_touched() == set(), "nothing was new"
    book.set_state(101, LogInState(failed=1))
    assert book.take_touched() == {101}
    assert book.state(102) == NO_STATE


def test_digests_of_another_form_differ_everywhere() -> None:
    assert differing_buckets(CredentialBook().digests(), b"") == list(range(BUCKETS))


def test_no_repr_shows_a_hash() -> None:
    book = make([PersonEntry(101, "$scrypt$secret")])
    shown = repr((book, book.entry(101), PersonEntry(5)))
    assert "secret" not in shown
    assert shown == (
        "(<CredentialBook of 1 passwords, 0 log-in states>, <PersonEntry 101, with a password>, "
        "<PersonEntry 5, without a password>)"
    )


def test_a_new_password_leaves_the_log_ins_as_they_are() -> None:
    state = LogInState(last_ms=3, failed=1)
    book = make([PersonEntry(101, "a", 5, state)])
    book.set_hash((3, 101), "b", changed_ms=7)
    assert book.entry(101) == PersonEntry(101, "b", 7, state)
    book.set_hash((3, 101), None)
    assert book.entry(101) == PersonEntry(101, "", 0, state)
