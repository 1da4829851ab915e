"""The judge of histories: what clients saw and did, against the master's log.

    violations = check(history, log)

Every property of a history is checked by one function, which names the property that is broken
(P1 … P28, G11), where, and how. Connections are judged in `csproxy.testing.checker_wires`, (P10) `checker_writes` and
(P23) `checker_log_in`, all those of a client in `checker_monotonic`, subscriptions in `checker_streams`, writes in
`checker_outcomes`, warm-standby pairs in `checker_pairs`; clients that read a part in `checker_sight`; reads of the
client library, bounds and the state at the end here.
"""

from __future__ import annotations

from collections.abc import Iterator

from csproxy.core.changes import Position
from csproxy.testing.checker_log_in import check_log_in
from csproxy.testing.checker_model import MasterLog
from csproxy.testing.checker_monotonic import check_monotonic, check_positions
from csproxy.testing.checker_outcomes import TOKEN, check_outcomes, check_writes
from csproxy.testing.checker_pairs import check_pairs
from csproxy.testing.checker_replicas import check_replicas
from csproxy.testing.checker_sight import check_sight
from csproxy.testing.checker_streams import check_streams
from csproxy.testing.checker_wires import Violation, check_wires, wrong_objects
from csproxy.testing.checker_writes import check_own_writes
from csproxy.testing.histories import Arrived, Expired, History, Reached, Started
from csproxy.transport.wire.reads import ReadObjects

__all__ = ["TOKEN", "MasterLog", "Violation", "check"]


def check(history: History, log: MasterLog) -> list[Violation]:
    """Everything that is wrong with ``history``; empty if all properties hold."""
    all_seeing = [wire for wire in history.wires if wire.client not in history.accounts]
    streams = [stream for stream in history.streams if stream.client not in history.accounts]
    return [
        *check_log(log),
        *check_wires(all_seeing, log, history.reloads),
        *(violation for wire in history.wires for violation in check_own_writes(wire, log)),
        *(violation for wire in history.wires for violation in check_log_in(wire)),
        *check_monotonic(history.wires, log, history.restarts),
        *(violation for wire in history.wires for violation in check_positions(wire, log)),
        *check_streams(streams, log, history.reloads),
        *check_sight(history, log),
        *check_replicas(history),
        *check_pairs(history, log),
        *check_reads(history, log),
        *check_writes(history, log),
        *check_outcomes(history),
        *check_bounds(history),
        *check_sameness(history, log),
        *check_liveness(history, log),
    ]


def check_log(log: MasterLog) -> Iterator[Violation]:
    """P20: every change is of the epoch that the table says, so that no master wrote after another had taken over."""
    for number, each in enumerate(log.histories, 1):
        for change in each.changes:
            owner = each.epoch_of(change.position.uen)
            if change.position.epoch != owner:
                what = f"{change} is of epoch {change.position.epoch}, when that of epoch {owner} was the master"
                yield Violation("P20 one writer", f"history {number} of {len(log.histories)}", what)


def check_reads(history: History, log: MasterLog) -> Iterator[Violation]:
    """P14, P3, P9, P28: a read of the client library is the state at the position that it names, not an older one."""
    for index, read in enumerate(history.reads):
        truth = log.history_of(read.position)
        if truth is None or not truth.is_end(read.position.uen):
            what = f"a read answered as of {read.position}, which is no end of a transaction"
            yield Violation("P3 atomic", read.client, what, index)
            continue
        if read.seen.epoch and not any(
            each.is_valid(read.seen) and each.is_valid(read.position) for each in log.histories
        ):
            what = f"a read answered as of {read.position} after {read.seen}, which is of another history"
            yield Violation("P28 epoch", read.client, what, index)
        elif read.position.uen < read.seen.uen:
            what = f"a read answered as of UEN {read.position.uen} after {read.seen.uen} had been seen"
            yield Violation("P9 monotonic", read.client, what, index)
        request = ReadObjects(type=read.type, filter=dict(read.filter))
        if read.client in history.accounts:
            continue  # `check_sight` knows what it may read
        wrong = wrong_objects(truth, request, read.objects, read.position.uen)
        if wrong:
            yield Violation("P14 snapshot reads", read.client, f"{request}: {wrong}", index)


def check_bounds(history: History) -> Iterator[Violation]:
    """P16 and P18: nothing grew beyond its limit."""
    for bound in history.bounds:
        if bound.most > bound.limit:
            yield Violation(bound.property, bound.name, f"reached {bound.most:g}, the limit is {bound.limit:g}")


def check_sameness(history: History, log: MasterLog) -> Iterator[Violation]:
    """P12: at its position every replica holds exactly the master's objects, in the same folders."""
    for final in history.finals:
        if not log.is_valid(final.position):
            yield Violation("P12 same", final.name, f"stands at {final.position}, which is not in the master's history")
            continue
        truth = log.whole(final.position.uen)
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
        reached = _reached(stream.events[-1]) if stream.events else Position(0, 0)
        if reached.uen != log.head or not log.is_valid(reached):
            what = f"came to {reached}, the master stands at UEN {log.head}"
            yield Violation("P24 liveness", str(stream), what)


def _reached(event: Started | Arrived | Reached | Expired) -> Position:
    return event.end if isinstance(event, Arrived) else event.position
