"""Blocking calls go to worker threads, a bounded number at once."""

from __future__ import annotations

import os
import sys
import threading

import anyio
import pytest

from csproxy.testing import Simulation, run_simulated
from csproxy.transport.blocking import MAX_THREADS, run_blocking, run_each, run_in_background
from csproxy.transport.turns import waker

PROCESSORS = min(len(os.sched_getaffinity(0)), MAX_THREADS) if sys.platform == "linux" else 1

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no background threads")


@pytest.mark.anyio
async def test_the_call_runs_in_another_thread_and_its_result_comes_back() -> None:
    assert await run_blocking(threading.get_ident) != threading.get_ident()
    assert await run_blocking(divmod, 7, 2) == (3, 1)


@pytest.mark.anyio
async def test_exceptions_come_back() -> None:
    with pytest.raises(ZeroDivisionError):
        await run_blocking(divmod, 1, 0)


@pytest.mark.anyio
async def test_no_more_calls_than_the_limit_run_at_once() -> None:
    running = 0
    most = 0
    lock = threading.Lock()
    everybody_is_here = threading.Barrier(MAX_THREADS)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        everybody_is_here.wait(timeout=30)
        with lock:
            running -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(3 * MAX_THREADS):
            tasks.start_soon(run_blocking, work)
    assert most == MAX_THREADS


@pytest.mark.anyio
async def test_a_limiter_of_its_own_keeps_a_hanging_service_apart() -> None:
    limiter = anyio.CapacityLimiter(1)
    hanging = threading.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(MAX_THREADS + 1):
            tasks.start_soon(lambda: run_blocking(hanging.wait, 30, limiter=limiter))
        with anyio.fail_after(10):
            assert await run_blocking(int, "5") == 5
        hanging.set()


def test_in_a_simulation_the_call_runs_in_the_loops_thread() -> None:
    async def main(_: Simulation) -> int:
        assert await run_in_background(threading.get_ident) == threading.get_ident()
        return await run_blocking(threading.get_ident)

    assert run_simulated(main, seed=1) == threading.get_ident()


@pytest.mark.anyio
@linux_only
async def test_a_background_call_has_a_lower_priority_and_leaves_that_of_other_calls_alone() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    assert await run_in_background(priority) == min(before + 19, 19)
    assert [await run_blocking(priority) for _ in range(3)] == [before] * 3
    assert priority() == before


@pytest.mark.anyio
async def test_a_background_call_brings_back_results_and_exceptions() -> None:
    assert await run_in_background(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await run_in_background(divmod, 1, 0)


@pytest.mark.anyio
@linux_only
async def test_no_more_background_calls_than_processors_run_at_once() -> None:
    running, most, calls = 0, 0, 3 * PROCESSORS
    lock = threading.Lock()
    as_many_are_here = threading.Barrier(PROCESSORS)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        as_many_are_here.wait(timeout=30)
        with lock:
            running -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(calls):
            tasks.start_soon(run_in_background, work)
    assert most == PROCESSORS


@pytest.mark.anyio
@linux_only
async def test_a_cancelled_background_call_is_awaited_if_it_has_begun_and_else_never_begins() -> None:
    gate = threading.Event()
    begun: list[int] = []
    ended: list[int] = []
    all_threads_are_taken = anyio.Event()
    wake = waker()

    def work(number: int) -> None:
        begun.append(number)
        if len(begun) == PROCESSORS:
            wake(all_threads_are_taken.set)
        gate.wait(timeout=30)
        ended.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(PROCESSORS + 3):
            tasks.start_soon(run_in_background, work, number)
        await all_threads_are_taken.wait()
        tasks.cancel_scope.cancel()
        threading.Timer(0.05, gate.set).start()
    assert sorted(begun) == sorted(ended)
    assert len(begun) == PROCESSORS
    assert await run_in_background(divmod, 7, 2) == (3, 1), "the threads are free again"


@pytest.mark.anyio
async def test_calls_of_each_item_run_beside_each_other_and_their_results_stand_in_order() -> None:
    ended = [threading.Event() for _ in range(4)]
    ended[3].set()

    def work(item: int) -> str:
        assert ended[item + 1].wait(30)  # each ends after the next one: they run at the same time
        ended[item].set()
        return f"done {item}"

    assert await run_each(work, [0, 1, 2], at_once=3) == ["done 0", "done 1", "done 2"]


@pytest.mark.anyio
async def test_no_more_items_than_told_are_worked_on_at_once() -> None:
    running: list[int] = []
    most: list[int] = []
    pair = threading.Barrier(2)

    def work(item: int) -> int:
        running.append(item)
        pair.wait(timeout=30)
        most.append(len(running))
        pair.wait(timeout=30)
        running.remove(item)
        return -item

    assert await run_each(work, range(6), at_once=2) == [0, -1, -2, -3, -4, -5]
    assert max(most) == 2


@pytest.mark.anyio
async def test_the_first_error_ends_the_work_on_items() -> None:
    begun: list[int] = []

    def work(item: int) -> float:
        begun.append(item)
        return 1 / item

    with pytest.raises(ZeroDivisionError):
        await run_each(work, [2, 0, 1], at_once=1)
    assert begun == [2, 0]
    assert await run_each(work, [], at_once=2) == []
