"""Log files: segments by size and age, expiry, the segment of a start, full disks, files that others move."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from csproxy.core.log_options import Expiry, SegmentLimit
from csproxy.daemon.log_files import FilePolicy, SegmentedFile
from csproxy.daemon.log_format import EventFormatter, line_time
from csproxy.daemon.logs import STANDARD
from tests.daemon.log_records import record

START_S = 1_746_360_000.0  # 2025-05-04 12:00:00 UTC
HOUR_S = 3_600.0


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


def opened(folder: Path, clock: Clock, **policy: object) -> SegmentedFile:
    defaults: dict[str, object] = {"utc": True, "header": "master m, "}
    output = SegmentedFile(folder / "server.log", FilePolicy(**{**defaults, **policy}), clock=clock)  # type: ignore[arg-type]
    output.formatter = EventFormatter(line_time(utc=True))
    return output


def write(output: SegmentedFile, text: str) -> None:
    output.add(record(STANDARD, text))
    output.flush()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def texts(path: Path) -> list[str]:
    """The texts of the file's events, without the first line of each segment."""
    return [line.split(" ", 3)[3] for line in path.read_text().splitlines() if " Trc 04112 " not in line]


def test_a_file_begins_with_what_it_is_and_goes_on_where_it_was(tmp_path: Path) -> None:
    clock = Clock()
    for text in ("one", "two"):
        output = opened(tmp_path, clock)
        write(output, text)
        output.close()
    lines = (tmp_path / "server.log").read_text().splitlines()
    assert lines[0] == "12:00:00.000 Trc 04112 log server.log begins: master m, 2025-05-04 12:00:00 UTC"
    assert texts(tmp_path / "server.log") == ["one", "two"]
    assert (tmp_path / "server.log").stat().st_mode & 0o777 == 0o640


def test_a_segment_that_is_full_gets_a_name_with_its_time(tmp_path: Path) -> None:
    clock = Clock()
    output = opened(tmp_path, clock, segment=SegmentLimit(bytes=1_000))
    for number in range(20):
        clock.now_s = START_S + number / 1000
        write(output, f"{number:02d} {'x' * 180}")
    output.close()
    *closed, present = files(tmp_path)
    assert present == "server.log"
    assert closed[0] == "server.20250504_120000_004.log"
    assert all((tmp_path / name).stat().st_size <= 1_000 for name in (*closed, present))
    found = [text[:2] for name in (*closed, present) for text in texts(tmp_path / name)]
    assert found == [f"{number:02d}" for number in range(20)], "every event is there, once and in order"
    assert all(" Trc 04112 " in (tmp_path / name).read_text().splitlines()[0] for name in (*closed, present))


def test_many_lines_at_once_are_divided_between_segments(tmp_path: Path) -> None:
    clock = Clock()
    output = opened(tmp_path, clock, segment=SegmentLimit(bytes=1_000))
    for number in range(30):
        output.add(record(STANDARD, f"{number:02d} {'x' * 100}"))
    output.add(record(STANDARD, f"30 {'y' * 3_000}"))
    output.flush()
    output.close()
    names = sorted(files(tmp_path), key=lambda name: (tmp_path / name).stat().st_mtime_ns)
    assert {"server.20250504_120000_000.log", "server.20250504_120000_000_2.log"} < set(names), "of the same moment"
    found = [text[:2] for name in names for text in texts(tmp_path / name)]
    assert found == [f"{number:02d}" for number in range(31)]
    sizes = [(tmp_path / name).stat().st_size for name in names]
    assert max(sizes[:-1]) <= 1_000, "one line that is longer than a segment stays whole"
    assert sizes[-1] > 3_000


