"""The metrics: of real processes, in both formats, against the table and against status.json."""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from prometheus_client import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from csproxy.daemon.health import LastErrors
from csproxy.daemon.loop_lag import LoopLag
from csproxy.daemon.metrics import metrics
from csproxy.daemon.metrics_table import METRICS
from scripts.generate_metrics_reference import TARGET, reference
from tests.daemon.servers import DEADLINE_S, Running, Site, answer, tool
from tests.daemon.test_management import Port, managed_master, managed_proxy
from tests.daemon.tls_site import TlsSite

OPEN = "application/openmetrics-text; version=1.0.0"
CONDITIONAL = {"csproxy_persistent_mode", "csproxy_digest_age_seconds"}
"""Those that a proxy has only after something has happened to it."""


def asked(port: Port, accept: str = OPEN) -> tuple[str, str]:
    """The content type and the text of /metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", port.number, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept})
        found = connection.getresponse()
        assert found.status == 200
        return found.headers["Content-Type"], found.read().decode()
    finally:
        connection.close()


def families(text: str) -> dict[str, Family]:
    """By the name in the table."""
    suffixes = {"counter": "_total", "info": "_info"}
    return {family.name + suffixes.get(family.type, ""): family for family in open_metrics(text)}


def value(found: dict[str, Family], name: str, **labels: str) -> float:
    """The value of the one sample with these labels."""
    (sample,) = (each for each in found[name].samples if labels.items() <= each.labels.items())
    assert isinstance(sample.value, float)
    return sample.value


@contextmanager
def proxy_and_master(site: Site, port: Port) -> Iterator[None]:
    with site.master(), managed_proxy(site, port) as proxy:
        proxy.line(containing="ready on")
        yield


def test_a_proxy_has_the_metrics_of_the_table_with_the_values_of_its_status(tmp_path: Path) -> None:
    site = Site(tmp_path)
    port = Port(site.folder)
    with proxy_and_master(site, port):
        done = tool("update", "person", "100", "employeeID=7", port=site.port)
        assert done.returncode == 0, done.stderr
        uen = answer("status", port=site.port)["uen"]
        until = time.monotonic() + DEADLINE_S
        while port.status()["uen"] < uen:
            assert time.monotonic() < until, "the change has not come"
        answer("read", "person", "dbid=100", port=site.proxy_ports["CSProxy_1"])
        assert tool("read", "person", port=site.proxy_ports["CSProxy_1"], password="wrong").returncode == 1
        content_type, text = asked(port)
        status = port.status()
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    found = families(text)
    rows = {row.name: row for row in METRICS}
    for name, family in found.items():
        assert (family.type, family.documentation) == (rows[name].kind, rows[name].help)
    expected = {row.name for row in METRICS if row.of in ("both", "proxy")}
    assert expected - CONDITIONAL <= found.keys() <= expected
    assert found["csproxy_info"].samples[0].labels == {"name": "CSProxy_1", "release": status["release"]}
    assert value(found, "csproxy_role", csproxy_role="proxy") == 1
    assert value(found, "csproxy_role", csproxy_role="master") == 0
    assert value(found, "csproxy_replication_state", csproxy_replication_state="live") == 1
    assert sum(sample.value for sample in found["csproxy_replication_state"].samples) == 1
    assert (value(found, "csproxy_ready"), value(found, "csproxy_doubtful")) == (1, 0)
    assert value(found, "csproxy_uen") == value(found, "csproxy_master_uen") == uen
    assert (value(found, "csproxy_lag_changes"), value(found, "csproxy_changes_logged_total")) == (0, 1)
    assert value(found, "csproxy_objects") == status["objects"]
    assert value(found, "csproxy_connections_refused_total", reason="address_limit") == 0
    assert value(found, "csproxy_limit_address_connections") == 10_000
    assert value(found, "csproxy_requests_total", message="RegisterClient") == 2
    assert value(found, "csproxy_requests_total", message="ReadObjects") == 1
    assert value(found, "csproxy_requests_refused_total", error="LOGIN_INCORRECT") == 1
    assert value(found, "csproxy_resident_memory_bytes") > 10_000_000
    assert abs(value(found, "csproxy_start_time_seconds") - time.time()) < 3600
    assert value(found, "csproxy_cpu_seconds_total") > 0


def test_who_does_not_ask_for_openmetrics_gets_the_text_format(tmp_path: Path) -> None:
    site = Site(tmp_path)
    port = Port(site.folder)
    with managed_master(site, port):
        content_type, text = asked(port, "text/plain;version=0.0.4")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert "# EOF" not in text
    found = {family.name: family for family in prometheus_text(text)}
    assert {each.labels["csproxy_role"]: each.value for each in found["csproxy_role"].samples}["master"] == 1
    assert found["csproxy_changes_logged"].type == "counter"
    assert not any(name.startswith("csproxy_replication") for name in found)


def test_a_proxy_without_data_has_metrics_too(tmp_path: Path) -> None:
    site = Site(tmp_path)
    port = Port(site.folder)
    with managed_proxy(site, port):
        found = families(asked(port)[1])
    assert value(found, "csproxy_ready") == 0
    assert value(found, "csproxy_role", csproxy_role="proxy") == 1
    assert "csproxy_lag_changes" not in found


def test_every_certificate_of_a_port_says_when_it_expires(tmp_path: Path) -> None:
    site = Site(tmp_path, more=["--tls"])
    port = Port(site.folder)
    with managed_master(site, port):
        found = families(asked(port)[1])["csproxy_certificate_not_after_timestamp_seconds"]
        shown = port.status()["certificates"]
    assert shown
    assert {(each.labels["port"], each.labels["subject"]): each.value for each in found.samples} == {
        (each["port"], each["subject"]): datetime.fromisoformat(each["not_after"]).timestamp() for each in shown
    }
    assert all(each.value > time.time() for each in found.samples)


def test_the_certificate_that_a_proxy_shows_its_master_is_among_them(tmp_path: Path) -> None:
    site = TlsSite(tmp_path, mutual=True)
    port = Port(site.folder)
    words = ("-host", "127.0.0.1", "-port", str(site.port), "-app", "CSProxy_1", *site.to_master(mutual=True))
    with site.master(), Running("confserv", *words, cwd=site.folder, environment=port.environment) as proxy:
        proxy.line(containing="ready on")
        found = families(asked(port)[1])["csproxy_certificate_not_after_timestamp_seconds"]
    ((labels, expires_s),) = ((each.labels, each.value) for each in found.samples)
    assert labels["port"] == "connection to the master"
    assert labels["subject"].startswith("CN=proxy,")
    assert expires_s > time.time()


def pair_status() -> dict[str, Any]:
    """What the table needs of a document, and a pair."""
    pair = {"role": "standby", "term": 3, "other": "x", "other_role": "", "stored_sessions": 5, "untold_sessions": 0}
    return {
        "name": 'a "name"\n\\',
        "ready": True,
        "reason": "the master is away",
        "role": "backup",
        "process": {"started": "2026-01-02T03:04:05Z", "rss_bytes": None},
        "certificates": [],
        "pair": {**pair, "takeovers": 2},
        "log_lines": {"warning": 2, "error": 1, "critical": 0},
    }


def test_a_pair_and_what_is_not_known() -> None:
    content, _ = metrics(pair_status(), OPEN)
    found = families(content.decode())
    assert value(found, "csproxy_pair_role", csproxy_pair_role="standby") == 1
    assert value(found, "csproxy_pair_linked") == 0
    assert value(found, "csproxy_pair_takeovers_total") == 2
    assert value(found, "csproxy_doubtful") == 1
    assert value(found, "csproxy_log_lines_total", level="warning") == 2
    assert found["csproxy_info"].samples[0].labels["name"] == 'a "name"\n\\'
    assert "csproxy_resident_memory_bytes" not in found


def test_names_follow_the_conventions() -> None:
    names = [row.name for row in METRICS]
    assert len(set(names)) == len(names)
    for row in METRICS:
        assert row.name.startswith("csproxy_")
        assert row.name.endswith("_total") == (row.kind == "counter")
        assert row.name.endswith("_info") == (row.kind == "info")
        assert bool(row.states) == (row.kind == "stateset")
        assert row.help.endswith(".")


def test_the_reference_is_made_from_the_table() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), "run scripts/generate_metrics_reference.py"


def test_lines_of_the_log_are_counted_by_level_also_those_that_are_forgotten() -> None:
    errors = LastErrors()
    with errors.kept():
        log = logging.getLogger("csproxy.test")
        for number in range(30):
            log.warning("number %d", number)
        log.error("again")
        log.error("again")
    assert errors.counts == {"warning": 30, "error": 2, "critical": 0}


@pytest.mark.anyio
async def test_the_longest_wait_in_the_event_loop_is_kept_for_a_while() -> None:
    lag = LoopLag(every_s=0.01, kept=5)
    assert lag.worst_s == 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lag.run)
        await anyio.sleep(0.02)
        time.sleep(0.2)  # noqa: ASYNC251 - what is measured
        await anyio.sleep(0.005)
        assert lag.worst_s > 0.1
        tasks.cancel_scope.cancel()
