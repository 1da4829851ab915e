"""Options from the Application object: order of sources, bad values, what has changed."""

from __future__ import annotations

import logging

import pytest

from csproxy.daemon.runtime_options import RuntimeOptions, log_changes
from csproxy.daemon.settings import RuntimeLayers

PACKET = ("csproxy", "packet-size")
VERBOSE = ("log", "verbose")


def test_the_application_object_wins_over_the_file_and_returns_to_it() -> None:
    options = RuntimeOptions(RuntimeLayers(file={PACKET: 4096}))
    assert options.get(*PACKET) == 4096
    (change,) = options.apply_application({"csproxy": {"packet-size": "8192"}})
    assert (change.option.name, change.value, options.get(*PACKET)) == ("packet-size", 8192, 8192)
    assert options.apply_application({"csproxy": {"packet-size": "8192", "unknown": "x"}, "other": {}}) == []
    (back,) = options.apply_application({})
    assert (back.value, options.get(*PACKET)) == (4096, 4096)


def test_command_line_and_environment_win_over_the_application_object() -> None:
    options = RuntimeOptions(RuntimeLayers(fixed={PACKET: 2048}))
    assert options.apply_application({"csproxy": {"packet-size": "8192"}}) == []
    assert options.get(*PACKET) == 2048


def test_bootstrap_logging_ends_when_the_application_object_says_otherwise() -> None:
    options = RuntimeOptions(RuntimeLayers(fixed={VERBOSE: "debug"}))
    assert options.get(*VERBOSE) == "debug"
    options.apply_application({"log": {"verbose": "standard"}})
    assert options.get(*VERBOSE) == "standard"
    options.apply_application({"log": {}})
    assert options.get(*VERBOSE) == "debug"


def test_a_bad_value_keeps_the_old_one_and_says_what_is_valid(caplog: pytest.LogCaptureFixture) -> None:
    options = RuntimeOptions(RuntimeLayers())
    options.apply_application({"csproxy": {"packet-size": 8192}})
    with caplog.at_level(logging.INFO, "csproxy.daemon.options"):
        assert options.apply_application({"csproxy": {"packet-size": "enormous"}}) == []
    assert options.get(*PACKET) == 8192
    (entry,) = caplog.records
    assert entry.levelno >= logging.INFO
    text = entry.getMessage()
    assert all(part in text for part in ("packet-size", "[csproxy]", "'enormous'", "8192", "1024 to 16777216"))


def test_a_bad_first_value_leaves_the_default(caplog: pytest.LogCaptureFixture) -> None:
    options = RuntimeOptions(RuntimeLayers())
    assert options.apply_application({"log": {"verbose": "loud"}}) == []
    assert options.get(*VERBOSE) == "standard"
    assert "loud" in caplog.text


def test_a_change_is_event_04110(caplog: pytest.LogCaptureFixture) -> None:
    options = RuntimeOptions(RuntimeLayers())
    with caplog.at_level(1, "csproxy.daemon.options"):
        log_changes(options.apply_application({"log": {"all": "stdout, stderr"}}))
    (entry,) = caplog.records
    assert entry.__dict__["event"] == 4110
    assert "stdout, stderr" in entry.getMessage()
    assert options.get("log", "all") == ("stdout", "stderr")


def test_an_unknown_option_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        RuntimeOptions(RuntimeLayers()).get("log", "nothing")


def test_an_option_that_counts_from_the_next_start_says_so(caplog: pytest.LogCaptureFixture) -> None:
    options = RuntimeOptions(RuntimeLayers())
    with caplog.at_level(1, "csproxy.daemon.options"):
        log_changes(options.apply_application({"csproxy": {"locale": "de_DE"}}), running=False)
        log_changes(options.apply_application({"csproxy": {"locale": "sv_SE", "packet-size": "2048"}}))
        options.apply_application({"csproxy": {"locale": "xx", "packet-size": "2048"}})
    assert [entry.getMessage() for entry in caplog.records][:3] == [
        "option locale of [csproxy] is now de_DE",
        "option locale of [csproxy] is now sv_SE, which counts from the next start on",
        "option packet-size of [csproxy] is now 2048",
    ]
    assert "'xx' is not valid, the value sv_SE stays; valid: UTF-8 (order of code points)" in caplog.text
    assert options.get("csproxy", "locale") == "sv_SE"
