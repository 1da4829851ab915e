"""Send mutated frames to a server and find out whether it minds.

PYTHONHASHSEED=0 python -m tests.fuzz.run --frames 5000000             a replica that takes no writes
PYTHONHASHSEED=0 python -m tests.fuzz.run --frames 100000 --writes     a master
PYTHONHASHSEED=0 python -m tests.fuzz.run --seed 1 --only 4711         one conversation of a run again

What must hold: no exception but the designed refusals leaves a connection; nothing is logged as an error; no step
takes long; answers are frames; a connection that is not ended answers a ping; another client is served throughout; and
memory does not grow.
"""

# ruff: noqa: T201 - this is a command
from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import anyio
import anyio.lowlevel

from csproxy.core import codec
from csproxy.core.changes import Action
from csproxy.core.model import CfgAppType
from csproxy.errors import RemoteProtocolError
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.exchanges import ANSWERS, PARTS, REGISTRATIONS, UNASKED
from csproxy.transport.wire.frames import HEADER_SIZE, MAGIC, FrameReader, encode_frame
from csproxy.transport.wire.messages import PAYLOADS, MessageId, decode_payload
from csproxy.transport.wire.registration import RegisterClient
from tests.fuzz.mutations import Mutator
from tests.fuzz.target import PASSWORD, Complaints, master, replica
from tests.transport.manual import EPOCH, ManualChannel, transaction

_FIRST: Final = frozenset({MessageId.PROTOCOL_VERSION, *REGISTRATIONS})
_LATER: Final = tuple(sorted(ANSWERS.keys() - _FIRST))
LONGEST_S: Final = 5.0
MAX_GROWTH_MB: Final = 16.0
NEIGHBOURS: Final = 8
"""Connections that stay open while others are served, with whatever they have subscribed to."""
_SKILL: Final = 13
_PING: Final = 0xF0F0F0F0
_PATIENCE_S: Final = 30.0


