"""Threads that write: nothing waits for them, what does not fit is counted, and a failure is told and survived."""

from __future__ import annotations

import logging
import os
import re
import threading

import pytest

from csproxy.daemon.log_writer import DescriptorOutput, EventHandler, Output, OutputThread
from csproxy.daemon.logs import STANDARD, TRACE
from tests.daemon.log_records import SmallOutput, record


def logger(*threads: OutputThread, least: int = 1, reassigned: dict[int, int | None] | None = None) -> logging.Logger:
    log = logging.Logger("csproxy.test")
    log.addHandler(EventHandler(threads, least=least, reassigned=reassigned or {}))
    return log


def everything(reading: int, writing: int, thread: OutputThread) -> bytes:
    """Read the pipe until its thread has ended; both ends are closed then."""
    pieces: list[bytes] = []

    def read() -> None:
        while piece := os.read(reading, 65536):
            pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    assert thread.join(30)
    os.close(writing)
    reader.join(30)
    os.close(reading)
    return b"".join(pieces)


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_loses_only_what_does_not_fit() -> None:
    reading, writing = os.pipe()
    thread = OutputThread(DescriptorOutput("pipe", writing), max_waiting=100)
    log = logger(thread)
    changing = ["as it was"]
    log.info("first %s", changing)
    changing[0] = "as it is later"
    for number in range(2_000):
        log.info("%d %s", number, "x" * 1_000)
    thread.end()
    assert not thread.join(0.05), "the pipe is full"
    received = everything(reading, writing, thread)
    assert b"first ['as it was']" in received
    whole = [line for line in received.splitlines() if line.endswith(b"x" * 1_000)]
    lost = re.findall(rb"31011 (\d+) events were not logged here: they came faster", received)
    assert len(whole) + sum(map(int, lost)) == 2_000
    assert lost


def test_long_texts_are_bounded_by_their_size() -> None:
    reading, writing = os.pipe()
    thread = OutputThread(DescriptorOutput("pipe", writing), max_waiting_chars=100_000)
    log = logger(thread)
    for _ in range(1_000):
        log.info("y" * 70_000)  # the first one fills the pipe
    thread.end()
    received = everything(reading, writing, thread)
    lost = re.findall(rb"31011 (\d+) events were not logged here", received)
    assert received.count(b"yyy\n") + sum(map(int, lost)) == 1_000
    assert received.count(b"yyy\n") <= 10


class Blocked(Output):
    """Waits until it is let go."""

    def __init__(self) -> None:
        super().__init__("blocked")
        self.go = threading.Event()
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.go.wait()
        self.writes.append(data)
        return len(data)


def test_an_output_that_hangs_holds_up_no_other() -> None:
    blocked, good = Blocked(), SmallOutput(10_000)
    threads = [OutputThread(blocked), OutputThread(good)]
    log = logger(*threads)
    log.info("one")
    log.info("two")
    threads[1].end()
    assert threads[1].join(10)
    assert good.texts == ["one", "two"]
    assert blocked.writes == []
    blocked.go.set()
    threads[0].end()
    assert threads[0].join(10)
    assert b"".join(blocked.writes).count(b"\n") == 2


@pytest.mark.parametrize(("batches", "writes"), [(True, 2), (False, 4)])
def test_lines_that_come_at_the_same_moment_are_written_together_unless_buffering_is_off(
    batches: bool, writes: int
) -> None:
    output = Blocked()
    output.batches = batches
    thread = OutputThread(output)
    log = logger(thread)
    log.info("0")
    while thread._waiting:  # taken: its write waits
        pass
    for text in "123":
        log.info(text)
    thread.end()
    output.go.set()
    assert thread.join(10)
    assert len(output.writes) == writes


def test_a_full_disk_is_told_once_and_the_log_goes_on_with_how_much_was_lost() -> None:
    output = SmallOutput(300)
    line = output.frame(record(STANDARD, ""), output.formatter.format(record(STANDARD, "x" * 80)))
    for _ in range(4_000):
        output.add(record(STANDARD, "x" * 80))
    output.flush()
    assert output.problem == "No space left on device"
    assert len(output.data) == 300, "the line that did not fit is cut"
    lost = output.lost
    assert 0 < lost < 4_000
    output.room = 10_000_000
    output.add(record(STANDARD, "y" * 80))
    output.flush()
    assert output.problem == ""
    lines = output.data.splitlines(keepends=True)
    assert {len(each) for each in lines[: 4_000 - lost]} == {len(line)}, "no line is cut in the end, none comes twice"
    told = f"{lost} events were not logged here: No space left on device"
    assert output.texts[4_000 - lost :] == [told, "y" * 80]


