"""The performance page and the README show the figures of the last measurement that was committed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "topics" / "performance.md").read_text()
_RESULTS = ["git", "status", "--porcelain", "--", "benchmarks/results"]
pytestmark = pytest.mark.skipif(
    bool(subprocess.run(_RESULTS, cwd=ROOT, capture_output=True).stdout),
    reason="`make bench` has measured since: benchmarks/tables.py prints the table that belongs into the page",
)


def measured() -> str:
    """The last measurement as the table that belongs into the documentation."""
    command = [sys.executable, str(ROOT / "benchmarks" / "tables.py")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_page_has_the_table_of_the_last_measurement() -> None:
    assert measured() in PAGE


def test_the_readme_has_figures_of_the_last_measurement() -> None:
    section = (ROOT / "README.md").read_text().split("## Figures")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    figures = {(row[2], row[5], row[6]) for row in map(cells, measured().splitlines())}
    shown = [tuple(cells(row)[2:]) for row in rows]
    assert len(shown) > 10
    assert [row for row in shown if row not in figures and row[0] not in {ours for ours, *_ in figures}] == []
    assert [row for row in shown if row[1] and row not in figures] == []


def test_the_page_shows_how_cost_has_grown() -> None:
    grown = json.loads((ROOT / "benchmarks" / "results" / "growth.json").read_text())
    by_objects = [
        [f"{row[key]:,}" for key in ("objects", "load_per_s", "bytes_per_object", "point_per_s", "indexed_per_s")]
        for row in grown["objects"]
    ]
    to_type = {row["clients"]: row for row in grown["clients"] if row["subscribed"]}
    by_clients = [
        [
            f"{row['clients']:,}",
            f"{to_type[row['clients']]['processor_ms_per_change']}",
            f"{to_type[row['clients']].get('last_ms', '')}",
            f"{row['processor_ms_per_change']}",
        ]
        for row in grown["clients"]
        if not row["subscribed"]
    ]
    rows = [cells(line)[1:] for line in PAGE.split("## How cost grows")[1].splitlines() if line.startswith("|")]
    assert [row for row in rows if row[0].replace(",", "").isdigit()] == by_objects + by_clients


def cells(line: str) -> list[str]:
    """The cells of a row, with an empty one before the first."""
    return [cell.strip() for cell in line.split("|")[:-1]]
