"""The table of results/latest.json as Markdown, for the documentation.

python benchmarks/tables.py [results/latest.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from results import COLUMNS, FOLDER, Result, cells_of

__all__ = ["markdown"]


def markdown(source: Path) -> str:
    """One line for each result, with its target and whether it is met."""
    results = [Result(**fields) for fields in json.loads(source.read_text())["results"]]
    rows = [f"| {' | '.join(cells)} |" for cells in (COLUMNS, *map(cells_of, results))]
    rows.insert(1, "|---" * len(COLUMNS) + "|")
    return "\n".join(rows)


if __name__ == "__main__":
    print(markdown(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "latest.json"))
