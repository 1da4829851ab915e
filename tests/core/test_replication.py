from __future__ import annotations

import pytest

from csproxy.core.changes import Action, Change, Epoch, Position
from csproxy.core.replication import (
    TRANSITIONS,
    ChangeStream,
    Event,
    Plan,
    Replication,
    State,
    can_resume,
    diagram,
    newest_name,
)
from csproxy.errors import LocalProtocolError, RemoteProtocolError

NOTHING = Position(0, 0)
EPOCHS = [Epoch(11, 1), Epoch(22, 101)]
HEAD = Position(22, 150)


def make_change(uen: int, *, epoch: int = 22, last: bool = True) -> Change:
    return Change(
        action=Action.DELETED, type=3, dbid=100 + uen, position=Position(epoch, uen), frame=b"frame", last=last
    )


# states


def test_a_replica_goes_from_nothing_to_live_by_loading() -> None:
    replication = Replication()
    events = (Event.CONNECT, Event.CONNECTED, Event.LOAD, Event.COMPLETE)
    assert [replication.handle(e) for e in events] == [
        State.CONNECTING,
        State.REGISTERING,
        State.LOADING,
        State.LIVE,
    ]


def test_a_lost_replica_goes_back_to_live_by_resuming() -> None:
    replication = Replication()
    for event in (Event.CONNECT, Event.CONNECTED, Event.LOAD, Event.COMPLETE, Event.LOSE, Event.CONNECT):
        replication.handle(event)
    events = (Event.CONNECTED, Event.RESUME, Event.COMPLETE)
    assert [replication.handle(e) for e in events] == [State.REGISTERING, State.RESTORING, State.LIVE]


def test_an_impossible_step_is_refused_and_changes_nothing() -> None:
    replication = Replication()
    with pytest.raises(LocalProtocolError, match=r"lost cannot take 'load'; possible: connect, copy, stop"):
        replication.handle(Event.LOAD)
    assert replication.state is State.LOST
    assert repr(replication) == "<Replication lost>"


def test_a_copy_counts_as_a_copy_until_the_replica_was_live_once() -> None:
    replication = Replication()
    assert not replication.is_unconfirmed
    away = (Event.CONNECT, Event.LOSE, Event.COPY)
    lost_while_loading = (Event.CONNECT, Event.CONNECTED, Event.RESUME, Event.LOAD, Event.LOSE, Event.COPY)
    for event in (Event.COPY, *away, *lost_while_loading):
        replication.handle(event)
        assert replication.is_unconfirmed
    assert replication.state is State.FROM_COPY
    for event in (Event.CONNECT, Event.CONNECTED, Event.RESUME, Event.COMPLETE, Event.LOSE):
        replication.handle(event)
    assert replication.state is State.LOST
    assert not replication.is_unconfirmed


def test_every_state_but_the_last_can_stop_and_every_state_can_be_reached() -> None:
    assert {s for s, e in TRANSITIONS if e is Event.STOP} == set(State) - {State.STOPPED}
    assert set(TRANSITIONS.values()) == set(State)


def test_every_state_with_a_connection_can_lose_it() -> None:
    connected = {State.CONNECTING, State.REGISTERING, State.RESTORING, State.WAITING, State.LOADING, State.LIVE}
    assert {s for s, e in TRANSITIONS if e is Event.LOSE} == connected


def test_the_diagram_shows_each_transition() -> None:
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> lost"]
    assert "    restoring --> waiting: wait" in lines
    assert len(lines) == 2 + sum(e is not Event.STOP for _, e in TRANSITIONS)


# what comes after registering


@pytest.mark.parametrize(
    ("position", "resumable"),
    [
        (Position(11, 1), True),
        (Position(11, 100), True),
        (Position(11, 101), False),  # its successor began there
        (Position(22, 100), True),
        (Position(22, 150), True),
        (Position(22, 151), False),  # beyond the head
        (Position(33, 120), False),  # an epoch that nobody listed
    ],
)
def test_the_epoch_table_decides_what_can_be_resumed(position: Position, resumable: bool) -> None:
    assert can_resume(position, EPOCHS, head=HEAD) is resumable
    plan = Replication().registered(position, EPOCHS, head=HEAD, now=0.0)
    assert plan == Plan(Event.RESUME if resumable else Event.LOAD)


def test_a_position_where_an_epoch_has_just_begun_is_named_after_it() -> None:
    epochs = [Epoch(1, 1), Epoch(2, 27)]
    assert newest_name(Position(1, 26), epochs) == Position(2, 26)
    assert newest_name(Position(1, 25), epochs) == Position(1, 25)
    assert newest_name(Position(2, 30), epochs) == Position(2, 30)


def test_the_first_load_waits_for_nothing() -> None:
    replication = Replication(delay_reload_s=60.0)
    assert replication.registered(NOTHING, EPOCHS, head=HEAD, now=0.0) == Plan(Event.LOAD)


def test_delay_reload_delays_a_reload_but_not_the_attempt_to_resume() -> None:
    replication = Replication(delay_reload_s=60.0)
    assert replication.registered(Position(22, 120), EPOCHS, head=HEAD, now=0.0) == Plan(Event.RESUME)
    assert replication.resume_refused(1.0) == Plan(Event.WAIT, 60.0)


