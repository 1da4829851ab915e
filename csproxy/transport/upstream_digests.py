"""A proxy compares its data with its master's, and heals what differs.

Both sides have one digest per object type (`csproxy.core.digests`). The master's are as of a position;
the proxy lets its change stream stand there for the moment of the comparison. A type that differs is
read again at one position, with the stream held there, and put in place in one step: subscribers get
exactly the difference, clients stay connected. If that does not help, everything is loaded anew.

The own digests are computed from the objects each time, in steps (0.1 s a minute for 100,000 objects),
so that not only a wrong change is found but also an object that went wrong without one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import anyio

from csproxy.core.changes import Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.replica import ReplicaSink
from csproxy.core.security_records import STORED_TYPES
from csproxy.errors import (
    CsproxyError,
    ErrorCode,
    ModelError,
    RetryableError,
    ServerError,
    TimedOutError,
)
from csproxy.transport.client_snapshot import Snapshot
from csproxy.transport.upstream_link import MasterLink, UpstreamLimits
from csproxy.transport.verification import compute_digests, verified_types
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import ObjectsRead
from csproxy.transport.wire.replication import Digest, ReadDigest
from csproxy.transport.wire.texts import check_texts
from csproxy.transport.wire.verification import Verified

__all__ = ["DigestStatistics", "DigestWatch"]

log = logging.getLogger("csproxy.upstream")

Finding = tuple[Position, Verified]
"""Where the data was compared, and what was found."""

_ATTEMPTS: Final = 3
_ASK_AGAIN_S: Final = 2.0
_HOPELESS_S: Final = 3600.0
"""After a load that did not help, the difference is only reported for so long: another one would not help either."""


@dataclass(frozen=True)
class DigestStatistics:
    """What the comparisons have found. ``last_s`` is a time of the source's clock, None before the first."""

    checks: int = 0
    differences: int = 0
    healed: int = 0
    last_s: float | None = None


