"""How much happened between two proxies that belong together, counted from the record of a run."""

from __future__ import annotations

from itertools import pairwise

from csproxy.core.standby import Role
from csproxy.testing.histories import Answered, Asked, History, Told
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.pairs import PeerUpdate
from tests.simulation.plan import POOL, RunPlan
from tests.simulation.template import PROXIES

__all__ = ["member_traffic"]


def member_traffic(plan: RunPlan, history: History) -> dict[str, int]:
    """The counts by name; zero where the proxies stand alone."""
    return {
        "switchovers": _switchovers(history),
        "both primaries": _both_primaries(history),
        "told sessions": _told_sessions(history),
        "restores at the other": _restores_at_the_other(history),
        "refused restores": _refused_restores(history),
        "moves in a pool": _moves(history) if plan.together == POOL else 0,
    }


def _switchovers(history: History) -> int:
    """How often another member than the last one began to serve."""
    serving = [taken.name for taken in history.roles if taken.role is Role.PRIMARY]
    return sum(one != other for one, other in pairwise(serving))


def _both_primaries(history: History) -> int:
    """How often one began to serve while the other did."""
    roles = dict.fromkeys(PROXIES, Role.STARTING)
    found = 0
    for taken in history.roles:
        before, roles[taken.name] = roles[taken.name], taken.role
        found += before is not Role.PRIMARY and all(role is Role.PRIMARY for role in roles.values())
    return found


def _told_sessions(history: History) -> int:
    """Sessions in updates, those anew that had changed."""
    updates = [event.payload for wire in history.wires for event in wire.events if isinstance(event, Asked | Told)]
    return sum(len(update.sessions) for update in updates if isinstance(update, PeerUpdate))


def _restores_at_the_other(history: History) -> int:
    """Sessions of one member that were taken up at the other."""
    at: dict[str, str] = {}
    found = 0
    for wire in sorted(history.wires, key=lambda wire: wire.number):
        for event in wire.events:
            if isinstance(event, Answered) and event.message == MessageId.CLIENT_REGISTERED and wire.host in PROXIES:
                session = event.payload.session
                found += at.get(session, wire.host) != wire.host
                at[session] = wire.host
    return found


def _refused_restores(history: History) -> int:
    """Restores that a proxy refused with error 27."""
    found = 0
    for wire in history.wires:
        asked = {e.request for e in wire.events if isinstance(e, Asked) and e.message == MessageId.RESTORE_SESSION}
        found += sum(
            isinstance(event, Answered) and event.request in asked and getattr(event.payload, "code", 0) == 27
            for event in wire.events
            if wire.host in PROXIES
        )
    return found


def _moves(history: History) -> int:
    """Connections of clients that a balancer led to another member than the one before."""
    at: dict[str, str] = {}
    found = 0
    for wire in history.wires:
        if wire.host in PROXIES and wire.client not in PROXIES:
            found += at.get(wire.client, wire.host) != wire.host
            at[wire.client] = wire.host
    return found
