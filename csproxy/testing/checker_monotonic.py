"""What a client is shown one after the other, over all its connections, at whichever server: P9 and P10 by the wires.

A session is restored, and a subscription resumed, by a server that has reached the position that the client brings.

`csproxy.testing.checker` compares each read of the client library with what the library says that it had seen; here
that is worked out from the bytes, so that a library, or a server of a pair or pool, that forgets is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from csproxy.core.changes import Position
from csproxy.errors import ErrorCode
from csproxy.testing.checker_model import MasterLog
from csproxy.testing.checker_wires import Violation
from csproxy.testing.checker_writes import WRITES
from csproxy.testing.histories import Answered, Asked, Event, Restarted, WireHistory
from csproxy.transport.wire.messages import MessageId

__all__ = ["check_monotonic", "check_positions"]

_NOTHING: Final = Position(0, 0)
_RESUMING: Final = frozenset(
    {MessageId.RESTORE_SESSION, MessageId.HISTORY_LOG, MessageId.RESUME_FROM, MessageId.REGISTER_NOTIFICATION}
)


def check_monotonic(
    wires: Sequence[WireHistory], log: MasterLog, restarts: Sequence[Restarted] = ()
) -> Iterator[Violation]:
    """P9 and P10: a read that says what its client has seen shows nothing older than reads and writes answered before.

    A client whose place is lost (error 27) begins anew, and so does one that is started again. Reads from a snapshot
    show what it was opened at.
    """
    by_client: dict[tuple[str, int], list[WireHistory]] = {}
    for wire in wires:
        if wire.events:
            opened_s = wire.events[0].at_s
            starts = sum(each.client == wire.client and each.at_s <= opened_s for each in restarts)
            by_client.setdefault((wire.client, starts), []).append(wire)
    for own in by_client.values():
        yield from _check_client(own, log)


def _check_client(wires: Sequence[WireHistory], log: MasterLog) -> Iterator[Violation]:
    seen, seen_at = _NOTHING, ""
    reads: dict[tuple[int, int], tuple[Position, str]] = {}
    writes: set[tuple[int, int]] = set()
    for wire, index, event in _in_order(wires):
        if isinstance(event, Asked):
            if event.message in WRITES:
                writes.add((wire.number, event.request))
            elif event.message == MessageId.READ_OBJECTS and not event.payload.snapshot and event.position != _NOTHING:
                reads[wire.number, event.request] = seen, seen_at
        elif isinstance(event, Answered) and event.last:
            key = wire.number, event.request
            before, before_at = reads.pop(key, (_NOTHING, ""))
            if event.message == MessageId.ERROR:
                if event.payload.code == ErrorCode.HISTORY_LOG_EXPIRED:
                    seen, seen_at = _NOTHING, ""
                    reads = dict.fromkeys(reads, (_NOTHING, ""))
            elif event.message == MessageId.OBJECTS_SENT or key in writes:
                shown = event.position
                if event.message == MessageId.OBJECTS_SENT and _is_older(shown, before, log):
                    what = f"a read was answered as of UEN {shown.uen} after {before.uen} had been shown on {before_at}"
                    yield Violation("P9 monotonic", str(wire), what, index)
                if not _is_older(shown, seen, log):
                    seen, seen_at = shown, str(wire)


def _in_order(wires: Sequence[WireHistory]) -> list[tuple[WireHistory, int, Event]]:
    events = [(event.at_s, wire.number, index, wire) for wire in wires for index, event in enumerate(wire.events)]
    events.sort(key=lambda each: each[:3])
    return [(wire, index, wire.events[index]) for _, _, index, wire in events]


def _is_older(shown: Position, seen: Position, log: MasterLog) -> bool:
    """Whether both belong to one of the master's histories, and the one shown comes first there."""
    return seen != _NOTHING and any(
        history.is_valid(seen) and history.is_valid(shown) and shown.uen < seen.uen for history in log.histories
    )


def check_positions(wire: WireHistory, log: MasterLog) -> Iterator[Violation]:
    """P9: whoever comes back with a position is answered by a server that has reached it, or told to come again."""
    asked: dict[int, Asked] = {}
    for index, event in enumerate(wire.events):
        if isinstance(event, Asked) and event.message in _RESUMING:
            asked[event.request] = event
        elif isinstance(event, Answered) and event.message != MessageId.ERROR:
            request = asked.pop(event.request, None)
            if request is not None and _is_older(event.position, request.position, log):
                what = (
                    f"{MessageId(request.message).name} was answered as of UEN {event.position.uen}, "
                    f"although its client brought {request.position.uen}"
                )
                yield Violation("P9 monotonic", str(wire), what, index)
