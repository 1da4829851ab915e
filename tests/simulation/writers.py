"""Clients of a simulated run that change things, and the recording of what became of that."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import anyio

from csproxy.core.changes import Action, Position
from csproxy.core.model import (
    SCHEMA,
    CfgActionCode,
    CfgAgentInfo,
    CfgDN,
    CfgFolder,
    CfgObject,
    CfgObjectID,
    CfgPerson,
    CfgSkill,
    CfgSkillLevel,
    CfgSwitch,
)
from csproxy.errors import ConnectionLostError, CsproxyError, OutcomeUnknownError, ServerError, TimedOutError
from csproxy.testing.histories import Outcome, WriteRecord
from csproxy.transport.client import ConfigClient
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects
from tests.simulation.actors import SimulatedClient
from tests.simulation.template import PERSON


class WriterClient(SimulatedClient):
    """Changes things, at the master or through writable proxies."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.mine: dict[type[CfgObject], list[int]] = {}
        known = self.world.template.known
        self._persons = list(range(101, 107))
        self._skills = [known["skill"] + n for n in range(4)]
        self._tries = 0
        self._looks = random.Random(f"{self.world.sim.seed} {self.name} looks")

    async def work(self, client: ConfigClient) -> None:
        while not self.world.is_quiet:
            await self.pause(self.rng.expovariate(1 / self.world.plan.write_pause_s))
            if self.world.is_quiet:
                break
            self.is_writing = True
            try:
                await self.rng.choice(self._actions())(client)
            except (ServerError, TimedOutError, ConnectionLostError) as e:
                if client.state.value in ("lost", "closed"):
                    raise
                self.world.note(f"{self.name}: a write failed: {e}")
            finally:
                self.is_writing = False
        await anyio.sleep_forever()

    def _actions(self) -> list[Callable[[ConfigClient], Any]]:
        return [
            *[self.create_skill] * 3,
            *[self.create_person] * 2,
            self.create_code,
            *[self.update_person] * 4,
            *[self.update_skill] * 2,
            *[self.delete_skill] * 2,
            self.recreate_skill,
            self.switch_with_dns,
            self.delete_switch,
            self.move_person,
            self.refused,
        ]

    async def create_skill(self, client: ConfigClient, name: str = "") -> None:
        tenant = self.world.template.known["north"] if self.rng.random() < 0.3 else 1
        name = name or f"{self.name} skill {next(self.world.names)}"
        await self._create(client, CfgSkill(name=name, tenantDBID=tenant))

    async def create_person(self, client: ConfigClient) -> None:
        name = f"{self.name} person {next(self.world.names)}"
        levels = [CfgSkillLevel(skillDBID=dbid, level=1) for dbid in self._some_skills()]
        person = CfgPerson(
            userName=name, employeeID=name, tenantDBID=1, isAgent=2, agentInfo=CfgAgentInfo(skillLevels=levels)
        )
        await self._create(client, person)

    async def create_code(self, client: ConfigClient) -> None:
        name = f"{self.name} code {next(self.world.names)}"
        await self._create(client, CfgActionCode(name=name, code=name, type=1, tenantDBID=1))

    async def switch_with_dns(self, client: ConfigClient) -> None:
        name = f"{self.name} switch {next(self.world.names)}"
        office = (await client.read(SCHEMA.types[11].cls))[0]
        await self._create(client, CfgSwitch(name=name, tenantDBID=1, physSwitchDBID=office.DBID))  # type: ignore[attr-defined]
        switches = self.mine.get(CfgSwitch, [])
        if switches:
            for number in range(self.rng.randint(1, 5)):
                await self._create(client, CfgDN(switchDBID=switches[-1], number=str(number), type=1))

    async def update_person(self, client: ConfigClient) -> None:
        await self._update(client, CfgPerson, self.rng.choice([*self._persons, *self.mine.get(CfgPerson, [])]))

    async def update_skill(self, client: ConfigClient) -> None:
        await self._update(client, CfgSkill, self.rng.choice([*self._skills, *self.mine.get(CfgSkill, [])]))

    async def delete_skill(self, client: ConfigClient) -> None:
        """One of the skills that persons have: their levels go with it, in one transaction."""
        skills = self.mine.get(CfgSkill, [])
        if skills:
            await self._delete(client, CfgSkill, skills.pop(self.rng.randrange(len(skills))))

    async def recreate_skill(self, client: ConfigClient) -> None:
        skills = self.mine.get(CfgSkill, [])
        if skills:
            skill = await client.get(CfgSkill, skills[0])
            await self._delete(client, CfgSkill, skills.pop(0))
            await self.create_skill(client, skill.name)

    async def delete_switch(self, client: ConfigClient) -> None:
        switches = self.mine.get(CfgSwitch, [])
        if switches and self.rng.random() < 0.7:
            await self._delete(client, CfgSwitch, switches.pop())

    async def move_person(self, client: ConfigClient) -> None:
        folder = await client.get(CfgFolder, self.rng.choice([self.world.template.known["team"], PERSON]))
        after = self._stamped(folder)
        dbid = self.rng.choice(self._persons)
        if not any((item.DBID, item.type) == (dbid, PERSON) for item in folder.objectIDs):
            after.objectIDs = [*folder.objectIDs, CfgObjectID(DBID=dbid, type=PERSON)]
        await self._write_update(client, folder, after)

    async def refused(self, client: ConfigClient) -> None:
        await self._create(client, CfgSkill(name="skill 0", tenantDBID=1))

    # how writes are made and recorded

    def _some_skills(self) -> list[int]:
        skills = [*self._skills, *self.mine.get(CfgSkill, [])]
        return self.rng.sample(skills, min(len(skills), 2))

    def _token(self) -> dict[str, dict[str, str]]:
        filler = "x" * self.rng.randint(0, self.world.plan.filler_bytes)
        return {"simulation": {"token": f"token-{next(self.world.tokens)}-{filler}"}}

    def _stamped(self, item: Any) -> Any:
        after = copy.deepcopy(item)
        after.userProperties = self._token()
        return after

    async def _update(self, client: ConfigClient, cls: type[Any], dbid: int) -> None:
        before = await client.get(cls, dbid)
        after = self._stamped(before)
        if cls is CfgPerson and after.agentInfo is not None and self.rng.random() < 0.5:
            after.agentInfo.skillLevels = [
                CfgSkillLevel(skillDBID=skill, level=self.rng.randint(0, 9)) for skill in self._some_skills()
            ]
        await self._write_update(client, before, after)

    async def _create(self, client: ConfigClient, item: Any) -> None:
        item.userProperties = self._token()
        kind = SCHEMA.object_type(type(item)).number

        async def create(key: str) -> int:
            made: int = (await client.create(item, key=key)).DBID
            self.mine.setdefault(type(item), []).append(made)
            return made

        await self._record(client, Action.CREATED, kind, 0, _token_of(item), create)

    async def _write_update(self, client: ConfigClient, before: Any, after: Any) -> None:
        kind = SCHEMA.object_type(type(before)).number

        async def update(key: str) -> int:
            await client.update(before, after, key=key)
            return int(before.DBID)

        await self._record(client, Action.UPDATED, kind, before.DBID, _token_of(after), update)

    async def _delete(self, client: ConfigClient, cls: type[CfgObject], dbid: int) -> None:
        async def delete(key: str) -> int:
            await client.delete(cls, dbid, key=key)
            return dbid

        await self._record(client, Action.DELETED, SCHEMA.object_type(cls).number, dbid, "", delete)

    async def _record(
        self, client: ConfigClient, action: Action, kind: int, dbid: int, token: str, do: Callable[[str], Any]
    ) -> None:
        """Carry a write out and record its outcome; one of unknown outcome is sometimes repeated with its key."""
        key = self.rng.randbytes(8).hex()
        write = WriteRecord(0.0, self.name, action, kind, dbid, token, Outcome.UNKNOWN, Position(0, 0), key)
        try:
            await self._attempt(write, do)
        except (ConnectionLostError, TimedOutError, OutcomeUnknownError):
            self.counters.unknown += 1
            if self.rng.random() < 0.5:
                try:
                    await self._attempt(write, do)
                    self.counters.repeated += 1
                except CsproxyError as e:
                    self.world.note(f"{self.name}: repeating failed: {e}")
                else:
                    return
            raise
        if self.world.plan.writable and self._looks.random() < 0.7:
            await self._look(client, kind)

    async def _attempt(self, write: WriteRecord, do: Callable[[str], Any]) -> None:
        """Carry ``write`` out, and record when, and what came of it."""
        write = write._replace(began_s=self.world.sim.now())
        try:
            write = write._replace(dbid=await do(write.key), outcome=Outcome.ACKNOWLEDGED)
        except (ConnectionLostError, TimedOutError, OutcomeUnknownError):
            raise
        except ServerError:
            write = write._replace(outcome=Outcome.REFUSED)
            raise
        finally:
            position = self.world.acknowledged(self.name)
            self.world.history.writes.append(write._replace(at_s=self.world.sim.now(), position=position))

    async def _look(self, client: ConfigClient, kind: int) -> None:
        """Read without saying what has been written: the server must know that by itself."""
        connection = await client.connection()
        await connection.request(MessageId.READ_OBJECTS, ReadObjects(type=kind), timeout_s=8.0)


def _token_of(item: Any) -> str:
    text: str = item.userProperties["simulation"]["token"]
    return "-".join(text.split("-")[:2]) + "-"
