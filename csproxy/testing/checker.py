"""The judge of histories: what clients saw and did, against the master's log.

    violations = check(history, log)

Every property of a history is checked by one function, which names the property that is broken
(P1 … P27, G11), where, and how. Connections are judged in `csproxy.testing.checker_wires`,
subscriptions in `csproxy.testing.checker_streams`; writes, reads of the client library, bounds and
the state at the end here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from csproxy.core.changes import Action, Position
from csproxy.core.subscriptions import EVERYTHING
from csproxy.testing.checker_model import MasterLog
from csproxy.testing.checker_streams import check_streams
from csproxy.testing.checker_wires import Violation, check_wires, wrong_objects
from csproxy.testing.histories import Arrived, Expired, History, Outcome, Reached, Started, WriteRecord
from csproxy.transport.wire.reads import ReadObjects

__all__ = ["TOKEN", "MasterLog", "Violation", "check"]

TOKEN = re.compile(rb"token-[0-9]+-")
"""What a writer puts into every object that it creates or updates, to find the write again; numbers are used once."""


def check(history: History, log: MasterLog) -> list[Violation]:
    """Everything that is wrong with ``history``; empty if all properties hold."""
    return [
        *check_wires(history.wires, log, history.reloads),
        *check_streams(history.streams, log, history.reloads),
        *check_reads(history, log),
        *check_writes(history, log),
        *check_bounds(history),
        *check_sameness(history, log),
        *check_liveness(history, log),
    ]


def check_reads(history: History, log: MasterLog) -> Iterator[Violation]:
    """P14, P3 and P9: a read of the client library is the state at the position that it names, not an older one."""
    for index, read in enumerate(history.reads):
        if not log.is_valid(read.position) or not log.is_end(read.position.uen):
            what = f"a read answered as of {read.position}, which is no end of a transaction"
            yield Violation("P3 atomic", read.client, what, index)
            continue
        if read.position.uen < read.seen.uen:
            what = f"a read answered as of UEN {read.position.uen} after {read.seen.uen} had been seen"
            yield Violation("P9 monotonic", read.client, what, index)
        request = ReadObjects(type=read.type, filter=dict(read.filter))
        wrong = wrong_objects(log, request, read.objects, read.position.uen)
        if wrong:
            yield Violation("P14 snapshot reads", read.client, f"{request}: {wrong}", index)


def check_writes(history: History, log: MasterLog) -> Iterator[Violation]:
    """G11: an acknowledged write is in the log once, where the acknowledgement says; a refused one is not;
    one of unknown outcome at most once."""
    places: dict[str, list[int]] = {}
    deletions: dict[tuple[int, int], list[int]] = {}
    for change in log.changes:
        if change.action is Action.DELETED:
            deletions.setdefault(change.key, []).append(change.position.uen)
        else:
            for token in TOKEN.findall(change.payload):
                places.setdefault(token.decode(), []).append(change.position.uen)
    for index, write in enumerate(history.writes):
        if write.action is Action.DELETED:
            found = deletions.get((write.type, write.dbid), [])
        else:
            found = places.get(write.token, [])
        wrong = _wrong_write(write, found, log)
        if wrong:
            what = f"{write.action.name.lower()} {write.type}/{write.dbid} {write.token}: {wrong}"
            yield Violation("G11 durable", write.client, what, index)


def _wrong_write(write: WriteRecord, found: list[int], log: MasterLog) -> str:
    if len(found) > 1:
        return f"is in the log {len(found)} times, at UENs {found}"
    if write.outcome is Outcome.ACKNOWLEDGED:
        if not found:
            return f"was acknowledged at UEN {write.position.uen} and is not in the log"
        if log.transaction_of(found[0])[1] != write.position.uen:
            return f"was acknowledged at UEN {write.position.uen} and is in the log at {found[0]}"
    elif write.outcome is Outcome.REFUSED and found and write.action is not Action.DELETED:
        return f"was refused and is in the log at UEN {found[0]}"
    return ""


def check_bounds(history: History) -> Iterator[Violation]:
    """P16: nothing grew beyond its limit."""
    for bound in history.bounds:
        if bound.most > bound.limit:
            yield Violation("P16 bounded", bound.name, f"reached {bound.most:g}, the limit is {bound.limit:g}")


def check_sameness(history: History, log: MasterLog) -> Iterator[Violation]:
    """P12: at its position every replica holds exactly the master's objects, in the same folders."""
    for final in history.finals:
        if not log.is_valid(final.position):
            yield Violation("P12 same", final.name, f"stands at {final.position}, which is not in the master's history")
            continue
        truth = log.state(final.position.uen, EVERYTHING)
        different = sorted(
            key
            for key in truth.objects.keys() | final.objects.keys()
            if truth.objects.get(key) != final.objects.get(key) or truth.folders.get(key) != final.folders.get(key)
        )
        if different:
            what = f"at UEN {final.position.uen} these objects are not as the master had them: {different}"
            yield Violation("P12 same", final.name, what)


def check_liveness(history: History, log: MasterLog) -> Iterator[Violation]:
    """P24: when faults have ended for long enough, everybody has come to the master's last position."""
    if not history.is_quiet_at_end:
        return
    for final in history.finals:
        if final.position.uen != log.head:
            what = f"stands at UEN {final.position.uen}, the master at {log.head}"
            yield Violation("P24 liveness", final.name, what)
    for stream in history.streams:
        if not stream.is_open or (stream.events and isinstance(stream.events[-1], Expired)):
            continue
        reached = max((_reached(event).uen for event in stream.events), default=-1)
        if reached != log.head:
            what = f"came to UEN {reached}, the master stands at {log.head}"
            yield Violation("P24 liveness", str(stream), what)


def _reached(event: Started | Arrived | Reached | Expired) -> Position:
    return event.end if isinstance(event, Arrived) else event.position
