"""Consistent reads: a proxy asks its master where it stands, once for all who ask meanwhile, and gets there first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from proxy_site import Site, make_site
from upstream_world import EPOCH, skill

from csproxy.core.changes import Position
from csproxy.core.model import CfgSkill
from csproxy.errors import ConnectionLostError, RetryableError, ServerError
from csproxy.testing import Simulation, run_simulated
from csproxy.transport.consistent_reads import SharedQuestion
from csproxy.transport.wire.messages import MessageId


def simulate(scenario: Callable[[Site], Awaitable[None]]) -> None:
    async def run(simulation: Simulation) -> None:
        async with make_site(simulation) as site:
            site.proxy.upstream_position = SharedQuestion(site.source.master_position)
            await scenario(site)

    run_simulated(run, seed=1, time_limit_s=7200)


def test_a_consistent_read_shows_what_the_master_had() -> None:
    async def scenario(site: Site) -> None:
        site.world.network.delay("proxy", "master", extra_s=1.0)
        site.master.create_skills(50)
        assert len(await site.client.read(CfgSkill)) == 10
        found = await site.client.read(CfgSkill, consistent=True)
        assert (len(found), found.position) == (11, Position(EPOCH, 111))
        assert len(await site.client.read(CfgSkill, consistent=True, dbid=skill(50)["DBID"])) == 1
        site.world.network.delay("proxy", "master", extra_s=0.0)

    simulate(scenario)


def test_a_master_answers_at_once() -> None:
    async def scenario(site: Site) -> None:
        site.proxy.upstream_position = None
        assert len(await site.client.read(CfgSkill, consistent=True)) == 10

    simulate(scenario)


def test_without_the_master_it_is_refused_for_now() -> None:
    async def scenario(site: Site) -> None:
        site.world.network.refuse("master", 2020)
        site.world.network.cut("master")
        await anyio.sleep(1)
        site.client._link.request_timeout_s = 2.0
        with pytest.raises(ServerError, match="the master is away") as caught:
            await site.client.read(CfgSkill, consistent=True)
        assert caught.value.retry_after_s > 0
        assert len(await site.client.read(CfgSkill)) == 10

    simulate(scenario)


@pytest.mark.parametrize("silent", [True, False], ids=["no answer", "no changes"])
def test_it_takes_three_seconds_at_most(*, silent: bool) -> None:
    async def scenario(site: Site) -> None:
        if silent:
            site.master.override(MessageId.PING, lambda connection, frame: None)
        else:
            site.master.override(
                MessageId.PING,
                lambda connection, frame: connection.answer(frame, MessageId.PONG, position=Position(EPOCH, 500)),
            )
        site.client._link.request_timeout_s = 4.0
        began = anyio.current_time()
        with pytest.raises(ServerError, match="UEN 110") as caught:
            await site.client.read(CfgSkill, consistent=True)
        assert 2.9 < anyio.current_time() - began < 3.5
        assert caught.value.retry_after_s > 0
        assert ("UEN 500" in str(caught.value)) is not silent

    simulate(scenario)


def test_all_who_ask_meanwhile_share_the_next_question() -> None:
    async def scenario(site: Site) -> None:
        question = site.proxy.upstream_position
        assert question is not None
        site.world.network.delay("proxy", "master", extra_s=0.5)
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                assert len(await site.client.read(CfgSkill, consistent=True)) == 10

            async def ask() -> None:
                assert await question.position() == Position(EPOCH, 110)

            tasks.start_soon(read)
            await anyio.sleep(0.2)
            for _ in range(50):
                tasks.start_soon(ask)
        assert question.questions == 2
        assert repr(question) == "<SharedQuestion asked 2 times>"
        site.world.network.delay("proxy", "master", extra_s=0.0)

    simulate(scenario)


def test_who_comes_later_is_not_answered_from_an_earlier_question() -> None:
    async def main(simulation: Simulation) -> None:
        uen = 0

        async def ask() -> Position:
            now = uen
            await anyio.sleep(1)
            return Position(1, now)

        question = SharedQuestion(ask)
        found: list[int] = []

        async def asker() -> None:
            found.append((await question.position()).uen)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asker)
            await anyio.sleep(0.5)
            uen = 7
            tasks.start_soon(asker)
        assert found == [0, 7]

    run_simulated(main, seed=1)


@pytest.mark.parametrize("phase_s", [0.5, 1.5], ids=["waiting", "asking"])
def test_one_who_asked_for_all_and_goes_leaves_the_others_a_retryable_error(phase_s: float) -> None:
    async def main(simulation: Simulation) -> None:
        async def ask() -> Position:
            await anyio.sleep(1)
            return Position(1, 1)

        question = SharedQuestion(ask)
        refused = 0

        async def follow() -> None:
            nonlocal refused
            with pytest.raises(RetryableError, match="given up"):
                await question.position()
            refused += 1

        async with anyio.create_task_group() as tasks, anyio.create_task_group() as leaders:
            tasks.start_soon(question.position)
            await anyio.sleep(0.1)
            leaders.start_soon(question.position)
            await anyio.sleep(0.1)
            tasks.start_soon(follow)
            await anyio.sleep(phase_s)
            leaders.cancel_scope.cancel()
        assert refused == 1
        assert await question.position() == (1, 1)

    run_simulated(main, seed=1)


def test_an_error_of_the_question_reaches_all() -> None:
    async def main(simulation: Simulation) -> None:
        async def ask() -> Position:
            raise ConnectionLostError("gone")

        question = SharedQuestion(ask)
        for _ in range(2):
            with pytest.raises(RetryableError, match="cannot be asked for its position: gone"):
                await question.position()

    run_simulated(main, seed=1)
