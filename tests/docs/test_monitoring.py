"""The dashboard, the alert rules and the guide of monitoring name only metrics, labels and states that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from csproxy.daemon.health import LastErrors
from csproxy.daemon.metrics_table import METRICS

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "examples" / "grafana-dashboard.json"
ALERTS = ROOT / "examples" / "prometheus-alerts.yml"
GUIDE = ROOT / "docs" / "howto" / "monitoring.md"
ROWS = {row.name: row for row in METRICS}
SELECTOR = re.compile(r"\b(csproxy_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!=|=)\s*"([^"]*)"')
OF_THE_SCRAPER = {"job", "instance"}


def expressions() -> Iterator[str]:
    """Every expression of the dashboard and of the rules."""
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in document["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (annotation["expr"] for annotation in document["annotations"]["list"])
    yield from (variable["query"] for variable in document["templating"]["list"] if variable["type"] == "query")
    yield from (rule["expr"] for rule in rules())


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def selectors(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Names of metrics in an expression, and the labels that are compared."""
    for name, matchers in SELECTOR.findall(re.sub(r"\bby \([^)]*\)", "", text)):
        yield name, dict(MATCHER.findall(matchers))


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_an_expression_names_metrics_labels_and_states_of_the_table(expression: str) -> None:
    found = list(selectors(expression))
    assert found or expression.startswith("up{")
    for name, compared in found:
        row = ROWS[name]
        own = {name} if row.states else set(row.labels)
        assert compared.keys() <= own | OF_THE_SCRAPER, expression
        if name in compared:
            assert compared[name] in row.states
        if "level" in compared:
            assert set(compared["level"].split("|")) <= LastErrors().counts.keys()


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_only_counters_have_rates(expression: str) -> None:
    rated = set(re.findall(r"\b(?:rate|increase|changes)\((csproxy_\w+)", expression))
    counters = {name for name, _ in selectors(expression) if ROWS[name].kind == "counter"}
    assert rated == counters


def test_the_dashboard_covers_what_the_table_has_and_its_panels_do_not_overlap() -> None:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    labels = {name for panel in panels for target in panel.get("targets", ()) for name in _named(target)}
    assert labels <= {label for row in METRICS for label in (row.name, *row.labels)} | OF_THE_SCRAPER


def _named(target: dict[str, Any]) -> list[str]:
    return re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])


def test_the_guide_explains_every_rule_and_names_no_other_metric() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    names = {rule["alert"] for rule in rules()}
    assert set(re.findall(r"\bCsproxy\w+", text)) == names
    assert set(re.findall(r"\bcsproxy_\w+", text)) <= ROWS.keys()
    for rule in rules():
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("warning", "critical")
