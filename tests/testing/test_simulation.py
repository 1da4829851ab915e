"""Simulated time: it jumps, it is repeatable, and it says when nothing can go on."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from csproxy.testing import DeadlockError, SimulatedLoop, Simulation, TimeLimitError, run_simulated
from csproxy.transport.turns import Timers, call_soon, now


def test_an_hour_passes_in_milliseconds() -> None:
    async def main(simulation: Simulation) -> float:
        await simulation.sleep(3599)
        return simulation.now()

    started = time.monotonic()
    assert run_simulated(main, seed=1) == 3599
    assert time.monotonic() - started < 1


def test_anyio_works_in_simulated_time() -> None:
    async def main(_: Simulation) -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []
        event = anyio.Event()

        async def wait(name: str, delay_s: float) -> None:
            await anyio.sleep(delay_s)
            seen.append((name, anyio.current_time()))

        async def wait_for_event() -> None:
            await event.wait()
            seen.append(("event", anyio.current_time()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, "slow", 20)
            tasks.start_soon(wait, "fast", 10)
            tasks.start_soon(wait_for_event)
            with anyio.move_on_after(5) as scope:
                await anyio.sleep_forever()
            assert scope.cancelled_caught
            seen.append(("cancelled", anyio.current_time()))
            event.set()
            with pytest.raises(TimeoutError), anyio.fail_after(1):
                await anyio.sleep(2)
        return seen

    assert run_simulated(main, seed=1) == [("cancelled", 5), ("event", 5), ("fast", 10), ("slow", 20)]


def test_timers_and_turns_work_in_simulated_time() -> None:
    async def main(simulation: Simulation) -> list[float]:
        seen: list[float] = []
        async with Timers() as timers:
            timers.call_later(7, lambda: call_soon(lambda: seen.append(now())))
            await simulation.sleep(10)
        return seen

    assert run_simulated(main, seed=1) == [7]


def test_the_wall_clock_goes_along_and_can_jump() -> None:
    async def main(simulation: Simulation) -> tuple[float, float]:
        before = simulation.wall_clock()
        await simulation.sleep(100)
        after = simulation.wall_clock()
        simulation.wall_clock_offset_s -= 3600
        return after - before, simulation.wall_clock() - after

    assert run_simulated(main, seed=1) == (100, -3600)


async def wander(simulation: Simulation) -> list[object]:
    """Let tasks race, cancel a group of them at once, and write down what happened in which order."""
    transcript: list[object] = [simulation.random_bytes(4)]

    async def walk(name: int) -> None:
        try:
            while True:
                await simulation.sleep(simulation.rng.choice([0, 1, 2]))
                transcript.append((name, simulation.now()))
        finally:
            transcript.append((name, "cancelled"))

    with anyio.move_on_after(20):
        async with anyio.create_task_group() as tasks:
            for name in range(20):
                tasks.start_soon(walk, name)
    walkers = {asyncio.ensure_future(walk(name)) for name in range(20)}
    await simulation.sleep(3)
    for walker in walkers:  # a set: its order is that of the hashes
        walker.cancel()
    await simulation.sleep(1)
    transcript.append(sorted(task.get_name() for task in asyncio.all_tasks()))
    return transcript


def test_one_seed_is_one_run_and_another_seed_another_one() -> None:
    assert run_simulated(wander, seed=1) == run_simulated(wander, seed=1)
    assert run_simulated(wander, seed=1) != run_simulated(wander, seed=2)


def test_one_seed_is_one_run_in_another_process_too() -> None:
    here = Path(__file__)
    program = (
        f"import sys; sys.path.insert(0, {str(here.parent)!r}); from {here.stem} import wander;"
        "from csproxy.testing import run_simulated; print(run_simulated(wander, seed=1))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout == f"{run_simulated(wander, seed=1)}\n"


def test_a_deadlock_is_reported_with_the_tasks_that_wait() -> None:
    async def main(_: Simulation) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_godot, name="vladimir")
            await wait_for_godot()

    with pytest.raises(DeadlockError, match="nothing is scheduled") as caught:
        run_simulated(main, seed=1)
    assert len(caught.value.tasks) == 2
    assert any(line.startswith("vladimir") for line in caught.value.tasks)
    assert "test_simulation.py" in str(caught.value)
    assert "wait_for_godot" in str(caught.value)


async def wait_for_godot() -> None:
    await anyio.Event().wait()


def test_a_loop_without_waiting_is_reported() -> None:
    async def main(_: Simulation) -> None:
        while True:
            await anyio.lowlevel.checkpoint()

    with pytest.raises(DeadlockError, match="time stands still"):
        run_simulated(main, seed=1)


def test_the_time_limit_is_kept_even_when_the_end_takes_time() -> None:
    async def main(simulation: Simulation) -> None:
        try:
            await simulation.sleep(1e9)
        finally:
            with anyio.CancelScope(shield=True):
                await simulation.sleep(1e9)

    with pytest.raises(TimeLimitError, match="test_simulation"):
        run_simulated(main, seed=1, time_limit_s=10)


def test_exceptions_of_the_function_come_out() -> None:
    async def main(_: Simulation) -> None:
        raise ValueError("of the function")

    with pytest.raises(ValueError, match="of the function"):
        run_simulated(main, seed=1)


async def _open_connection() -> object:
    return await asyncio.open_connection("127.0.0.1", 1)


async def _start_server() -> object:
    return await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)


async def _run_in_a_thread() -> object:
    return await asyncio.to_thread(int)


async def _resolve() -> object:
    return await anyio.getaddrinfo("localhost", 0)


async def _watch_a_socket() -> object:
    with socket.socket() as sock:
        return asyncio.get_running_loop().add_reader(sock, int)


@pytest.mark.parametrize("use", [_open_connection, _start_server, _run_in_a_thread, _resolve, _watch_a_socket])
def test_sockets_and_threads_are_refused(use: Callable[[], object]) -> None:
    async def main(_: Simulation) -> None:
        await use()  # type: ignore[misc]

    with pytest.raises(RuntimeError, match="no sockets, threads or processes"):
        run_simulated(main, seed=1)


def test_the_loop_works_with_a_plain_runner() -> None:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(asyncio.sleep(1e6))
        assert runner.get_loop().time() == 1e6
