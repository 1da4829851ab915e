"""The answer to /metrics: the table of `csproxy.daemon.metrics_table` applied to the document of status.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from csproxy.daemon import metrics_table
from csproxy.daemon.metrics_table import METRICS

__all__ = ["metrics"]


def metrics(status: dict[str, Any], accept: str) -> tuple[bytes, str]:
    """The metrics of a status document in the format that the header ``accept`` asks for, and its content type.

    OpenMetrics if that is wanted, else the text format of Prometheus.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StatusCollector(status))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _StatusCollector(Collector):
    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """The families that have a sample."""
        for row in METRICS:
            samples = list(row.read(self._status))
            if samples:
                yield _MAKERS[row.kind](row, samples)


def _gauges(row: metrics_table.Metric, samples: list[metrics_table.Sample]) -> Metric:
    family = GaugeMetricFamily(row.name, row.help, labels=row.labels)
    for labels, value in samples:
        assert isinstance(value, int | float)
        family.add_metric(labels, float(value))
    return family


def _counters(row: metrics_table.Metric, samples: list[metrics_table.Sample]) -> Metric:
    family = CounterMetricFamily(row.name.removesuffix("_total"), row.help, labels=row.labels)
    for labels, value in samples:
        assert isinstance(value, int | float)
        family.add_metric(labels, float(value))
    return family


def _info(row: metrics_table.Metric, samples: list[metrics_table.Sample]) -> Metric:
    family = InfoMetricFamily(row.name.removesuffix("_info"), row.help)
    for labels, _ in samples:
        family.add_metric((), dict(zip(row.labels, labels, strict=True)))
    return family


def _states(row: metrics_table.Metric, samples: list[metrics_table.Sample]) -> Metric:
    family = StateSetMetricFamily(row.name, row.help)
    for labels, present in samples:
        family.add_metric(labels, {state: state == present for state in row.states})
    return family


_MAKERS: Final = {"gauge": _gauges, "counter": _counters, "info": _info, "stateset": _states}
