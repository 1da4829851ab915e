"""PermissionsChanged (66): the clients that registered for it hear when an access control list changes.

A master tells it of each UpdatePermissions. A proxy, which sees transactions and no requests, tells it of each object
whose own list changes. It belongs to no UEN and is not replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from csproxy.core import codec
from csproxy.core.changelog import LogRecord
from csproxy.core.changes import Change
from csproxy.core.ownership import ObjectId
from csproxy.core.security_records import ACCOUNT, RECORDS
from csproxy.core.sessions import Session
from csproxy.errors import ErrorCode
from csproxy.transport.wire.administration import PermissionsChanged
from csproxy.transport.wire.frames import encode_frame
from csproxy.transport.wire.messages import MessageId

if TYPE_CHECKING:
    from csproxy.transport.server import ConfigurationServer

__all__ = ["Hearers", "announce", "announce_lists", "hearers", "hearers_of_lists"]

_DEFAULT_OUTPUT_BYTES: Final = 1024 * 1024

Hearers = Mapping[Session, None]
"""Sessions that hear of a change, in the order of their registration."""


def hearers(server: ConfigurationServer, id: ObjectId) -> Hearers:
    """The clients that registered for changes of permissions and may read the object now."""
    return dict.fromkeys(each for each in server.sessions if each.hears_permissions and server.sight.sees(each, id))


def announce(server: ConfigurationServer, news: PermissionsChanged, *, before: Hearers) -> None:
    """Send it to the clients that registered for it and may read the object, or could ``before``.

    A client that takes nothing is cut at the limit of unsent answers, so that it costs no more memory than they do.
    """
    at = server.position
    frame = encode_frame(MessageId.PERMISSIONS_CHANGED, codec.encode(news), epoch=at.epoch, uen=at.uen)
    limit = server.settings.max_client_output_bytes or _DEFAULT_OUTPUT_BYTES
    for session in {**before, **hearers(server, (news.type, news.dbid))}:
        if session.connection is None or not session.hears_permissions:  # it has gone, or changed its mind, meanwhile
            continue
        if session.connection.channel.pending_bytes > limit:
            session.connection.disconnect(ErrorCode.FORCED_DISCONNECT, "the client took its notifications too slowly")
        else:
            session.connection.send(frame)


def hearers_of_lists(server: ConfigurationServer, changes: Sequence[Change]) -> Mapping[ObjectId, Hearers]:
    """Before a transaction is published at a proxy: each object whose list it changes, and who hears of that."""
    if server.role == "master":
        return {}
    return {id: hearers(server, id) for id in _owners_of_lists(changes)}


def announce_lists(
    server: ConfigurationServer, changes: Sequence[Change | LogRecord], before: Mapping[ObjectId, Hearers]
) -> None:
    """After a transaction, or the difference of a reload, was published at a proxy. A deleted object has no news."""
    if server.role == "master":
        return
    for id, change in _owners_of_lists(changes).items():
        if server.cache.get(*id) is None:
            continue
        user, application = (change.user, change.application) if isinstance(change, Change) else ("", "")
        news = PermissionsChanged(type=id[0], dbid=id[1], user=user, application=application)
        announce(server, news, before=before.get(id, {}))


def _owners_of_lists(changes: Iterable[Change | LogRecord]) -> dict[ObjectId, Change | LogRecord]:
    return {(change.type - RECORDS, change.dbid): change for change in changes if RECORDS < change.type < ACCOUNT}
