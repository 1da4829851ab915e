"""Write docs/reference/metrics.md from the table that /metrics is made from (csproxy/daemon/metrics_table.py).

    python scripts/generate_metrics_reference.py [FILE]

A test runs this and compares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from csproxy.daemon.metrics_table import METRICS, Metric

TARGET: Final = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"

HEAD: Final = """# Metrics

What `/metrics` at the [management port](../howto/monitoring.md) answers, as OpenMetrics or in the text format of
Prometheus. This page is made from the table in `csproxy/daemon/metrics_table.py`, which reads the values from the
document of `/status.json`. Which of them to watch, and alert rules: [monitoring](../howto/monitoring.md#metrics).

Counters begin at 0 when the process starts. A state set has a sample for each state, 1 for the present one and 0 for
the others; its label has the name of the metric. A server sends no sample of what it does not have: *of* says which
servers have it (*pair*: a proxy of a pair; *TLS*: one with a secure port). A server without data has few yet.

| metric | kind | of | labels | meaning |
|---|---|---|---|---|
"""


def reference() -> str:
    """The page."""
    return HEAD + "".join(map(_line, METRICS))


def _line(metric: Metric) -> str:
    labels = f"{metric.name}: {', '.join(metric.states)}" if metric.states else ", ".join(metric.labels)
    kind = {"stateset": "state set"}.get(metric.kind, metric.kind)
    return f"| {metric.name} | {kind} | {metric.of} | {labels} | {metric.help} |\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET).write_text(reference(), encoding="utf-8")
