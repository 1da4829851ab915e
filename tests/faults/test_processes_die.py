"""Real processes under faults, while 200 clients read, subscribe and write: everything stays exact."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest

from tests.faults.crowd import Crowd, Servers, judged, transcript_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    return Servers(tmp_path)


async def restarted(crowd: Crowd, name: str, *, down_s: float = 2.0) -> None:
    """Kill a server without warning and start it again."""
    crowd.servers.running[name].kill()
    await anyio.sleep(down_s)
    await anyio.to_thread.run_sync(crowd.servers.start, name)


async def test_the_master_is_killed_and_returns(servers: Servers) -> None:
    async def trouble(crowd: Crowd) -> None:
        for _ in range(2):
            await restarted(crowd, "master")
            await anyio.sleep(2.0)

    crowd, violations = await judged(servers, trouble)
    assert violations == [], transcript_of(crowd, violations)
    assert crowd.failed_reads == []
    crowd.note(f"longest pause of a reader: {crowd.longest_pause_s:.2f} s")


async def test_a_proxy_is_killed_and_returns(servers: Servers) -> None:
    async def trouble(crowd: Crowd) -> None:
        for name in ("proxy1", "proxy2"):
            await restarted(crowd, name)
            await anyio.sleep(2.0)

    crowd, violations = await judged(servers, trouble)
    assert violations == [], transcript_of(crowd, violations)


@pytest.mark.parametrize("name", ["master", "proxy1"])
async def test_a_process_is_stopped_for_a_while(servers: Servers, name: str) -> None:
    async def trouble(crowd: Crowd) -> None:
        pid = crowd.servers.running[name].process.pid
        os.kill(pid, signal.SIGSTOP)
        await anyio.sleep(5.0)
        os.kill(pid, signal.SIGCONT)

    crowd, violations = await judged(servers, trouble)
    assert violations == [], transcript_of(crowd, violations)


async def test_the_network_is_cut_slow_deaf_and_closed(servers: Servers) -> None:
    async def trouble(crowd: Crowd) -> None:
        for door in crowd.servers.doors.values():
            door.cut()
            await anyio.sleep(1.0)
            door.delay(0.3)
            await anyio.sleep(1.0)
            door.half_close()
            door.deafen()
            await anyio.sleep(2.0)
            door.refuse()
            door.cut()
            await anyio.sleep(1.0)
            door.restore()

    crowd, violations = await judged(servers, trouble, after_s=5.0)
    assert violations == [], transcript_of(crowd, violations)
