"""What the objects make of a proxy: the settings of its link to the other one of the pair."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.changes import Action
from csproxy.core.keepalive import KeepAlive
from csproxy.core.model.enumerations import CfgHAType
from csproxy.core.wellknown import CONFSERV, FIRST_FREE_DBID, well_known_objects
from csproxy.daemon.pairing import apply_connection, pair_member
from csproxy.testing.memory import MemoryNetwork
from csproxy.transport.pair import KEEP_ALIVE
from tests.transport.upstream.upstream_world import APPLICATION, Master

NAMES = ("proxy1", "proxy2")
ADDP = {"connProtocol": "addp", "timoutLocal": 7, "timoutRemote": 3}


def filled_server() -> Master:
    """A server by the name of the first of two proxies, with the objects of both."""
    made = Master(role="proxy")
    made.server.name = NAMES[0]
    objects = []
    for kind, obj, folder in well_known_objects(proxies=[(name, 2020) for name in NAMES]):
        more: dict[str, Any] = {}
        if kind == APPLICATION and obj["name"] == NAMES[0]:
            server = {**obj["serverInfo"], "backupServerDBID": FIRST_FREE_DBID + 1}
            more = {"redundancyType": int(CfgHAType.CFGHTWarmStanby), "serverInfo": server}
        objects.append((kind, {**obj, **more}, folder))
    made.fill(objects)
    return made


def connect(made: Master, **connection: Any) -> None:
    """The Connection of the server to its master is another now."""
    wanted = {"appServerDBID": CONFSERV, "id": "default", "connProtocol": "", **connection}
    made.publish((Action.UPDATED, APPLICATION, {"DBID": FIRST_FREE_DBID, "appServerDBIDs": {"changed": [wanted]}}))


@pytest.mark.anyio
async def test_the_link_keeps_alive_as_the_connection_to_the_master_says_now() -> None:
    made = filled_server()
    member = pair_member(made.server, MemoryNetwork().connector(NAMES[0]), on_role=lambda role: None)
    assert member is not None
    assert member.keep_alive == KEEP_ALIVE
    connect(made, **ADDP)
    apply_connection(member, made.server)
    assert member.keep_alive == KeepAlive(timeout_s=7.0, remote_timeout_s=3.0)
    connect(made, **{**ADDP, "timoutLocal": 10**9})
    apply_connection(member, made.server)
    assert member.keep_alive == KeepAlive(timeout_s=7.0, remote_timeout_s=3.0), "a wrong number changes nothing"
    connect(made)
    apply_connection(member, made.server)
    assert member.keep_alive == KEEP_ALIVE