def test_a_segment_that_is_old_enough_ends_whether_or_not_there_are_events(tmp_path: Path) -> None:
    clock = Clock()
    output = opened(tmp_path, clock, segment=SegmentLimit(seconds=2 * 3600))
    write(output, "first")
    clock.now_s += 2 * HOUR_S - 1
    output.tick()
    write(output, "same")
    clock.now_s += 1
    output.tick()
    assert files(tmp_path) == ["server.20250504_140000_000.log", "server.log"]
    assert (tmp_path / "server.log").stat().st_size == 0
    clock.now_s += 5 * HOUR_S
    output.tick()
    assert len(files(tmp_path)) == 2, "an empty segment stays"
    write(output, "later")
    output.close()
    assert texts(tmp_path / "server.20250504_140000_000.log") == ["first", "same"]


def test_the_oldest_segments_expire_by_their_number(tmp_path: Path) -> None:
    others = ["server.20250504_120000_000.txt", "server.old.log", "other.20250504_120000_000.log"]
    for name in others:
        (tmp_path / name).write_text("not of this log")
    clock = Clock()
    output = opened(tmp_path, clock, segment=SegmentLimit(bytes=500), expiry=Expiry(files=4))
    for number in range(100):
        clock.now_s += 1
        write(output, f"{number:02d} {'x' * 100}")
        assert len(files(tmp_path)) <= 4 + len(others)
    output.close()
    kept = [name for name in files(tmp_path) if name not in others]
    assert len(kept) == 4
    assert len(files(tmp_path)) == 4 + len(others), "other files are left alone"
    numbers = [int(text[:2]) for name in kept for text in texts(tmp_path / name)]
    assert numbers == list(range(numbers[0], 100)), "the newest are kept"


def test_segments_expire_by_their_age(tmp_path: Path) -> None:
    clock = Clock()
    output = opened(tmp_path, clock, segment=SegmentLimit(bytes=400), expiry=Expiry(days=2))
    write(output, "x" * 250)
    write(output, "y" * 250)
    (closed,) = [name for name in files(tmp_path) if name != "server.log"]
    os.utime(tmp_path / closed, (START_S, START_S))
    clock.now_s += 2 * 24 * HOUR_S - 1
    output.tick()
    assert closed in files(tmp_path)
    clock.now_s += 601
    output.tick()
    assert files(tmp_path) == ["server.log"]
    output.close()


@pytest.mark.parametrize(("startup_bytes", "events"), [(0, 4), (600, 2)])
def test_the_log_of_a_start_is_kept_until_the_next_one(tmp_path: Path, startup_bytes: int, events: int) -> None:
    clock = Clock()
    policy: dict[str, object] = {
        "segment": SegmentLimit(bytes=1_000),
        "expiry": Expiry(files=2),
        "startup_bytes": startup_bytes,
    }
    starts = []
    for start in "AB":
        clock.now_s += 1
        output = opened(tmp_path, clock, **policy)
        for number in range(60):
            clock.now_s += 1
            write(output, f"{start}{number:02d} {'x' * 190}")
        output.close()
        (kept,) = [name for name in files(tmp_path) if ".startup" in name]
        assert [text[:3] for text in texts(tmp_path / kept)] == [f"{start}{number:02d}" for number in range(events)]
        assert len(files(tmp_path)) == 3
        starts.append(kept)
        os.utime(tmp_path / kept, (clock.now_s, clock.now_s))
    assert starts[0] != starts[1]


def test_the_option_to_keep_the_log_of_a_start_may_come_a_moment_after_the_start(tmp_path: Path) -> None:
    clock = Clock()
    output = opened(tmp_path, clock, segment=SegmentLimit(bytes=1_000))
    write(output, "boot")
    output.policy = replace(output.policy, startup_bytes=0)
    for number in range(20):
        clock.now_s += 1
        write(output, f"{number:02d} {'x' * 190}")
    output.policy = replace(output.policy, startup_bytes=None)
    output.close()
    (kept,) = [name for name in files(tmp_path) if ".startup" in name]
    assert [text[:4].strip() for text in texts(tmp_path / kept)] == ["boot", "00 x", "01 x", "02 x", "03 x"]


