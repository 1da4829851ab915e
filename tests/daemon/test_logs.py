"""The outputs of the log as options say, and changed while they are used."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from csproxy.core.log_options import LOG_OUTPUT_LEVELS, VERBOSITIES
from csproxy.daemon.logs import ALARM, DEBUG, STANDARD, TRACE, LogOutputs, LogSettings, verbosity_level
from csproxy.errors import ConfigurationError

log = logging.getLogger("csproxy.test")


@pytest.fixture
def outputs() -> Iterator[LogOutputs]:
    level = logging.getLogger().level
    found = LogOutputs()
    yield found
    found.close()
    logging.getLogger().setLevel(level)


def settings(verbose: str, outputs: Mapping[str, Sequence[Path | str]], **more: Any) -> LogSettings:
    targets = {level: tuple(map(str, each)) for level, each in outputs.items()}
    return LogSettings(verbose=verbose, outputs=targets, **more)


def texts(path: Path) -> list[str]:
    """The texts of the events, without those of the log itself."""
    return [line.split(" ", 3)[3] for line in path.read_text().splitlines() if " 04112 " not in line]


def test_an_output_takes_its_level_and_those_above(tmp_path: Path, outputs: LogOutputs) -> None:
    everything, standard = tmp_path / "all.log", tmp_path / "standard.log"
    outputs.apply(settings("trace", {"all": [everything], "standard": [standard]}))
    for level, text in ((ALARM, "alarm"), (STANDARD, "standard"), (TRACE, "trace"), (DEBUG, "debug")):
        log.log(level, text)
    outputs.close()
    assert texts(everything) == ["alarm", "standard", "trace"]
    assert texts(standard) == ["alarm", "standard"]


def test_one_target_at_two_levels_is_written_once(tmp_path: Path, outputs: LogOutputs) -> None:
    target = tmp_path / "x.log"
    outputs.apply(settings("all", {"standard": [target], "trace": [target]}))
    log.log(TRACE, "once")
    outputs.close()
    assert texts(target) == ["once"]


def test_an_output_that_cannot_be_opened_changes_nothing(tmp_path: Path, outputs: LogOutputs) -> None:
    target = tmp_path / "x.log"
    outputs.apply(settings("standard", {"all": [target]}))
    with pytest.raises(ConfigurationError, match=r"nowhere/y\.log cannot be opened: No such file"):
        outputs.apply(settings("none", {"all": [tmp_path / "z.log", tmp_path / "nowhere/y.log"]}))
    with pytest.raises(ConfigurationError, match="network cannot be opened: it needs the option network-address"):
        outputs.apply(settings("none", {"all": ["network"]}))
    log.warning("still here")
    outputs.close()
    assert texts(target) == ["still here"]


def test_standard_streams_are_outputs(outputs: LogOutputs, capfd: pytest.CaptureFixture[str]) -> None:
    outputs.apply(settings("standard", {"all": ["stdout"], "alarm": ["stderr"]}))
    log.critical("both")
    log.info("one")
    outputs.close()
    captured = capfd.readouterr()
    assert (captured.out.count("both"), captured.err.count("both")) == (1, 1)
    assert (captured.out.count("one"), captured.err.count("one")) == (1, 0)


def test_outputs_change_while_they_are_used_and_nothing_is_lost(tmp_path: Path, outputs: LogOutputs) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    outputs.apply(settings("standard", {"all": [one]}))
    log.info("1")
    outputs.apply(settings("trace", {"standard": [one], "all": [two]}, is_full=True, application="cfg"))
    log.info("2")
    log.log(TRACE, "3")
    outputs.apply(settings("standard", {"all": [two]}, is_json=True))
    log.info("4")
    outputs.close()
    host = socket.gethostname()
    lines = [line.split(" ", 1)[1] for line in one.read_text().splitlines()[1:]]
    assert lines == ["Std ----- 1", f"Standard {host} cfg ----- 2"]
    *full, last = two.read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in full if "04112" not in line] == ["2", "3"]
    assert json.loads(last)["text"] == "4"
    assert "begins" in full[0]


def test_the_opening_of_an_output_is_an_event(tmp_path: Path, outputs: LogOutputs) -> None:
    target = tmp_path / "x.log"
    outputs.apply(settings("trace", {"all": ["stderr"], "trace": [target]}))
    outputs.close()
    told = [line.split(" ", 1)[1] for line in target.read_text().splitlines()[1:]]
    assert told == [
        "Trc 04112 log output stderr is open, from level all up",
        f"Trc 04112 log output {target} is open, from level trace up",
    ]


def test_levels_of_events_change_at_run_time(tmp_path: Path, outputs: LogOutputs) -> None:
    target = tmp_path / "x.log"
    for reassigned in ({}, {4500: STANDARD, 4503: None}, {}):
        outputs.apply(settings("standard", {"all": [target]}, reassigned=reassigned))
        log.log(TRACE, "connecting", extra={"event": 4500})
        log.info("connected", extra={"event": 4503})
    outputs.close()
    assert texts(target) == ["connected", "connecting", "connected"]


def test_memory_has_a_file_of_its_own(tmp_path: Path, outputs: LogOutputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outputs.apply(settings("standard", {"all": ["memory"]}, application="a/b"))
    log.info("kept")
    outputs.apply(settings("standard", {"all": ["memory"]}, memory=(str(tmp_path / "m"), 1_000_000)))
    log.info("then")
    outputs.close()
    assert texts(tmp_path / "a_b.memory.log") == ["kept"]
    assert texts(tmp_path / "m") == ["then"]


def test_the_network_is_an_output_that_can_change_its_place(outputs: LogOutputs) -> None:
    got = []
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        for listener, text in ((first, "one"), (second, "two")):
            outputs.apply(settings("debug", {"all": ["network"]}, network=listener.getsockname()))
            log.debug("not sent")
            log.info("%s", text)
        outputs.close()
        for listener in (first, second):
            connection, _ = listener.accept()
            with connection:
                got.append(b"".join(iter(lambda taken=connection: taken.recv(65536), b"")))
    assert [data.count(b"csproxy.test") for data in got] == [1, 1]
    assert got[0].endswith(b"] one")
    assert got[1].endswith(b"] two")


def test_statistics_go_to_a_file_beside_the_log(
    tmp_path: Path, outputs: LogOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs.write_statistics({"clients": 1})
    outputs.apply(settings("standard", {"all": ["stderr"], "standard": [tmp_path / "x.log"]}, utc=True))
    outputs.write_statistics({"clients": 2, "uen": 7})
    outputs.write_statistics({"clients": 3, "uen": 8})
    outputs.close()
    found = [json.loads(line) for line in (tmp_path / "x_stat.log").read_text().splitlines()]
    assert found[0]["text"].startswith("log x_stat.log begins")
    assert [(line["clients"], line["uen"]) for line in found[1:]] == [(2, 7), (3, 8)]
    assert all(line["time"].endswith("+00:00") for line in found)
    (only,) = [json.loads(line) for line in (tmp_path / "confserv_stat.log").read_text().splitlines()][1:]
    assert only["clients"] == 1


def test_a_statistics_file_that_cannot_be_opened_is_told(
    tmp_path: Path, outputs: LogOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs.apply(settings("standard", {"all": [tmp_path / "x.log"]}))
    (tmp_path / "x_stat.log").mkdir()
    outputs.write_statistics({"clients": 1})
    outputs.close()
    (told,) = texts(tmp_path / "x.log")
    assert told == f"statistics file {tmp_path / 'x_stat.log'} cannot be opened: Is a directory"


def test_verbosities_are_ordered() -> None:
    levels = [verbosity_level(name) for name in VERBOSITIES]
    assert levels == sorted(levels)
    assert set(LOG_OUTPUT_LEVELS) < set(VERBOSITIES)


@pytest.mark.parametrize(("outputs", "expected"), [(("stdout",), ["before", "it is ready"]), ((), ["it is ready"])])
def test_a_line_for_standard_output_comes_after_the_events_before_it(
    outputs: tuple[str, ...], expected: list[str]
) -> None:
    program = (
        "import logging\n"
        "from csproxy.daemon.logs import LogOutputs, LogSettings\n"
        "outputs = LogOutputs()\n"
        f"outputs.apply(LogSettings(outputs={{'all': {outputs!r}}}))\n"
        "for number in range(50):\n"
        "    logging.getLogger('csproxy').info('before')\n"
        "    outputs.print('it is ready')\n"
        "outputs.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert [line.rsplit("----- ")[-1] for line in done.stdout.splitlines()] == expected * 50


def test_a_process_ends_although_nobody_reads_what_it_logs() -> None:
    program = (
        "import logging\n"
        "from csproxy.daemon.logs import LogOutputs, LogSettings\n"
        "outputs = LogOutputs()\n"
        "outputs.apply(LogSettings(verbose='all', outputs={'all': ('stdout',)}))\n"
        "for number in range(2_000):\n"
        "    logging.getLogger('csproxy').info('%d %s', number, 'x' * 100)\n"
        "outputs.apply(LogSettings(verbose='all', outputs={'all': ('stderr',)}))\n"
        "logging.getLogger('csproxy').info('the other goes on')\n"
        "outputs.close()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.wait(60) == 0
        assert b"the other goes on" in process.stderr.read()
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()