def test_the_first_failure_of_an_output_is_reported_and_the_next_one_after_it_was_well_again() -> None:
    output, told = SmallOutput(0), list[str]()
    done = threading.Semaphore(0)

    def on_problem(found: Output) -> None:
        told.append(found.problem)
        done.release()

    thread = OutputThread(output, on_problem)
    log = logger(thread)
    log.info("1")
    assert done.acquire(timeout=10)
    log.info("2")
    output.room = 1_000
    log.info("3")
    thread.end()
    assert thread.join(10)
    assert told == ["No space left on device"]
    assert output.texts == ["1", "2", "3"]


def test_a_reader_that_went_away_does_not_end_the_other_outputs() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    broken, good = OutputThread(DescriptorOutput("pipe", writing)), SmallOutput(1_000)
    threads = [broken, OutputThread(good)]
    logger(*threads).info("still written")
    for thread in threads:
        thread.end()
        assert thread.join(10)
    os.close(writing)
    assert good.texts == ["still written"]
    assert broken.output.problem == "Broken pipe"


def test_an_event_that_cannot_be_shown_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    output = SmallOutput(10_000)
    thread = OutputThread(output)
    log = logger(thread)
    log.info("%d", "no number")
    assert "TypeError" in capsys.readouterr().err, "as Python's own handlers say it"

    class Unfit:
        def __str__(self) -> str:
            raise ValueError("unfit")

    log.info("not to be shown", extra={"event": Unfit()})
    log.info("after it")
    thread.end()
    assert thread.join(10)
    assert [text.split(":")[0] for text in output.texts] == ["cannot be shown", "after it"]


class Ticking(Blocked):
    """Notes when it was asked to do what depends on time."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0
        self.ticked = threading.Event()

    def tick(self) -> None:
        self.ticks += 1
        self.ticked.set()


def test_what_depends_on_time_is_done_with_events_and_without() -> None:
    idle = Ticking()
    thread = OutputThread(idle, tick_s=0.01)
    assert idle.ticked.wait(10)
    thread.end()
    assert thread.join(10)
    busy = Ticking()
    busy.batches = False
    thread = OutputThread(busy, tick_s=0)
    thread.put(record(STANDARD, "first"))  # it is being written while the others come
    log = logger(thread)
    for number in range(100):
        log.info("%d", number)
    ticks = busy.ticks
    thread.end()
    busy.go.set()
    assert thread.join(10)
    assert busy.ticks >= ticks + 100, "with each event that waited"


def test_a_record_is_left_as_it_is_for_other_handlers() -> None:
    thread = OutputThread(SmallOutput(1_000))
    log = logger(thread, reassigned={4500: STANDARD})
    seen: list[logging.LogRecord] = []

    class Other(logging.Handler):
        def emit(self, found: logging.LogRecord) -> None:
            seen.append(found)

    log.addHandler(Other())
    log.log(TRACE, "to %s", "m", extra={"event": 4500})
    thread.end()
    assert thread.join(10)
    assert (seen[0].args, seen[0].levelno) == (("m",), TRACE)


def test_events_get_other_levels_or_none_at_all() -> None:
    output = SmallOutput(1_000, level=STANDARD)
    thread = OutputThread(output)
    log = logger(thread, least=STANDARD, reassigned={4500: STANDARD, 4503: TRACE, 4504: None, 4502: logging.CRITICAL})
    log.log(TRACE, "lifted", extra={"event": "00-04500"})
    log.log(TRACE, "not lifted", extra={"event": 4110})
    log.info("lowered", extra={"event": 4503})
    log.warning("left out", extra={"event": 4504})
    log.warning("alarm", extra={"event": 4502})
    log.info("as it is")
    thread.end()
    assert thread.join(10)
    assert output.texts == ["lifted", "alarm", "as it is"]
    assert [line.split(" ")[1] for line in output.data.decode().splitlines()] == ["Std", "Alr", "Std"]
