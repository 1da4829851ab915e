"""Two proxies that belong together, as the daemon composes them: a warm-standby pair, or the members of a pool."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from csproxy.core.standby import Role
from csproxy.core.subscriptions import Interest
from csproxy.daemon.pairing import join_pool, pair_member
from csproxy.testing.checker_pairs import is_client_at
from csproxy.testing.histories import PairFinal, WireHistory
from csproxy.transport.channel import Connector
from csproxy.transport.pair import PairMember
from csproxy.transport.server import ConfigurationServer
from tests.simulation.plan import PAIR, POOL, RunPlan
from tests.simulation.template import BALANCER, PROXIES
from tests.transport.trusting import AllTrusted


@asynccontextmanager
async def membership(
    server: ConfigurationServer,
    plan: RunPlan,
    connector: Connector,
    *,
    random: Callable[[], float],
    on_role: Callable[[Role], object],
) -> AsyncIterator[PairMember | None]:
    """While entered, ``server``, which has data, is what the objects say; yields its side of a pair."""
    if plan.together == POOL:
        join_pool(server, BALANCER)
    if plan.together != PAIR:
        yield None
        return
    server.trust = AllTrusted()
    member = pair_member(server, connector, random=random, on_role=on_role)
    assert member is not None, "the template makes them a pair"
    try:
        async with member:
            on_role(member.role)
            yield member
    finally:
        on_role(Role.STOPPED)


def known_servers(plan: RunPlan, rng: random.Random, *, writes: bool) -> list[str]:
    """The servers that a client knows, in the order in which it tries them; ``writes``: it must be able to."""
    if writes and not plan.writable:
        return ["master"]
    hosts = [BALANCER] if plan.together == POOL else rng.sample(PROXIES, len(PROXIES))
    if rng.random() < 0.15:
        hosts.insert(rng.randint(0, len(hosts)), "master")
    return hosts


def has_settled(finals: Sequence[PairFinal], wires: Iterable[WireHistory]) -> bool:
    """Whether one member of a pair serves; the other is its standby, has been told everything, and has no clients.

    Who takes little at a time hears late that the member serves no more.
    """
    by_role = {final.role: final for final in finals}
    primary, standby = by_role.get(Role.PRIMARY), by_role.get(Role.STANDBY)
    if primary is None or standby is None or not primary.sessions.items() <= standby.sessions.items():
        return False
    left = [wire for wire in wires if wire.host == standby.name and wire.client != primary.name]
    return not any(is_client_at(wire, standby.at_s) for wire in left)


def finals_of(
    members: Iterable[tuple[str, PairMember | None, ConfigurationServer | None]], *, now_s: float
) -> list[PairFinal]:
    """How the members of a pair stand now, those that are there."""
    return [
        PairFinal(now_s, name, member.role, _sessions_of(member, server))
        for name, member, server in members
        if member is not None and server is not None
    ]


def _sessions_of(member: PairMember, server: ConfigurationServer) -> dict[str, frozenset[Interest]]:
    """Subscriptions by session id: what it keeps if it serves, else what it stores."""
    kept = [session for session in server.sessions.kept() if not session.is_proxy]
    known = kept if member.role is Role.PRIMARY else server.sessions._stored.values()
    return {session.id: session.interests for session in known}
