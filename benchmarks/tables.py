"""The table of results/latest.json as Markdown, for the documentation.

python benchmarks/tables.py [results/latest.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from results import FOLDER, Result, target_of

__all__ = ["markdown"]


def markdown(source: Path) -> str:
    """One line for each result, with its target and whether it is met."""
    lines = [
        "| work | csproxy | unit | peer | of the peer | ratio | target | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in (Result(**fields) for fields in json.loads(source.read_text())["results"]):
        target = target_of(each)
        cells = [
            each.work,
            number(each.value),
            each.unit,
            each.peer,
            "" if each.peer_value is None else number(each.peer_value),
            "" if each.ratio is None else f"{each.ratio:.2f}",
            "" if target is None else str(target),
            "" if target is None else "yes" if target.is_met(each) else "no",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def number(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    print(markdown(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "latest.json"))
