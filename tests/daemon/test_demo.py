"""The demo holds; and it fails loudly when a step does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from csproxy.daemon import demo
from tests.docs.test_tutorial import FIRST_FIVE, blocks, shown


def test_every_step_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "csproxy.daemon.tool", "demo"], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == 10
    assert "All 10 steps held" in done.stdout
    (seen,) = (block.text for block in blocks(FIRST_FIVE) if block.language == "none")
    assert shown(seen, done.stdout) == []


def test_a_step_that_does_not_hold_ends_the_demo_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # No machine delivers a change in no time at all.
    monkeypatch.setattr(demo, "AT_ONCE_S", 0.0)
    monkeypatch.setattr(demo, "AGENTS", 50)
    assert demo.main() == 1
    out = capsys.readouterr().out
    assert "The demo failed: CSProxy_1 delivered the change after" in out
    assert "--- confserv" in out