class DigestWatch:
    """Compares at intervals while a link is live, when it was resumed, and when somebody asks.

    ``differences`` counts types that differed, ``healed`` those of them that reading them again put right.
    """

    def __init__(self, sink: ReplicaSink, limits: UpstreamLimits, *, clock: Callable[[], float]) -> None:
        self.statistics = DigestStatistics()
        self._sink = sink
        self._limits = limits
        self._clock = clock
        self._askers: list[_Asker] = []
        self._asked = anyio.Event()
        self._is_running = False
        self._hopeless_until_s = 0.0
        self._has_loaded_for = False

    def __repr__(self) -> str:
        now = self.statistics
        return f"<DigestWatch {now.checks} checks, {now.differences} differences>"

    async def run(self, link: MasterLink, *, at_once: bool) -> None:
        """Compare over a live link until cancelled. Errors end a comparison, not the watch."""
        self._is_running = True
        try:
            while True:
                if not at_once:
                    with anyio.move_on_after(self._limits.compare_s):
                        await self._asked.wait()
                at_once = False
                await self._check(link)
        finally:
            self._is_running = False
            self._answer([], RetryableError(ErrorCode.SERVER_NOT_FOUND, "the master is away", retry_after_s=5.0))

    async def ask(self, *, timeout_s: float) -> Finding:
        """What a comparison that begins now finds. Raises `ServerError`, retryable when the master is away."""
        if not self._is_running:
            raise RetryableError(ErrorCode.SERVER_NOT_FOUND, "the master is away", retry_after_s=5.0)
        asker = _Asker()
        self._askers.append(asker)
        self._asked.set()
        with anyio.move_on_after(timeout_s):
            await asker.done.wait()
        if asker.finding is None:
            if asker in self._askers:
                self._askers.remove(asker)
            raise asker.error or RetryableError(
                ErrorCode.DB_RESPONSE_TIMED_OUT,
                f"the comparison took longer than {timeout_s:g} s",
                retry_after_s=_ASK_AGAIN_S,
            )
        return asker.finding

    async def _check(self, link: MasterLink) -> None:
        askers, self._askers = self._askers, []
        self._asked = anyio.Event()
        error: CsproxyError | None = None
        found: Finding | None = None
        try:
            if not _sees_everything(link):
                raise ServerError.from_code(
                    ErrorCode.ACCESS_DENIED, "this proxy does not see all objects of its master"
                )
            found = await self._compare_and_heal(link)
        except CsproxyError as e:
            error = e
            if link.connection.error is None:
                log.warning(
                    "the data could not be compared with that of %s: %s",
                    link.connection.peer,
                    e,
                    extra={"event": 31063},
                )
        finally:
            if found is None and error is None:
                error = RetryableError(ErrorCode.SERVER_NOT_FOUND, "the master has gone away", retry_after_s=5.0)
            for asker in askers:
                asker.answer(found, error)

    def _answer(self, askers: list[_Asker], error: CsproxyError) -> None:
        for asker in [*askers, *self._askers]:
            asker.answer(None, error)
        self._askers.clear()

    async def _compare_and_heal(self, link: MasterLink) -> Finding:
        position, differing = await self._compare(link, STORED_TYPES)
        states = dict.fromkeys(STORED_TYPES, "equal")
        now = self._clock()
        self._count(checks=1, differences=len(differing), last_s=now)
        if not differing:
            self._has_loaded_for = False
        else:
            states |= dict.fromkeys(differing, "different")
            log.warning(
                "the data differs from that of the master %s at UEN %d in %s",
                link.connection.peer,
                position.uen,
                _names(differing),
                extra={"event": 31060},
            )
            if self._has_loaded_for and now < self._hopeless_until_s:
                log.error(
                    "loading everything did not help: the difference in %s stays",
                    _names(differing),
                    extra={"event": 31062},
                )
            else:
                position, left = await self._heal(link, differing)
                healed = [number for number in differing if number not in left]
                states |= dict.fromkeys(healed, "healed")
        return position, Verified(
            compared_with=f"the master {link.connection.peer}", types=verified_types(self._sink.cache, states)
        )

    # comparing

    async def _compare(self, link: MasterLink, types: Collection[int]) -> tuple[Position, list[int]]:
        """The types whose digests differ, and where. Raises `CsproxyError` when that cannot be found out."""
        for number in types:
            self._sink.cache.forget_digest(number)
        for _ in range(_ATTEMPTS):
            await compute_digests(lambda: self._sink.cache, types)
            with _held(link):
                answer = await link.connection.request(
                    MessageId.READ_DIGEST,
                    ReadDigest(types=sorted(types)),
                    timeout_s=self._limits.load_s,
                    on_answer=lambda frame: link.hold_after(frame.uen),
                )
                if await link.stands(timeout_s=self._limits.answer_s):
                    theirs = decode_payload(Digest, answer.payload).digests
                    cache = self._sink.cache
                    differing = [number for number in sorted(types) if theirs.get(number) != cache.digest(number)]
                    return cache.position, differing
        raise TimedOutError(f"{link.connection.peer} answered {_ATTEMPTS} times from behind its own change stream")

    # healing

    async def _heal(self, link: MasterLink, types: Collection[int]) -> tuple[Position, list[int]]:
        """Read the types again; returns those that differ still, for which everything is loaded next."""
        await self._reload(link, types)
        position, left = await self._compare(link, types)
        healed = len(types) - len(left)
        self._count(healed=healed)
        if healed:
            log.warning(
                "read again and equal now: %s",
                _names([number for number in types if number not in left]),
                extra={"event": 31061},
            )
        if left:
            self._has_loaded_for = True
            self._hopeless_until_s = self._clock() + _HOPELESS_S
            log.error(
                "still different after it was read again: %s; everything is loaded anew",
                _names(left),
                extra={"event": 31062},
            )
            # what ends a connection with such an error is healed by a load (Replication.data_diverged)
            link.connection.abort(
                ModelError(ErrorCode.UNDEFINED_ERROR, f"the digests of {_names(left)} stay different from the master's")
            )
        return position, left

    async def _reload(self, link: MasterLink, types: Collection[int]) -> None:
        """Read types at one position, with the stream standing there, and put them in place in one step."""
        with _held(link):
            async with Snapshot(
                link.connection,
                timeout_s=self._limits.answer_s,
                on_open=lambda position: link.hold_after(position.uen),
            ) as snapshot:
                if not await link.stands(timeout_s=self._limits.answer_s):
                    return  # what the comparison that follows will show
                builder = CacheBuilder(self._sink.cache, types=types)

                def add(frame: Frame) -> None:
                    check_texts(frame)
                    part = decode_payload(ObjectsRead, frame.payload)
                    builder.add(part.type, [bytes(raw) for raw in part.objects], part.folders)

                for number in types:
                    await snapshot.read(number, {"read_folder_dbid": 1}, on_part=add, timeout_s=self._limits.answer_s)
                self._sink.replace(builder, self._sink.position, self._sink.epochs)

    def _count(self, *, checks: int = 0, differences: int = 0, healed: int = 0, last_s: float | None = None) -> None:
        before = self.statistics
        self.statistics = replace(
            before,
            checks=before.checks + checks,
            differences=before.differences + differences,
            healed=before.healed + healed,
            last_s=before.last_s if last_s is None else last_s,
        )


class _Asker:
    """Somebody who waits for the next comparison."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.finding: Finding | None = None
        self.error: CsproxyError | None = None

    def answer(self, finding: Finding | None, error: CsproxyError | None) -> None:
        self.finding = finding
        if isinstance(error, ServerError):
            self.error = error
        elif error is not None:
            self.error = RetryableError(ErrorCode.UNDEFINED_ERROR, str(error), retry_after_s=_ASK_AGAIN_S)
        self.done.set()


@contextmanager
def _held(link: MasterLink) -> Iterator[None]:
    """Whatever happens inside, the stream goes on afterwards."""
    try:
        yield
    finally:
        link.go_on()


def _sees_everything(link: MasterLink) -> bool:
    """Whether this proxy may read every object: only then are equal digests due."""
    return not link.is_partial


def _names(types: Collection[int]) -> str:
    return ", ".join(STORED_TYPES[number].name for number in types)
