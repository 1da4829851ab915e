"""The numbered events of the log: one registry for what is logged, for the reference page, and for [log-extended].

A record carries its number as ``extra={"event": 4504}``; every warning and error has one (a test walks the source).
Lines without a number are details; their texts may change in any release; numbers and their meaning do not.

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


def _ours(meaning: str, advice: str) -> tuple[str, str, str, str, str]:
    return "00", "standard", "O", meaning, advice


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
        4560: _ours("A proxy of a pair serves the clients from now on.", _NOTHING),
        4561: _ours("A proxy of a pair hands its clients over to the other one.", _NOTHING),
        4562: _ours(
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
        31001: _ours("The server is ready: role, name, clients, objects, position.", _NOTHING),
        31002: _ours("The server has stopped in an orderly way.", _NOTHING),
        31003: _ours(
            "Check-point: date, time, and how the server is (option check-point).",
            _NOTHING,
        ),
        31004: _ours(
            "An option has a value that is not valid; the former value stays.",
            "Correct the value; the text says what is valid.",
        ),
        31005: _ours(
            "What options, ports or Connections say cannot be done, not together, or not before a restart; the server "
            "goes on as before.",
            "The text says what to change.",
        ),
        31006: _ours(
            "At the start: confserv.conf has something that this release does not read, or a file with secrets may be "
            "read by others.",
            "The text names file, line and option.",
        ),
        31007: _ours(
            "The operational mode of a master was set: full, read-only or emergency; by which user, with which "
            "application.",
            "If nobody should have: look at who may change the tenant Environment.",
        ),
        31008: _ours(
            "The master is of a newer release than its proxy.",
            "Update the proxy soon.",
        ),
        31010: _ours(
            "A log output cannot be written. The server goes on; what does not fit into memory meanwhile is counted.",
            "Make space, or correct the option: the text has the reason of the system.",
        ),
        31011: _ours(
            "Events were not logged in this output: it could not be written, or they came faster than they could be "
            "written. The text says how many.",
            "If it comes often: fewer levels (verbose), a faster disk, a pipe that is read.",
        ),
        31020: _ours(
            "Persistent mode: the master is away, and the proxy serves the database or its copy for reading. It comes "
            "every minute.",
            "Bring the master back.",
        ),
        31021: _ours("Persistent mode has ended: the master is followed again.", _NOTHING),
        31030: _ours(
            "A certificate of a port, or one that the server shows its master or the other one of its pair, expires "
            "within 30 days or has expired; or files of TLS cannot be used, and the former ones stay in use.",
            "Put new files in the place of the old ones; they are taken without a restart.",
        ),
        31040: _ours(
            "A directory (LDAP) or RADIUS server does not answer, refuses this server, or gives an answer that cannot"
            " be used; the next one is asked.",
            "Look at the server that the text names, and at the options that describe it.",
        ),
        31041: _ours(
            "An answer of a RADIUS server is ignored: it is forged, the shared secrets differ, or it lacks its "
            "Message-Authenticator.",
            "Compare the shared secrets; let the server send Message-Authenticator. Both in order: somebody forges "
            "answers.",
        ),
        31042: _ours(
            "A log-in was refused because the check that the options demand is not configured here, or cannot be made"
            " now.",
            "Correct the options of log-ins, or bring back what the text names.",
        ),
        31043: _ours(
            "The External ID of a Person keeps it from logging in: of the default user, or one that fits several "
            "entries of the directory.",
            "Correct the External ID.",
        ),
        31044: _ours(
            "A Person is locked out after too many wrong passwords.",
            "Wait for the end of the lock, or unlock it by a new password. Many at once: somebody may be trying "
            "passwords.",
        ),
        31045: _ours(
            "The certificate of a proxy does not name its Application or its Host, and so shows nothing of the proxy.",
            "Give the proxy a certificate with one of the names in the text, or an app-password.",
        ),
        31046: _ours(
            "A proxy cannot read the passwords from its master, or may not keep them any longer.",
            "Does the master trust this proxy (certificate, app-password), is it of the same release?",
        ),
        31047: _ours(
            "What log-ins leave behind (last log-in, wrong passwords, a better hash) is not in the database yet.",
            "If it comes again: look at the database.",
        ),
        31050: _ours(
            "A master of a pair has taken the database over and accepts changes from now on.",
            "If nobody wanted it: look at the other master.",
        ),
        31051: _ours(
            "A master of a pair could not take the database over; it goes on as backup and tries again.",
            "If it comes again: look at the database.",
        ),
        31052: _ours(
            "A backup master cannot continue its changes (they are gone, or do not fit) and reads everything again.",
            "If it comes often: look at the database, and at who writes into it.",
        ),
        31053: _ours(
            "A proxy that wants to start in persistent mode cannot read the Configuration Database; it tries again "
            "for a while.",
            "Look at the database, and at its section in confserv.conf.",
        ),
        31060: _ours(
            "The data differs from where it comes from, or a change does not fit it. A proxy reads again what "
            "differs; a master only tells.",
            "At a master: restart it, and find out who writes to its database. At a proxy: report it if it comes "
            "again.",
        ),
        31061: _ours(
            "What differed was read again and is equal now.",
            _NOTHING,
        ),
        31062: _ours(
            "What differed is still different after it was read again; everything is loaded anew.",
            "Report it. If 31062 comes again: restart the proxy.",
        ),
        31063: _ours(
            "The data could not be compared with that of the master; it is tried again later.",
            "If it does not pass: is the account of the proxy allowed to read everything?",
        ),
        31070: _ours(
            "The local copy of a proxy is damaged or does not belong to it: it is used up to the damage, or not at "
            "all.",
            "Nothing if it was a crash; else look at the disk.",
        ),
        31071: _ours(
            "The local copy of a proxy is not kept: it cannot be written, or another process uses it. Clients are "
            "served as before.",
            "Make space, correct the rights of the folder, or give each process a folder of its own.",
        ),
        31080: _ours(
            "A port cannot accept connections, since there are too few file descriptors.",
            "Raise the limit of open files (ulimit -n, LimitNOFILE).",
        ),
        31081: _ours(
            "A connection was refused or has failed before its client could log in: TLS, PROXY header, too many from "
            "one address.",
            "The text names the other side and the reason. Many: a balancer or client with wrong settings, or an "
            "attack.",
        ),
        31082: _ours(
            "The management port has failed and is closed; clients are served as before.",
            "Report it, and restart the server when it suits.",
        ),
        31083: _ours(
            "The service manager (systemd) cannot be told how the server is.",
            "Look at NotifyAccess of the unit, and at the socket in the text.",
        ),
        31084: _ours(
            "A proxy had its turn to load from this master for too long (proxy-load-timeout), and lost it.",
            "Look at that proxy and the network between; or raise proxy-load-timeout.",
        ),
        31085: _ours(
            "A text is not UTF-8: of a client, whose request is refused, or of an object here.",
            "Correct the client, or the object, as the text says.",
        ),
        31090: _ours(
            "A fault inside the program. The connection or task that it concerns has ended; everything else goes on.",
            "Report it with the text, and the traceback if one follows.",
        ),
        31100: _ours(
            "Client library: what was missed is not in the history any more; subscriptions end with an error, a near "
            "cache loads anew.",
            "Nothing for a near cache. Else: read anew and subscribe again.",
        ),
        31101: _ours(
            "Client library: a near cache has stopped following, and its data stays as it is.",
            "The text says why; start it again.",
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
