"""Fixtures for all tests: the event loops that async tests run on, and a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.postgresql import PostgresServer, postgresql_server

# how long an example takes says something of the machine, not of the code
hypothesis.settings.register_profile("csproxy", deadline=None)
hypothesis.settings.load_profile("csproxy")

LONGEST = ("simulation", "pools", "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that in the end all workers have something to do."""
    items.sort(key=lambda item: not any(part in LONGEST for part in item.path.parts))


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every async test runs on asyncio, asyncio with uvloop, and trio."""
    return request.param


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of this process that want a database in it; nobody may stop it."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a new database, on each kind of database that tests run on."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'config.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(server.new_database())
