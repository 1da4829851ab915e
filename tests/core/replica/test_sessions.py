"""Sessions: registering, detaching, restoring, expiring."""

from __future__ import annotations

import itertools

from csproxy.core.sessions import SYSTEM_ACCOUNT, Account, Author, Session, SessionRegistry


def registry(**limits: float) -> SessionRegistry:
    counter = itertools.count(1)
    return SessionRegistry(random_bytes=lambda n: next(counter).to_bytes(n, "big"), **limits)  # type: ignore[arg-type]


def opened(sessions: SessionRegistry, name: str = "Desk", *, dbid: int = 100, daemon: bool = False) -> Session:
    account = SYSTEM_ACCOUNT if daemon else Account(200, "ann")
    return sessions.open(
        account=account,
        application=name,
        application_type=1,
        application_dbid=dbid,
        daemon=daemon,
        connection=object(),
        now_s=10.0,
    )


def test_a_session_has_an_id_of_its_own_and_knows_its_author() -> None:
    sessions = registry()
    one, two = opened(sessions), opened(sessions)
    assert one.id != two.id
    assert len(one.id) == 32
    assert one.author == Author("ann", "Desk", 200)
    assert len(sessions) == 2
    assert list(sessions) == [one, two]
    assert "connected" in repr(one)


def test_a_session_is_trusted_for_what_its_proxy_has_shown() -> None:
    session = opened(registry(), daemon=True)
    assert not session.trusted
    session.trusted_by = "password"
    assert session.trusted


def test_a_daemon_is_found_only_while_it_is_connected() -> None:
    sessions = registry()
    session = opened(sessions, "Stat", dbid=130, daemon=True)
    assert sessions.daemon_session(130) is session
    sessions.detach(session, now_s=20.0)
    assert sessions.daemon_session(130) is None
    assert "detached" in repr(session)
    sessions.attach(session, object(), daemon=True)
    assert sessions.daemon_session(130) is session


def test_a_later_connection_of_the_same_daemon_is_not_forgotten_with_the_first() -> None:
    sessions = registry()
    first = opened(sessions, "Stat", dbid=130, daemon=True)
    second = opened(sessions, "Stat", dbid=130, daemon=True)
    sessions.detach(first, now_s=20.0)
    assert sessions.daemon_session(130) is second


def test_a_session_is_restored_only_by_its_own_application_and_user() -> None:
    sessions = registry()
    session = opened(sessions)
    assert sessions.find(session.id, application="Desk", user="ann") is session
    sessions.detach(session, now_s=20.0)
    assert sessions.find(session.id, application="Desk", user="ann") is session
    assert sessions.find(session.id, application="Other", user="ann") is None
    assert sessions.find(session.id, application="Desk", user="bob") is None
    assert sessions.find("0" * 32, application="Desk", user="ann") is None
    sessions.attach(session, object(), daemon=False)
    assert (len(sessions), sessions.detached_count) == (1, 0)


def test_detaching_twice_changes_nothing() -> None:
    sessions = registry()
    session = opened(sessions)
    sessions.detach(session, now_s=20.0)
    sessions.detach(session, now_s=30.0)
    assert session.detached_s == 20.0


def test_detached_sessions_expire_by_age() -> None:
    sessions = registry(keep_s=60.0)
    session = opened(sessions)
    sessions.detach(session, now_s=20.0)
    assert sessions.expire(79.0) == 0
    assert sessions.expire(80.0) == 1
    assert sessions.find(session.id, application="Desk", user="ann") is None


def test_detached_sessions_are_bounded_in_number() -> None:
    sessions = registry(max_detached=2)
    kept = [opened(sessions) for _ in range(3)]
    for session in kept:
        sessions.detach(session, now_s=20.0)
    assert sessions.detached_count == 2
    assert sessions.find(kept[0].id, application="Desk", user="ann") is None


# sessions of another server


def test_who_is_told_hears_of_new_sessions_changes_and_what_is_dropped() -> None:
    sessions = registry(keep_s=5.0)
    kept: list[str] = []
    dropped: list[str] = []
    session = opened(sessions)  # nobody is told yet
    sessions.on_kept, sessions.on_dropped = lambda session: kept.append(session.id), dropped.append
    sessions.changed(session)
    other = opened(sessions)
    assert kept == [session.id, other.id]
    sessions.detach(session, now_s=20.0)
    assert sessions.kept() == [other, session]
    sessions.expire(30.0)
    assert dropped == [session.id]


def test_stored_sessions_can_be_restored_only_after_a_takeover() -> None:
    elsewhere, here = registry(), registry(keep_s=5.0)
    first, second = opened(elsewhere), opened(elsewhere)
    for session in (first, second):
        here.store(session)
    here.drop_stored(second.id)
    here.drop_stored("unknown")
    assert here.stored_count == 1
    here.expire(1000.0)
    assert here.find(first.id, application="Desk", user="ann") is None
    assert here.take_over(now_s=1000.0) == 1
    assert here.find(first.id, application="Desk", user="ann") is first
    assert (here.stored_count, here.detached_count) == (0, 1)
    assert here.expire(1006.0) == 1


def test_what_is_taken_over_is_told_on() -> None:
    elsewhere, here = registry(), registry()
    told: list[Session] = []
    here.on_kept = told.append
    session = opened(elsewhere)
    here.store(session)
    assert told == [], "it cannot be restored here"
    here.take_over(now_s=20.0)
    assert told == [session]


def test_a_connected_session_stays_as_it_is_at_a_takeover() -> None:
    here = registry()
    session = opened(here)
    stale = Session(
        session.id, account=session.account, application="Desk", application_type=1, application_dbid=100, now_s=0.0
    )
    here.store(stale)
    assert here.take_over(now_s=20.0) == 0
    assert here.find(session.id, application="Desk", user="ann") is session
    here.store(stale)
    here.drop_all_stored()
    assert here.stored_count == 0


def test_a_proxy_is_known_by_the_type_of_its_application() -> None:
    session = Session("1", account=SYSTEM_ACCOUNT, application="p", application_type=21, application_dbid=1, now_s=0.0)
    assert session.is_proxy
    assert not opened(registry()).is_proxy
