"""The change log: order, resuming, trimming."""

from __future__ import annotations

import pytest

from csproxy.core.changelog import ChangeLog, LogRecord, WindowLimits
from csproxy.core.changes import Epoch, Position
from csproxy.errors import ErrorCode, ModelError

EPOCHS = [Epoch(7, 1), Epoch(9, 11)]


def record(uen: int, *, epoch: int = 9, last: bool = True, size: int = 100, time_s: float = 0.0) -> LogRecord:
    return LogRecord(Position(epoch, uen), 3, uen, (1,), None, None, b"x" * size, last, time_s)


def filled(first: int, last: int) -> ChangeLog:
    log = ChangeLog()
    log.begin(Position(9, first - 1))
    for uen in range(first, last + 1):
        log.append([record(uen)], now_s=0.0)
    return log


def expired(log: ChangeLog, position: Position) -> str:
    with pytest.raises(ModelError) as caught:
        log.locate(position, epochs=EPOCHS)
    assert caught.value.code is ErrorCode.HISTORY_LOG_EXPIRED
    return str(caught.value)


def test_resuming_finds_the_first_change_after_a_position() -> None:
    log = filled(20, 29)
    assert [r.position.uen for r in log.records(log.locate(Position(9, 24), epochs=EPOCHS), log.end)] == [
        25,
        26,
        27,
        28,
        29,
    ]
    assert log.locate(Position(9, 29), epochs=EPOCHS) == log.end
    assert log.locate(Position(9, 19), epochs=EPOCHS) == log.start


def test_a_position_before_the_window_is_expired() -> None:
    assert "starts after UEN 19" in expired(filled(20, 29), Position(9, 18))


def test_an_unknown_epoch_is_expired() -> None:
    assert "not known" in expired(filled(20, 29), Position(8, 25))


def test_an_older_epoch_is_good_only_below_its_successors_first_change() -> None:
    log = filled(5, 29)
    assert log.locate(Position(7, 10), epochs=EPOCHS) == log.start + 6
    assert "took over at UEN 11" in expired(log, Position(7, 11))


def test_a_position_inside_a_reload_is_expired_but_its_start_is_not() -> None:
    log = filled(20, 22)
    log.skip(after=22, until=30)
    log.append([record(30, last=False), record(30)], now_s=0.0)
    assert [r.position.uen for r in log.records(log.locate(Position(9, 22), epochs=EPOCHS), log.end)] == [30, 30]
    assert "between UEN 22 and 30" in expired(log, Position(9, 25))
    assert log.locate(Position(9, 30), epochs=EPOCHS) == log.end


def test_a_reload_without_a_gap_leaves_every_position_good() -> None:
    log = filled(20, 22)
    log.skip(after=22, until=23)
    assert log.locate(Position(9, 22), epochs=EPOCHS) == log.end


def test_a_new_history_forgets_the_old_one_but_ordinals_go_on() -> None:
    log = filled(20, 22)
    log.begin(Position(9, 40))
    assert (log.start, log.end) == (3, 3)
    assert log.floor == Position(9, 40)
    with pytest.raises(IndexError, match="left the window"):
        next(log.records(2, 3))


def limited(*, min_changes: int, min_age_s: float, max_bytes: int) -> ChangeLog:
    log = ChangeLog(limits=WindowLimits(min_changes, min_age_s, max_bytes))
    log.begin(Position(9, 0))
    return log


def test_the_window_grows_to_the_byte_cap_and_then_drops_the_oldest() -> None:
    log = limited(min_changes=2, min_age_s=0, max_bytes=1000)
    for uen in range(1, 11):
        log.append([record(uen)], now_s=100.0)
    assert log.statistics().changes == 10
    log.append([record(11)], now_s=100.0)
    assert log.statistics().frame_bytes <= 875
    assert log.statistics().oldest_uen == log.floor.uen == 3
    assert log.start == 3
    assert log.locate(Position(9, 3), epochs=EPOCHS) == log.start


def test_the_least_number_of_changes_is_kept_whatever_their_size() -> None:
    log = limited(min_changes=5, min_age_s=0, max_bytes=200)
    for uen in range(1, 11):
        log.append([record(uen)], now_s=100.0)
    assert log.statistics().changes == 5


def test_young_changes_are_kept_whatever_their_size() -> None:
    log = limited(min_changes=0, min_age_s=75, max_bytes=200)
    for uen in range(1, 6):
        log.append([record(uen, time_s=float(uen))], now_s=float(uen))
    assert log.statistics().changes == 5
    log.append([record(6, time_s=77.5)], now_s=77.5)
    assert log.floor.uen == 2


