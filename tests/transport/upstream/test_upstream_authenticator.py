from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from upstream_world import World, make_world, until

from csproxy.auth import upstream
from csproxy.auth.upstream import UpstreamAuthenticator
from csproxy.core.changes import Action
from csproxy.core.replication import State
from csproxy.core.sessions import Account
from csproxy.errors import ErrorCode, LoginIncorrectError, RetryableError
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId

pytestmark = pytest.mark.anyio

PERSON = 3
DEFAULT = Account(100, "default")


@asynccontextmanager
async def proxy() -> AsyncIterator[tuple[World, UpstreamSource, UpstreamAuthenticator]]:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        yield world, source, UpstreamAuthenticator(source, world.sink, timeout_s=1.0)


async def take_master_away(world: World, source: UpstreamSource) -> None:
    world.network.refuse("master", 2020)
    world.network.cut("master")
    await until(lambda: source.state is not State.LIVE)


async def test_the_master_decides() -> None:
    async with proxy() as (_, _, authenticator):
        assert await authenticator.authenticate("default", "secret") == DEFAULT
        with pytest.raises(LoginIncorrectError):
            await authenticator.authenticate("default", "wrong")


async def test_a_log_in_seen_before_is_accepted_while_the_master_is_away() -> None:
    async with proxy() as (world, source, authenticator):
        await authenticator.authenticate("default", "secret")
        await take_master_away(world, source)
        assert await authenticator.authenticate("default", "secret") == DEFAULT


@pytest.mark.parametrize(("user", "password"), [("default", "wrong"), ("nobody", "secret"), ("defaults", "ecret")])
async def test_any_other_log_in_gets_a_retryable_error_meanwhile(user: str, password: str) -> None:
    async with proxy() as (world, source, authenticator):
        await authenticator.authenticate("default", "secret")
        await take_master_away(world, source)
        with pytest.raises(RetryableError, match="the master, which checks passwords, cannot be asked") as caught:
            await authenticator.authenticate(user, password)
        assert caught.value.retry_after_s > 0


async def test_a_password_that_the_master_refused_since_is_forgotten() -> None:
    async with proxy() as (world, source, authenticator):
        await authenticator.authenticate("default", "secret")
        world.master.users.password = "changed"
        with pytest.raises(LoginIncorrectError):
            await authenticator.authenticate("default", "secret")
        await take_master_away(world, source)
        with pytest.raises(RetryableError):
            await authenticator.authenticate("default", "secret")


@pytest.mark.parametrize("what", [{"state": 2}, {"firstName": "somebody else"}])
async def test_a_person_that_changed_since_must_ask_the_master(what: dict[str, object]) -> None:
    async with proxy() as (world, source, authenticator):
        await authenticator.authenticate("default", "secret")
        world.master.publish((Action.UPDATED, PERSON, {"DBID": 100, **what}))
        await world.caught_up()
        await take_master_away(world, source)
        with pytest.raises(RetryableError):
            await authenticator.authenticate("default", "secret")


async def test_a_disabled_person_is_not_accepted_from_memory() -> None:
    async with proxy() as (world, source, authenticator):
        world.master.publish((Action.UPDATED, PERSON, {"DBID": 100, "state": 2}))
        await world.caught_up()
        await authenticator.authenticate("default", "secret")
        await take_master_away(world, source)
        with pytest.raises(RetryableError):
            await authenticator.authenticate("default", "secret")


async def test_a_master_that_goes_away_while_it_is_asked_counts_as_away() -> None:
    async with proxy() as (world, _, authenticator):
        await authenticator.authenticate("default", "secret")

        def die(connection: ServerConnection, frame: Frame) -> None:
            world.network.cut("master")

        world.master.override(MessageId.AUTHENTICATE, die)
        assert await authenticator.authenticate("default", "secret") == DEFAULT


async def test_a_master_that_asks_to_come_back_later_is_not_away() -> None:
    async with proxy() as (world, _, authenticator):
        await authenticator.authenticate("default", "secret")

        def busy(connection: ServerConnection, frame: Frame) -> None:
            connection.refuse(frame, RetryableError(ErrorCode.UNDEFINED_ERROR, "busy", retry_after_s=1.0))

        world.master.override(MessageId.AUTHENTICATE, busy)
        with pytest.raises(RetryableError, match="busy"):
            await authenticator.authenticate("default", "secret")


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MAX_REMEMBERED", 2)
    async with proxy() as (world, _, authenticator):

        class Everybody:
            async def authenticate(self, user: str, password: str) -> Account:
                return Account(100, user)

        world.master.server.authenticator = Everybody()
        for user in ("a", "b", "c"):
            await authenticator.authenticate(user, "secret")
        assert repr(authenticator) == "<UpstreamAuthenticator 2 remembered>"


async def test_a_person_that_has_not_arrived_yet_is_not_remembered() -> None:
    async with proxy() as (world, _, authenticator):

        class Newcomer:
            async def authenticate(self, user: str, password: str) -> Account:
                return Account(4711, user)

        world.master.server.authenticator = Newcomer()
        assert await authenticator.authenticate("new", "secret") == Account(4711, "new")
        assert repr(authenticator) == "<UpstreamAuthenticator 0 remembered>"
