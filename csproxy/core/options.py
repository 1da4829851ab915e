"""The options that this release obeys: names, defaults, valid values and when they take effect.

One table serves every source (command line, environment, confserv.conf, Application object) and
the reference page. `Option.parse` turns a text into the option's value and says what is valid
otherwise. Options of later releases are not in the table: a file that names one gets a warning.

Source of the rows: the options table of the vendor's documentation where ``origin`` is D; O is our
own choice.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Final

from csproxy.core.auth_options import AUTH_OPTIONS, log_in_kind
from csproxy.core.collation import VALID_LOCALES
from csproxy.core.log_options import LOG_EXTENDED, LOG_OPTIONS, reassigned_event
from csproxy.core.option_values import (
    Effect,
    Option,
    OptionValue,
    boolean,
    encoding,
    integer,
    limit,
    locale,
    networks,
)
from csproxy.core.peer_limits import PeerLimits
from csproxy.core.security_options import SECURITY_OPTIONS
from csproxy.core.start_options import MANAGEMENT_OPTIONS, START_OPTIONS

__all__ = [
    "APPLICATION_OPTIONS",
    "OPTIONS",
    "Effect",
    "Option",
    "OptionValue",
    "close_options",
    "find_option",
]

_RUNNING = (
    Option(
        section="csproxy",
        name="delay-reload",
        default=0,
        valid="0 to 86400 seconds",
        parse=integer(0, 86400),
        effect=Effect.RECONNECT,
        origin="D",
        of="proxy",
        meaning="How long a proxy waits before it reads everything anew after a lost connection that could not be "
        "resumed. Never delays the first load.",
    ),
    Option(
        section="csproxy",
        name="delay-reload-backup",
        default=0,
        valid="0 to 86400 seconds",
        parse=integer(0, 86400),
        effect=Effect.RECONNECT,
        origin="D",
        meaning="The same for a proxy that is the backup of a pair at that moment, and for a backup master.",
    ),
    Option(
        section="csproxy",
        name="proxy-cluster-name",
        default="",
        valid="the name of an Application of type ConfigurationServer; empty: this proxy is no member of a pool",
        parse=str.strip,
        effect=Effect.RESTART,
        origin="D",
        of="proxy",
        meaning="The Application that stands for the load balancer of the pool to which this proxy belongs. Then it "
        "has no backup, and keeps no session of a client that is gone.",
    ),
    Option(
        section="csproxy",
        name="balancer-addresses",
        default=(),
        valid="addresses and networks (10.0.0.7, 10.1.0.0/16), comma-separated",
        parse=networks,
        effect=Effect.IMMEDIATELY,
        origin="O",
        meaning="Load balancers whose connections may begin with a PROXY header, which tells the client's address.",
    ),
    Option(
        section="csproxy",
        name="allow-empty-password",
        default=True,
        valid="true, false",
        parse=boolean,
        effect=Effect.IMMEDIATELY,
        origin="D",
        meaning="False: a log-in with an empty password is refused (error 39).",
    ),
    Option(
        section="csproxy",
        name="proxy-writable",
        default=False,
        valid="true, false",
        parse=boolean,
        effect=Effect.IMMEDIATELY,
        origin="D",
        of="proxy",
        meaning="Whether a proxy takes changes from its clients and forwards them to the master, which must trust the "
        "proxy. False: they are refused with a sentence.",
    ),
    Option(
        section="csproxy",
        name="proxy-write-rate",
        default=50,
        valid="0 (no limit) to 1000000 changes per second",
        parse=integer(0, 1_000_000),
        effect=Effect.IMMEDIATELY,
        origin="O",
        of="proxy",
        meaning="How many changes per second each client (user and application) may make through it, "
        "and ten times as many at once; the rest is refused. Bulk changes are for the master.",
    ),
    Option(
        section="csproxy",
        name="app-password",
        default="",
        valid="a text",
        parse=str,
        effect=Effect.RESTART,
        origin="O",
        of="proxy",
        meaning="The password of the proxy's Application, with which it shows its master who it is: set it there, too. "
        "In the file of -c, which only its owner should be able to read, or as CSPROXY_CSPROXY__APP_PASSWORD.",
        from_application=False,
    ),
    Option(
        section="csproxy",
        name="master-transport",
        default="",
        valid="name=value;name=value",
        parse=str,
        effect=Effect.RESTART,
        origin="O",
        of="proxy",
        meaning="Transport parameters of a proxy's connection to its master, before those of its Connection, "
        "Application and Host: the first connection is made before these are known. Also as -transport-NAME VALUE.",
        from_application=False,
    ),
    Option(
        section="csproxy",
        name="proxy-snapshot",
        default=True,
        valid="on, off",
        parse=boolean,
        effect=Effect.IMMEDIATELY,
        origin="O",
        of="proxy",
        meaning="Whether a proxy keeps a local copy of its data on disk, and may start from it. Off removes nothing, "
        "but the copy is not used at the next start.",
    ),
    *(
        Option(
            section="csproxy",
            name=name,
            default=30,
            valid="0 to 86400 seconds",
            parse=integer(0, 86400),
            effect=Effect.RESTART,
            origin="D",
            of="proxy",
            meaning=f"Persistent mode: how long {what} is tried at the start before {then}.",
            from_application=False,
        )
        for name, what, then in (
            ("cs-persistent-failover-tmout", "the master", "the database is read"),
            ("db-persistent-failover-tmout", "the database", "the local copy is used"),
        )
    ),
    Option(
        section="csproxy",
        name="persistent-resync",
        default=True,
        valid="on, off",
        parse=boolean,
        effect=Effect.RESTART,
        origin="O",
        of="proxy",
        meaning="Leave persistent mode when the master returns, with all clients. Off: only a new start leaves it.",
    ),
    Option(
        section="csproxy",
        name="locale",
        default="UTF-8",
        valid=VALID_LOCALES,
        parse=locale,
        effect=Effect.RESTART,
        origin="O",
        meaning="The order of names in brief information and in tables.",
    ),
    Option(
        section="csproxy",
        name="encoding",
        default="UTF-8",
        valid="UTF-8 and other encodings such as UTF-16, ISO-8859-1, GB18030",
        parse=encoding,
        effect=Effect.RESTART,
        origin="O",
        of="master",
        meaning="The encoding of the XML document of -dumpauditxml.",
    ),
    Option(
        section="csproxy",
        name="packet-size",
        default=65536,
        valid="1024 to 16777216 bytes",
        parse=integer(1024, 16 * 1024 * 1024),
        effect=Effect.IMMEDIATELY,
        origin="O",
        meaning="Target size of one part of the answer to a read.",
    ),
    Option(
        section="csproxy",
        name="max-client-output-queue-size",
        default=1024,
        valid="0 (no limit) to 4194304 KB",
        parse=integer(0, 4 * 1024 * 1024),
        effect=Effect.IMMEDIATELY,
        origin="O",
        meaning="A client whose unsent answers exceed this many KB has its further requests deferred.",
    ),
    Option(
        section="csproxy",
        name="max-output-queue-size",
        default=0,
        valid="0 (no limit) to 1048576 MB",
        parse=integer(0, 1024 * 1024),
        effect=Effect.IMMEDIATELY,
        origin="O",
        meaning="While more than this waits for clients that do not take it, long answers are refused with a hint "
        "when to try again. Proxies that load are not.",
    ),
    Option(
        section="csproxy",
        name="client-response-timeout",
        default=600,
        valid="1 to 86400 seconds",
        parse=integer(1, 86400),
        effect=Effect.IMMEDIATELY,
        origin="O",
        meaning="A client that takes nothing for this long although something waits for it is disconnected.",
    ),
)

_PORT_SELECTION = Option(
    section="system",
    name="consistent-port-selection",
    default=False,
    valid="true, false",
    parse=boolean,
    effect=Effect.RECONNECT,
    origin="D",
    of="proxy",
    meaning="The other master of the pair is reached at the port with the same id as this one's, else at "
    "`default`, else any; by a backup at the port for HA synchronisation, else `default`, else any. False: `default`.",
)

_SYSTEM = tuple(
    Option(
        section="system",
        name=name,
        default=default,
        valid=valid,
        parse=parse,
        effect=Effect.IMMEDIATELY,
        origin=origin,
        of="master",
        meaning=meaning,
    )
    for name, default, valid, parse, origin, meaning in (
        (
            "serialize-write-transactions",
            False,
            "true, false",
            boolean,
            "D",
            "Writes and loads of proxies take turns, in the order in which they were asked for: a write waits "
            "while a proxy loads. The next four options need it.",
        ),
        (
            "proxy-load-max",
            0,
            "0 or false (no limit), 1 to 2147483647",
            limit,
            "D",
            "How many proxies may load at the same time; the others wait and serve what they have.",
        ),
        (
            "proxy-load-timeout",
            600,
            "1 to 86400 seconds",
            integer(1, 86400),
            "D",
            "A load that takes longer loses its slot to the next; it may go on beside it.",
        ),
        (
            "deferred-requests-expiration",
            3600,
            "0 (never), 1 to 2147483647 seconds",
            integer(0, 2147483647),
            "D",
            "A write or load that has waited for its turn for so long is refused with error 19.",
        ),
        (
            "throttle-updates-interval",
            0,
            "0 (off) to 3600000 ms",
            integer(0, 3_600_000),
            "D",
            "The least time between two write transactions and so between their notifications.",
        ),
        (
            "proxy-trust-loopback",
            True,
            "true, false",
            boolean,
            "O",
            "Whether a proxy on its own machine may write for its clients without showing who it is, by its "
            "Application's password or mutual TLS. A change counts for proxies that register from then on.",
        ),
    )
)

_HISTORY = tuple(
    Option(
        section="history-log",
        name=name,
        default=default,
        valid=valid,
        parse=boolean if isinstance(default, bool) else integer(low, high),
        effect=Effect.IMMEDIATELY,
        origin=origin,
        meaning=meaning,
    )
    for name, default, valid, low, high, origin, meaning in (
        ("active", True, "true, false", 0, 0, "O", "Whether changes and client sessions are recorded."),
        ("write-former-value", True, "true, false", 0, 0, "O", "Whether records hold what was there before."),
        ("expiration", 30, "1 to 30 days", 1, 30, "D", "Changes older than this are not given to clients."),
        ("max-records", 1000, "1 to 1000", 1, 1000, "D", "Records in one answer to a client."),
        (
            "audit-expiration",
            365,
            "2 to 365 days, above expiration",
            2,
            365,
            "D",
            "How long records of changes are kept for an audit.",
        ),
        (
            "audit-max-records",
            50_000,
            "2 to 10000000, above max-records",
            2,
            10_000_000,
            "D",
            "How many changes the log holds (and, counted apart, sessions); adding more deletes the oldest.",
        ),
        ("client-expiration", 1, "1 to 30 days", 1, 30, "O", "How long records of client sessions are kept."),
    )
)

_PEERS: Final = PeerLimits()
_SECURITY = (
    *(
        Option(
            section="security",
            name=name,
            default=default,
            valid="0 (no limit) to 1000000",
            parse=integer(0, 1_000_000),
            effect=Effect.IMMEDIATELY,
            origin="O",
            meaning=meaning,
        )
        for name, default, meaning in (
            ("max-connections-per-address", _PEERS.connections, "Connections from one address at once."),
            (
                "max-unregistered-per-address",
                _PEERS.unregistered,
                "Connections from one address that have not logged in yet.",
            ),
            ("registrations-per-minute", _PEERS.registrations, "Attempts to log in from one address."),
            (
                "failed-logins-per-minute",
                _PEERS.failures,
                "Wrong log-ins from one address; above it no log-in from there is looked at.",
            ),
        )
    ),
    Option(
        section="security",
        name="unlimited-addresses",
        default=(),
        valid="addresses and networks (10.0.0.7, 10.1.0.0/16), comma-separated",
        parse=networks,
        effect=Effect.IMMEDIATELY,
        origin="O",
        meaning="Load balancers and others to whom the limits per address do not apply; loopback needs no entry.",
    ),
)

OPTIONS: Final[tuple[Option, ...]] = (
    *START_OPTIONS,
    *MANAGEMENT_OPTIONS,
    *_RUNNING,
    *_SYSTEM,
    _PORT_SELECTION,
    *_SECURITY,
    *SECURITY_OPTIONS,
    *LOG_OPTIONS,
    *LOG_EXTENDED,
    *_HISTORY,
)
"""Every option that this release obeys. The rows of ``dbserver`` stand for the section that ``server`` names."""

APPLICATION_OPTIONS: Final = tuple(option for option in OPTIONS if option.from_application)
"""The options that the Application object may set while the server runs."""

_REASSIGNING: Final = LOG_EXTENDED[0]
_BY_KEY: Final = {(option.section, option.name): option for option in OPTIONS}


def find_option(section: str, name: str) -> Option | None:
    """The row of an option, or None if this release does not have it.

    The row ``level-reassign-EVENT`` stands for the options of all events, and is returned with the name of this one.
    """
    found = _BY_KEY.get((section, name))
    if found is None and section == _REASSIGNING.section and reassigned_event(name) is not None:
        return replace(_REASSIGNING, name=name)
    return found


def close_options(section: str, name: str) -> list[str]:
    """Names of the section's options that look like ``name``, best first."""
    kind = log_in_kind(section)
    names = [option.name for option in (*OPTIONS, *AUTH_OPTIONS) if option.section == kind]
    return difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.7)
