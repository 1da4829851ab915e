"""The numbered events of the log: one registry for what is logged, for the reference page, and for [log-extended].

A record carries its number as ``extra={"event": 4504}``; the text form ``"00-04504"`` says the component, too. Lines
without a number are details; their texts may change in any release; numbers and their meaning do not.

Source of the rows: the vendor's published log events where ``origin`` is D. Ours (O) have numbers from 31000 up, and
some between the vendor's where they belong together.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["EVENTS", "LEVELS", "LogEvent", "event_number", "find_event"]

LEVELS: Final = {"debug": 10, "trace": 15, "interaction": 17, "standard": 20, "alarm": 50}
"""The five levels of the field as numbers of `logging`, lowest first; warnings and errors are Standard, too."""

_MOST: Final = 99_999


class LogEvent(NamedTuple):
    """One row: ``component`` is the first part of the published number, ``advice`` what a person should do."""

    number: int
    component: str
    level: str
    origin: str
    meaning: str
    advice: str

    @property
    def id(self) -> str:
        """``00-04504``."""
        return f"{self.component}-{self.number:05d}"


_NOTHING: Final = "Nothing."

EVENTS: Final = tuple(
    LogEvent(number, *row)
    for number, row in {
        4110: ("00", "trace", "D", "An option has another value than before; the text says when it counts.", _NOTHING),
        4112: ("00", "trace", "D", "A log output was opened. Each log file begins with this event.", _NOTHING),
        4500: ("00", "trace", "D", "A proxy connects to its master.", _NOTHING),
        4502: (
            "00",
            "standard",
            "D",
            "A proxy cannot connect to its master, or cannot follow it; it goes on trying, and serves what it has.",
            "If it does not pass: is the master running, is it reachable at the address in the text, is the "
            "Application of the proxy as the text says?",
        ),
        4503: ("00", "standard", "D", "Connected: a proxy to its master, a master to its database.", _NOTHING),
        4504: (
            "00",
            "standard",
            "D",
            "The connection is lost, of a proxy to its master or of a master to its database. It is tried again.",
            "If 04503 does not follow: look at the other side and at the network between.",
        ),
        4520: ("00", "trace", "D", "A client has connected; it has not logged in yet.", _NOTHING),
        4522: ("00", "standard", "D", "A client has logged in: Application, its type, user, address.", _NOTHING),
        4541: ("00", "trace", "D", "A message was received from a client.", _NOTHING),
        4542: ("00", "trace", "D", "An answer was sent to a client.", _NOTHING),
        4560: ("00", "standard", "O", "A proxy of a pair serves the clients from now on.", _NOTHING),
        4561: ("00", "standard", "O", "A proxy of a pair hands its clients over to the other one.", _NOTHING),
        4562: (
            "00",
            "standard",
            "O",
            "The link between the two proxies of a pair is lost.",
            "If the other one should be running: look at it, and at the network between the two.",
        ),
        22122: (
            "21",
            "standard",
            "D",
            "A client was refused when it wanted to log in; the text says why.",
            "Correct what the text names. Many from one address: somebody may be trying passwords.",
        ),
        22123: (
            "21",
            "alarm",
            "O",
            "More log-ins fail than failure-alarm-count or failure-alarm-percent allows.",
            "Look at the events 22122 before it: an application with an old password, or an attack.",
        ),
        22138: (
            "21",
            "standard",
            "D",
            "Records of the history log could not be written; the changes themselves are in place.",
            "Look at the database: space, permissions, connection.",
        ),
        24200: (
            "21",
            "standard",
            "D",
            "Master: an object was created; by which user, with which application.",
            _NOTHING,
        ),
        24201: (
            "21",
            "standard",
            "D",
            "Master: an object was changed; by which user, with which application.",
            _NOTHING,
        ),
        24202: (
            "21",
            "standard",
            "D",
            "Master: an object was deleted; by which user, with which application.",
            _NOTHING,
        ),
        24205: ("21", "trace", "D", "Proxy: an object was created at the master.", _NOTHING),
        24206: ("21", "trace", "D", "Proxy: an object was changed at the master.", _NOTHING),
        24207: ("21", "trace", "D", "Proxy: an object was deleted at the master.", _NOTHING),
        24215: ("21", "trace", "D", "Objects of a type were sent to a client.", _NOTHING),
        24301: ("21", "standard", "D", "A client has disconnected, or was disconnected; the text says why.", _NOTHING),
        31001: ("00", "standard", "O", "The server is ready: role, name, clients, objects, position.", _NOTHING),
        31002: ("00", "standard", "O", "The server has stopped in an orderly way.", _NOTHING),
        31003: (
            "00",
            "standard",
            "O",
            "Check-point: date, time, and how the server is (option check-point).",
            _NOTHING,
        ),
        31004: (
            "00",
            "standard",
            "O",
            "An option has a value that is not valid; the former value stays.",
            "Correct the value; the text says what is valid.",
        ),
        31005: (
            "00",
            "standard",
            "O",
            "What the options say cannot be done, or not together; the server goes on as before.",
            "The text says what to change.",
        ),
        31006: (
            "00",
            "standard",
            "O",
            "At the start: confserv.conf has something that this release does not read, or a file with secrets may be "
            "read by others.",
            "The text names file, line and option.",
        ),
        31010: (
            "00",
            "standard",
            "O",
            "A log output cannot be written. The server goes on; what does not fit into memory meanwhile is counted.",
            "Make space, or correct the option: the text has the reason of the system.",
        ),
        31011: (
            "00",
            "standard",
            "O",
            "Events were not logged in this output: it could not be written, or they came faster than they could be "
            "written. The text says how many.",
            "If it comes often: fewer levels (verbose), a faster disk, a pipe that is read.",
        ),
        31020: (
            "00",
            "standard",
            "O",
            "Persistent mode: the master is away, and the proxy serves the database or its copy for reading. It comes "
            "every minute.",
            "Bring the master back.",
        ),
        31021: ("00", "standard", "O", "Persistent mode has ended: the master is followed again.", _NOTHING),
        31030: (
            "00",
            "standard",
            "O",
            "A certificate of a port expires soon, has expired, or its files cannot be used.",
            "Put new files in the place of the old ones; they are taken without a restart.",
        ),
    }.items()
)
"""All of them, by number."""

_BY_NUMBER: Final = {event.number: event for event in EVENTS}


def event_number(value: object) -> int | None:
    """The number in ``4504``, ``"04504"`` or ``"00-04504"``; None for anything else."""
    text = str(value).strip().rpartition("-")[2]
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) <= _MOST else None


def find_event(number: int | None) -> LogEvent | None:
    """The row of an event, or None for a number that the registry does not have."""
    return _BY_NUMBER.get(number) if number is not None else None
