"""The output memory: bounded, written now and then, at an Alarm event and at the end."""

from __future__ import annotations

from pathlib import Path

from csproxy.daemon.log_memory import SNAPSHOT_S, MemoryOutput
from csproxy.daemon.logs import ALARM, STANDARD
from tests.daemon.log_records import record


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def write(output: MemoryOutput, level: int, text: str) -> None:
    output.add(record(level, text))
    output.flush()


def texts(path: Path) -> list[str]:
    return [line.split(" ", 3)[3] for line in path.read_text().splitlines()]


def test_the_file_is_written_every_few_seconds_if_there_is_something_new(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "m.log"
    output = MemoryOutput(path, 10_000, clock=clock)
    write(output, STANDARD, "one")
    assert not path.exists()
    clock.now_s = SNAPSHOT_S
    output.flush()
    assert texts(path) == ["one"]
    path.unlink()
    clock.now_s += 10 * SNAPSHOT_S
    output.flush()
    assert not path.exists(), "nothing is new"
    write(output, STANDARD, "two")
    assert texts(path) == ["one", "two"]
    write(output, STANDARD, "three")
    output.close()
    assert texts(path) == ["one", "two", "three"]
    assert [each.name for each in tmp_path.iterdir()] == ["m.log"]


def test_an_alarm_is_written_at_once(tmp_path: Path) -> None:
    output = MemoryOutput(tmp_path / "m.log", 10_000, clock=Clock())
    write(output, STANDARD, "before")
    write(output, ALARM, "alarm")
    assert texts(tmp_path / "m.log") == ["before", "alarm"]


def test_the_oldest_lines_leave(tmp_path: Path) -> None:
    output = MemoryOutput(tmp_path / "m.log", 10_000, clock=Clock())
    for number in range(1_000):
        write(output, STANDARD, f"{number:03d} {'x' * 80}")
    output.close()
    kept = [int(text[:3]) for text in texts(tmp_path / "m.log")]
    assert 9_000 < (tmp_path / "m.log").stat().st_size <= 10_000
    assert kept == list(range(kept[0], 1_000))


def test_a_file_that_cannot_be_written_is_told_and_written_later(tmp_path: Path) -> None:
    clock, folder = Clock(), tmp_path / "f"
    output = MemoryOutput(folder / "m.log", 10_000, clock=clock)
    write(output, ALARM, "one")
    assert output.problem == f"{folder / 'm.log'}: No such file or directory"
    folder.mkdir()
    write(output, ALARM, "two")
    assert output.problem == ""
    assert texts(folder / "m.log") == ["one", "two"]
