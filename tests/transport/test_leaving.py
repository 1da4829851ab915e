"""What owns tasks, and what closes without waiting, leaves its block in the same way."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from csproxy.transport.leaving import Closing, leave_tasks

pytestmark = pytest.mark.anyio


class Door(Closing):
    def __init__(self, error: BaseException | None = None) -> None:
        self.steps: list[str] = []
        self._error = error

    async def _open(self) -> None:
        self.steps.append("open")
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.steps.append("close")


async def test_what_was_entered_is_closed_when_the_block_is_left() -> None:
    async with Door() as door:
        assert door.steps == ["open"]
    assert door.steps == ["open", "close"]


@pytest.mark.parametrize("error", [OSError("jammed"), KeyboardInterrupt()], ids=["error", "interrupt"])
async def test_what_could_not_be_opened_is_closed(error: BaseException) -> None:
    door = Door(error)
    with pytest.raises(type(error)):
        await door.__aenter__()
    assert door.steps == ["open", "close"]


async def test_an_error_of_the_body_leaves_the_owner_of_tasks_as_it_is() -> None:
    tasks = anyio.create_task_group()
    await tasks.__aenter__()
    tasks.start_soon(anyio.sleep_forever)
    error = ValueError("of the body")
    assert not await leave_tasks(tasks, ValueError, error, None)


async def test_a_cancelled_body_stays_cancelled_and_its_tasks_have_ended() -> None:
    ended = []

    async def task() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("task")

    with anyio.CancelScope() as scope:
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        try:
            tasks.start_soon(task)
            await anyio.lowlevel.checkpoint()
            scope.cancel()
            await anyio.sleep_forever()
        except BaseException as e:
            if not await leave_tasks(tasks, type(e), e, e.__traceback__):
                raise
        pytest.fail("went on after a cancellation")
    assert (scope.cancelled_caught, ended) == (True, ["task"])
