"""Trusted proxies check passwords themselves, with or without their master; others do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from password_site import PERSON, PasswordSite, assert_equal, run_site

from csproxy.core.credentials import CredentialBook
from csproxy.core.log_in_state import NO_STATE, LogIn
from csproxy.errors import ErrorCode, LoginIncorrectError, StoreError
from csproxy.transport.wire.credentials import LogInRecords


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.db"


def test_a_user_never_seen_before_logs_in_while_the_master_is_away(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master, site.running_proxy() as proxy:
            await site.create_person("jane", "first")
            await anyio.sleep(1)
            assert_equal(master, proxy)
            assert proxy.passwords.status() == {"passwords": {"checked_here": True, "count": 2, "unreported": 0}}
            await site.take_master_away()
            await site.log_in(proxy, "jane", "first")
            await site.refusal(proxy, "jane", "guess")
            assert proxy.passwords.status()["passwords"]["unreported"] == 1
            error = await site.refusal(proxy, "jane", "second")
            assert (error.code, error.description) == (ErrorCode.LOGIN_INCORRECT, "user name or password is wrong")
            assert (await site.refusal(proxy, "nobody", "first")).description == error.description

    run_site(path, scenario)


@pytest.mark.parametrize("app_password", ["", "wrong"])
def test_a_proxy_that_is_not_trusted_gets_nothing(path: Path, app_password: str) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master:
            if app_password:  # such a proxy is not even served
                async with site.running_proxy(app_password=app_password, waits=False) as proxy:
                    await anyio.sleep(5)
                    assert len(proxy.book) == 0
                return
            async with site.running_proxy(app_password="") as proxy:
                await anyio.sleep(5)
                assert len(proxy.book) == 0
                await site.refusal(proxy, "default", "guess")
                assert master.book.state(100).failed == 1
                await site.log_in(proxy, "default", "secret")
                await site.take_master_away()
                await site.create_person("jane", "first")
                await site.log_in(proxy, "default", "secret")
                assert (await site.refusal(proxy, "jane", "first")).code is ErrorCode.SERVER_NOT_FOUND
                await site.bring_master_back(proxy)

    run_site(path, scenario)


def test_a_proxy_that_is_trusted_no_more_forgets_what_it_has(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        book = CredentialBook()
        async with site.running_master():
            async with site.running_proxy(book=book) as proxy:
                assert len(book) == 1
            async with site.running_proxy(book=book, app_password="") as proxy:
                assert len(book) == 0
                await site.log_in(proxy, "default", "secret")

    run_site(path, scenario)


def test_a_password_that_is_set_at_the_master_is_in_force_at_once_everywhere(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master, site.running_proxy() as one, site.running_proxy("proxy2") as two:
            jane = await site.create_person("jane", "first")
            await anyio.sleep(0.1)
            for where in (master, one, two):
                await site.log_in(where, "jane", "first")
            await site.set_password(jane, "second")
            await anyio.sleep(0.02)  # the network's own time
            for where in (one, two, master):
                assert isinstance(await site.refusal(where, "jane", "first"), LoginIncorrectError)
                await site.log_in(where, "jane", "second")
            await site.delete_person(jane)
            await anyio.sleep(0.02)
            for where in (one, two, master):
                assert (3, jane) not in where.book
            assert_equal(master, one)

    run_site(path, scenario)


def test_what_changed_meanwhile_comes_with_the_connection_and_nothing_else(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master, site.running_proxy() as proxy:
            dbids = [await site.create_person(f"user{n}", "x") for n in range(20)]
            await anyio.sleep(2)
            read: list[int] = []
            source = master.server.credentials
            usual = source.read

            def counting(connection: object, request: object) -> object:
                answer = usual(connection, request)  # type: ignore[arg-type]
                read.append(len(answer.buckets))
                return answer

            source.read = counting  # type: ignore[method-assign, assignment]
            await site.take_master_away()
            await site.set_password(dbids[3], "y")
            await site.delete_person(dbids[4])
            await anyio.sleep(5)
            await site.bring_master_back(proxy)
            await anyio.sleep(70)
            assert_equal(master, proxy)
            assert read[0] == 2
            assert set(read[1:]) <= {0}, "and every minute it is compared again"
            assert len(read) > 1

    run_site(path, scenario)


def test_a_divergence_is_healed_within_a_minute(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master, site.running_proxy() as proxy:
            proxy.book.remove(100)
            await anyio.sleep(65)
            assert_equal(master, proxy)

    run_site(path, scenario)


def test_a_large_site_comes_in_parts(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master:
            for dbid in range(1000, 6000):
                master.book.set_hash((3, dbid), f"$scrypt$ln=14,r=8,p=1$salt${dbid:043}", changed_ms=dbid)
            async with site.running_proxy() as proxy:
                await anyio.sleep(5)
                assert_equal(master, proxy)
                assert len(proxy.book) == 5001
                master.book.take_touched()

    run_site(path, scenario)


def test_lockout_counts_while_the_master_is_away_and_then_everywhere(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master, site.running_proxy() as one, site.running_proxy("proxy2") as two:
            await site.set_rules(account_lockout_threshold=3, account_lockout_duration=10)
            jane = await site.create_person("jane", "first")
            await anyio.sleep(1)
            await site.refusal(two, "jane", "guess")
            await anyio.sleep(3)
            for where in (master, one, two):
                assert where.book.state(jane).tries == 1, "every server counts what one of them sees"
            await site.take_master_away()
            for _ in range(2):
                await site.refusal(one, "jane", "guess")
            await site.refusal(one, "jane", "first")
            await site.log_in(two, "jane", "first")  # it cannot know
            await site.bring_master_back(one)
            await anyio.sleep(40)
            assert_equal(master, one)
            assert_equal(master, two)

    run_site(path, scenario)


def test_an_account_locked_at_one_proxy_is_locked_at_all_servers_and_after_a_restart(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master, site.running_proxy() as one, site.running_proxy("proxy2") as two:
            await site.set_rules(account_lockout_threshold=3, account_lockout_duration=10)
            jane = await site.create_person("jane", "first")
            await anyio.sleep(1)
            for _ in range(3):
                await site.refusal(one, "jane", "guess")
            await anyio.sleep(3)
            for where in (one, two, master):
                await site.refusal(where, "jane", "first")
            await anyio.sleep(2)
        async with site.running_master() as master:
            await site.refusal(master, "jane", "first")
            await anyio.sleep(600)
            await site.log_in(master, "jane", "first")
            await anyio.sleep(2)
            assert master.book.state(jane) == NO_STATE

    run_site(path, scenario)


def test_last_log_ins_are_told_everywhere_where_the_options_say_so(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        keeping = {"csproxy__last_login": True, "csproxy__last_login_synchronization": True}
        async with (
            site.running_master(**keeping) as master,
            site.running_proxy(**keeping) as one,
            site.running_proxy("proxy2", csproxy__last_login=True) as two,
        ):
            first = int(site.simulation.wall_clock())
            assert (await site.log_in(one, "default", "secret")).parameters == {"failed_log_ins": 0}
            await site.refusal(one, "default", "guess")
            await anyio.sleep(3)
            told = (await site.log_in(master, "default", "secret")).parameters
            assert abs(told.pop("last_login_time") - first) <= 1
            assert told.pop("last_login_address").startswith("desk")
            assert told == {"failed_log_ins": 1, "last_login_application": "default"}
            await anyio.sleep(3)
            at_master = master.book.state(100)
            assert one.book.state(100) == two.book.state(100) == at_master
            await site.log_in(two, "default", "secret")
            await anyio.sleep(3)
            assert master.book.state(100) == at_master, "proxy2 does not report"

    run_site(path, scenario)


def test_an_old_password_is_changed_at_the_log_in(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with (
            site.running_master() as master,
            site.running_proxy() as proxy,
            site.running_proxy("proxy2", app_password="") as asking,
        ):
            await site.set_rules(password_expiration=30)
            await site.create_person("jane", "first")
            await anyio.sleep(1)
            await site.log_in(proxy, "jane", "first")
            site.simulation.wall_clock_offset_s += 31 * 86_400
            for where in (proxy, asking, master):
                assert (await site.refusal(where, "jane", "first")).code is ErrorCode.USER_MUST_CHANGE_PASSWORD
            await site.log_in(master, "jane", "first", new_password="second")
            await anyio.sleep(0.1)
            for where in (proxy, asking, master):
                await site.log_in(where, "jane", "second")

    run_site(path, scenario)


def test_a_better_hash_is_made_at_the_master_after_a_log_in_at_a_proxy(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master, site.running_proxy() as proxy:
            old = proxy.book.hashes[3, 100]
            await site.log_in(proxy, "default", "secret")
            await anyio.sleep(1)
            new = proxy.book.hashes[3, 100]
            assert new != old
            assert new.startswith("$scrypt$ln=14,")
            assert_equal(master, proxy)
            await site.log_in(proxy, "default", "secret")
        async with site.running_master() as master:
            assert master.book.hashes[3, 100] == new
            assert master.book.changed_ms(100) == 1

    run_site(path, scenario)


def test_log_ins_go_on_while_the_database_is_away_and_are_written_when_it_is_back(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master(csproxy__last_login=True) as master:
            store = site.database._store
            assert store is not None
            usual = store.call

            async def failing(use: Any) -> Any:
                raise StoreError("the database is away")

            store.call = failing  # type: ignore[method-assign]
            await site.refusal(master, "default", "guess")
            await site.log_in(master, "default", "secret")
            await anyio.sleep(5)
            store.call = usual  # type: ignore[method-assign]
            await anyio.sleep(60)
            last_ms = master.book.state(100).last_ms
        async with site.running_master() as master:
            assert master.book.state(100).last_ms == last_ms > 0

    run_site(path, scenario)


def test_an_orderly_stop_writes_the_last_log_ins(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master:
            await anyio.sleep(5)
            await site.refusal(master, "default", "guess")
        async with site.running_master() as master:
            assert master.book.state(100).failed == 1

    run_site(path, scenario)


def test_a_batch_that_comes_again_counts_once_and_nobody_unknown_counts(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master:
            tomorrow_ms = round((site.simulation.wall_clock() + 86_400) * 1000)
            log_ins = [LogIn(100, tomorrow_ms, False), LogIn(4711, 5, False), LogIn(100, 7, True, True, "wde", "a")]
            for batch, failed in (("a", 1), ("a", 1), ("b", 2), ("", 3), ("", 4)):
                master.server.credentials.take(LogInRecords(log_ins=log_ins, batch=batch), server="proxy1")
                assert master.book.state(100).failed == failed
            state = master.book.state(100)
            assert state.failed_ms < tomorrow_ms - 86_000_000, "a clock that is ahead"
            assert state.last_ms == 0, "last log-ins are not kept here"
            assert (PERSON, 4711) not in master.book

    run_site(path, scenario)


def test_a_new_password_is_at_the_proxy_before_the_change_that_set_it(path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master, site.running_proxy() as proxy:
            seen: list[bool] = []
            usual = proxy.server.publish

            def watching(transaction: Any) -> None:
                id = transaction[0].type, transaction[0].dbid
                seen.append(proxy.book.hashes.get(id) == master.book.hashes.get(id))
                usual(transaction)

            proxy.server.publish = watching  # type: ignore[method-assign]
            jane = await site.create_person("jane", "first")
            await anyio.sleep(0.5)
            await site.set_password(jane, "second")
            await anyio.sleep(0.5)
            await site.delete_person(jane)
            await anyio.sleep(0.5)
            assert seen == [True, True, True]

    run_site(path, scenario)
