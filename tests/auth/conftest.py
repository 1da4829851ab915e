"""Real servers that the tests of a worker process share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.auth.directory import Directory, directory_server
from tests.auth.radius_server import RadiusPorts, freeradius_server


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    with directory_server(tmp_path_factory.mktemp("slapd")) as server:
        yield server


@pytest.fixture(scope="session")
def strict_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    """One that demands a certificate of its clients."""
    with directory_server(tmp_path_factory.mktemp("slapd-strict"), verify_client="demand") as server:
        yield server


@pytest.fixture
def files(directory: Directory) -> Path:
    """The directory's certificates."""
    return directory.folder


@pytest.fixture(scope="session")
def radius(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RadiusPorts]:
    with freeradius_server(tmp_path_factory.mktemp("freeradius")) as ports:
        yield ports