def test_the_delay_is_counted_from_the_first_refusal() -> None:
    replication = Replication(delay_reload_s=60.0)
    assert replication.resume_refused(0.0) == Plan(Event.WAIT, 60.0)
    assert replication.registered(Position(33, 5), EPOCHS, head=HEAD, now=45.0) == Plan(Event.WAIT, 15.0)
    assert replication.resume_refused(61.0) == Plan(Event.LOAD)


def test_the_delay_begins_anew_after_the_replica_was_live() -> None:
    replication = Replication(delay_reload_s=60.0)
    replication.resume_refused(0.0)
    for event in (Event.CONNECT, Event.CONNECTED, Event.LOAD, Event.COMPLETE):
        replication.handle(event)
    assert replication.resume_refused(100.0) == Plan(Event.WAIT, 60.0)


def test_a_stream_that_breaks_twice_at_one_position_is_loaded_instead() -> None:
    replication = Replication()
    position = Position(22, 120)
    replication.stream_broken(position)
    assert replication.registered(position, EPOCHS, head=HEAD, now=0.0).event is Event.RESUME
    replication.stream_broken(position)
    assert replication.registered(position, EPOCHS, head=HEAD, now=0.0).event is Event.LOAD


def test_breaks_at_different_positions_are_resumed_each_time() -> None:
    replication = Replication()
    for uen in (120, 121, 122):
        replication.stream_broken(Position(22, uen))
        assert replication.registered(Position(22, uen), EPOCHS, head=HEAD, now=0.0).event is Event.RESUME


def test_diverged_data_is_loaded_anew_and_trusted_again_afterwards() -> None:
    replication = Replication()
    replication.data_diverged()
    assert replication.registered(Position(22, 120), EPOCHS, head=HEAD, now=0.0).event is Event.LOAD
    for event in (Event.CONNECT, Event.CONNECTED, Event.LOAD, Event.COMPLETE):
        replication.handle(event)
    assert replication.registered(Position(22, 150), EPOCHS, head=HEAD, now=0.0).event is Event.RESUME


# the stream


def test_a_change_alone_is_a_transaction() -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS)
    change = make_change(151)
    assert stream.change(change) == [change]
    assert stream.position == (22, 151)


def test_a_transaction_becomes_visible_with_its_last_change_only() -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS)
    changes = [make_change(151, last=False), make_change(152, last=False), make_change(153)]
    assert [stream.change(c) for c in changes] == [None, None, changes]
    assert stream.position == (22, 153)


def test_the_position_stays_before_an_incomplete_transaction() -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS)
    stream.change(make_change(151, last=False))
    assert stream.position == (22, 150)


def test_a_mark_closes_an_open_transaction() -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS)
    change = make_change(151, last=False)
    stream.change(change)
    assert stream.mark(Position(22, 151)) == [change]
    assert stream.position == (22, 151)


def test_a_mark_at_the_position_says_nothing_new() -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS)
    assert stream.mark(Position(22, 150)) is None
    assert stream.mark(Position(22, 149)) is None
    assert stream.position == (22, 150)


def test_changes_that_are_there_already_are_dropped() -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS)
    assert stream.change(make_change(149, last=False)) is None
    assert stream.change(make_change(150)) is None
    assert stream.change(make_change(100, epoch=11)) is None
    assert stream.change(make_change(151)) is not None


def test_the_history_goes_on_under_a_new_epoch() -> None:
    stream = ChangeStream(Position(11, 100), EPOCHS)
    assert stream.mark(Position(22, 100)) is None
    assert stream.change(make_change(101)) is not None
    assert stream.position == (22, 101)


@pytest.mark.parametrize("uen", [152, 1000])
def test_a_gap_is_a_fault(uen: int) -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS)
    with pytest.raises(RemoteProtocolError, match=f"change {uen} came where change 151 was due"):
        stream.change(make_change(uen))


def test_a_repetition_inside_an_open_transaction_is_a_fault() -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS)
    stream.change(make_change(151, last=False))
    with pytest.raises(RemoteProtocolError, match="change 151 came where change 152 was due"):
        stream.change(make_change(151, last=False))


@pytest.mark.parametrize("uen", [150, 152])
def test_a_mark_that_skips_or_cuts_changes_is_a_fault(uen: int) -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS)
    stream.change(make_change(151, last=False))
    with pytest.raises(RemoteProtocolError, match=f"a mark for UEN {uen}"):
        stream.mark(Position(22, uen))


def test_an_unlisted_epoch_is_a_fault() -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS)
    with pytest.raises(RemoteProtocolError, match="epoch 33, which the master never listed"):
        stream.change(make_change(151, epoch=33))


def test_a_partial_stream_may_leave_changes_out_and_tell_several_at_one_uen() -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS, is_partial=True)
    assert stream.change(make_change(153, last=False)) is None
    assert [each.position.uen for each in stream.change(make_change(153)) or ()] == [153, 153]
    assert stream.change(make_change(152)) is None
    assert stream.mark(Position(22, 160)) is None
    assert stream.position == Position(22, 160)
    assert stream.change(make_change(165, last=False)) is None
    assert len(stream.mark(Position(22, 166)) or ()) == 1
    assert stream.change(make_change(170, last=False)) is None
    with pytest.raises(RemoteProtocolError):
        stream.change(make_change(168))


def test_a_mark_below_what_came_is_a_fault_of_a_partial_stream_too() -> None:
    stream = ChangeStream(Position(22, 150), EPOCHS, is_partial=True)
    stream.change(make_change(160, last=False))
    with pytest.raises(RemoteProtocolError):
        stream.mark(Position(22, 155))
