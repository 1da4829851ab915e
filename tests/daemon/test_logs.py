"""Log lines and log outputs."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from csproxy.core.options import LOG_OUTPUT_LEVELS, VERBOSITIES
from csproxy.daemon.log_writer import BackgroundWriter, DescriptorHandler
from csproxy.daemon.logs import (
    ALARM,
    DEBUG,
    INTERACTION,
    STANDARD,
    TRACE,
    EventFormatter,
    LogOutputs,
    verbosity_level,
)
from csproxy.errors import ConfigurationError


def record(level: int, text: str, **extra: object) -> logging.LogRecord:
    return logging.getLogger("csproxy.test").makeRecord("csproxy.test", level, "f", 1, text, (), None, extra=extra)


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (ALARM, "Alr"),
        (logging.ERROR, "Std"),
        (logging.WARNING, "Std"),
        (STANDARD, "Std"),
        (INTERACTION, "Int"),
        (TRACE, "Trc"),
        (DEBUG, "Dbg"),
        (1, "Dbg"),
    ],
)
def test_a_line_has_time_level_event_and_text(level: int, name: str) -> None:
    line = EventFormatter().format(record(level, "connection lost", event="00-04504"))
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d\d\d {name} 04504 connection lost", line)


@pytest.mark.parametrize(
    ("extra", "column"),
    [({}, "-----"), ({"event": "4520"}, "04520"), ({"event": 24301}, "24301"), ({"event": "21-22122"}, "22122")],
)
def test_the_event_is_five_characters(extra: dict[str, object], column: str) -> None:
    assert EventFormatter().format(record(STANDARD, "x", **extra)).split(" ")[2] == column


def test_a_text_cannot_forge_a_second_line() -> None:
    line = EventFormatter().format(record(STANDARD, "client \r\n12:00:00.000 Std 04503 connected"))
    assert "\n" not in line
    assert "\r" not in line


def test_a_traceback_follows_its_line() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        import sys

        found = logging.getLogger("x").makeRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    assert "ValueError: no" in EventFormatter().format(found)


@pytest.fixture
def outputs() -> Iterator[LogOutputs]:
    level = logging.getLogger().level
    found = LogOutputs()
    yield found
    found.close()
    logging.getLogger().setLevel(level)


def test_an_output_takes_its_level_and_those_above(tmp_path: Path, outputs: LogOutputs) -> None:
    everything, standard = tmp_path / "all.log", tmp_path / "standard.log"
    outputs.apply("trace", {"all": (str(everything),), "standard": (str(standard),)})
    log = logging.getLogger("csproxy.test")
    for level, text in ((ALARM, "alarm"), (STANDARD, "standard"), (TRACE, "trace"), (DEBUG, "debug")):
        log.log(level, text)
    outputs.close()
    assert [line.split()[-1] for line in everything.read_text().splitlines()] == ["alarm", "standard", "trace"]
    assert [line.split()[-1] for line in standard.read_text().splitlines()] == ["alarm", "standard"]


def test_one_target_at_two_levels_is_written_once(tmp_path: Path, outputs: LogOutputs) -> None:
    target = tmp_path / "x.log"
    outputs.apply("all", {"standard": (str(target),), "trace": (str(target),)})
    logging.getLogger("csproxy.test").log(TRACE, "once")
    outputs.close()
    assert len(target.read_text().splitlines()) == 1


def test_an_output_that_cannot_be_opened_changes_nothing(tmp_path: Path, outputs: LogOutputs) -> None:
    target = tmp_path / "x.log"
    outputs.apply("standard", {"all": (str(target),)})
    with pytest.raises(ConfigurationError, match=r"nowhere/y\.log cannot be opened: No such file"):
        outputs.apply("standard", {"all": (str(tmp_path / "z.log"), str(tmp_path / "nowhere/y.log"))})
    logging.getLogger("csproxy.test").warning("still here")
    outputs.close()
    assert "still here" in target.read_text()


def test_standard_streams_are_outputs(outputs: LogOutputs, capfd: pytest.CaptureFixture[str]) -> None:
    outputs.apply("standard", {"all": ("stdout",), "alarm": ("stderr",)})
    logging.getLogger("csproxy.test").critical("both")
    logging.getLogger("csproxy.test").info("one")
    outputs.close()
    captured = capfd.readouterr()
    assert (captured.out.count("both"), captured.err.count("both")) == (1, 1)
    assert (captured.out.count("one"), captured.err.count("one")) == (1, 0)


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_loses_only_what_does_not_fit() -> None:
    reading, writing = os.pipe()
    handler = DescriptorHandler(writing)
    handler.setFormatter(EventFormatter())
    writer = BackgroundWriter([handler], max_waiting=100)
    log = logging.Logger("csproxy.test")
    log.addHandler(writer)
    changing = ["as it was"]
    log.info("first %s", changing)
    changing[0] = "as it is later"
    for number in range(2_000):
        log.info("%d %s", number, "x" * 1_000)
    writer.end(timeout_s=0.05)  # in vain: the pipe is full
    received = b""
    while b"were not logged" not in received:
        received += os.read(reading, 65536)
    assert b"first ['as it was']" in received
    whole = [line for line in received.splitlines() if line.endswith(b"x" * 1_000)]
    (lost,) = re.findall(rb"(\d+) events were not logged", received)
    assert len(whole) + int(lost) == 2_000
    writer.end()
    os.close(reading)
    os.close(writing)


def test_an_output_that_fails_does_not_end_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    good = logging.FileHandler(tmp_path / "good.log")
    writer = BackgroundWriter([DescriptorHandler(writing), good])
    log = logging.Logger("csproxy.test")
    log.addHandler(writer)
    log.info("still written")
    writer.end()
    os.close(writing)
    assert "still written" in (tmp_path / "good.log").read_text()
    assert "BrokenPipeError" in capsys.readouterr().err


def test_verbosities_are_ordered() -> None:
    levels = [verbosity_level(name) for name in VERBOSITIES]
    assert levels == sorted(levels)
    assert set(LOG_OUTPUT_LEVELS) < set(VERBOSITIES)


def test_a_process_ends_although_nobody_reads_what_it_logs() -> None:
    program = (
        "import logging\n"
        "from csproxy.daemon.logs import LogOutputs\n"
        "outputs = LogOutputs()\n"
        "outputs.apply('all', {'all': ('stdout',)})\n"
        "for number in range(2_000):\n"
        "    logging.getLogger('csproxy').info('%d %s', number, 'x' * 100)\n"
        "outputs.close()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()
        assert process.stdout is not None
        process.stdout.close()