@dataclass
class Report:
    """What a run has found."""

    frames: int = 0
    bytes: int = 0
    conversations: int = 0
    registered: int = 0
    answers: int = 0
    refusals: int = 0
    disconnects: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0
    rss_mb: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """What resident memory has gained since a quarter of the run was done."""
        return self.rss_mb[-1] - max(self.rss_mb[: len(self.rss_mb) // 4 + 1])

    def summary(self) -> str:
        """One paragraph for people."""
        memory = f"{self.rss_mb[0]:.1f} MB at first, {self.rss_mb[-1]:.1f} MB at last" if self.rss_mb else "unknown"
        return (
            f"{self.frames} frames ({self.bytes / 1e6:.0f} MB) in {self.conversations} conversations, "
            f"{self.registered} registered; {self.answers} answers, {self.refusals} refusals, "
            f"{self.disconnects} disconnects; {self.frames / max(self.seconds, 1e-9):.0f} frames/s, longest step "
            f"{self.longest_s * 1000:.1f} ms; memory {memory}; {len(self.failures)} failures"
        )


class _FarChannel(ManualChannel):
    """From an address that limits apply to."""

    def __init__(self, peer: str) -> None:
        super().__init__()
        self._peer = peer

    @property
    def peer(self) -> str:
        return self._peer


class Conversation:
    """One connection: a proper beginning, or none, then frames; all drawn from its own seed."""

    def __init__(self, server: ConfigurationServer, report: Report, seed: str, sessions: deque[str]) -> None:
        self._server = server
        self._report = report
        self._rng = Random(seed)
        self._mutator = Mutator(self._rng)
        self._channel = _FarChannel(f"203.0.113.{self._rng.randrange(4)}:5000")
        self._sent = FrameReader()
        self._answers = FrameReader()
        self._sessions = sessions
        self._is_registered = False
        self._has_pong = False
        self._is_mid_frame = False

    async def run(self) -> None:
        """Send everything and look at what comes back."""
        server, rng = self._server, self._rng
        position = server.position
        self._mutator.positions += [(position.epoch, position.uen), (EPOCH, 5), (position.epoch, position.uen + 1)]
        self._mutator.sessions = list(self._sessions)
        server.connect(self._channel)
        await self._begin()
        usual = _LATER if self._is_registered else tuple(_FIRST)
        frames = (self._mutator.frame(None if rng.random() < 0.01 else usual) for _ in range(rng.choice((1, 5, 60))))
        for piece in self._pieces(frames):
            await self._deliver(piece)
            if self._channel.is_closing:
                break
        await self._ping()

    def end(self) -> None:
        """The client is gone."""
        self._channel.lose()

    async def _begin(self) -> None:
        rng = self._rng
        choice = rng.random()
        if choice < 0.05:
            return await self._deliver(self._mutator.bytes_changed(MAGIC))
        protocol = ClientProtocol()
        await self._deliver(protocol.connect("fuzz", "1"))
        if choice < 0.3:
            return None
        who = RegisterClient(type=int(CfgAppType.CFGSCE), name="default", user="default", password=PASSWORD)
        if choice < 0.5:
            who = RegisterClient(type=int(CfgAppType.CFGConfigServer), name="proxy1")
        await self._deliver(encode_frame(MessageId.REGISTER_CLIENT, codec.encode(who), request=2))
        return None

    def _pieces(self, frames: Iterator[bytes]) -> Iterable[bytes]:
        """All at once, frame by frame, or cut anywhere."""
        rng = self._rng
        match rng.randrange(3):
            case 0:
                return frames
            case 1:
                return [b"".join(frames)]
            case _:
                data = b"".join(frames)
                cuts = sorted(rng.randrange(len(data)) for _ in range(rng.choice((1, 10))))
                return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]

    async def _deliver(self, data: bytes) -> None:
        began = time.thread_time()  # not the time on the clock: others may have the processor meanwhile
        self._report.bytes += len(data)
        self._channel.deliver(data)
        self._report.longest_s = max(self._report.longest_s, time.thread_time() - began)
        self._follow(data)
        await self._settle()

    def _follow(self, data: bytes) -> None:
        """Know whether the stream stands inside of a frame: then a ping would be part of it."""
        try:
            self._report.frames += len(self._sent.receive_data(data.removeprefix(MAGIC)))
            self._is_mid_frame = self._sent.buffered_bytes > 0
        except RemoteProtocolError:
            self._report.frames += 1
            self._is_mid_frame = True

    async def _settle(self) -> None:
        """Take what is sent until the server listens again."""
        deadline = time.monotonic() + _PATIENCE_S
        self._take()
        while self._channel.is_paused and not self._channel.is_closing:
            await anyio.lowlevel.checkpoint()
            self._take()
            if time.monotonic() > deadline:
                raise AssertionError("the server has stopped listening")

    def _take(self) -> None:
        channel = self._channel
        channel.take(1 << 30)
        if not channel.taken:
            return
        data = bytes(channel.taken)
        channel.taken.clear()
        for frame in self._answers.receive_data(data):
            self._report.answers += 1
            self._report.refusals += frame.message == MessageId.ERROR
            self._report.disconnects += frame.message == MessageId.DISCONNECTED
            if frame.message == MessageId.CLIENT_REGISTERED and not self._is_registered:
                self._is_registered = True
                self._report.registered += 1
                self._sessions.append(codec.decode_map(frame.payload)["session"])
            self._has_pong |= frame.message == MessageId.PONG and frame.request == _PING

    async def _ping(self) -> None:
        if self._is_registered and not self._channel.is_closing and not self._is_mid_frame:
            await self._deliver(encode_frame(MessageId.PING, b"", request=_PING))
            deadline = time.monotonic() + _PATIENCE_S
            while not self._has_pong and not self._channel.is_closing:
                await anyio.lowlevel.checkpoint()
                self._take()
                if time.monotonic() > deadline:
                    raise AssertionError("no answer to a ping")


def fuzz_client(report: Report, rng: Random) -> None:
    """Mutated answers and notifications against the client's protocol object."""
    mutator = Mutator(rng, sender="server")
    protocol = ClientProtocol()
    protocol.connect("fuzz", "1")
    asked = rng.choices(_LATER, k=8)
    if rng.random() < 0.8:
        answer = codec.encode({"version": 1, "release": "1", "max_frame": 1 << 20})
        protocol.receive_data(encode_frame(MessageId.PROTOCOL_VERSION_READ, answer, request=1, flags=1))
        protocol.request(MessageId.REGISTER_CLIENT, b"")
        if rng.random() < 0.9:
            registered = codec.encode({"session": "0" * 32, "protocol_version": 1})
            protocol.receive_data(encode_frame(MessageId.CLIENT_REGISTERED, registered, request=2, flags=1))
            for message in asked:
                protocol.request(message, b"")
    try:
        for _ in range(rng.choice((1, 5, 20))):
            number = rng.randrange(-3, len(asked))
            fitting = UNASKED if number < 0 else ANSWERS[asked[number]] | {MessageId.ERROR}
            frame = bytearray(mutator.frame(tuple(fitting)))
            if len(frame) >= HEADER_SIZE and rng.random() < 0.95:
                frame[6] = rng.choice((0, 1, 3)) if number < 0 else frame[5] not in PARTS
                frame[8:12] = max(0, number + 3).to_bytes(4, "big")
            report.frames += 1
            report.bytes += len(frame)
            for received in protocol.receive_data(bytes(frame)):
                report.answers += 1
                payload = PAYLOADS.get(MessageId(received.message))
                if payload is not None:
                    decode_payload(payload, received.payload)
    except RemoteProtocolError:
        report.refusals += 1


async def fuzz_server(
    target: AbstractAsyncContextManager[ConfigurationServer],
    report: Report,
    *,
    frames: int,
    seed: int,
    only: int | None = None,
) -> None:
    """Conversations until ``frames`` frames were sent; the first failures end the run."""
    complaints = Complaints()
    logger = logging.getLogger("csproxy")
    logger.addHandler(complaints)
    level, logger.level = logger.level, logging.ERROR
    began = time.perf_counter()
    sessions: deque[str] = deque(maxlen=10)
    neighbours: deque[Conversation] = deque()
    try:
        async with target as server:
            number = only or 0
            while report.frames < frames and len(report.failures) < 5:
                complaints.seen.clear()
                conversation = Conversation(server, report, f"{seed}:{number}", sessions)
                neighbours.append(conversation)
                try:
                    await conversation.run()
                    if len(neighbours) > NEIGHBOURS:
                        neighbours.popleft().end()
                    if number % 20 == 0:
                        _change(server)
                    if number % 200 == 0:
                        await _still_serves(server)
                except Exception:  # noqa: BLE001 - whatever it is, it is a finding
                    report.failures.append(f"conversation {seed}:{number}: {traceback.format_exc()}")
                report.failures += [f"conversation {seed}:{number}: logged: {text}" for text in complaints.seen]
                report.conversations += 1
                number += 1
                if report.frames * 20 >= frames * (len(report.rss_mb) + 1):
                    while neighbours:
                        neighbours.popleft().end()
                    await _rest(server)
                    report.rss_mb.append(_rss_mb())
                if only is not None:
                    break
    finally:
        logger.removeHandler(complaints)
        logger.setLevel(level)
    report.seconds = time.perf_counter() - began
    if report.rss_mb and report.growth_mb > MAX_GROWTH_MB:
        report.failures.append(f"memory has grown by {report.growth_mb:.1f} MB")
    if report.longest_s > LONGEST_S:
        report.failures.append(f"one step took {report.longest_s:.1f} s")


def _change(server: ConfigurationServer) -> None:
    """Something for subscribers: a skill comes, or goes again."""
    uen = server.position.uen + 1
    if isinstance(server.writer, ReadOnlyWriter):
        item = {"DBID": 9001, "tenantDBID": 1, "name": "a skill", "state": 1}
        is_there = server.cache.get(_SKILL, 9001) is not None
        server.publish(transaction(uen, (Action.DELETED if is_there else Action.CREATED, _SKILL, item, None)))


async def _still_serves(server: ConfigurationServer) -> None:
    """A client that has nothing to do with it registers and reads."""
    channel, protocol = ManualChannel(), ClientProtocol()
    server.connect(channel)
    channel.deliver(protocol.connect("witness", "1"))
    who = RegisterClient(type=int(CfgAppType.CFGSCE), name="default", user="default", password=PASSWORD)
    asked = [
        (MessageId.REGISTER_CLIENT, codec.encode(who)),
        (MessageId.READ_OBJECTS, codec.encode({"type": 3, "filter": {"dbid": 100}})),
    ]
    answers = []
    with anyio.fail_after(_PATIENCE_S):
        for number, (message, payload) in enumerate(asked, start=2):
            channel.deliver(encode_frame(message, payload, request=number))
            while not any(frame.request == number and frame.flags & 1 for frame in answers):
                await anyio.lowlevel.checkpoint()
                channel.take(1 << 30)
                answers += FrameReader().receive_data(bytes(channel.taken))
                channel.taken.clear()
    assert answers[-1].message == MessageId.OBJECTS_SENT, answers[-1]
    channel.lose()


async def _rest(server: ConfigurationServer) -> None:
    """Let tasks that have nobody to answer any more come to their end."""
    await anyio.sleep(0.05)
    gc.collect()
    assert server.statistics().clients == 0
    assert server.statistics().unregistered == 0


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one conversation")
    parser.add_argument("--writes", action="store_true", help="a master that carries out writes")
    parser.add_argument("--client", action="store_true", help="the client's protocol object instead")
    given = parser.parse_args(arguments)
    report = Report()
    if given.client:
        began, rng = time.perf_counter(), Random(given.seed)
        while report.frames < given.frames:
            fuzz_client(report, rng)
        report.seconds = time.perf_counter() - began
    else:
        with tempfile.TemporaryDirectory() as folder:
            target = master(Path(folder)) if given.writes else replica()
            anyio.run(lambda: fuzz_server(target, report, frames=given.frames, seed=given.seed, only=given.only))
    print(report.summary())
    if report.rss_mb:
        print("memory, MB:", " ".join(f"{mb:.1f}" for mb in report.rss_mb))
    for failure in report.failures:
        print(failure)
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