def test_a_file_that_was_moved_or_deleted_is_begun_again(tmp_path: Path) -> None:
    clock = Clock()
    output = opened(tmp_path, clock)
    write(output, "one")
    (tmp_path / "server.log").rename(tmp_path / "moved")
    output.tick()
    write(output, "two")
    (tmp_path / "server.log").unlink()
    output.tick()
    write(output, "three")
    output.tick()
    write(output, "four")
    output.close()
    assert texts(tmp_path / "moved") == ["one"]
    assert texts(tmp_path / "server.log") == ["three", "four"]


def test_half_a_line_of_a_process_that_was_killed_is_ended(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("12:00:00.000 Std ----- whole\n12:00:00.001 Std ----- ha")
    output = opened(tmp_path, Clock())
    write(output, "after it")
    output.close()
    assert texts(tmp_path / "server.log") == ["whole", "ha", "after it"]


def test_a_folder_in_which_nothing_can_be_renamed_bounds_the_file_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    clock = Clock()
    output = opened(tmp_path, clock, segment=SegmentLimit(bytes=1_000))
    monkeypatch.setattr(Path, "rename", refuse)
    for _ in range(100):
        write(output, "x" * 100)
    assert (output.problem, files(tmp_path)) == ("Permission denied", ["server.log"])
    assert 1_000 <= (tmp_path / "server.log").stat().st_size < 3_200
    monkeypatch.undo()
    write(output, "back")
    output.close()
    assert output.problem == ""
    assert len([text for name in files(tmp_path) for text in texts(tmp_path / name)]) == 101, "nothing was lost"


@contextmanager
def _file_size_limit(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)


def test_a_file_that_cannot_grow_keeps_whole_lines_and_goes_on(tmp_path: Path) -> None:
    output = opened(tmp_path, Clock())
    with _file_size_limit(1_000):
        for number in range(3_000):
            output.add(record(STANDARD, f"{number:04d} {'x' * 120}"))
            output.flush()
        assert output.problem == "File too large"
        assert (tmp_path / "server.log").stat().st_size == 1_000
    lost = output.lost
    assert lost > 0
    output.flush()
    output.close()
    found = texts(tmp_path / "server.log")
    assert [text[:4] for text in found[:-1]] == [f"{number:04d}" for number in range(3_000 - lost)]
    assert {len(text) for text in found[:-1]} == {125}, "the line that was cut is whole"
    assert found[-1] == f"{lost} events were not logged here: File too large"


def test_the_first_line_of_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    output = opened(tmp_path, Clock())
    with _file_size_limit(20):
        write(output, "one")
        assert output.problem
        assert (tmp_path / "server.log").stat().st_size == 0
    write(output, "two")
    output.close()
    assert " Trc 04112 " in (tmp_path / "server.log").read_text().splitlines()[0]
    assert texts(tmp_path / "server.log") == ["one", "two"]


def test_a_file_that_cannot_be_opened_again_is_opened_later(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    clock = Clock()
    output = opened(folder, clock, segment=SegmentLimit(bytes=200))
    write(output, "x" * 200)
    folder.rename(tmp_path / "gone")
    output.tick()
    write(output, "meanwhile")
    assert output.problem == "No such file or directory"
    folder.mkdir()
    write(output, "back")
    output.close()
    assert texts(folder / "server.log") == ["meanwhile", "back"]


def test_what_a_killed_process_has_logged_is_on_disk(tmp_path: Path) -> None:
    """Lines are not kept in a buffer of the process once the thread has them."""
    program = (
        "import logging, os, signal, sys\n"
        "from csproxy.daemon.log_files import FilePolicy\n"
        "from csproxy.daemon.logs import LogOutputs, LogSettings\n"
        "outputs = LogOutputs()\n"
        "outputs.apply(LogSettings(outputs={'all': (sys.argv[1], 'stdout')}))\n"
        "for number in range(500):\n"
        "    logging.getLogger('csproxy').info('%d', number)\n"
        "signal.pause()\n"
    )
    target = tmp_path / "x.log"
    process = subprocess.Popen([sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.endswith(b" 499\n"):
                break
        while not target.exists() or not target.read_bytes().endswith(b" 499\n"):  # it has a thread of its own
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert texts(target) == [str(number) for number in range(500)]
