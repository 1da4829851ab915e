"""What each client sees, at a master and through a proxy, is what a plain model of the permissions says.

Random trees of lists, groups and persons change under clients that read, follow, lose their connection and resume.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path
from random import Random

import anyio
import anyio.lowlevel
import pytest
from permission_world import Follower, Site, site

from csproxy.core.changelog import WindowLimits
from csproxy.errors import ModelError
from csproxy.testing.permission_model import ACCESS_GROUP, FOLDER, PERSON, SKILL, TENANT, Id

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


SHORT = WindowLimits(min_changes=4, min_age_s=0.0, max_bytes=2_000)
"""A history that forgets so soon that some clients must read everything again."""


class Actor:
    """Changes things at random, as the administrator."""

    def __init__(self, site: Site, rng: Random) -> None:
        self.site = site
        self.rng = rng
        self._names = itertools.count(1)

    def any(self, kind: int, least: int = 101) -> int:
        return self.rng.choice([dbid for dbid in self.site.master.cache.dbids(kind) if dbid >= least] or [0])

    async def populate(self) -> None:
        for _ in range(4):
            await self.new_folder()
        for _ in range(3):
            await self.new_group()
        for _ in range(4):
            await self.new_person()
        for _ in range(8):
            await self.new_skill()

    async def act(self) -> None:
        acts = [
            (self.set_list, 5),
            (self.set_membership, 4),
            (self.move, 3),
            (self.move_folder, 2),
            (self.new_skill, 2),
            (self.rename_skill, 2),
            (self.delete, 2),
            (self.new_folder, 1),
            (self.group_state, 2),
            (self.new_group, 1),
            (self.default_access, 1),
        ]
        act = self.rng.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
        with suppress(ModelError):  # what the rules of objects refuse is no matter here
            await act()

    def name(self) -> str:
        return f"n{next(self._names)}"

    async def new_person(self) -> None:
        name = self.name()
        obj = {"tenantDBID": 1, "userName": name, "firstName": name, "employeeID": name, "isAgent": 1}
        await self.site.create(PERSON, obj)

    async def new_group(self) -> None:
        await self.site.create(ACCESS_GROUP, {"groupInfo": {"name": self.name(), "tenantDBID": 1}, "type": 1})

    async def new_folder(self) -> None:
        parent = self.any(FOLDER)
        more = {"parentID": {"DBID": parent, "type": FOLDER}} if parent and self.rng.random() < 0.6 else {}
        await self.site.create(FOLDER, {"name": self.name(), "type": SKILL, **more})

    async def new_skill(self) -> None:
        folder = self.any(FOLDER) if self.rng.random() < 0.8 else 0
        await self.site.create(SKILL, {"name": self.name(), "tenantDBID": 1}, folder=folder)

    async def rename_skill(self) -> None:
        await self.site.update(SKILL, self.any(SKILL), {"name": self.name()})

    async def delete(self) -> None:
        kind = self.rng.choice([SKILL, SKILL, FOLDER, ACCESS_GROUP])
        await self.site.delete(kind, self.any(kind))

    async def move(self) -> None:
        moved = {self.any(SKILL) for _ in range(self.rng.randint(1, 3))}
        added = [{"DBID": dbid, "type": SKILL} for dbid in moved]
        await self.site.update(FOLDER, self.any(FOLDER), {"objectIDs": {"added": added}})

    async def move_folder(self) -> None:
        await self.site.update(FOLDER, self.any(FOLDER), {"parentID": {"DBID": self.any(FOLDER), "type": FOLDER}})

    async def set_membership(self) -> None:
        group = self.any(ACCESS_GROUP)
        stored = self.site.master.cache.stored(ACCESS_GROUP, group) or {}
        there = {(member["type"], member["DBID"]) for member in stored.get("memberIDs", [])}
        kind = self.rng.choice([PERSON, PERSON, ACCESS_GROUP])
        member = (kind, self.any(kind))

        part = "deleted" if member in there else "added"
        item = {"type": member[0], "DBID": member[1]}
        await self.site.update(ACCESS_GROUP, group, {"memberIDs": {part: [item]}})

    async def group_state(self) -> None:
        group = self.any(ACCESS_GROUP) or 94
        state = (self.site.master.cache.stored(ACCESS_GROUP, group) or {})["groupInfo"].get("state", 1)
        await self.site.update(ACCESS_GROUP, group, {"groupInfo": {"state": 3 - state}})

    async def default_access(self) -> None:
        model = self.site.model
        value = "1" if model.default_access else "0"
        options = (self.site.master.cache.stored(9, 99) or {}).get("options", {})
        part = "changed" if "no-default-access" in options.get("security", {}) else "added"
        await self.site.update(9, 99, {"options": {part: {"security": {"no-default-access": value}}}})
        model.default_access = value == "0"

    async def set_list(self) -> None:
        holders = [
            (FOLDER, self.any(FOLDER)),
            (FOLDER, self.any(FOLDER)),
            (SKILL, self.any(SKILL)),
            (PERSON, self.any(PERSON)),
            (FOLDER, SKILL),
            (FOLDER, PERSON),
            (ACCESS_GROUP, self.any(ACCESS_GROUP)),
            (TENANT, 1),
        ]
        id = self.rng.choice(holders)
        if self.rng.random() < 0.25:
            await self.site.set_list(id, None)
            return
        entries: dict[Id, int] = {(ACCESS_GROUP, 98): 127, (ACCESS_GROUP, 96): 127}
        for _ in range(self.rng.randint(0, 3)):
            who = self.rng.choice(
                [
                    (PERSON, self.any(PERSON)),
                    (ACCESS_GROUP, self.any(ACCESS_GROUP)),
                    (ACCESS_GROUP, 94),
                    (ACCESS_GROUP, 97),
                ]
            )
            if who[1]:
                entries[who] = self.rng.choice([1, 1, 9, 8, 127, 129, 4])
        await self.site.set_list(id, entries)


@pytest.mark.parametrize(("seed", "window"), [*((seed, WindowLimits()) for seed in range(6)), (6, SHORT), (7, SHORT)])
async def test_each_client_sees_what_the_model_says(tmp_path: Path, seed: int, window: WindowLimits) -> None:
    rng = Random(seed)
    async with site(tmp_path, history=window) as world:
        actor = Actor(world, rng)
        await actor.populate()
        for _ in range(6):
            await actor.act()
        await world.settle()
        persons = [dbid for dbid in world.master.cache.dbids(PERSON) if dbid > 100][:3]
        followers = [
            Follower(world, host, str((world.master.cache.stored(PERSON, dbid) or {})["userName"]), dbid)
            for dbid in persons
            for host in ("proxy", "master")
        ]
        followers.append(Follower(world, "proxy", "default", 100))
        for follower in followers:
            await follower.start()
        for _ in range(12):
            away = [follower for follower in followers if rng.random() < 0.3]
            for follower in away:
                follower.disconnect()
            for _ in range(rng.randint(1, 5)):
                await actor.act()
                if rng.random() < 0.3:
                    await anyio.lowlevel.checkpoint()
            await world.settle()
            for follower in away:
                await follower.resume()
            for follower in followers:
                await follower.check(rng)
        assert sum(len(follower.copy) for follower in followers) > 0
