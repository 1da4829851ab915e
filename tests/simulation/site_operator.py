"""The operator of a simulated site, who puts back an older copy of the database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio

from csproxy.core.changes import Epoch
from tests.simulation.masters import read_database


class Operator:
    """Makes backups of the world's database and restores them, with all masters down.

    ``replaced`` holds the change records and epochs of every history that ended so.
    """

    def __init__(self, world: Any, url: str) -> None:
        self.world = world
        self.replaced: list[tuple[list[Any], list[Epoch]]] = []
        self._url = url
        self._path = Path(url.removeprefix("sqlite:///"))
        self._backup = self._path.with_suffix(".backup")
        self._is_busy = False

    def make_backup(self) -> None:
        """Copy the database as it is now, masters running or not."""
        if not self._is_busy:
            self._backup.unlink(missing_ok=True)
            with closing(sqlite3.connect(self._path)) as source, closing(sqlite3.connect(self._backup)) as target:
                source.backup(target)
            self.world.note("operator: backup made")

    async def restore_backup(self, how: str) -> None:
        """Put the last copy back, if there is one: stop or kill the masters, exchange the files, start them."""
        if self._is_busy or not self._backup.exists():
            return
        self._is_busy = True
        masters = self.world.masters
        for master in masters:
            master.is_barred = True
        for master in masters:
            await getattr(master, how)()
        self._exchange_files()
        await anyio.sleep(0.5)
        for master in masters:
            master.is_barred = False
            master.start()
        self._is_busy = False

    def _exchange_files(self) -> None:
        records, epochs, _, _ = read_database(self._url)
        self.replaced.append((records, epochs))
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._backup.replace(self._path)
        self.world.note(f"operator: backup put back; the history that ends had {len(records)} changes")
