"""Places for handshakes: how many, in which order, and that every one comes back."""

from __future__ import annotations

import anyio
import pytest

from csproxy.errors import TlsError
from csproxy.transport.handshakes import Handshakes

pytestmark = pytest.mark.anyio


async def test_no_more_run_at_once_than_there_are_places() -> None:
    handshakes = Handshakes(limit=3)
    running, most = 0, 0

    async def handshake() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.wait_all_tasks_blocked()
        running -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(handshakes.run, handshake)
    assert most == 3
    assert handshakes.statistics().finished == 12
    assert "0 running, 0 waiting" in repr(handshakes)


async def test_results_and_errors_come_back() -> None:
    handshakes = Handshakes()

    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise ValueError("no")

    assert await handshakes.run(answer) == 7
    with pytest.raises(ValueError, match="no"):
        await handshakes.run(fail)
    counted = handshakes.statistics()
    assert (counted.running, counted.waiting, counted.finished, counted.failed) == (0, 0, 1, 1)


async def test_those_that_wait_begin_in_the_order_of_their_calls() -> None:
    handshakes = Handshakes(limit=1)
    begun: list[int] = []

    async def call(number: int) -> None:
        async def handshake() -> None:
            begun.append(number)
            await anyio.lowlevel.checkpoint()

        await handshakes.run(handshake)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(call, number)
            await anyio.wait_all_tasks_blocked()
    assert begun == list(range(6))


async def test_whoever_is_not_ready_takes_no_place() -> None:
    handshakes = Handshakes(limit=1, patience_s=60)
    ready = anyio.Event()

    async def answer() -> str:
        return "done"

    async with anyio.create_task_group() as tasks:

        async def late() -> None:
            assert await handshakes.run(answer, ready=ready.wait) == "done"

        tasks.start_soon(late)
        await anyio.wait_all_tasks_blocked()
        assert "0 running, 1 waiting" in repr(handshakes)
        assert await handshakes.run(answer) == "done"
        ready.set()
    counted = handshakes.statistics()
    assert (counted.running, counted.waiting, counted.finished, counted.failed) == (0, 0, 2, 0)


async def test_who_waits_too_long_for_a_place_is_told_so_and_counted() -> None:
    handshakes = Handshakes(limit=1, patience_s=60, waiting_s=0.05)

    async def answer() -> str:
        return "done"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(handshakes.run, anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(TlsError, match=r"waited more than 0\.05 s for its turn"):
            await handshakes.run(answer)
        counted = handshakes.statistics()
        assert (counted.running, counted.waiting, counted.failed) == (1, 0, 1)
        tasks.cancel_scope.cancel()


async def test_the_oldest_gives_up_its_place_when_somebody_waits() -> None:
    handshakes = Handshakes(limit=1, patience_s=0.05)
    said: list[str] = []

    async def hang() -> None:
        with pytest.raises(TlsError) as refused:
            await handshakes.run(anyio.sleep_forever)
        said.append(str(refused.value))

    async def quick() -> str:
        return "done"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hang)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(10):
            assert await handshakes.run(quick) == "done"
    assert said == ["the TLS handshake took more than 0.05 s while others waited"]


@pytest.mark.parametrize("taken", [False, True])
async def test_a_handshake_cancelled_at_any_await_gives_its_place_back(taken: bool) -> None:
    handshakes = Handshakes(limit=1, patience_s=60)
    for steps in range(12):
        async with anyio.create_task_group() as tasks:
            if taken:
                tasks.start_soon(handshakes.run, anyio.sleep_forever)
                await anyio.wait_all_tasks_blocked()
            tasks.start_soon(handshakes.run, anyio.sleep_forever)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        counted = handshakes.statistics()
        assert (counted.running, counted.waiting) == (0, 0)
