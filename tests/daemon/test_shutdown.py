"""Asking a daemon to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import csproxy
from csproxy.daemon.shutdown import Shutdown

pytestmark = pytest.mark.anyio


async def test_work_is_finished_when_nobody_asks() -> None:
    shutdown = Shutdown()
    done: list[int] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        done.append(1)

    assert await shutdown.unless_requested(work)
    assert done == [1]
    assert not shutdown.is_requested


async def test_work_is_dropped_when_somebody_asks() -> None:
    shutdown = Shutdown()

    async def work() -> None:
        shutdown.request()
        await anyio.sleep_forever()

    with anyio.fail_after(5):
        assert not await shutdown.unless_requested(work)
        await shutdown.wait()
    assert shutdown.is_requested


async def test_what_work_raises_comes_out_as_it_is() -> None:
    async def work() -> None:
        raise KeyError("plain")

    with pytest.raises(KeyError, match="plain"):
        await Shutdown().unless_requested(work)


async def test_cancelling_the_caller_cancels_the_work() -> None:
    with anyio.move_on_after(0.01) as scope:
        await Shutdown().unless_requested(anyio.sleep_forever)
    assert scope.cancelled_caught


async def test_a_signal_is_a_request(anyio_backend_name: str) -> None:
    shutdown = Shutdown()
    with anyio.fail_after(5):
        async with shutdown.watching_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            await shutdown.wait()
    assert shutdown.is_requested


SECOND_SIGNAL = """
import anyio, os, signal
from csproxy.daemon.shutdown import Shutdown

async def main():
    shutdown = Shutdown()
    async with shutdown.watching_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        await shutdown.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_a_second_signal_ends_the_process_at_once() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(csproxy.__file__).parents[1])}
    command = [sys.executable, "-c", SECOND_SIGNAL]
    done = await anyio.run_process(command, check=False, env=environment, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, b"")
