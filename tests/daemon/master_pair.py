"""A pair of masters as real processes, and a proxy that follows whichever serves."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from csproxy.core.persistence.store import Store
from csproxy.daemon.settings import load_settings
from tests.daemon.servers import PASSWORD, Running, tool
from tests.own_ports import free_ports

LEASE_S: Final = 3
MASTERS: Final = ("confserv", "confserv_backup")
PROXY: Final = "CSProxy_1"


class MasterPair:
    """A folder made by ``csproxy init --backup-master``, and its servers."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.folder = folder / "d"
        self.ports = dict(zip((*MASTERS, PROXY), free_ports(3), strict=True))
        words = ["init", str(self.folder), "--password", PASSWORD, "--master-port", str(self.ports["confserv"])]
        words += ["--backup-master", str(self.ports["confserv_backup"]), "--proxy", f"{PROXY}={self.ports[PROXY]}"]
        if database is not None:
            words += ["--db", database]
        done = tool(*words)
        assert done.returncode == 0, done.stderr
        for conf in map(self.conf, MASTERS):
            conf.write_text(conf.read_text().replace("server = ", f"lease-time = {LEASE_S}\nserver = ", 1))
        settings = load_settings(["-c", str(self.conf("confserv"))])
        assert settings.database is not None
        self.url = settings.database.url

    def conf(self, name: str) -> Path:
        return self.folder / ("backup" if name == "confserv_backup" else "") / "confserv.conf"

    def master(self, name: str, *words: str, ready: bool = True) -> Running:
        """Start one of the two; ``ready`` as primary, else as backup."""
        running = Running("confserv", "-c", str(self.conf(name)), "-app", name, *words)
        running.line(containing="ready on" if ready else "standing by on")
        return running

    def proxy(self, *words: str) -> Running:
        """Start the proxy and wait until it is ready."""
        words = ("-host", "127.0.0.1", "-port", str(self.ports["confserv"]), "-app", PROXY, *words)
        running = Running("confserv", *words, cwd=self.folder)  # its local copy stands there
        running.line(containing="ready on")
        return running

    def changes(self) -> list[tuple[int, int]]:
        """UEN and DBID of every change, as the database has them."""
        with Store.open(self.url, reading=True) as store:
            found = [record for part in store.history() for record in part]
            assert [record.uen for record in found] == list(range(1, store.head + 1)), "no number twice, none left out"
            epochs = [epoch.epoch for epoch in store.epochs()]
            assert [epochs.index(record.epoch) for record in found] == sorted(
                epochs.index(record.epoch) for record in found
            ), "nothing of an old epoch after a new one"
            return [(record.uen, record.dbid) for record in found]
