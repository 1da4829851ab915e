"""The clients of a server as the status page lists them: a part at a time, searched without holding up the others."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import anyio.lowlevel

from csproxy.core.model import SCHEMA
from csproxy.core.sessions import Session
from csproxy.core.subscriptions import Interest
from csproxy.transport.server import ConfigurationServer

__all__ = ["MAX_CLIENTS", "MAX_SEARCH", "list_clients"]

MAX_CLIENTS: Final = 200
"""Clients in one answer."""
MAX_SEARCH: Final = 100
"""Characters to search for."""
_PER_TURN: Final = 200
"""Clients looked at in one turn of the event loop: about half a millisecond."""
_SHOWN_INTERESTS: Final = 10

Interests = frozenset[Interest]


async def list_clients(server: ConfigurationServer | None, search: str, *, offset: int, limit: int) -> dict[str, Any]:
    """The clients in the order in which they came, from number ``offset`` of those found on, at most ``limit``.

    ``search`` is looked for, whatever the case, in application, user, address, port and subscriptions; "" finds all.
    Returns ``total`` (clients), ``found`` (of them) and ``clients``. Cancellation passes through.
    """
    sessions = [] if server is None else list(server.sessions)
    told: dict[Interests, str] = {}
    if search:
        found = await _search(sessions, search.casefold(), told)
    else:
        found = sessions
    shown = [_shown(session, server, told) for session in islice(found, offset, offset + limit)] if server else []
    return {"total": len(sessions), "found": len(found), "offset": offset, "clients": shown}


async def _search(sessions: list[Session], wanted: str, told: dict[Interests, str]) -> list[Session]:
    found = []
    for number, session in enumerate(sessions):
        if number % _PER_TURN == _PER_TURN - 1:
            await anyio.lowlevel.checkpoint()
        where = _where(session)
        words = (session.application, session.account.user, *where, _told(session.interests, told))
        if wanted in "\n".join(words).casefold():
            found.append(session)
    return found


def _where(session: Session) -> tuple[str, str]:
    """Address and port; empty for one that has gone meanwhile."""
    connection = session.connection
    return ("", "") if connection is None else (connection.channel.peer, connection.port_id)


def _shown(session: Session, server: ConfigurationServer, told: dict[Interests, str]) -> dict[str, Any]:
    connection = session.connection
    address, port = _where(session)
    state = "gone"
    if connection is not None:
        state = "takes too little" if connection.congested_since_s is not None else "connected"
        if state == "connected" and session.interests and not connection.live:
            state = "catching up"
    return {
        "application": session.application,
        "user": session.account.user,
        "address": address,
        "port": port,
        "secure": connection is not None and connection.channel.is_secure,
        "state": state,
        "since_s": round(max(server.clock() - session.opened_s, 0.0)),
        "subscriptions": len(session.interests),
        "subscribed_to": _told(session.interests, told),
    }


def _told(interests: Interests, told: dict[Interests, str]) -> str:
    """Subscriptions in words; many clients have the same, and they are put into words once for an answer."""
    text = told.get(interests)
    if text is None:
        text = told[interests] = _in_words(interests)
    return text


def _in_words(interests: Iterable[Interest]) -> str:
    ordered = sorted(interests)
    words = [_one(interest) for interest in ordered[:_SHOWN_INTERESTS]]
    more = len(ordered) - len(words)
    return ", ".join(words) + (f" and {more} more" if more else "")


def _one(interest: Interest) -> str:
    known = SCHEMA.types.get(interest.object_type)
    word = known.name if known else "everything" if not interest.object_type else f"type {interest.object_type}"
    if interest.object_dbid:
        word += f" {interest.object_dbid}"
    return word + (f" of tenant {interest.tenant_id}" if interest.tenant_id else "")
