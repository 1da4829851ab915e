"""A real PostgreSQL server of the tests' own: databases in it, and what can befall it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.own_ports import free_ports

__all__ = ["PostgresServer", "postgresql_server"]


class PostgresServer:
    """A running server; ``port`` is its port on 127.0.0.1, ``folder`` holds its Unix socket."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        (self.port,) = free_ports(1)
        self._programs = programs
        self._numbers = count(1)
        self.as_user: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
            self.as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, over the socket."""
        return f"postgresql+psycopg://csproxy@/{database}?host={self.folder}&port={self.port}"

    def tcp_url(self, database: str, *, port: int | None = None) -> str:
        """The URL of a database, over the network; ``port`` is that of a proxy in between."""
        return f"postgresql://csproxy:secret@127.0.0.1:{port or self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; its name."""
        name = f"t{next(self._numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return name

    def execute(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Carry out one statement as the database's owner."""
        import psycopg

        with psycopg.connect(
            host=str(self.folder), port=self.port, user="csproxy", dbname=database, autocommit=True
        ) as connection:
            done = connection.execute(statement)  # type: ignore[call-overload]
            return done.fetchall() if done.description else []

    def backends(self, database: str) -> list[int]:
        """The server's processes that serve ``database``."""
        query = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND application_name = 'csproxy'"
        return [row[0] for row in self.execute("postgres", query)]

    @contextmanager
    def frozen(self, processes: list[int]) -> Iterator[None]:
        """Stop server processes with SIGSTOP, and let them go on at the end."""
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                os.kill(pid, signal.SIGCONT)

    @property
    def postmaster(self) -> int:
        """The server's first process, which accepts connections."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end."""
        subprocess.run(
            [str(self._programs / program), *arguments],
            check=True,
            cwd=self.folder,
            timeout=100,
            stdout=subprocess.DEVNULL,
            **self.as_user,
        )

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        settings = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder} -c fsync=off"
        )
        self.run("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "log"), "-w", "-o", settings, "start")

    def stop(self, *, mode: str = "immediate") -> None:
        """Stop the server as a crash would, or (``fast``) in good order, with its clients cut off."""
        self.run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def make(self) -> None:
        """Make the folder of data."""
        self.run(
            "initdb", "-D", str(self.data), "-U", "csproxy", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
        )


@contextmanager
def postgresql_server() -> Iterator[PostgresServer]:
    """A server in a temporary folder."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql; make test installs it)")
    folder = Path(tempfile.mkdtemp(prefix="csproxy-pg-"))
    server = PostgresServer(programs[-1].parent, folder)
    # It stops the server when its standard input ends: at the end of the tests, and also when they are killed.
    stop = 'cat; "$0" -D "$1/data" -m immediate stop; rm -rf "$1"'
    command = ["sh", "-c", stop, str(programs[-1].parent / "pg_ctl"), str(folder)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    watcher = subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True, cwd="/", **quiet, **server.as_user
    )
    try:
        server.make()
        for attempts_left in (2, 1, 0):
            try:
                server.start()
                break
            except subprocess.CalledProcessError:
                # somebody else has taken the port since it was found to be free
                if not attempts_left:
                    raise AssertionError((folder / "log").read_text()) from None
                (server.port,) = free_ports(1)
        yield server
    finally:
        watcher.communicate(timeout=100)
        shutil.rmtree(folder, ignore_errors=True)
