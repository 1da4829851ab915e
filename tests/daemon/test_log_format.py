"""Lines of the log: text in two forms, and JSON."""

from __future__ import annotations

import json
import logging
import sys
import time

import pytest

from csproxy.daemon.log_format import EventFormatter, JsonFormatter, level_name, line_time
from csproxy.daemon.logs import ALARM, DEBUG, INTERACTION, STANDARD, TRACE
from tests.daemon.log_records import record

AT_S = 1_746_360_000.125  # 2025-05-04 12:00:00.125 UTC
UTC = line_time(utc=True)


@pytest.fixture
def _moscow(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("TZ", "MSK-3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("level", "short", "full"),
    [
        (ALARM, "Alr", "Alarm"),
        (logging.ERROR, "Std", "Standard"),
        (logging.WARNING, "Std", "Standard"),
        (STANDARD, "Std", "Standard"),
        (INTERACTION, "Int", "Interaction"),
        (TRACE, "Trc", "Trace"),
        (DEBUG, "Dbg", "Debug"),
        (1, "Dbg", "Debug"),
    ],
)
def test_a_line_has_time_level_event_and_text(level: int, short: str, full: str) -> None:
    found = record(level, "connection lost", at_s=AT_S, event="00-04504")
    assert EventFormatter(UTC).format(found) == f"12:00:00.125 {short} 04504 connection lost"
    long = EventFormatter(UTC, full=("host", "cfg proxy")).format(found)
    assert long == f"12:00:00.125 {full} host cfg proxy GCTI-00-04504 connection lost"


@pytest.mark.parametrize(
    ("extra", "short", "full"),
    [
        ({}, "-----", "-----"),
        ({"event": "4520"}, "04520", "GCTI-00-04520"),
        ({"event": 22122}, "22122", "GCTI-21-22122"),
        ({"event": "21-22122"}, "22122", "GCTI-21-22122"),
        ({"event": "05-00777"}, "00777", "GCTI-05-00777"),
        ({"event": "what"}, "-----", "-----"),
        ({"event": 0}, "-----", "-----"),
    ],
)
def test_the_event_is_five_characters_and_in_the_full_form_has_its_component(
    extra: dict[str, object], short: str, full: str
) -> None:
    found = record(STANDARD, "x", **extra)
    assert EventFormatter().format(found).split(" ")[2] == short
    assert EventFormatter(full=("h", "a")).format(found).split(" ")[4] == full


@pytest.mark.usefixtures("_moscow")
def test_times_are_local_or_utc_with_or_without_a_date() -> None:
    assert line_time()(AT_S) == "15:00:00.125"
    assert line_time(utc=True)(AT_S) == "12:00:00.125"
    iso = line_time("iso8601")
    assert [iso(AT_S), iso(AT_S + 0.874), iso(AT_S + 0.875)] == [
        "2025-05-04T15:00:00.125",
        "2025-05-04T15:00:00.999",
        "2025-05-04T15:00:01.000",
    ]
    assert "05" in line_time("locale", utc=True)(AT_S)
    assert line_time("locale", utc=True)(AT_S).endswith("12:00:00.125")


def test_a_text_cannot_forge_a_second_line() -> None:
    found = record(STANDARD, "client \r\n12:00:00.000 Std 04503 connected")
    for formatter in (EventFormatter(), JsonFormatter(host="h", application="a")):
        line = formatter.format(found)
        assert "\n" not in line
        assert "\r" not in line


def failed() -> logging.LogRecord:
    try:
        raise ValueError("no")
    except ValueError:
        return logging.getLogger("x").makeRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())


def test_a_traceback_follows_its_line() -> None:
    assert "ValueError: no" in EventFormatter().format(failed())


@pytest.mark.usefixtures("_moscow")
def test_json_has_everything_in_one_object_on_one_line() -> None:
    found = record(logging.WARNING, "lost ünïcode", at_s=AT_S, event=4504, peer="10.0.0.1", attempts=3)
    assert json.loads(JsonFormatter(host="h", application="a").format(found)) == {
        "time": "2025-05-04T15:00:00.125+03:00",
        "level": "standard",
        "severity": "warning",
        "event": "00-04504",
        "logger": "csproxy.test",
        "host": "h",
        "application": "a",
        "text": "lost ünïcode",
        "fields": {"peer": "10.0.0.1", "attempts": 3},
    }
    plain = json.loads(JsonFormatter(host="h", application="a", utc=True).format(record(TRACE, "x", at_s=AT_S)))
    assert (plain["time"], plain["severity"], plain["event"]) == ("2025-05-04T12:00:00.125+00:00", "debug", None)
    assert "fields" not in plain
    line = JsonFormatter(host="h", application="a").format(failed())
    assert "ValueError: no" in json.loads(line)["exception"]
    assert "\n" not in line


def test_every_level_has_the_name_of_the_one_that_it_reaches() -> None:
    assert [level_name(number) for number in (60, 50, 49, 20, 19, 17, 15, 10, 0)] == [
        "alarm",
        "alarm",
        "standard",
        "standard",
        "interaction",
        "interaction",
        "trace",
        "debug",
        "debug",
    ]
