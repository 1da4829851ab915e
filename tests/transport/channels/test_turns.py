"""Turns, timers and the loop's clock in tasks and in callbacks."""

from __future__ import annotations

import anyio
import pytest

from csproxy.transport.turns import Timers, call_soon, now

pytestmark = pytest.mark.anyio


def fail() -> None:
    raise ValueError("a mistake in a callback")


async def test_functions_run_in_the_next_turn_in_order() -> None:
    ran: list[int] = []
    done = anyio.Event()
    for n in range(10):
        call_soon(lambda n=n: ran.append(n))  # type: ignore[misc]
    call_soon(done.set)
    assert ran == []
    with anyio.fail_after(10):
        await done.wait()
    assert ran == list(range(10))


async def test_a_function_of_a_turn_may_call_for_the_next_one() -> None:
    done = anyio.Event()
    call_soon(lambda: call_soon(done.set))
    with anyio.fail_after(10):
        await done.wait()


async def test_the_clock_is_the_loops_in_tasks_and_in_callbacks() -> None:
    seen: list[float] = []
    done = anyio.Event()
    call_soon(lambda: seen.append(now()))
    call_soon(done.set)
    with anyio.fail_after(10):
        await done.wait()
    assert 0 <= anyio.current_time() - seen[0] < 10
    assert abs(now() - anyio.current_time()) < 1


async def test_timers_fire_after_their_delay_in_order_and_not_when_cancelled() -> None:
    fired: list[str] = []
    done = anyio.Event()
    async with Timers() as timers:
        started = now()
        timers.call_later(0.03, done.set)
        timers.call_later(0.02, lambda: fired.append("second"))
        timers.call_later(0.01, lambda: fired.append("first"))
        cancel = timers.call_later(0.005, lambda: fired.append("cancelled"))
        cancel()
        cancel()
        with anyio.fail_after(10):
            await done.wait()
        assert now() - started >= 0.029
    assert fired == ["first", "second"]


async def test_cancelling_a_timer_that_has_fired_does_nothing() -> None:
    done = anyio.Event()
    async with Timers() as timers:
        cancel = timers.call_later(0, done.set)
        with anyio.fail_after(10):
            await done.wait()
        cancel()


async def test_no_timer_outlives_its_owner() -> None:
    fired: list[int] = []
    async with Timers() as timers:
        timers.call_later(0.01, lambda: fired.append(1))
    await anyio.sleep(0.03)
    assert fired == []
    with pytest.raises(RuntimeError, match="outside of their context"):
        timers.call_later(0, fail)


async def test_timers_used_before_their_context_are_refused() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        Timers().call_later(0, fail)


async def test_an_exception_of_the_body_leaves_the_context_as_it_is() -> None:
    with pytest.raises(ValueError, match="of the body"):  # noqa: PT012 - the body is what is tested
        async with Timers() as timers:
            timers.call_later(60, fail)
            raise ValueError("of the body")
