"""The benchmark programs run: each work once, with a handful of objects and clients, without peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
WORKS = {
    *(f"point-{kind}" for kind in ("1", "50", "1000", "pipelined")),
    *("filter-indexed", "filter-relation", "bulk", "bulk-10", "bulk-permissions"),
    *("fanout-burst-1000", "fanout-burst-10000", "fanout-paced-1000", "storm-register", "storm-restore"),
    *("memory-object", "memory-subscriber", "load-cold", "load-copy", "write-forward", "tls-point-50", "tls-bulk"),
}


@pytest.mark.slow
def test_each_work_is_measured_and_written_in_the_published_form(tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARKS / "run.py", "--scale", "tiny", "--alone", "--like-others", "--no-plot"]
    done = subprocess.run([*command, "--results", tmp_path], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "latest.json").read_text())
    assert document.keys() == {"machine", "versions", "results"}
    assert all(each.keys() == {"work", "value", "unit", "peer", "peer_value", "ratio"} for each in document["results"])
    assert not WORKS - {each["work"] for each in document["results"]}


@pytest.mark.slow
def test_how_cost_grows_is_measured(tmp_path: Path) -> None:
    words = ["--objects", "200,400", "--clients", "3,6", "--changes", "4", "--seconds", "0.1"]
    command = [sys.executable, BENCHMARKS / "growth.py", *words, "--like-others", "--no-plot", "--results", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "growth.json").read_text())
    assert all(row["load_per_s"] and row["point_per_s"] and row["indexed_per_s"] for row in found["objects"])
    assert [(row["clients"], row["subscribed"]) for row in found["clients"]] == [
        (0, True), (3, True), (6, True), (0, False), (3, False), (6, False),
    ]  # fmt: skip
