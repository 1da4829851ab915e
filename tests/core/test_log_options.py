"""Values of the log options, and what they mean."""

from __future__ import annotations

import pytest

from csproxy.core.log_events import EVENTS, LEVELS, event_number, find_event
from csproxy.core.log_options import Expiry, SegmentLimit, expiry, reassigned_event, segment_limit, size_bytes
from csproxy.core.options import find_option
from scripts.generate_events_reference import TARGET, reference

KB = 1024


def parse(name: str, text: str, *, section: str = "log") -> str:
    option = find_option(section, name)
    assert option is not None
    return str(option.parse(text))


@pytest.mark.parametrize(
    ("text", "shown", "limit"),
    [
        ("false", "false", SegmentLimit()),
        ("NO", "false", SegmentLimit()),
        ("0", "false", SegmentLimit()),
        ("100", "100 KB", SegmentLimit(bytes=100 * KB)),
        ("250kb", "250 KB", SegmentLimit(bytes=250 * KB)),
        (" 10  MB ", "10 MB", SegmentLimit(bytes=10 * KB * KB)),
        ("1 hr", "1 hr", SegmentLimit(seconds=3600)),
        ("24HR", "24 hr", SegmentLimit(seconds=86_400)),
    ],
)
def test_a_segment_ends_by_size_or_age(text: str, shown: str, limit: SegmentLimit) -> None:
    assert parse("segment", text) == shown
    assert parse("segment", shown) == shown
    assert segment_limit(shown) == limit


@pytest.mark.parametrize(
    "text", ["", "99", "99 KB", "-1", "1 GB", "8761 hr", "0 MB", "1.5 MB", "true", "100001 MB", "hr"]
)
def test_a_segment_of_another_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="^" + text):
        parse("segment", text)


@pytest.mark.parametrize(
    ("text", "shown", "found"),
    [
        ("false", "false", Expiry()),
        ("10", "10 file", Expiry(files=10)),
        ("1000 FILE", "1000 file", Expiry(files=1000)),
        ("7 day", "7 day", Expiry(days=7)),
    ],
)
def test_logs_expire_by_their_number_or_age(text: str, shown: str, found: Expiry) -> None:
    assert parse("expire", text) == shown
    assert expiry(shown) == found


@pytest.mark.parametrize("text", ["1001", "101 day", "5 weeks", "0 file", "true"])
def test_another_expiry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="^" + text):
        parse("expire", text)


def test_the_segment_of_a_start() -> None:
    assert [parse("keep-startup-file", text) for text in ("false", "Yes", "200", "1 MB")] == [
        "false",
        "true",
        "200 KB",
        "1 MB",
    ]
    assert size_bytes("1 MB") == KB * KB
    with pytest.raises(ValueError, match="1 hr"):
        parse("keep-startup-file", "1 hr")


def test_outputs_and_the_address_of_a_collector() -> None:
    option = find_option("log", "all")
    assert option is not None
    assert option.parse(" stdout, network ,memory,/var/log/x,") == ("stdout", "network", "memory", "/var/log/x")
    with pytest.raises(ValueError, match=","):
        option.parse(" , ")
    assert [parse("network-address", text) for text in ("", " collector:514 ", "[::1]:6514")] == [
        "",
        "collector:514",
        "[::1]:6514",
    ]
    for text in ("collector", ":514", "h:", "h:0", "h:65536", "h:x", "h:²"):
        with pytest.raises(ValueError, match=text):
            parse("network-address", text)


def test_an_event_has_a_level_option_by_its_number_in_any_form() -> None:
    for name in ("level-reassign-4504", "level-reassign-04504", "level-reassign-00-04504"):
        assert reassigned_event(name) == 4504
        option = find_option("log-extended", name)
        assert option is not None
        assert option.name == name
        assert option.parse("Trace") == "trace"
    assert reassigned_event("level-reassign-disable") is None
    assert reassigned_event("other") is None
    assert find_option("log-extended", "level-reassign-x") is None
    assert find_option("log-extended", "other") is None
    assert find_option("log", "level-reassign-4504") is None
    assert parse("level-reassign-disable", "yes", section="log-extended") == "True"


def test_event_numbers_in_any_form() -> None:
    assert [event_number(value) for value in (4504, "4504", "04504", "00-04504", " 21-22122 ")] == [
        4504,
        4504,
        4504,
        4504,
        22122,
    ]
    assert [event_number(value) for value in (None, "", "-----", "x", 0, 100_000, "²")] == [None] * 7


def test_every_event_is_documented() -> None:
    assert len({event.number for event in EVENTS}) == len(EVENTS)
    for event in EVENTS:
        assert find_event(event.number) is event
        assert event.level in LEVELS
        assert event.origin in ("D", "O")
        assert event.component in ("00", "21")
        assert event.meaning.endswith(".")
        assert event.advice.endswith((".", "?"))
        assert event.level != "alarm" or event.advice != "Nothing."
    assert find_event(4504).id == "00-04504"  # type: ignore[union-attr]
    assert find_event(22122).id == "21-22122"  # type: ignore[union-attr]
    assert find_event(None) is None
    assert find_event(1) is None


def test_the_reference_of_events_is_made_from_the_registry() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), "run scripts/generate_events_reference.py"
