"""Notifications about scripts without their binary option values."""

from __future__ import annotations

from typing import Any

from csproxy.core import codec
from csproxy.transport.wire.bytecode import SCRIPT_TYPE, without_bytecode
from csproxy.transport.wire.frames import FLAG_END, FLAG_HISTORY, Frame, FrameReader, encode_frame


def notification(payload: dict[str, Any]) -> bytes:
    return encode_frame(75, codec.encode(payload), epoch=7, uen=9, flags=FLAG_END | FLAG_HISTORY)


def test_binary_values_of_a_script_are_left_out_and_everything_else_stays() -> None:
    options = {"code": {"bytecode": b"\x00\x01", "name": "route", "size": 2}, "empty": {"b": b""}}
    delta = {"name": "new", "userProperties": {"changed": options}, "resources": [{"objectDBID": 5}]}
    frame = without_bytecode(notification({"type": SCRIPT_TYPE, "dbid": 101, "delta": delta, "user": "default"}))
    kept = {"code": {"name": "route", "size": 2}, "empty": {}}
    expected = delta | {"userProperties": {"changed": kept}}
    payload = codec.encode({"type": SCRIPT_TYPE, "dbid": 101, "delta": expected, "user": "default"})
    assert FrameReader().receive_data(frame) == [Frame(75, FLAG_END | FLAG_HISTORY, 0, 7, 9, payload)]


def test_notifications_of_other_types_pass_unchanged() -> None:
    frame = notification({"type": 9, "dbid": 101, "delta": {"options": {"added": {"s": {"o": b"\x00"}}}}})
    assert without_bytecode(frame) is frame
