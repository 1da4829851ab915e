"""Who serves in a pair of proxies, by command: `csproxy promote` and `csproxy hand-over` at real processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.servers import Running, Site, answer, tool
from tests.daemon.test_management import Port, managed_master

pytestmark = pytest.mark.slow

NAMES = ("proxy1", "proxy2")


class Pair:
    """A master and two proxies, the second the backup of the first, each with a management port."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder, proxies=NAMES)
        self.ports = {name: Port(self.site.folder) for name in (*NAMES, "confserv")}

    @contextmanager
    def master(self) -> Iterator[None]:
        with managed_master(self.site, self.ports["confserv"]):
            dbids = {}
            for name in NAMES:
                (application,) = answer("read", "application", f"name={name}", port=self.site.port)
                dbids[name] = application["DBID"]
                self._update(application["DBID"], "redundancyType=CFGHTWarmStanby")
            self._update(dbids[NAMES[0]], f"serverInfo.backupServerDBID={dbids[NAMES[1]]}")
            yield

    def _update(self, dbid: int, assignment: str) -> None:
        done = tool("update", "application", str(dbid), assignment, port=self.site.port)
        assert done.returncode == 0, done.stderr

    @contextmanager
    def proxy(self, name: str) -> Iterator[Running]:
        words = ("-host", "127.0.0.1", "-port", str(self.site.port), "-app", name)
        environment = self.ports[name].environment
        with Running("confserv", *words, cwd=self.site.folder, environment=environment) as running:
            yield running

    def role(self, name: str) -> tuple[str, bool]:
        status = self.ports[name].status()
        return status["pair"]["role"], status["ready"]

    def order(self, command: str, name: str) -> tuple[int, str]:
        done: Any = self.ports[name].tool(command)
        return done.returncode, done.stderr.strip()


def test_one_serves_by_command_and_hands_over(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    with pair.master(), pair.proxy(NAMES[1]) as second:
        second.line(containing="standing by on")
        assert pair.order("promote", NAMES[1]) == (0, "it serves")
        assert pair.role(NAMES[1]) == ("primary", True), "it waits no longer for the first"
        status, why = pair.order("hand-over", NAMES[1])
        assert (status, "the other member of the pair is not there" in why) == (1, True)

        with pair.proxy(NAMES[0]) as first:
            first.line(containing="is the backup of a pair")
            status, why = pair.order("promote", NAMES[0])
            assert (status, why.endswith("the other member of the pair is there: it has to hand over")) == (1, True)
            assert pair.order("hand-over", NAMES[1]) == (0, "handed over")
            assert pair.role(NAMES[0]) == ("primary", True)
            assert pair.role(NAMES[1]) == ("standby", False)
            status, why = pair.order("hand-over", NAMES[1])
            assert (status, "is standby: it has nothing to hand over" in why) == (1, True)
            assert pair.ports[NAMES[0]].ask("/hand-over", "POST")[0] == 401, "not without the token"
            assert pair.role(NAMES[0]) == ("primary", True)

        status, why = pair.order("promote", "confserv")
        assert (status, "is no proxy of a warm-standby pair" in why) == (1, True)
