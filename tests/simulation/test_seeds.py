"""The whole system against the checker, under faults, seed by seed.

Every batch is a process of its own with a fixed hash seed, so that a failing seed can be replayed
exactly by the command that the failure prints.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.plan import TOGETHER

SEEDS = 200
SEEDS_TOGETHER = 100
BATCH = 20
KEPT = [6, 22, 29, 52, 60, 109, 175, 205, 225, 299, 587, 1108, 1236, 1722, 2339, 2390, 2450]
"""Seeds that once failed; they always run."""

ROOT = Path(__file__).parents[2]

LEAST = {
    "changes": 300,
    "deliveries": 1_000,
    "replayed": 200,
    "reads": 500,
    "reconnects": 25,
    "restores": 2,
    "expired": 1,
    "overflows": 5,
    "forwarded writes": 40,
    "unknown writes": 1,
    "loads": 20,
    "starts from a copy": 1,
    "comparisons": 60,
    "resumes": 5,
    "parked": 3,
    "starts": 60,
    "takeovers": 1,
    "disk errors": 20,
}
"""What a batch must have lived through at least: a dead simulation must not pass. About a third of the usual."""


LEAST_TOGETHER = {
    "changes": 200,
    "deliveries": 600,
    "replayed": 80,
    "reads": 700,
    "reconnects": 25,
    "restores": 8,
    "forwarded writes": 40,
    "loads": 20,
    "starts": 45,
    "disk errors": 15,
    "switchovers": 8,
    "both primaries": 1,
    "told sessions": 80,
    "restores at the other": 4,
    "refused restores": 12,
    "moves in a pool": 1,
    "waits for a position": 1,
}
"""The same for proxies that belong together."""


def run(*arguments: str, is_measured: bool = True) -> subprocess.CompletedProcess[str]:
    """Run seeds; ``is_measured``: with coverage, if that is on. It takes them two and a half times as long, and the
    hundreds of seeds execute the same lines as the few."""
    environment = {name: value for name, value in os.environ.items() if is_measured or not name.startswith("COVERAGE")}
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation.run", *arguments],
        cwd=ROOT,
        env={**environment, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def totals_of(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    return json.loads(done.stdout.splitlines()[-1])["traffic"]  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_seed_breaks_a_property(first: int) -> None:
    done = run("--seeds", f"{first}-{first + BATCH - 1}", "--json", is_measured=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    totals = totals_of(done)
    assert {name: count for name, count in totals.items() if count < LEAST.get(name, 0)} == {}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(TOGETHER, TOGETHER + SEEDS_TOGETHER, BATCH))
def test_no_seed_with_a_pair_or_a_pool_of_proxies_breaks_a_property(first: int) -> None:
    done = run("--seeds", f"{first}-{first + BATCH - 1}", "--json", is_measured=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    totals = totals_of(done)
    assert {name: count for name, count in totals.items() if count < LEAST_TOGETHER.get(name, 0)} == {}


@pytest.mark.slow
def test_differences_that_are_planted_into_proxies_are_found_and_healed() -> None:
    done = run("--seeds", "0-14", "--plant", "--json")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert totals_of(done)["planted"] >= 15


@pytest.mark.slow
def test_seeds_that_once_failed_hold_now() -> None:
    done = run(*map(str, KEPT), "--json")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert totals_of(done)["sight changes"] >= 50, "some of them have subscribers whose sight changes"


def test_a_seed_gives_the_same_run_every_time() -> None:
    # a pair of masters, a single one, and a pair of proxies
    first, second = (run("5", "7", str(TOGETHER), "--summary", "--json") for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stdout + first.stderr
    lines = [json.loads(line) for line in first.stdout.splitlines()]
    assert lines == [json.loads(line) for line in second.stdout.splitlines()]
    assert [line["seed"] for line in lines[:-1]] == [5, 7, TOGETHER]
    assert lines[0]["digest"] != lines[1]["digest"]
