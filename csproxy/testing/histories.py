"""What clients saw and did, in a form that `csproxy.testing.checker` can judge.

Three views of the same run: a `WireHistory` holds what one connection carried, as it stood in the
bytes (`csproxy.testing.wiretap` writes it); a `StreamHistory` what one subscription's consumer was
given, across connections; reads and writes are what the client library answered. Nothing here
judges. Times are seconds of the run's clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any, NamedTuple

from csproxy.core.changes import Action, Change, Position
from csproxy.core.standby import Role
from csproxy.core.subscriptions import Interest
from csproxy.transport.wire.frames import HEADER_SIZE

__all__ = [
    "Announced",
    "Answered",
    "Arrived",
    "Asked",
    "Began",
    "Bound",
    "Delivered",
    "Ended",
    "Event",
    "Expired",
    "Final",
    "History",
    "Marked",
    "Notified",
    "ObjectKey",
    "Outcome",
    "PairFinal",
    "ReadRecord",
    "Reached",
    "Reload",
    "RoleTaken",
    "Started",
    "StreamHistory",
    "Told",
    "WireHistory",
    "WriteRecord",
]

ObjectKey = tuple[int, int]
"""Type number and DBID."""


class Delivered(NamedTuple):
    """One change as a subscriber got it; ``payload`` is that of its notification, byte for byte."""

    position: Position
    action: Action
    type: int
    dbid: int
    last: bool
    from_history: bool
    payload: bytes
    is_reload: bool

    @staticmethod
    def of(change: Change, *, from_history: bool) -> Delivered:
        """What is kept of a decoded change. A reload's difference is the one that names no time."""
        return Delivered(
            change.position,
            change.action,
            change.type,
            change.dbid,
            change.last,
            from_history,
            change.frame[HEADER_SIZE:],
            not change.time_ms,
        )

    def __str__(self) -> str:
        notes = [name for name, value in (("history", self.from_history), ("reload", self.is_reload)) if value]
        end = "." if self.last else ""
        return (
            f"{self.action.name.lower()} {self.type}/{self.dbid} at {self.position.uen}{end} {' '.join(notes)}".strip()
        )


# what one connection carried


class Asked(NamedTuple):
    """A request left. ``session`` is that of a RestoreSession or HistoryLog, ``interests`` what it subscribes to."""

    at_s: float
    request: int
    message: int
    position: Position
    payload: Any


class Answered(NamedTuple):
    """A frame of an answer came; ``last`` ends it. ``payload`` is decoded if the message is known."""

    at_s: float
    request: int
    message: int
    position: Position
    last: bool
    payload: Any


class Notified(NamedTuple):
    """A change came."""

    at_s: float
    change: Delivered


class Marked(NamedTuple):
    """A progress mark came, or a disconnect notice that vouches for a position.

    ``from_history``: it only ends a transaction within a replay.
    """

    at_s: float
    position: Position
    from_history: bool = False


class Told(NamedTuple):
    """An update of the other proxy of a pair came unasked (1022)."""

    at_s: float
    payload: Any


class Ended(NamedTuple):
    """The connection ended."""

    at_s: float
    reason: str


Event = Asked | Answered | Notified | Marked | Told | Ended


