"""Mutated frames against a server and against the client's protocol object: nothing but designed refusals.

Counted in frames, the same for the same seed; `make fuzz FRAMES=5000000` sends more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from csproxy.transport.requests import HANDLERS
from csproxy.transport.server import ConfigurationServer
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from tests.fuzz.first_bytes import fuzz_proxy_header, fuzz_tls
from tests.fuzz.run import Report, fuzz_client, fuzz_server
from tests.fuzz.target import master, replica


@pytest.fixture
def anyio_backend() -> str:
    """Bytes are handed over by hand: the event loop does not matter."""
    return "asyncio"


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_server_minds_no_bytes_whatever(seed: int) -> None:
    report = Report()
    await fuzz_server(replica(), report, frames=60_000, seed=seed)
    assert not report.failures, "\n".join(report.failures)
    assert report.registered > 1_000
    assert report.answers > 20_000
    assert 1_000 < report.refusals < report.answers


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_master_minds_no_bytes_whatever_while_it_writes(tmp_path: Path) -> None:
    report = Report()
    await fuzz_server(master(tmp_path), report, frames=10_000, seed=3)
    assert not report.failures, "\n".join(report.failures)
    assert report.answers > 3_000


def test_a_client_minds_no_bytes_whatever() -> None:
    report, rng = Report(), Random(4)
    while report.frames < 30_000:
        fuzz_client(report, rng)
    assert report.answers > 1_000
    assert report.refusals > 1_000


@pytest.mark.anyio
async def test_a_mistake_in_a_handler_is_found() -> None:
    def broken(connection: ServerConnection, frame: Frame) -> None:
        if len(frame.payload) > 200:
            raise KeyError("a mistake")
        HANDLERS[frame.message](connection, frame)

    @asynccontextmanager
    async def with_mistake() -> AsyncIterator[ConfigurationServer]:
        async with replica() as server:
            server.handlers = {**HANDLERS, MessageId.READ_HISTORY: broken, MessageId.APPLY_TRANSACTION: broken}
            yield server

    report = Report()
    await fuzz_server(with_mistake(), report, frames=20_000, seed=5)
    assert "KeyError: 'a mistake'" in report.failures[0]


def test_what_comes_before_the_protocol_is_taken_or_refused() -> None:
    rng = Random(6)
    taken = sum(fuzz_proxy_header(rng) for _ in range(30_000))
    assert 2_000 < taken < 28_000
    finished = sum(fuzz_tls(rng) for _ in range(1_500))
    assert 100 < finished < 1_400
