"""Changes to notification frames, and back.

A frame is made once, at the master, when the change is committed; every proxy sends the same bytes
on. `decode_change` is what a proxy or a client does with a received frame.
"""

from __future__ import annotations

import msgspec

from csproxy.core import codec
from csproxy.core.changes import Action, Change, ObjectCreated, ObjectDeleted, ObjectUpdated, Position
from csproxy.core.model.misencoded import text_error
from csproxy.errors import ErrorCode, RemoteProtocolError
from csproxy.transport.wire.frames import FLAG_END, Frame, encode_frame

__all__ = ["NOTIFICATIONS", "decode_change", "encode_notification", "without_former"]

_ABSENT = msgspec.Raw()


class _Dbid(msgspec.Struct):
    DBID: int


class _Updated(ObjectUpdated, kw_only=True):
    """As received: msgspec reads no union of Raw and None."""

    object: msgspec.Raw = _ABSENT


class _Deleted(ObjectDeleted, kw_only=True):
    """As received, for the same reason."""

    former: msgspec.Raw = _ABSENT


_DBID = msgspec.msgpack.Decoder(_Dbid)
_CREATED = msgspec.msgpack.Decoder(ObjectCreated)
_UPDATED = msgspec.msgpack.Decoder(_Updated)
_DELETED = msgspec.msgpack.Decoder(_Deleted)

NOTIFICATIONS = frozenset({int(Action.CREATED), int(Action.UPDATED), int(Action.DELETED)})
"""Message numbers that are changes when their request id is 0."""


def encode_notification(action: Action, payload: bytes, *, position: Position, last: bool) -> bytes:
    """The notification frame of a change whose payload is encoded already."""
    return encode_frame(action, payload, epoch=position.epoch, uen=position.uen, flags=FLAG_END if last else 0)


def without_former(payload: bytes) -> bytes:
    """The payload of a deletion for somebody who could not read what has been deleted."""
    fields = msgspec.structs.asdict(_DELETED.decode(payload))
    return codec.encode(ObjectDeleted(**{**fields, "former": None}))


def decode_change(frame: Frame) -> Change:
    """Read a notification frame (or the answer to a write, which has the same payload).

    Raises `RemoteProtocolError` when the payload is not what docs/protocol.md says, with code 41 when a text is not
    UTF-8: the object goes on as these bytes, and whoever decodes it later must not find that out.
    """
    position = Position(frame.epoch, frame.uen)
    last = bool(frame.flags & FLAG_END)
    action = Action(frame.message)
    raw = encode_notification(action, frame.payload, position=position, last=last)
    try:
        if action is Action.UPDATED:
            updated = _UPDATED.decode(frame.payload)
            stored = _checked(updated.object) or None
            if updated.delta is None and stored is None:
                raise RemoteProtocolError("an ObjectUpdated notification has neither delta nor object")
            return Change(
                action=action,
                type=updated.type,
                dbid=updated.dbid,
                position=position,
                frame=raw,
                last=last,
                delta=updated.delta,
                object=stored,
                folder=updated.folder,
                user=updated.user,
                application=updated.application,
                time_ms=updated.time_ms,
                correction=updated.correction,
            )
        if action is Action.CREATED:
            created = _CREATED.decode(frame.payload)
            new = _checked(created.object)
            return Change(
                action=action,
                type=created.type,
                dbid=_DBID.decode(new).DBID,
                position=position,
                frame=raw,
                last=last,
                object=new,
                folder=created.folder,
                user=created.user,
                application=created.application,
                time_ms=created.time_ms,
                correction=created.correction,
            )
        deleted = _DELETED.decode(frame.payload)
        return Change(
            action=action,
            type=deleted.type,
            dbid=deleted.dbid,
            position=position,
            frame=raw,
            last=last,
            former=_checked(deleted.former) or None,
            user=deleted.user,
            application=deleted.application,
            time_ms=deleted.time_ms,
            correction=deleted.correction,
        )
    except UnicodeDecodeError as e:
        wrong = text_error(f"notification {action.name} at UEN {frame.uen}", frame.payload, e)
        raise RemoteProtocolError(str(wrong), code=wrong.code) from e
    except (msgspec.MsgspecError, RecursionError) as e:
        raise RemoteProtocolError(
            f"notification {action.name} at UEN {frame.uen} cannot be read: {e}", code=ErrorCode.OBJECT_PACKING_ERROR
        ) from e


def _checked(body: msgspec.Raw) -> bytes:
    """The bytes of an object all of whose texts are UTF-8; nothing stays nothing."""
    stored = bytes(body)
    if stored:
        codec.decode(stored)
    return stored
