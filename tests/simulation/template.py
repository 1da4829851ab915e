"""The database that every simulated run begins with: made once per process, then copied."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from csproxy.core.model import SCHEMA
from csproxy.core.model.enumerations import CfgHAType
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.wellknown import FIRST_FREE_DBID, LOCALHOST, well_known_objects
from csproxy.testing.histories import ObjectKey
from tests.core.writes.desk import Desk
from tests.simulation.plan import PAIR, POOL

PROXIES = ("proxy1", "proxy2")
BALANCER = "pool"
"""The host of a pool's load balancer, and the Application that stands for it."""
CLIENTS = 8
CLIENT_TYPE = 107
"""CFGGenericServer: a daemon, which may connect without a user."""
SKILL, CODE, PERSON, GROUP, DN, SWITCH, FOLDER, APPLICATION, ACCESS_GROUP = 13, 14, 3, 5, 2, 1, 22, 9, 21
GENERIC_SERVER_PROTOTYPE = 97


@cache
def _template(
    clients: int, ports: tuple[int, ...], *, pair: bool, limited: bool, together: str, link_timeout_s: int
) -> tuple[Path, dict[ObjectKey, bytes], dict[ObjectKey, int], dict[str, int]]:
    """The file, its objects and folders, and the DBIDs of some of them by name."""
    desk = Desk(address="master", backup=("confserv_backup", 2020)) if pair else Desk()
    if pair:  # clients reach the backup at an address of its own
        host = desk.create("host", {**desk.get("host", LOCALHOST), "name": "second", "IPaddress": "backup"})
        server = desk.get("application", FIRST_FREE_DBID)["serverInfo"]
        desk.update("application", FIRST_FREE_DBID, {"serverInfo": {**server, "hostDBID": host}})
    for name, port in zip(PROXIES, ports, strict=True):
        desk.plant("application", {**_proxy(name, port), "DBID": 0}, folder=9)
    if together:
        put_together(desk, together, link_timeout_s=link_timeout_s)
    for number in range(clients):
        desk.create("application", {"name": f"client{number}", "appPrototypeDBID": GENERIC_SERVER_PROTOTYPE})
    north = desk.create("tenant", {"name": "North"})
    skills = [desk.skill(f"skill {n}") for n in range(4)]
    desk.skill("north skill", tenant=north)
    for n in range(6):
        levels = [{"skillDBID": skills[n % 4], "level": 5}, {"skillDBID": skills[(n + 1) % 4], "level": n}]
        desk.person(f"person{n}", isAgent=2, agentInfo={"skillLevels": levels})
    switch = desk.switch("east")
    for n in range(3):
        desk.dn(switch, str(100 + n))
    parent = {"DBID": PERSON, "type": FOLDER}
    team = desk.create(
        "folder", {"name": "team", "type": PERSON, "ownerID": {"DBID": 1, "type": 7}, "parentID": parent}
    )
    known = {"north": north, "team": team, "switch": switch, "skill": skills[0]}
    if limited:
        known.update(_with_limited_persons(desk))
    objects, folders = {}, {}
    for kind in SCHEMA.types:
        for dbid in desk.cache.dbids(kind):
            objects[kind, dbid] = desk.cache.get(kind, dbid) or b""
            folders[kind, dbid] = desk.cache.folder_of(kind, dbid)
    path = Path(tempfile.mkdtemp(dir=_directory().name)) / "template.db"
    rows = [(kind, desk.cache.stored(kind, dbid) or {}, folders[kind, dbid]) for kind, dbid in objects]
    create_configuration(f"sqlite:///{path}", rows, release="1.0")
    return path, objects, folders, known


def _proxy(name: str, port: int) -> dict[str, Any]:
    return next(obj for _, obj, _ in well_known_objects(proxies=[(name, port)]) if obj.get("name") == name)


def _with_limited_persons(desk: Desk) -> dict[str, int]:
    """Two Persons in an access group, and two folders of skills, one within the other."""
    persons = [desk.person(f"limited{n}") for n in range(2)]
    members = [{"DBID": dbid, "type": PERSON} for dbid in persons]
    group = desk.create(
        "accessGroup", {"groupInfo": {"name": "limited", "tenantDBID": 1}, "type": 1, "memberIDs": members}
    )
    owner = {"DBID": 1, "type": 7}
    outer, inner = SKILL, 0
    for name in ("outer", "inner"):
        parent = {"DBID": inner or outer, "type": FOLDER}
        made = desk.create("folder", {"name": name, "type": SKILL, "ownerID": owner, "parentID": parent})
        outer, inner = inner, made
    return {"limited0": persons[0], "limited1": persons[1], "limited group": group, "outer": outer, "inner": inner}


def put_together(desk: Desk, together: str, *, link_timeout_s: int) -> None:
    """Make the two proxies a pair or members of a pool, each on a host of its own."""
    dbids = [desk.cache.find(APPLICATION, name=name) or 0 for name in PROXIES]
    for name, dbid in zip(PROXIES, dbids, strict=True):
        host = desk.create("host", {**desk.get("host", LOCALHOST), "name": name, "IPaddress": name})
        proxy = desk.get("application", dbid)
        server: dict[str, Any] = {**proxy["serverInfo"], "hostDBID": host}
        delta: dict[str, Any] = {"serverInfo": server}
        if link_timeout_s:
            watched = {"connProtocol": "addp", "timoutLocal": link_timeout_s, "timoutRemote": link_timeout_s}
            delta["appServerDBIDs"] = {"changed": [{**each, **watched} for each in proxy["appServerDBIDs"]]}
        if together == PAIR:
            delta["redundancyType"] = int(CfgHAType.CFGHTWarmStanby)
            if name == PROXIES[0]:
                server["backupServerDBID"] = dbids[1]
        desk.update("application", dbid, delta)
    if together == POOL:
        host = desk.create("host", {**desk.get("host", LOCALHOST), "name": BALANCER, "IPaddress": BALANCER})
        balancer = _proxy(BALANCER, 2020)
        balancer["serverInfo"] = {**balancer["serverInfo"], "hostDBID": host}
        desk.plant("application", {**balancer, "DBID": 0}, folder=9)


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    shared_memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(
        prefix="csproxy-simulation-", dir=shared_memory if shared_memory.is_dir() else None
    )


class Template:
    """The content of a new database: Applications for so many clients, and for proxies on these ports.

    ``pair``: the master is on the host ``master``, and has a backup on the host ``backup``. ``limited``: there are
    Persons who read only what an access group may. ``together``, ``link_timeout_s``: as in a `RunPlan`.
    """

    def __init__(
        self,
        *,
        clients: int = CLIENTS,
        ports: tuple[int, ...] = (2021, 2021),
        pair: bool = False,
        limited: bool = False,
        together: str = "",
        link_timeout_s: int = 0,
    ) -> None:
        self._path, self.objects, self.folders, self.known = _template(
            clients, ports, pair=pair, limited=limited, together=together, link_timeout_s=link_timeout_s
        )

    @contextmanager
    def copy(self) -> Iterator[str]:
        """The URL of a fresh copy, removed afterwards."""
        with tempfile.TemporaryDirectory(dir=_directory().name) as folder:
            path = Path(folder) / "config.db"
            shutil.copyfile(self._path, path)
            yield f"sqlite:///{path}"
