"""Records of the history log for a client that may not read everything.

A record of an object is shown to whoever may read the object now; one of its permissions to whoever may read those.
Records of objects that are gone, of sessions and of the operational mode are for those who read everything: nobody
knows any more who could read what is gone. This is our decision; the documents are silent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from csproxy.core.acls import Masks, Permission
from csproxy.core.history import HistoryAction
from csproxy.core.identities import identities
from csproxy.core.model.schema import SCHEMA
from csproxy.transport.wire.history import HistoryRecords, ReadHistory

if TYPE_CHECKING:
    from csproxy.core.sessions import Session
    from csproxy.transport.server import ConfigurationServer

__all__ = ["visible_history"]


class _About(msgspec.Struct):
    action: int = 0
    type: int = 0
    dbid: int = 0


_about = msgspec.msgpack.Decoder(_About).decode


async def visible_history(
    server: ConfigurationServer,
    session: Session,
    request: ReadHistory,
    read: Callable[[ReadHistory], Awaitable[HistoryRecords]],
) -> HistoryRecords:
    """What the session may see of the answer to ``request``: the first page with anything in it, or the last one."""
    while True:
        page = await read(request)
        if session.access is None:
            return page
        cache = server.cache
        masks = Masks(cache, identities(cache, server.sight.sight.account_of(session)))
        shown = [place for place, record in enumerate(page.records) if _may_see(_about(record), server, masks)]
        if shown or not page.more or not page.numbers:
            return HistoryRecords(
                numbers=[page.numbers[place] for place in shown],
                records=[page.records[place] for place in shown],
                more=page.more,
            )
        request = msgspec.structs.replace(request, after=page.numbers[-1])


def _may_see(about: _About, server: ConfigurationServer, masks: Masks) -> bool:
    id = about.type, about.dbid
    if about.type not in SCHEMA.types or server.cache.get(*id) is None:
        return False
    needed = Permission.READ_PERMISSIONS if about.action == HistoryAction.PERMISSIONS else Permission.READ
    return bool(masks.of(id) & needed)