def test_a_transaction_is_never_trimmed_in_the_middle() -> None:
    log = limited(min_changes=0, min_age_s=0, max_bytes=450)
    log.append([record(1, last=False), record(2, last=False), record(3)], now_s=0.0)
    log.append([record(4, last=False), record(5)], now_s=0.0)
    assert log.floor.uen == 3
    assert [r.position.uen for r in log.records(log.start, log.end)] == [4, 5]


def test_gaps_that_have_left_the_window_are_forgotten() -> None:
    log = limited(min_changes=0, min_age_s=0, max_bytes=300)
    log.append([record(1)], now_s=0.0)
    log.skip(after=1, until=10)
    for uen in range(10, 20):
        log.append([record(uen)], now_s=0.0)
    assert "starts after" in expired(log, Position(9, 5))


def tail(log: ChangeLog, *, min_changes: int = 0, max_bytes: int = 1 << 30) -> list[int]:
    return [r.position.uen for r in log.tail(min_changes=min_changes, max_bytes=max_bytes)]


def test_the_tail_for_saving_has_as_many_bytes_as_asked_for_or_so_many_changes() -> None:
    log = filled(20, 29)
    assert tail(log) == list(range(20, 30))
    assert tail(log, max_bytes=350) == [27, 28, 29]
    assert tail(log, min_changes=2, max_bytes=0) == [28, 29]
    assert tail(ChangeLog()) == []


def test_the_tail_holds_whole_transactions_only() -> None:
    log = filled(20, 22)
    log.append([record(23, last=False), record(24, last=False), record(25)], now_s=0.0)
    assert tail(log, max_bytes=200) == []
    assert tail(log, max_bytes=300) == [23, 24, 25]
    assert tail(log, max_bytes=450) == [22, 23, 24, 25]


def test_the_tail_begins_after_the_difference_of_a_reload() -> None:
    log = filled(20, 22)
    log.skip(after=22, until=30)
    log.append([record(30, last=False), record(30)], now_s=0.0)
    assert tail(log) == []
    log.append([record(31)], now_s=0.0)
    assert tail(log) == [31]


def test_a_reload_without_a_gap_is_in_the_tail_and_one_at_the_same_place_never_its_beginning() -> None:
    log = filled(20, 22)
    log.append([record(23, last=False), record(23)], now_s=0.0)
    assert tail(log) == [20, 21, 22, 23, 23]
    log.append([record(23)], now_s=0.0)
    assert tail(log, max_bytes=150) == []
    assert tail(log, max_bytes=350) == [23, 23, 23]


def test_the_tail_of_a_new_history_begins_after_its_difference() -> None:
    log = filled(20, 22)
    log.begin(Position(9, 5))
    log.append([record(5)], now_s=0.0)
    assert tail(log) == []


def test_statistics_of_an_empty_log_give_the_floor() -> None:
    log = ChangeLog()
    log.begin(Position(9, 40))
    assert log.statistics() == (0, 0, 40, 40, 0)
    assert "after UEN 40" in repr(log)


def correction(uen: int, *, last: bool = True) -> LogRecord:
    return LogRecord(Position(9, uen), 3, 1, (1,), None, None, b"x" * 100, last, 0.0, True)


def test_a_correction_counts_as_later_than_its_own_position() -> None:
    log = filled(20, 24)
    log.append([correction(24, last=False), correction(24)], now_s=0.0)
    log.append([record(25)], now_s=0.0)
    assert log.locate(Position(9, 24), epochs=EPOCHS) == 5
    assert log.locate(Position(9, 23), epochs=EPOCHS) == 4
    assert log.locate(Position(9, 25), epochs=EPOCHS) == 8


def test_a_correction_of_the_very_first_position_is_found() -> None:
    log = ChangeLog()
    log.begin(Position(9, 19))
    log.append([correction(19)], now_s=0.0)
    assert log.locate(Position(9, 19), epochs=EPOCHS) == 0


def test_who_may_have_missed_a_correction_that_is_no_longer_kept_cannot_resume() -> None:
    log = ChangeLog(limits=WindowLimits(min_changes=1, min_age_s=0.0, max_bytes=250))
    log.begin(Position(9, 20))
    log.append([record(21)], now_s=0.0)
    log.append([correction(21)], now_s=0.0)
    log.append([record(22), record(23)], now_s=0.0)
    assert log.floor == Position(9, 21)
    assert "starts after UEN 21" in expired(log, Position(9, 21))
    assert log.locate(Position(9, 22), epochs=EPOCHS) == 3
    log.begin(Position(9, 30))
    assert log.locate(Position(9, 30), epochs=EPOCHS) == log.end
