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
from csproxy.core.credentials import CredentialBook
from csproxy.core.failure_alarm import AlarmSettings
from csproxy.core.log_in_state import LogIn
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.security_options import RULES
from csproxy.core.sessions import Account
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.log_ins import ALARM_EVENT, LogIns, LogInSettings

pytestmark = pytest.mark.anyio

CHEAP = Cost(ln=4, r=1)


class Site:
    """Persons in a cache, their hashes, and an authenticator over them that counts verifications."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.cache = ConfigurationCache()
        self.book = CredentialBook()
        self.now_s = 1_000_000.0
        self.log_ins = LogIns(self.book, lambda: self.cache, wall_clock=lambda: self.now_s)
        self.verified: list[str] = []
        self.authenticator = InternalAuthenticator(lambda: self.cache, self.log_ins, **options)
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
        self.book.set_hash((3, dbid), hash_password(password, cost=CHEAP), changed_ms=self.log_ins.now_ms())

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


async def test_the_same_log_in_of_many_at_once_is_checked_once_for_each_thread(site: Site) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(site.authenticator.authenticate, "jane", "secret")
        for _ in range(3):
            tasks.start_soon(site.refusal, "jane", "guess")
    assert len(site.verified) <= 2 + 3


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


async def test_a_hash_made_anew_during_the_check_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(site, monkeypatch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(site.authenticator.authenticate, "jane", "secret")
        tasks.start_soon(site.refusal, "jane", "guess")
        await gate.wait_entered()
        site.password(101, "secret")
        gate.open.set()
    assert site.book.state(101).failed == 1


async def test_log_ins_beyond_the_limit_are_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, max_waiting=2, at_once=1)
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


# --- rules -----------------------------------------------------------------------------------------

MINUTE_S = 60.0
DAY_S = 86_400.0


def rule(site: Site, dbid: int, **rules: object) -> None:
    section = {name.replace("_", "-"): str(value) for name, value in rules.items()}
    site.update(dbid, {"userProperties": {"added": {RULES: section}}})


async def test_a_locked_account_is_refused_in_the_same_words_after_the_same_work_until_time_has_passed(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    rule(site, 101, account_lockout_threshold=3, account_lockout_duration=5)
    await site.authenticator.authenticate("jane", "secret")
    site.verified.clear()
    for _ in range(3):
        assert str(await site.refusal("jane", "guess")) == REFUSAL
    assert "person 101 is locked out after 3 wrong passwords" in caplog.text
    assert str(await site.refusal("jane", "secret")) == REFUSAL, "also what is remembered"
    assert str(await site.refusal("jane", "guess")) == REFUSAL
    assert len(site.verified) == 5
    site.now_s += 5 * MINUTE_S
    assert await site.authenticator.authenticate("jane", "secret") == Account(101, "jane")
    assert "guess" not in caplog.text
    assert "secret" not in caplog.text


async def test_a_new_password_opens_a_locked_account(site: Site) -> None:
    rule(site, 101, account_lockout_threshold=1, account_lockout_duration=0)
    await site.refusal("jane", "guess")
    site.now_s += 1000 * DAY_S
    await site.refusal("jane", "secret")
    site.password(101, "new")
    await site.authenticator.authenticate("jane", "new")


async def test_wrong_passwords_for_others_count_for_others(site: Site) -> None:
    rule(site, 101, account_lockout_threshold=2)
    for user in ("blank", "joe", "nobody", "blank"):
        await site.refusal(user, "guess")
    await site.authenticator.authenticate("jane", "secret")


async def test_an_old_password_is_right_but_must_be_changed(site: Site) -> None:
    rule(site, 101, password_expiration=30)
    site.now_s += 30 * DAY_S
    assert not (await site.authenticator.authenticate("jane", "secret")).must_change
    site.now_s += 1
    for _ in range(2):
        assert (await site.authenticator.authenticate("jane", "secret")).must_change
    assert str(await site.refusal("jane", "guess")) == REFUSAL


async def test_an_account_that_is_not_used_expires_where_log_ins_are_kept(site: Site) -> None:
    rule(site, 101, account_expiration=30)
    site.now_s += 31 * DAY_S
    await site.authenticator.authenticate("jane", "secret")
    site.log_ins.settings = LogInSettings(last_login=True)
    assert str(await site.refusal("jane", "secret")) == REFUSAL
    site.password(101, "new")
    account = await site.authenticator.authenticate("jane", "new")
    assert site.log_ins.logged_in(account, application="wde", address="10.0.0.1:5") == {"failed_log_ins": 0}
    site.now_s += 29 * DAY_S
    await site.authenticator.authenticate("jane", "new")
    site.now_s += 2 * DAY_S
    await site.refusal("jane", "new")


async def test_the_default_user_does_not_expire(site: Site) -> None:
    site.person(100, "default", "x")
    rule(site, 100, account_expiration=1)
    site.log_ins.settings = LogInSettings(last_login=True)
    site.now_s += 99 * DAY_S
    await site.authenticator.authenticate("default", "x")


async def test_a_log_in_tells_of_the_one_before_and_of_wrong_passwords_since(site: Site) -> None:
    site.log_ins.settings = LogInSettings(last_login=True)
    account = await site.authenticator.authenticate("jane", "secret")
    site.log_ins.logged_in(account, application="wde", address="10.0.0.1:5")
    for _ in range(2):
        await site.refusal("jane", "guess")
    told = site.log_ins.logged_in(account, application="sce", address="10.0.0.2:6")
    assert told == {
        "failed_log_ins": 2,
        "last_login_time": 1_000_000,
        "last_login_application": "wde",
        "last_login_address": "10.0.0.1:5",
    }
    assert site.book.state(101).failed == 0
    site.log_ins.settings = LogInSettings(last_login=True, is_shared=False)
    before = site.book.state(101)
    assert site.log_ins.logged_in(account, application="", address="")["last_login_application"] == "sce"
    assert site.book.state(101) == before, "what the master does not hear of is not kept"
    site.log_ins.settings = LogInSettings()
    assert site.log_ins.logged_in(account, application="", address="") == {}
    assert site.log_ins.logged_in(Account(0, ""), application="", address="") == {}


async def test_what_is_reported_to_the_master_follows_the_options(site: Site) -> None:
    reported: list[LogIn] = []
    keeps = True
    log_ins = LogIns(
        site.book, lambda: site.cache, wall_clock=lambda: 7.0, report=reported.append, is_keeping=lambda: keeps
    )
    jane = Account(101, "jane")
    for settings in (LogInSettings(), LogInSettings(last_login=True, is_shared=False)):
        log_ins.settings = settings
        log_ins.logged_in(jane, application="wde", address="a")
        assert reported == []
    log_ins.wrong_password(101, log_ins.rules(101))
    log_ins.logged_in(jane, application="wde", address="a")
    assert reported == [LogIn(101, 7000, False), LogIn(101, 7000, True)], "wrong ones always, and that they are over"
    log_ins.settings = LogInSettings(last_login=True)
    log_ins.logged_in(jane, application="wde", address="a")
    assert reported[2:] == [LogIn(101, 7000, True, True, "wde", "a")]
    keeps = False
    assert log_ins.logged_in(jane, application="wde", address="a") == {}
    assert len(reported) == 3
    assert not log_ins.knows(999)


async def test_a_rule_that_cannot_be_read_is_told_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    rule(site, 101, password_expiration="soon")
    for _ in range(3):
        site.log_ins.rules(101)
    assert caplog.text.count("'soon' is not valid") == 1


async def test_a_hash_of_the_past_is_handed_on_after_a_right_password_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str, str]] = []
    site = Site(monkeypatch, rehash=lambda *what: asked.append(what))
    site.person(101, "jane", "secret")
    await site.refusal("jane", "guess")
    assert asked == []
    await site.authenticator.authenticate("jane", "secret")
    assert asked == [(101, site.book.hashes[3, 101], "secret")]
    site.book.set_hash((3, 101), hash_password("secret"))
    await site.authenticator.authenticate("jane", "secret")
    assert len(asked) == 1


async def test_many_refusals_raise_an_alarm(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.log_ins.alarm.settings = AlarmSettings(600.0, 3, 0)
    site.log_ins.logged_in(Account(101, "jane"), application="wde", address="a")
    for _ in range(3):
        site.log_ins.refused()
    (record,) = (record for record in caplog.records if getattr(record, "event", 0) == ALARM_EVENT)
    assert (record.levelname, record.message) == ("CRITICAL", "3 of 4 log-ins have failed within 10 minutes")
