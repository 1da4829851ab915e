"""What a connection carries before its client has logged in, judged by its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from csproxy.testing.checker_wires import Violation
from csproxy.testing.histories import Answered, Ended, Marked, Notified, WireHistory
from csproxy.transport.wire.messages import MessageId

__all__ = ["check_log_in"]

_BEFORE: Final = frozenset({MessageId.PROTOCOL_VERSION_READ, MessageId.ERROR})


def check_log_in(wire: WireHistory) -> Iterator[Violation]:
    """P23: until ClientRegistered, a server sends its version and refusals: no object, change, mark, status or other
    answer."""
    for index, event in enumerate(wire.events):
        match event:
            case Answered(message=MessageId.CLIENT_REGISTERED):
                return
            case Answered(message=message) if message not in _BEFORE:
                what = f"message {message} was answered before the client had logged in"
            case Notified(change=change):
                what = f"{change} came before the client had logged in"
            case Marked(position=position):
                what = f"the position {position} came before the client had logged in"
            case Ended():
                return
            case _:
                continue
        yield Violation("P23 authentication first", str(wire), what, index)
        return
