"""A real Prometheus scrapes a master and a proxy, and evaluates the rules and the dashboard's expressions."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests.daemon.servers import DEADLINE_S, Site
from tests.daemon.test_management import Port, managed_master, managed_proxy
from tests.docs.test_monitoring import ALERTS, expressions
from tests.own_ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

VARIABLES = {"$job": "csproxy", "$instance": ".+", "$__rate_interval": "1m", "$__range": "1m"}


class Prometheus:
    """A server that scrapes ``targets`` every second, with the rules of the examples."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        (self.port,) = free_ports(1)
        every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        job = {"job_name": "csproxy", "static_configs": [{"targets": targets}]}
        config = {"global": every, "scrape_configs": [job], "rule_files": [str(ALERTS)]}
        self.file = folder / "prometheus.yml"
        self.file.write_text(yaml.safe_dump(config), encoding="utf-8")
        self.folder = folder / "data"

    @contextmanager
    def running(self) -> Iterator[None]:
        words = ["--config.file", str(self.file), "--storage.tsdb.path", str(self.folder), "--log.level", "warn"]
        address = ["--web.listen-address", f"127.0.0.1:{self.port}"]
        with subprocess.Popen(["prometheus", *words, *address], stderr=subprocess.PIPE, text=True) as process:
            try:
                yield
            finally:
                process.kill()

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of the API; None while it does not listen yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(query)}")
            answer = json.loads(connection.getresponse().read())
        except (ConnectionRefusedError, json.JSONDecodeError):  # it starts
            return None
        finally:
            connection.close()
        assert answer["status"] == "success", (query, answer)
        return answer["data"]

    def values(self, expression: str) -> dict[str, float]:
        """The present value for each instance."""
        data = self.ask("query", query=expression) or {"result": []}
        return {each["metric"].get("instance", ""): float(each["value"][1]) for each in data["result"]}

    def rules(self) -> dict[str, dict[str, Any]]:
        """The rules by name, with health and state."""
        data = self.ask("rules") or {"groups": []}
        return {rule["name"]: rule for group in data["groups"] for rule in group["rules"]}

    def until(self, holds: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline, problem
            time.sleep(0.2)


def test_rules_pass_the_check_of_promtool() -> None:
    assert shutil.which("promtool") is not None
    done = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_metrics_and_every_expression_has_a_value_or_none(tmp_path: Path) -> None:
    site = Site(tmp_path)
    ports = [Port(site.folder), Port(site.folder)]
    targets = [f"127.0.0.1:{port.number}" for port in ports]
    prometheus = Prometheus(tmp_path, targets)
    with managed_master(site, ports[0]), managed_proxy(site, ports[1]) as proxy, prometheus.running():
        proxy.line(containing="ready on")
        prometheus.until(lambda: prometheus.values("up") == dict.fromkeys(targets, 1.0), "both are scraped")
        assert prometheus.values("csproxy_ready") == dict.fromkeys(targets, 1.0)
        assert prometheus.values("csproxy_lag_changes") == {targets[1]: 0.0}
        for expression in sorted(set(expressions())):
            if not expression.startswith("label_values"):
                for name, value in VARIABLES.items():
                    expression = expression.replace(name, value)
                prometheus.ask("query", query=expression)
        prometheus.until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules().values()), "rules are well")
        assert len(prometheus.rules()) == ALERTS.read_text("utf-8").count("- alert:")
        assert {rule["state"] for rule in prometheus.rules().values()} == {"inactive"}
        proxy.kill()
        prometheus.until(lambda: prometheus.rules()["CsproxyDown"]["state"] == "pending", "the alert that it is down")
