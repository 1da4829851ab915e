"""Pools of servers with the same data and history, each as far behind as a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from csproxy.core.changes import Action, Change
from csproxy.core.keepalive import KeepAlive
from csproxy.core.routes import Pools
from csproxy.testing.memory import MemoryNetwork
from csproxy.transport.client import ConfigClient
from tests.transport.upstream.upstream_world import SKILL, Master, base_objects, skill

PREFERRED = ("a", "b")
BACKUP = ("x", "y")


class PoolWorld:
    """Members by name, each a host of its own; ``publish`` brings a transaction to all that are not held back."""

    def __init__(self, network: MemoryNetwork, members: dict[str, Master]) -> None:
        self.network = network
        self.members = members
        self.history: list[list[Change]] = []
        self.held_back: dict[str, list[list[Change]]] = {}
        self.down: set[str] = set()

    def __getitem__(self, name: str) -> Master:
        return self.members[name]

    def publish(self, *steps: tuple[Action, int, dict[str, Any]]) -> list[Change]:
        first = self.members["a"]
        uen = self.history[-1][-1].position.uen if self.history else first.server.position.uen
        skipped = uen - first.server.position.uen
        changes = first.next_transaction(*steps, skipped=skipped)
        self.history.append(changes)
        for name, member in self.members.items():
            if name in self.held_back:
                self.held_back[name].append(changes)
            else:
                member.server.publish(changes)
        return changes

    def create_skills(self, first: int, count: int = 1) -> list[Change]:
        return self.publish(*((Action.CREATED, SKILL, skill(n)) for n in range(first, first + count)))

    def hold_back(self, name: str) -> None:
        """Let a member stay where it is."""
        self.held_back.setdefault(name, [])

    def catch_up(self, name: str) -> None:
        for changes in self.held_back.pop(name, []):
            self.members[name].server.publish(changes)

    def fail(self, *names: str) -> None:
        """Let members die: connections are cut, new ones refused."""
        for name in names:
            self.down.add(name)
            self.network.refuse(name, 2020)
            self.network.cut(name)

    def start(self, *names: str) -> None:
        """Let members be there again; they have forgotten all sessions."""
        for name in names:
            self.down.discard(name)
            sessions = self.members[name].server.sessions
            for session in [*sessions, *sessions._detached.values()]:
                session.application = "forgotten"
            self.network.refuse(name, 2020, on=False)

    def client(self, *, backup: bool = True, host: str = "client", **options: Any) -> ConfigClient:
        pools = Pools(
            preferred=[(name, 2020) for name in PREFERRED],
            backup=[(name, 2020) for name in BACKUP] if backup else [],
            **{name: options.pop(name) for name in Pools._fields if name in options},
        )
        defaults: dict[str, Any] = {
            "user": "default",
            "password": "secret",
            "connector": self.network.connector(host),
            "keep_alive": KeepAlive(timeout_s=5, remote_timeout_s=5),
            "attempt_timeout_s": 3.0,
        }
        return ConfigClient(pools=pools, **(defaults | options))

    def where(self) -> dict[str, int]:
        """How many clients each member serves."""
        return {name: len(member.server.sessions) for name, member in self.members.items()}


@asynccontextmanager
async def make_pools(network: MemoryNetwork, *, skills: int = 5, **options: Any) -> AsyncIterator[PoolWorld]:
    """Two pools of two members, of which none is down."""
    objects = [*base_objects(), *((SKILL, skill(1000 + n), SKILL) for n in range(skills))]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(network)
        members: dict[str, Master] = {}
        for name in (*PREFERRED, *BACKUP):
            member = members[name] = Master(name, role="proxy", **options)
            await stack.enter_async_context(member.server)
            member.fill(objects)
            network.listen(name, 2020, member.server.connect)
        yield PoolWorld(network, members)
