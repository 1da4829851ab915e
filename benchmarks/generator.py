"""The load generator: building it, running it, and its request templates."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from processes import FIRST_OF_GENERATORS, GENERATOR_CORE, on_core

__all__ = ["BUILD", "Waiting", "build_generator", "generate", "generator", "median", "template", "waiting"]

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
Run = dict[str, Any]


def build_generator() -> None:
    """Compile the generator unless it is newer than its source."""
    BUILD.mkdir(exist_ok=True)
    source = HERE / "load_generator.c"
    if not (BUILD / "lg").exists() or (BUILD / "lg").stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-o", BUILD / "lg", source, "-lssl", "-lcrypto"], check=True)


def template(name: str, data: bytes) -> Path:
    """A request template in a file; load_generator.c tells what it replaces in it."""
    path = BUILD / f"{name}.bin"
    path.write_bytes(data)
    return path


def generator(mode: str, port: int, *arguments: object) -> list[str]:
    """The command; who sends at a fixed pace goes first, since what it measures is not its own waiting."""
    priority = FIRST_OF_GENERATORS + 1 if "--interval-us" in arguments else 1
    return on_core(GENERATOR_CORE, [BUILD / "lg", mode, "--port", port, *arguments], priority=priority)


def generate(mode: str, port: int, *arguments: object) -> Run:
    """Run the generator to its end; what it measured."""
    done = subprocess.run(
        generator(mode, port, *arguments), capture_output=True, text=True, errors="replace", timeout=300
    )
    return _measured(done.returncode, done.stdout, done.stderr, f"{mode} {arguments}")


class Waiting:
    """A generator that runs beside others; `result` waits for its end."""

    def __init__(self, process: subprocess.Popen[str], what: str) -> None:
        self._process = process
        self._what = what

    def result(self) -> Run:
        """What it measured."""
        out, err = self._process.communicate(timeout=300)
        return _measured(self._process.returncode, out, err, self._what)


@contextmanager
def waiting(mode: str, port: int, *arguments: object, until: Callable[[], bool] | None = None) -> Iterator[Waiting]:
    """Run the generator beside the block; ``sub`` and ``idle`` say that they are connected before it begins.

    ``until`` is asked until it says that the server has taken note of all.
    """
    with subprocess.Popen(
        generator(mode, port, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        try:
            if mode in ("sub", "idle"):
                assert process.stderr is not None
                process.stderr.readline()
            while until is not None and not until():
                if process.poll() is not None:
                    raise SystemExit(f"load generator {mode} {arguments} ended before its time")
                time.sleep(0.05)
            yield Waiting(process, f"{mode} {arguments}")
        finally:
            process.kill()


def _measured(status: int, out: str, err: str, what: str) -> Run:
    if status or not out.startswith("{"):
        raise SystemExit(f"load generator {what}: {err.strip()[-300:]}")
    answer: Run = json.loads(out)
    return answer


def median(runs: list[Run], key: str) -> Run:
    """The run in the middle."""
    return sorted(runs, key=lambda run: run[key])[len(runs) // 2]
