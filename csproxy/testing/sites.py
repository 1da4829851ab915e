"""Believable contact centres of any size, the same for the same seed.

`generate_site` yields about five objects per agent, in an order in which every reference points to
an object yielded before or to one of the base objects, so that they can be created one by one. No
object holds a password: nobody can log in as a generated Person until one is set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from csproxy.errors import ConfigurationError
from csproxy.testing.site_names import (
    ATTRIBUTES,
    CITIES,
    NOT_READY_CODES,
    OTHER_CODES,
    PEOPLE,
    PUBLIC_HOLIDAYS,
    SERVER_LOG,
    SERVERS,
    SKILLS,
    Name,
)
from csproxy.testing.site_parts import FALSE, TENANT, TRUE, ObjectNumber, SiteBooks, SiteObject

__all__ = ["MAX_AGENTS", "SiteObject", "generate_site"]

MAX_AGENTS: Final = 1_000_000
"""Largest site; the real ones end near 100,000."""
_AGENTS_PER_SWITCH: Final = 2_000
_AGENTS_PER_TEAM: Final = 25
_SPEAKERS: Final = tuple(share for share in PEOPLE for _ in range(share[0]))

_DESKTOP: Final = 18


def generate_site(
    agents: int, *, seed: int, base: Iterable[tuple[int, Mapping[str, Any], int]]
) -> Iterator[SiteObject]:
    """The objects of a contact centre with ``agents`` agents.

    ``base`` holds the well-known objects as (type number, plain object, folder DBID): at least the
    tenant's default folders. DBIDs begin after those of ``base``, per type. The same arguments give
    the same objects in the same order. Raises `ConfigurationError` for a number of agents outside
    of 1 … `MAX_AGENTS` and for a base without default folders.
    """
    if not 1 <= agents <= MAX_AGENTS:
        raise ConfigurationError(f"a site of {agents} agents: valid is 1 to {MAX_AGENTS}")
    return _Site(agents, SiteBooks(seed, base)).objects()


class _Site:
    """One site in the making: what later objects refer to."""

    def __init__(self, agents: int, books: SiteBooks) -> None:
        self._agents = agents
        self._books = books
        self._user_names: dict[str, int] = {}
        self._languages: list[int] = []
        self._skills: list[int] = []
        self._prototypes: dict[int, int] = {}
        self._hosts: list[int] = []
        self._addresses = 0
        self._capacity_rules: list[int] = []
        self._desktop_rules: list[int] = []
        self._teams = 0

    def objects(self) -> Iterator[SiteObject]:
        """All objects in the order of their references."""
        books = self._books
        self._add_codes()
        self._add_attributes()
        self._add_calendar()
        self._add_skills()
        self._add_scripts()
        self._add_platform()
        yield from books.drain()
        done = 0
        index = 0
        while done < self._agents:
            size = min(_AGENTS_PER_SWITCH, self._agents - done)
            yield from self._switch(index, done, size)
            done += size
            index += 1

    # Once per site

    def _add_codes(self) -> None:
        add = self._books.add
        for name, code in NOT_READY_CODES:
            add(ObjectNumber.ACTION_CODE, tenantDBID=TENANT, name=name, type=9, code=code, state=1)
        for kind, name, code, subcodes in OTHER_CODES:
            listed = [{"name": text, "code": f"{code}{n}"} for n, text in enumerate(subcodes, 1)]
            add(ObjectNumber.ACTION_CODE, tenantDBID=TENANT, name=name, type=kind, code=code, subcodes=listed, state=1)

    def _add_attributes(self) -> None:
        books = self._books
        for name, shown, values in ATTRIBUTES:
            attribute = books.add(
                ObjectNumber.ENUMERATOR, tenantDBID=TENANT, name=name, displayName=shown, type=1, state=1
            )
            books.add_container(ObjectNumber.ENUMERATOR, attribute)
            folder = books.default_folder(ObjectNumber.ENUMERATOR_VALUE, owner=(ObjectNumber.ENUMERATOR, attribute))
            for n, value in enumerate(values):
                books.add(
                    ObjectNumber.ENUMERATOR_VALUE,
                    folder=folder,
                    enumeratorDBID=attribute,
                    tenantDBID=TENANT,
                    name=value,
                    displayName=value.capitalize(),
                    isDefault=FALSE if n else TRUE,
                    state=1,
                )
        for name in ("GCID", "CustomerID", "Intent", "LastAgent", "Segment", "VIP", "Reason"):
            books.add(ObjectNumber.TRANSACTION, tenantDBID=TENANT, name=name, type=1, alias=f"attr_{name}", state=1)
        for name, mask in (("AHT", "CallInbound"), ("Occupancy", "*"), ("ServiceLevel", "CallAnswered")):
            options = {"definition": {"Category": "AverageTime", "MainMask": mask, "Subject": "DNAction"}}
            books.add(
                ObjectNumber.TRANSACTION,
                tenantDBID=TENANT,
                name=name,
                type=19,
                alias=name.lower(),
                description=f"Statistical type {name}",
                recordPeriod=86_400,
                state=1,
                userProperties=options,
            )

    def _add_calendar(self) -> None:
        books = self._books
        days = [
            books.add(
                ObjectNumber.STAT_DAY,
                tenantDBID=TENANT,
                name=name,
                isDayOfWeek=FALSE,
                day=month * 100 + day,
                startTime=8 * 3600,
                endTime=14 * 3600,
                targetValue=80,
                intervalLength=900,
                type=1,
                state=1,
            )
            for name, month, day in PUBLIC_HOLIDAYS
        ]
        books.add(
            ObjectNumber.STAT_TABLE, tenantDBID=TENANT, name="Public holidays", type=3, statDayDBIDs=days, state=1
        )

    def _add_skills(self) -> None:
        for n in range(max(30, min(30 + self._agents // 300, 200))):
            level, index = divmod(n, len(SKILLS))
            name = SKILLS[index] + (f" Level {level + 1}" if level else "")
            self._skills.append(self._books.add(ObjectNumber.SKILL, tenantDBID=TENANT, name=name, state=1))
            self._books.group(
                ObjectNumber.AGENT_GROUP,
                f"Skill {name}",
                info={"userProperties": {"virtual": {"script": f'Skill("{name}") > 3'}}},
            )
        self._languages = self._skills[:12]

    def _add_scripts(self) -> None:
        add = self._books.add
        for name, voice, chat in (("Voice only", 1, 0), ("Blended", 1, 2), ("Chat only", 0, 4)):
            rule = {"capacity": {"voice": str(voice), "chat": str(chat), "email": "3"}}
            self._capacity_rules.append(
                add(ObjectNumber.SCRIPT, tenantDBID=TENANT, name=name, type=22, state=1, userProperties=rule)
            )
        for n in range(20 + self._agents // 500):
            source = {"strategy": {"source": f"svn://strategies/entry_{n:03d}.rbn", "version": str(1 + n % 7)}}
            name = f"Entry {n:03d} {SKILLS[n % len(SKILLS)]}"
            add(ObjectNumber.SCRIPT, tenantDBID=TENANT, name=name, type=6, index=n, state=1, userProperties=source)

    def _add_platform(self) -> None:
        books = self._books
        for kind, (name, version, options) in SERVERS.items():
            self._prototypes[kind] = books.add(
                ObjectNumber.APP_PROTOTYPE,
                name=f"{name}_{version[:3]}",
                type=kind,
                version=version[:3],
                options=options,
                state=1,
            )
        self._prototypes[_DESKTOP] = books.add(
            ObjectNumber.APP_PROTOTYPE, name="AgentDesktop_8.5", type=_DESKTOP, version="8.5", state=1
        )
        for n in range(3):
            self._add_host(f"core{n + 1:02d}.cc.example.net")
        self._add_server(42, "MessageServer", port=7120, host=0)
        self._add_server(43, "SCS", port=7130, host=1)

    def _add_host(self, name: str) -> int:
        n = self._addresses
        self._addresses += 1
        host = self._books.add(
            ObjectNumber.HOST,
            name=name,
            IPaddress=f"10.{n // 62_500}.{n // 250 % 250}.{n % 250 + 1}",
            OSinfo={"OStype": 16, "OSversion": "8.9"},
            type=1,
            LCAPort="4999",
            state=1,
            userProperties={"addp": {"addp-timeout": "9", "addp-remote-timeout": "9"}},
        )
        self._hosts.append(host)
        return host

    def _add_server(self, kind: int, name: str, *, port: int, host: int, backup: int = 0, spare: bool = False) -> int:
        """A server application on host number ``host``; with ``backup`` or as a ``spare`` one of a pair."""
        books = self._books
        _, version, options = SERVERS[kind]
        server: dict[str, Any] = {"hostDBID": self._hosts[host], "port": str(port)}
        if backup:
            server["backupServerDBID"] = backup
        server.update(timeout=10, attempts=1)
        up = books.config_server
        link = {"appServerDBID": up, "connProtocol": "addp", "timoutLocal": 60, "timoutRemote": 90, "id": "default"}
        return books.add(
            ObjectNumber.APPLICATION,
            name=name,
            type=kind,
            version=version,
            appServerDBIDs=[link] if up else [],
            tenantDBIDs=[TENANT],
            isServer=TRUE,
            serverInfo=server,
            options={**options, "log": SERVER_LOG},
            state=1,
            appPrototypeDBID=self._prototypes[kind],
            workDirectory=f"/opt/genesys/{name.lower().replace(' ', '_')}",
            commandLine="./run.sh",
            autoRestart=TRUE,
            startupTimeout=90,
            shutdownTimeout=90,
            redundancyType=2 if backup or spare else 0,
            isPrimary=FALSE if spare else TRUE,
            startupType=1,
            portInfos=[{"id": "default", "port": str(port)}],
        )

    # Once per switch

    def _switch(self, index: int, first_agent: int, size: int) -> Iterator[SiteObject]:
        books = self._books
        round_, city_index = divmod(index, len(CITIES))
        city = CITIES[city_index] + (f" {round_ + 1}" if round_ else "")
        switch = self._add_switch(index, city, size)
        owner = (ObjectNumber.SWITCH, switch)
        books.add_container(*owner)
        logins = books.default_folder(ObjectNumber.AGENT_LOGIN, owner=owner)
        extensions = books.add_folder("Extensions", ObjectNumber.DN, owner=owner)
        positions = books.add_folder("ACD Positions", ObjectNumber.DN, owner=owner)
        queues = self._add_queues(switch, city, size)
        members: list[dict[str, int]] = []
        leaders: list[dict[str, int]] = []
        yield from books.drain()
        for start in range(0, size, _AGENTS_PER_TEAM):
            self._teams += 1
            team = _Team(self._teams, books)
            queue = queues[start // _AGENTS_PER_TEAM % len(queues)]
            for n in range(start, min(start + _AGENTS_PER_TEAM, size)):
                place = self._add_place(team, switch, city, n, (extensions, positions))
                login = books.add(
                    ObjectNumber.AGENT_LOGIN,
                    folder=logins,
                    switchDBID=switch,
                    tenantDBID=TENANT,
                    loginCode=str(50_000 + n),
                    state=1,
                    override=str(10_000 + n),
                    useOverride=TRUE,
                    switchSpecificType=1,
                )
                team.add(self._add_agent(team, first_agent + n, city, place, login), place)
            members += team.members
            leaders.append(team.members[0])
            self._finish_team(team, queue)
            yield from books.drain()
        books.group(ObjectNumber.ACCESS_GROUP, f"Agents {city}", memberIDs=members, type=2)
        books.group(ObjectNumber.ACCESS_GROUP, f"Team leaders {city}", memberIDs=leaders, type=2)
        yield from books.drain()

    def _add_switch(self, index: int, city: str, size: int) -> int:
        books = self._books
        first_host = len(self._hosts)
        for n in range(2 + size // 1_000):
            self._add_host(f"srv{n + 1:02d}.site{index + 1:03d}.cc.example.net")
        backup = self._add_server(1, f"TServer {city} backup", port=7000, host=first_host + 1, spare=True)
        tserver = self._add_server(1, f"TServer {city}", port=7000, host=first_host, backup=backup)
        self._add_server(2, f"StatServer {city}", port=7010, host=first_host)
        self._add_server(15, f"URS {city}", port=7020, host=first_host + 1)
        physical = books.add(ObjectNumber.PHYSICAL_SWITCH, name=f"PBX {city}", type=5, state=1)
        return books.add(
            ObjectNumber.SWITCH,
            tenantDBID=TENANT,
            physSwitchDBID=physical,
            type=5,
            name=f"Switch {city}",
            TServerDBID=tserver,
            linkType=7,
            DNRange=f"10000-{10_000 + size - 1}",
            state=1,
        )

    def _add_queues(self, switch: int, city: str, size: int) -> list[int]:
        """Routing points and queues of a switch, and a DN group of each kind; returns the queues."""
        books = self._books
        owner = (ObjectNumber.SWITCH, switch)
        inner = {
            4: (books.add_folder("Routing Points", ObjectNumber.DN, owner=owner), 8_000, 10 + size // 200),
            3: (books.add_folder("Queues", ObjectNumber.DN, owner=owner), 9_000, 5 + size // 100),
        }
        made: dict[int, list[int]] = {}
        for kind, (place, first, count) in inner.items():
            made[kind] = [
                books.add(
                    ObjectNumber.DN,
                    folder=place,
                    switchDBID=switch,
                    tenantDBID=TENANT,
                    type=kind,
                    number=str(first + n),
                    association=f"+800555{first + n}" if kind == 4 else "",
                    registerAll=2,
                    routeType=1,
                    state=1,
                    name=f"{'RP' if kind == 4 else 'Q'}_{first + n}_{switch}",
                    switchSpecificType=1,
                )
                for n in range(count)
            ]
        for kind, name, group_type in ((4, "Routing points", 3), (3, "Queues", 2)):
            listed = [{"DNDBID": dn} for dn in made[kind]]
            books.group(ObjectNumber.DN_GROUP, f"{name} {city}", type=group_type, DNs=listed)
        return made[3]

    # Once per agent

    def _add_place(self, team: _Team, switch: int, city: str, n: int, folders: tuple[int, int]) -> int:
        books = self._books
        lines = []
        for kind, first, folder in ((1, 10_000, folders[0]), (2, 30_000, folders[1])):
            number = str(first + n)
            line = books.add(
                ObjectNumber.DN,
                folder=folder,
                switchDBID=switch,
                tenantDBID=TENANT,
                type=kind,
                number=number,
                loginFlag=TRUE,
                registerAll=2,
                routeType=1,
                state=1,
                name=f"{number}_{switch}",
                switchSpecificType=1,
            )
            lines.append(line)
        return books.add(
            ObjectNumber.PLACE,
            folder=team.place_folder,
            tenantDBID=TENANT,
            name=f"{city} {10_000 + n}",
            DNDBIDs=lines,
            state=1,
        )

    def _add_agent(self, team: _Team, n: int, city: str, place: int, login: int) -> int:
        books = self._books
        _, first_names, last_names = books.pick(_SPEAKERS)
        first, last = books.pick(first_names), books.pick(last_names)
        user = self._user_name(first, last)
        leads = not team.members
        rules = self._capacity_rules
        return books.add(
            ObjectNumber.PERSON,
            folder=team.person_folder,
            tenantDBID=TENANT,
            lastName=last.written,
            firstName=first.written,
            employeeID=f"E{n + 1:07d}",
            userName=user,
            appRanks=[{"appType": 19, "appRank": 3}, {"appType": _DESKTOP, "appRank": 1}] if leads else [],
            isAgent=TRUE,
            agentInfo={
                "placeDBID": place,
                "skillLevels": self._skill_levels(),
                "agentLogins": [{"agentLoginDBID": login, "wrapupTime": 5 + 5 * books.below(12)}],
                "capacityRuleDBID": rules[books.below(len(rules))],
            },
            state=1,
            userProperties={"interaction-workspace": {"desktop": team.name, "site": city}},
            emailAddress=f"{user}@cc.example.net",
            externalID=user.upper(),
            isExternalAuth=FALSE,
        )

    def _user_name(self, first: Name, last: Name) -> str:
        plain = f"{first.plain}.{last.plain}"
        same = self._user_names.get(plain, 0) + 1
        self._user_names[plain] = same
        return plain if same == 1 else f"{plain}{same}"

    def _skill_levels(self) -> list[dict[str, int]]:
        books = self._books
        first, second = books.below(len(self._languages)), books.below(len(self._languages))
        skills = {self._languages[first]: 0, self._languages[second]: 0}
        for _ in range(2 + books.below(4)):
            skills[books.pick(self._skills)] = 0
        return [{"skillDBID": skill, "level": 1 + books.below(10)} for skill in sorted(skills)]

    def _finish_team(self, team: _Team, queue: int) -> None:
        """The groups of a team, and the desktop application with its options."""
        books = self._books
        books.group(
            ObjectNumber.AGENT_GROUP,
            team.name,
            info={"managerDBIDs": team.persons[:1], "routeDNDBIDs": [queue]},
            agentDBIDs=team.persons,
        )
        books.group(ObjectNumber.PLACE_GROUP, team.name, placeDBIDs=team.places)
        books.add(
            ObjectNumber.APPLICATION,
            name=f"Desktop {team.name}",
            type=_DESKTOP,
            version="8.5.140.08",
            tenantDBIDs=[TENANT],
            isServer=FALSE,
            options={
                "interaction-workspace": {
                    "agent.last-login.enabled": "true",
                    "toast.window-title": "$Contact.FirstName$ $Contact.LastName$",
                    "voice.auto-answer": books.pick(("true", "false")),
                    "privilege.voice.can-use": "Allowed",
                    "privilege.chat.can-use": books.pick(("Allowed", "Not Allowed")),
                    "team": team.name,
                },
                "log": {"verbose": "standard", "all": "network"},
            },
            state=1,
            appPrototypeDBID=self._prototypes[_DESKTOP],
            autoRestart=FALSE,
            startupType=1,
        )


class _Team:
    """Agents who sit together: folders for their Persons and Places, and who is in it."""

    def __init__(self, number: int, books: SiteBooks) -> None:
        self.name = f"Team {number:03d}"
        self.person_folder = books.add_folder(self.name, ObjectNumber.PERSON)
        self.place_folder = books.add_folder(self.name, ObjectNumber.PLACE)
        self.persons: list[int] = []
        self.places: list[int] = []

    @property
    def members(self) -> list[dict[str, int]]:
        """The team as members of an access group."""
        return [{"DBID": dbid, "type": ObjectNumber.PERSON} for dbid in self.persons]

    def add(self, person: int, place: int) -> None:
        """One more agent, with the place that belongs to it."""
        self.persons.append(person)
        self.places.append(place)
