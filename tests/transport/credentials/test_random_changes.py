"""Whatever happens in whatever order: all servers end with the same log-ins and obey the password that was set last."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from password_site import PERSON, PasswordSite, Server, assert_equal, run_site

from csproxy.errors import ErrorCode, NothingListensError, ServerError

ACTIONS = ("create", "set", "set", "delete", "wrong", "wrong", "right", "cut", "away", "wait")
STEPS = 60


class Story:
    """What was done to a site, and what must be true in the end."""

    def __init__(self, site: PasswordSite, *servers: Server) -> None:
        self.site = site
        self.servers = servers
        self.rng = site.simulation.rng
        self.passwords: dict[int, str] = {}
        self.former: dict[int, str] = {}

    async def step(self, number: int) -> None:
        what = self.rng.choice(ACTIONS)
        site, dbid = self.site, self.rng.choice(list(self.passwords) or [0])
        if what == "create" or not dbid:
            dbid = await site.create_person(f"user{number}", f"first of {number}")
            self.passwords[dbid] = f"first of {number}"
        elif what == "set":
            self.former[dbid], self.passwords[dbid] = self.passwords[dbid], f"number {number}"
            await site.set_password(dbid, self.passwords[dbid])
        elif what == "delete":
            await site.delete_person(dbid)
            del self.passwords[dbid]
        elif what in ("wrong", "right"):
            await self.attempt(dbid, self.passwords[dbid] if what == "right" else "guess")
        elif what == "cut":
            site.network.cut("master", self.rng.choice(["proxy1", "proxy2"]))
        elif what == "away":
            site.network.refuse("master", 2020, on=self.rng.random() < 0.3)
        await anyio.sleep(self.rng.choice([0.0, 0.01, 1.5, 20.0]))

    async def attempt(self, dbid: int, password: str) -> None:
        """Try to log in somewhere: a proxy that is cut off may not know the user, or the password."""
        where = self.rng.choice(self.servers)
        try:
            await self.site.log_in(where, self.user(where, dbid), password)
        except NothingListensError:
            pass
        except ServerError as e:
            if e.code is not ErrorCode.LOGIN_INCORRECT:
                raise

    def user(self, where: Server, dbid: int) -> str:
        return str((where.server.cache.stored(PERSON, dbid) or {"userName": "nobody"})["userName"])

    async def check(self) -> None:
        """Every server takes the last password, and none the one before."""
        for where in self.servers:
            assert_equal(where, self.servers[0])
        for where in self.servers:
            for dbid, password in self.passwords.items():
                await self.site.log_in(where, self.user(where, dbid), password)
                if dbid in self.former:
                    error = await self.site.refusal(where, self.user(where, dbid), self.former[dbid])
                    assert error.code is ErrorCode.LOGIN_INCORRECT


@pytest.mark.parametrize("seed", range(6))
def test_servers_agree_after_random_changes_and_cuts(tmp_path: Path, seed: int) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master, site.running_proxy() as one, site.running_proxy("proxy2") as two:
            await site.set_rules(account_lockout_threshold=4, account_lockout_duration=1)
            story = Story(site, master, one, two)
            for number in range(STEPS):
                await story.step(number)
            for proxy in (one, two):
                await site.bring_master_back(proxy)
            await anyio.sleep(130)  # log-ins are reported, digests compared, and every lockout is over
            await story.check()

    run_site(tmp_path / "config.db", scenario, seed=seed)
