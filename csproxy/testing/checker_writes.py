"""What clients are shown after their own writes, judged by the bytes of their connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from csproxy.core.changes import Position
from csproxy.testing.checker_model import MasterLog
from csproxy.testing.checker_wires import Violation
from csproxy.testing.histories import Answered, Asked, WireHistory
from csproxy.transport.wire.messages import MessageId

__all__ = ["WRITES", "check_own_writes"]

WRITES: Final = frozenset(
    {MessageId.CREATE_OBJECT, MessageId.UPDATE_OBJECT, MessageId.DELETE_OBJECT, MessageId.APPLY_TRANSACTION}
)
"""Requests that change objects and have idempotency keys."""
_NOTHING: Final = Position(0, 0)


def check_own_writes(wire: WireHistory, log: MasterLog) -> Iterator[Violation]:
    """P10: once a write is answered, no read that is asked for after that shows an older state."""
    written = _NOTHING
    writes: set[int] = set()
    reads: dict[int, Position] = {}
    for index, event in enumerate(wire.events):
        if isinstance(event, Asked):
            if event.message in WRITES:
                writes.add(event.request)
            elif event.message == MessageId.READ_OBJECTS and not event.payload.snapshot:
                reads[event.request] = written
        elif isinstance(event, Answered) and event.last:
            if event.request in writes:
                writes.discard(event.request)
                if event.message != MessageId.ERROR and event.position.uen > written.uen:
                    written = event.position
            own = reads.pop(event.request, _NOTHING)
            if event.message == MessageId.OBJECTS_SENT and _is_older(event.position, own, log):
                what = f"a read was answered as of UEN {event.position.uen} after a write had been at {own.uen}"
                yield Violation("P10 read your writes", str(wire), what, index)


def _is_older(shown: Position, written: Position, log: MasterLog) -> bool:
    """Whether both belong to the master's history, and the one shown comes first."""
    return written != _NOTHING and log.is_valid(written) and log.is_valid(shown) and shown.uen < written.uen
