"""Subscribers who may read a part of the configuration, and the officer who changes which part that is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from csproxy.core.model import CfgAccessGroup, CfgFolder, CfgID, CfgObjectID, CfgParentID, CfgSkill
from csproxy.core.subscriptions import Interest
from csproxy.transport.client import ConfigClient
from tests.simulation.subscribers import READ_TYPES, Subscriber
from tests.simulation.template import ACCESS_GROUP, FOLDER, PERSON, SKILL
from tests.simulation.writers import WriterClient

EVERYONE, SUPER_ADMINISTRATORS, SYSTEM = 97, 96, 98
READ, ALL, ALONE = 1, 127, 128
INTERESTS = [Interest(), *(Interest(object_type=kind) for kind in (SKILL, PERSON, FOLDER, ACCESS_GROUP))]


class LimitedSubscriber(Subscriber):
    """Logs in as a Person who sees what one access group may."""

    def interests(self) -> list[Interest]:
        return self.rng.sample(INTERESTS, self.rng.randint(1, 2))

    async def read_snapshot(self, client: ConfigClient) -> None:
        """A snapshot shows its own UEN to who the reader is now, of which there is no record: read without one."""
        await self.read(client, self.rng.choice(READ_TYPES))


class Officer(WriterClient):
    """Changes lists, the members of the access group, and the places of skills and folders, at the master."""

    def _actions(self) -> list[Callable[[ConfigClient], Any]]:
        return [
            *[self.set_list] * 4,
            *[self.set_member] * 2,
            *[self.move_skill] * 3,
            self.move_folder,
            self.create_skill,
            self.update_skill,
            self.delete_skill,
        ]

    async def set_list(self, client: ConfigClient) -> None:
        known = self.world.template.known
        holder = self.rng.choice(
            [
                *[(FOLDER, SKILL), (FOLDER, known["outer"]), (FOLDER, known["inner"])] * 2,
                (FOLDER, PERSON),
                (FOLDER, known["team"]),
                (FOLDER, ACCESS_GROUP),
                (SKILL, self.rng.choice(self._skills)),
            ]
        )
        entries = {(ACCESS_GROUP, SYSTEM): ALL, (ACCESS_GROUP, SUPER_ADMINISTRATORS): ALL}
        for who in [(ACCESS_GROUP, known["limited group"]), (ACCESS_GROUP, EVERYONE), (PERSON, known["limited0"])]:
            if self.rng.random() < 0.4:
                entries[who] = self.rng.choice([READ, READ, READ | ALONE, ALL - READ])
        wanted = None if self.rng.random() < 0.2 else entries
        recursive = self.rng.random() < 0.2
        await client.administration.update_permissions(*holder, wanted, recursive=recursive)

    async def set_member(self, client: ConfigClient) -> None:
        known = self.world.template.known
        group = await client.get(CfgAccessGroup, known["limited group"])
        after = copy.deepcopy(group)
        person = known[self.rng.choice(["limited0", "limited1"])]
        others = [member for member in group.memberIDs if person != member.DBID]
        is_in = len(others) < len(group.memberIDs)
        after.memberIDs = others if is_in else [*others, CfgID(DBID=person, type=PERSON)]
        await client.update(group, after)

    async def move_skill(self, client: ConfigClient) -> None:
        known = self.world.template.known
        folder = await client.get(CfgFolder, self.rng.choice([SKILL, known["outer"], known["inner"]]))
        dbid = self.rng.choice([*self._skills, *self.mine.get(CfgSkill, [])])
        after = self._stamped(folder)
        if not any((item.DBID, item.type) == (dbid, SKILL) for item in folder.objectIDs):
            after.objectIDs = [*folder.objectIDs, CfgObjectID(DBID=dbid, type=SKILL)]
        await self._write_update(client, folder, after)

    async def move_folder(self, client: ConfigClient) -> None:
        known = self.world.template.known
        folder = await client.get(CfgFolder, known["inner"])
        after = self._stamped(folder)
        after.parentID = CfgParentID(DBID=self.rng.choice([SKILL, known["outer"]]), type=FOLDER)
        await self._write_update(client, folder, after)
