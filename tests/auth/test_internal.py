"""Internal log-ins: right and wrong ones, what is remembered, what nobody can find out."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from csproxy.auth import internal
from csproxy.auth.internal import REFUSAL, InternalAuthenticator
from csproxy.auth.passwords import Cost, hash_password
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change, Position
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.sessions import Account
from csproxy.errors import ErrorCode, ServerError

pytestmark = pytest.mark.anyio

CHEAP = Cost(ln=4, r=1)


class Site:
    """Persons in a cache, their hashes, and an authenticator over them that counts verifications."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.cache = ConfigurationCache()
        self.credentials: dict[tuple[int, int], str] = {}
        self.verified: list[str] = []
        self.authenticator = InternalAuthenticator(lambda: self.cache, self.credentials, **options)
        verify = internal.verify_password

        def counting(password: str, stored: str) -> bool:
            self.verified.append(stored)
            return verify(password, stored)

        monkeypatch.setattr(internal, "verify_password", counting)

    def change(self, action: Action, dbid: int, **more: Any) -> None:
        position = Position(1, self.cache.position.uen + 1)
        self.cache.apply([Change(action=action, type=3, dbid=dbid, position=position, frame=b"", **more)])

    def person(self, dbid: int, name: str, password: str | None) -> None:
        obj = {"DBID": dbid, "userName": name, "employeeID": name, "tenantDBID": 1, "state": 1}
        self.change(Action.CREATED, dbid, object=encode_object(SCHEMA.types[3], obj))
        if password is not None:
            self.password(dbid, password)

    def update(self, dbid: int, delta: Mapping[str, Any]) -> None:
        self.change(Action.UPDATED, dbid, delta=dict(delta))

    def password(self, dbid: int, password: str) -> None:
        self.credentials[3, dbid] = hash_password(password, cost=CHEAP)

    async def refusal(self, user: str, password: str) -> ServerError:
        with pytest.raises(ServerError) as caught:
            await self.authenticator.authenticate(user, password)
        return caught.value


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(monkeypatch)
    site.person(101, "jane", "secret")
    site.person(102, "nobody", None)
    site.person(103, "blank", "")
    return site


async def test_the_right_password_gives_the_account(site: Site) -> None:
    assert await site.authenticator.authenticate("jane", "secret") == Account(101, "jane")


@pytest.mark.parametrize(
    ("user", "password"),
    [("jane", "Secret"), ("jane", ""), ("joe", "secret"), ("", ""), ("", "secret"), ("nobody", "")],
)
async def test_every_wrong_log_in_is_refused_in_the_same_words_after_the_same_work(
    site: Site, user: str, password: str
) -> None:
    error = await site.refusal(user, password)
    assert (error.code, str(error), len(site.verified)) == (ErrorCode.LOGIN_INCORRECT, REFUSAL, 1)


async def test_an_empty_password_counts_only_where_one_was_set(site: Site) -> None:
    assert await site.authenticator.authenticate("blank", "") == Account(103, "blank")
    assert (await site.refusal("blank", "x")).code is ErrorCode.LOGIN_INCORRECT


async def test_empty_passwords_can_be_denied_at_any_time(site: Site) -> None:
    site.authenticator.allow_empty_password = False
    assert (await site.refusal("blank", "")).code is ErrorCode.EMPTY_PASSWORD_DENIED
    site.authenticator.allow_empty_password = True
    await site.authenticator.authenticate("blank", "")


async def test_a_disabled_person_is_refused_in_the_same_words_also_when_remembered(site: Site) -> None:
    await site.authenticator.authenticate("jane", "secret")
    site.update(101, {"state": 2})
    assert str(await site.refusal("jane", "secret")) == REFUSAL
    site.update(103, {"state": 2})
    assert str(await site.refusal("blank", "")) == REFUSAL


async def test_a_right_log_in_is_remembered_a_wrong_one_is_not(site: Site) -> None:
    for _ in range(3):
        await site.authenticator.authenticate("jane", "secret")
    assert len(site.verified) == 1
    for _ in range(2):
        await site.refusal("jane", "guess")
    assert len(site.verified) == 3
    assert repr(site.authenticator) == "<InternalAuthenticator 0 waiting, 1 remembered>"


async def test_a_changed_password_ends_what_is_remembered(site: Site) -> None:
    await site.authenticator.authenticate("jane", "secret")
    site.password(101, "new")
    assert (await site.refusal("jane", "secret")).code is ErrorCode.LOGIN_INCORRECT
    await site.authenticator.authenticate("jane", "new")
    site.password(101, "secret")
    await site.authenticator.authenticate("jane", "secret")
    assert len(site.verified) == 4


async def test_a_deleted_or_renamed_person_is_not_remembered(site: Site) -> None:
    await site.authenticator.authenticate("jane", "secret")
    site.update(101, {"userName": "janet"})
    await site.refusal("jane", "secret")
    assert await site.authenticator.authenticate("janet", "secret") == Account(101, "janet")
    site.change(Action.DELETED, 101)
    await site.refusal("janet", "secret")


async def test_the_memory_of_log_ins_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, max_remembered=2)
    for dbid, name in enumerate(("a", "b", "c"), 101):
        site.person(dbid, name, name)
    for name in ("a", "b", "a", "c"):  # a is used again, so that b is the one forgotten
        await site.authenticator.authenticate(name, name)
    assert len(site.verified) == 3
    await site.authenticator.authenticate("a", "a")
    assert len(site.verified) == 3
    await site.authenticator.authenticate("b", "b")
    assert len(site.verified) == 4


async def test_users_and_passwords_that_run_together_are_told_apart(site: Site) -> None:
    site.person(104, "ja", "x")
    await site.authenticator.authenticate("jane", "secret")
    await site.refusal("ja", "nesecret")


class Gate:
    """Holds verifications in their worker threads until it opens."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        verify = internal.verify_password

        def gated(password: str, stored: str) -> bool:
            self.entered.release()
            assert self.open.wait(10)
            return verify(password, stored)

        monkeypatch.setattr(internal, "verify_password", gated)

    async def wait_entered(self) -> None:
        assert await anyio.to_thread.run_sync(self.entered.acquire, True, 10)


async def test_a_password_changed_during_the_check_refuses_the_old_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(site, monkeypatch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(site.refusal, "jane", "secret")
        await gate.wait_entered()
        site.password(101, "new")
        gate.open.set()
    await site.authenticator.authenticate("jane", "new")


async def test_log_ins_beyond_the_limit_are_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, max_waiting=2, threads=1)
    site.person(101, "jane", "secret")
    gate = Gate(site, monkeypatch)
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(site.authenticator.authenticate, "jane", "secret")
        await gate.wait_entered()
        error = await site.refusal("jane", "secret")
        assert (error.code, error.retry_after_s) == (ErrorCode.FORCED_DISCONNECT, 1.0)
        gate.open.set()
    await site.authenticator.authenticate("jane", "secret")


async def test_a_cancelled_log_in_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, max_waiting=1)
    site.person(101, "jane", "secret")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await site.authenticator.authenticate("jane", "secret")
    assert await site.authenticator.authenticate("jane", "secret") == Account(101, "jane")