@dataclass
class WireHistory:
    """One connection of ``client`` to the server on ``host``, in the order of the bytes.

    ``floors`` holds, per refused resume (its request id), the oldest UEN that the server's window
    reached back to while the request was under way, if the recorder could look.
    """

    client: str
    number: int
    host: str
    events: list[Event] = field(default_factory=list)
    floors: dict[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"connection {self.number} of {self.client} to {self.host}"


# what one subscription's consumer was given


class Started(NamedTuple):
    """The subscription stands. ``objects`` is what was read at ``position``; None if it began without a read."""

    at_s: float
    position: Position
    objects: Mapping[ObjectKey, bytes] | None


class Arrived(NamedTuple):
    """A transaction: those of its changes that match."""

    at_s: float
    end: Position
    changes: tuple[Delivered, ...]


class Reached(NamedTuple):
    """The stream says that everything up to ``position`` has been given to its consumer."""

    at_s: float
    position: Position


class Expired(NamedTuple):
    """The stream ended with error 27: its place had left the history."""

    at_s: float
    position: Position


@dataclass
class StreamHistory:
    """One subscription of ``client``; ``is_open`` at the end of the run means that it was never closed."""

    client: str
    number: int
    interest: Interest
    events: list[Started | Arrived | Reached | Expired] = field(default_factory=list)
    is_open: bool = True

    def __str__(self) -> str:
        words = [f"{name}={value}" for name, value in self.interest._asdict().items() if value]
        return f"stream {self.number} of {self.client} ({', '.join(words) or 'everything'})"


# reads and writes of the client library


class ReadRecord(NamedTuple):
    """A read that was answered; ``seen`` is the latest position that the client had been shown when it asked."""

    at_s: float
    client: str
    type: int
    filter: Mapping[str, Any]
    seen: Position
    position: Position
    objects: Mapping[int, bytes]


class Outcome(Enum):
    """What a writer was told."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class WriteRecord(NamedTuple):
    """One attempt of a write, from ``began_s`` to ``at_s``. ``token`` is a text that it put into the object, used once;
    empty for a deletion.

    ``position`` is that of the acknowledgement; ``dbid`` is known for updates, deletions and acknowledged creations.
    ``key`` is its idempotency key, the same in every attempt; if it is empty, nothing is compared with connections.
    """

    at_s: float
    client: str
    action: Action
    type: int
    dbid: int
    token: str
    outcome: Outcome
    position: Position
    key: str = ""
    began_s: float = 0.0


# the run


class Reload(NamedTuple):
    """The server on ``host`` had data up to ``after`` and took a whole new data set at ``until``: it knows only the
    net difference of the changes in between. If that is of another history, ``after`` is where the two part."""

    host: str
    after: int
    until: int


class Began(NamedTuple):
    """A replica (its name is that of the client on its connections to a master) began to follow at ``at_s``, with data
    from a disk or a database up to ``position``, or with none: (0, 0). ``delay_reload_s`` is its option."""

    at_s: float
    name: str
    position: Position
    delay_reload_s: float = 0.0


class Announced(NamedTuple):
    """What a replica said at ``at_s``: whether it serves data that no master has confirmed."""

    at_s: float
    name: str
    is_unconfirmed: bool


class RoleTaken(NamedTuple):
    """The proxy ``name`` of a warm-standby pair had this role from ``at_s`` on (`csproxy.core.standby.Role`).

    ``stopped``: its process ended, and with it all that it knew of sessions.
    """

    at_s: float
    name: str
    role: Role


class Restarted(NamedTuple):
    """The program ``client`` began anew at ``at_s``, and with nothing that it knew."""

    at_s: float
    client: str


class PairFinal(NamedTuple):
    """How the proxy ``name`` of a warm-standby pair stood at the end, at ``at_s``: its role, and clients' sessions.

    ``sessions`` holds subscriptions by session id: of the primary what can be restored there, of its standby what it
    stores for it.
    """

    at_s: float
    name: str
    role: Role
    sessions: Mapping[str, frozenset[Interest]]


class Bound(NamedTuple):
    """Something that must stay bounded: the most that was seen, the limit, and the property that this is."""

    name: str
    most: float
    limit: float
    property: str = "P16 bounded"


class Final(NamedTuple):
    """How a replica (``name``) stood at the end: its position, objects and folders."""

    name: str
    position: Position
    objects: Mapping[ObjectKey, bytes]
    folders: Mapping[ObjectKey, int]


@dataclass
class History:
    """Everything that was recorded in one run.

    ``accounts``: the Persons of clients that do not read everything. ``quiet_from_s``: from then on the network was
    well, and only processes of servers ended. ``is_quiet_at_end``: faults had ended long enough
    for everybody to catch up.
    """

    wires: list[WireHistory] = field(default_factory=list)
    streams: list[StreamHistory] = field(default_factory=list)
    reads: list[ReadRecord] = field(default_factory=list)
    writes: list[WriteRecord] = field(default_factory=list)
    reloads: list[Reload] = field(default_factory=list)
    restarts: list[Restarted] = field(default_factory=list)
    began: list[Began] = field(default_factory=list)
    announced: list[Announced] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)
    finals: list[Final] = field(default_factory=list)
    roles: list[RoleTaken] = field(default_factory=list)
    pair_finals: list[PairFinal] = field(default_factory=list)
    accounts: dict[str, ObjectKey] = field(default_factory=dict)
    quiet_from_s: float = inf
    is_quiet_at_end: bool = False

    def transcript(self) -> Iterator[str]:
        """One line per event of a stream, read and write, in the order of time."""
        lines: list[tuple[float, str]] = []
        for stream in self.streams:
            lines += [(event.at_s, f"{stream}: {describe(event)}") for event in stream.events]
        for wire in self.wires:
            lines += [(event.at_s, f"{wire}: {describe(event)}") for event in wire.events]
        for read in self.reads:
            what = f"{read.type} {dict(read.filter)}: {len(read.objects)} objects at {read.position.uen}"
            lines.append((read.at_s, f"{read.client}: read {what}"))
        for taken in self.roles:
            lines.append((taken.at_s, f"{taken.name}: is {taken.role.value}"))
        for write in self.writes:
            what = f"{write.action.name.lower()} {write.type}/{write.dbid} {write.token}"
            lines.append((write.at_s, f"{write.client}: {what} {write.outcome.value} at {write.position.uen}"))
        lines.sort(key=lambda line: line[0])
        for at_s, text in lines:
            yield f"{at_s:10.4f}  {text}"


def describe(event: Event | Started | Arrived | Reached | Expired) -> str:
    """One event in words, for transcripts."""
    match event:
        case Notified(change=change):
            return str(change)
        case Asked():
            return f"asks {event.message} #{event.request} since {event.position.uen}: {event.payload!r}"[:200]
        case Answered():
            end = "." if event.last else ""
            objects = getattr(event.payload, "objects", None)
            what = repr(event.payload) if objects is None else f"{len(objects)} objects"
            return f"answered {event.message} #{event.request}{end} at {event.position.uen}: {what}"[:200]
        case Marked():
            return f"mark {event.position.uen}{' history' if event.from_history else ''}"
        case Told():
            return f"told {event.payload!r}"[:200]
        case Ended():
            return f"ended: {event.reason}"
        case Started():
            how = "" if event.objects is None else f" with {len(event.objects)} objects read"
            return f"started at {event.position.uen}{how}"
        case Arrived():
            return f"transaction to {event.end.uen}: {'; '.join(map(str, event.changes))}"
        case Reached():
            return f"reached {event.position.uen}"
        case Expired():
            return f"expired at {event.position.uen}"
