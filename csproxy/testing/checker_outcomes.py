"""What writers were told about their writes, against the master's log and the bytes of their connections."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from csproxy.core.changes import Action
from csproxy.testing.checker_model import MasterLog
from csproxy.testing.checker_wires import Violation
from csproxy.testing.checker_writes import WRITES
from csproxy.testing.histories import Answered, Asked, History, Outcome, WireHistory, WriteRecord
from csproxy.transport.wire.messages import MessageId

__all__ = ["TOKEN", "check_outcomes", "check_writes"]

TOKEN = re.compile(rb"token-[0-9]+-")
"""What a writer puts into every object that it creates or updates, to find the write again; numbers are used once."""


def check_writes(history: History, log: MasterLog) -> Iterator[Violation]:
    """G11: an acknowledged write is in the log, where the acknowledgement says. P11: a refused one is not, unless an
    earlier attempt with its key may have been carried out; none is there twice, however often it was attempted.

    Where an older copy of the database was put back, an acknowledged write is in the history in which it was
    acknowledged; what was lost with that is the operator's affair."""
    places = [_Places(each) for each in log.histories]
    open_keys: set[str] = set()
    for index, write in enumerate(history.writes):
        what = f"{write.action.name.lower()} {write.type}/{write.dbid} {write.token}"
        its_own = log.history_of(write.position)
        if its_own is None and write.outcome is Outcome.ACKNOWLEDGED:
            wrong = f"was acknowledged at {write.position}, which is no position of the master's history"
            yield Violation("G11 durable", write.client, f"{what} {wrong}", index)
        for each in places:
            found = _wrong_write(write, each.of(write), each.log, is_own=each.log is its_own)
            if found and not (write.outcome is Outcome.REFUSED and write.key in open_keys):
                yield Violation(found[0], write.client, f"{what} {found[1]}", index)
                break
        if write.key and write.outcome is Outcome.UNKNOWN:
            open_keys.add(write.key)


class _Places:
    """Where in a history each write stands: UENs by token, and of deletions by object."""

    def __init__(self, log: MasterLog) -> None:
        self.log = log
        self._tokens: dict[str, list[int]] = {}
        self._deletions: dict[tuple[int, int], list[int]] = {}
        for change in log.changes:
            if change.action is Action.DELETED:
                self._deletions.setdefault(change.key, []).append(change.position.uen)
            else:
                for token in TOKEN.findall(change.payload):
                    self._tokens.setdefault(token.decode(), []).append(change.position.uen)

    def of(self, write: WriteRecord) -> list[int]:
        if write.action is Action.DELETED:
            return self._deletions.get((write.type, write.dbid), [])
        return self._tokens.get(write.token, [])


def _wrong_write(write: WriteRecord, found: list[int], log: MasterLog, *, is_own: bool) -> tuple[str, str] | None:
    """Property and sentence."""
    if len(found) > 1:
        return "P11 outcome", f"is in the log {len(found)} times, at UENs {found}"
    if write.outcome is Outcome.ACKNOWLEDGED and is_own:
        if not found:
            return "G11 durable", f"was acknowledged at UEN {write.position.uen} and is not in the log"
        if log.transaction_of(found[0])[1] != write.position.uen:
            return "G11 durable", f"was acknowledged at UEN {write.position.uen} and is in the log at {found[0]}"
    elif write.outcome is Outcome.REFUSED and found and write.action is not Action.DELETED:
        return "P11 outcome", f"was refused and is in the log at UEN {found[0]}"
    return None


# by the bytes


class _Sent(NamedTuple):
    """A write that left on a connection; ``answer`` is the frame that ended its answer, if one came."""

    wire: WireHistory
    asked: Asked
    answer: Answered | None

    @property
    def outcome(self) -> Outcome:
        """What the answer says."""
        if self.answer is None:
            return Outcome.UNKNOWN
        if self.answer.message != MessageId.ERROR:
            return Outcome.ACKNOWLEDGED
        return Outcome.UNKNOWN if self.answer.payload.outcome_unknown else Outcome.REFUSED


def check_outcomes(history: History) -> Iterator[Violation]:
    """P11: a write is sent once per attempt, by who makes it and by every replica that forwards it, and its writer is
    told what the answer says; that the outcome is unknown only where there is none, or where the server that answers
    does not know."""
    sent: dict[str, list[_Sent]] = {}
    for wire in history.wires:
        for each in _sent(wire):
            sent.setdefault(_key(each.asked), []).append(each)
    attempts: dict[tuple[str, str], list[WriteRecord]] = {}
    for write in history.writes:
        if write.key:
            attempts.setdefault((write.client, write.key), []).append(write)
    for (client, key), mine in attempts.items():
        for wrong in _wrong_attempts(mine, [each for each in sent.get(key, ()) if each.wire.client == client]):
            yield Violation("P11 outcome", client, f"the write with the key {key} {wrong}")
    for key, copies in sent.items():
        yield from _check_forwarding(key, copies)


def _sent(wire: WireHistory) -> Iterator[_Sent]:
    answers = {event.request: event for event in wire.events if isinstance(event, Answered) and event.last}
    for event in wire.events:
        if isinstance(event, Asked) and event.message in WRITES and _key(event):
            yield _Sent(wire, event, answers.get(event.request))


def _key(asked: Asked) -> str:
    key: str = getattr(asked.payload, "key", "")
    return key


def _wrong_attempts(attempts: Sequence[WriteRecord], sent: Sequence[_Sent]) -> Iterator[str]:
    """What is wrong with the attempts of one write, in words; not each of them has come to send it."""
    if len(sent) > len(attempts):
        yield f"was sent {len(sent)} times in {len(attempts)} attempts"
        return
    latest = {index: each for each in sent for index in [_attempt_of(each, attempts)]}
    of_attempt = dict(enumerate(sent)) if len(sent) == len(attempts) else latest
    for index, write in enumerate(attempts):
        if index not in of_attempt:
            if write.outcome is Outcome.ACKNOWLEDGED:
                yield "was acknowledged and never sent"
            continue
        said, answer = of_attempt[index].outcome, of_attempt[index].answer
        is_late = answer is None or answer.at_s >= write.at_s
        if said is not write.outcome and not (write.outcome is Outcome.UNKNOWN and is_late):
            yield f"was reported as {write.outcome.value}, the server said {said.value}"


def _attempt_of(sent: _Sent, attempts: Sequence[WriteRecord]) -> int:
    """The last attempt that had begun."""
    return max((index for index, write in enumerate(attempts) if write.began_s <= sent.asked.at_s), default=0)


def _check_forwarding(key: str, copies: Sequence[_Sent]) -> Iterator[Violation]:
    """A replica (its host is the client of its own connections to a master) forwards each request once."""
    taken = Counter(each.wire.host for each in copies)
    for name, times in Counter(each.wire.client for each in copies if each.asked.payload.on_behalf_of).items():
        if times > taken[name]:
            what = f"forwarded the write with the key {key} {times} times, and was asked {taken[name]} times"
            yield Violation("P11 outcome", name, what)
