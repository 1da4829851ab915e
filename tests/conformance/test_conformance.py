"""Recorded outcomes of imports into a real Configuration Server are those of this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import csproxy

PROJECT = Path(csproxy.__file__).parents[1]
RUNNER = PROJECT.parent / "shared" / "conformance" / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not RUNNER.exists(), reason=f"the recorded outcomes are not at {RUNNER}")
def test_imports_have_the_recorded_outcomes() -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(RUNNER),
            "--csproxy",
            f"{sys.executable} -m csproxy.daemon.tool",
            "--confserv",
            f"{sys.executable} -m csproxy.daemon.confserv",
        ],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=580,
    )
    last = done.stdout.strip().rpartition("\n")[2]
    assert done.returncode == 0, done.stdout + done.stderr
    assert last.endswith(" passed, 0 failed")
    assert not last.startswith("0 ")
