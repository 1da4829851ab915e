"""The metrics: each with its name, kind, meaning, and where in the document of status.json its value stands.

`csproxy.daemon.metrics` makes the answer to /metrics of it, and scripts/generate_metrics_reference.py the reference.
Names are those that a scraper sees; a value that a server does not have now (a proxy's, at a master) makes no sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from csproxy.core.replication import State
from csproxy.core.standby import Role

__all__ = ["METRICS", "Kind", "Metric", "Sample"]

Kind = Literal["gauge", "counter", "info", "stateset"]
Status = Mapping[str, Any]
Sample = tuple[tuple[str, ...], float | str | None]
"""The values of the labels, and the value: for a state set, the state; for an info, None."""


class Metric(NamedTuple):
    """One row. ``read(status)`` gives its samples; ``of``: the servers that have it: master, proxy, pair, TLS, both."""

    name: str
    kind: Kind
    of: str
    help: str
    read: Callable[[Status], Iterable[Sample]]
    labels: tuple[str, ...] = ()
    states: tuple[str, ...] = ()


def _found(status: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(status, Mapping):
            return None
        status = status.get(key)
    return status


def _at(path: str) -> Callable[[Status], Iterator[Sample]]:
    """The number, truth or text at ``path``; nothing where there is none."""

    def read(status: Status) -> Iterator[Sample]:
        value = _found(status, path)
        if value is not None:
            yield (), value

    return read


def _each(path: str) -> Callable[[Status], Iterator[Sample]]:
    """A sample for each key of the map at ``path``."""

    def read(status: Status) -> Iterator[Sample]:
        for key, value in (_found(status, path) or {}).items():
            yield (key,), value

    return read


def _about(status: Status) -> Iterator[Sample]:
    yield (status["name"], status.get("release", "")), None


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


def _started(status: Status) -> Iterator[Sample]:
    yield (), _seconds(status["process"]["started"])


def _is_doubtful(status: Status) -> Iterator[Sample]:
    yield (), bool(status["ready"] and status["reason"])


def _is_linked(status: Status) -> Iterator[Sample]:
    if "pair" in status:
        yield (), bool(status["pair"]["other_role"])


def _certificates(status: Status) -> Iterator[Sample]:
    # a chain may hold the same one twice, and one sample says all
    found = {(each["port"], each["subject"]): _seconds(each["not_after"]) for each in status["certificates"]}
    yield from found.items()


def _gauge(name: str, of: str, help: str, path: str) -> Metric:
    return Metric(f"csproxy_{name}", "gauge", of, help, _at(path))


def _counter(name: str, of: str, help: str, path: str) -> Metric:
    return Metric(f"csproxy_{name}_total", "counter", of, help, _at(path))


def _states(name: str, of: str, help: str, path: str, states: Iterable[str]) -> Metric:
    return Metric(f"csproxy_{name}", "stateset", of, help, _at(path), states=tuple(states))


_SERVER: Final = (
    Metric(
        "csproxy_info", "info", "both", "The server's Application and its release.", _about, labels=("name", "release")
    ),
    _states("role", "both", "What the server is.", "role", ("master", "proxy", "backup")),
    _gauge("ready", "both", "1 when clients are served, as /readyz says.", "ready"),
    Metric("csproxy_doubtful", "gauge", "both", "1 when clients are served with a warning.", _is_doubtful),
    _gauge("uen", "both", "Number of the last change that the data has (UEN).", "uen"),
    _gauge("objects", "both", "Objects of the configuration.", "objects"),
    Metric("csproxy_start_time_seconds", "gauge", "both", "When the process began, seconds since 1970.", _started),
    _gauge("resident_memory_bytes", "both", "What the process has in memory.", "process.rss_bytes"),
    _counter("cpu_seconds", "both", "Processor time that the process has used.", "process.cpu_s"),
    _gauge(
        "event_loop_lag_seconds", "both", "The longest wait of what was due in the last 30 s.", "process.loop_lag_s"
    ),
    Metric(
        "csproxy_log_lines_total",
        "counter",
        "both",
        "Warnings and errors of the log, by level.",
        _each("log_lines"),
        labels=("level",),
    ),
)
_CLIENTS: Final = (
    _gauge("clients", "both", "Clients that have logged in.", "clients"),
    _gauge("unregistered_connections", "both", "Connections that have not logged in.", "queues.unregistered"),
    _gauge("detached_sessions", "both", "Sessions without connection that can be restored.", "detached_sessions"),
    _gauge("subscriptions", "both", "Subscriptions of all clients.", "subscriptions"),
    _gauge(
        "subscription_classes",
        "both",
        "Different combinations of subscriptions and permissions.",
        "queues.subscription_classes",
    ),
    _counter("connections_accepted", "both", "Connections accepted.", "connections.accepted"),
    Metric(
        "csproxy_connections_refused_total",
        "counter",
        "both",
        "Connections refused: address_limit (beyond the limits of their address), descriptors (the process has no file "
        "descriptor left), unsecured (no TLS where it must be), handshake_limit (too many handshakes).",
        _each("connections.refused"),
        labels=("reason",),
    ),
    Metric(
        "csproxy_requests_total",
        "counter",
        "both",
        "Requests of registered and unregistered clients, by message.",
        _each("requests.received"),
        labels=("message",),
    ),
    Metric(
        "csproxy_requests_refused_total",
        "counter",
        "both",
        "Those that were answered with an Error, by its code.",
        _each("requests.refused"),
        labels=("error",),
    ),
    _gauge("handshakes_running", "both", "TLS handshakes under way.", "handshakes.running"),
    _gauge("handshakes_waiting", "both", "TLS handshakes that wait for their turn.", "handshakes.waiting"),
    _counter("handshakes_finished", "both", "TLS handshakes finished.", "handshakes.finished"),
    _counter("handshakes_failed", "both", "TLS handshakes failed.", "handshakes.failed"),
)
_CHANGES: Final = (
    _counter("changes_logged", "both", "Changes that the server has put into its history window.", "changes.logged"),
    _gauge("history_changes", "both", "Changes in the history window.", "history.changes"),
    _gauge("history_bytes", "both", "Their size.", "history.bytes"),
    _counter(
        "fan_out_writes",
        "both",
        "Writes of notifications to clients; what waits for one client together is one write.",
        "queues.fan_out.writes",
    ),
    _counter("fan_out_bytes", "both", "Bytes of these writes.", "queues.fan_out.bytes"),
    _counter(
        "fan_out_parked", "both", "How often a client that takes too little was set aside.", "queues.fan_out.parked"
    ),
    _gauge("fan_out_waiting_writes", "both", "Writes that wait for their turn.", "queues.fan_out.waiting"),
    _gauge("congested_clients", "both", "Clients that take too little now.", "queues.congested"),
    _gauge("loads", "both", "Proxies that read the whole configuration here.", "loads"),
    _gauge("waiting_loads", "both", "Proxies that wait for their turn to do so.", "waiting_loads"),
)
_LIMITS: Final = (
    _gauge(
        "limit_unregistered_connections", "both", "Most of csproxy_unregistered_connections.", "limits.unregistered"
    ),
    _gauge("limit_detached_sessions", "both", "Most of csproxy_detached_sessions.", "limits.detached_sessions"),
    _gauge(
        "limit_address_connections",
        "both",
        "Option max-connections-per-address; 0 for none, as in all limits below.",
        "limits.connections_per_address",
    ),
    _gauge(
        "limit_address_unregistered_connections",
        "both",
        "Option max-unregistered-per-address.",
        "limits.unregistered_per_address",
    ),
    _gauge(
        "limit_address_registrations_per_minute",
        "both",
        "Option registrations-per-minute.",
        "limits.registrations_per_minute",
    ),
    _gauge(
        "limit_address_failed_logins_per_minute",
        "both",
        "Option failed-logins-per-minute.",
        "limits.failed_logins_per_minute",
    ),
    _gauge("limit_client_output_bytes", "both", "Option max-client-output-queue-size.", "limits.client_output_bytes"),
    _gauge("limit_output_bytes", "both", "Option max-output-queue-size.", "limits.output_bytes"),
    _gauge("limit_history_bytes", "both", "Most of csproxy_history_bytes.", "limits.history_bytes"),
)
_CERTIFICATES: Final = (
    Metric(
        "csproxy_certificate_not_after_timestamp_seconds",
        "gauge",
        "TLS",
        "When a certificate that the server shows expires, seconds since 1970: one sample for each of the chain, of "
        "each listening port and of its connections to master and pair (label port).",
        _certificates,
        labels=("port", "subject"),
    ),
)
_PROXY: Final = (
    _states(
        "replication_state",
        "proxy",
        "The link to the master.",
        "replication.state",
        (state.value for state in State),
    ),
    _gauge("master_uen", "proxy", "The master's UEN, asked now; none while it cannot be.", "replication.master_uen"),
    _gauge("lag_changes", "proxy", "Changes that the proxy is behind its master.", "replication.lag_changes"),
    _counter("master_connects", "proxy", "Connections made to the master.", "upstream.connects"),
    _counter("master_losses", "proxy", "Connections to the master lost.", "upstream.losses"),
    _counter("master_loads", "proxy", "Times that the whole configuration was read.", "upstream.loads"),
    _counter("master_resumes", "proxy", "Times that the change stream was resumed instead.", "upstream.resumes"),
    _counter("digest_checks", "proxy", "Comparisons of the data with the master's.", "upstream.digest_checks"),
    _counter("digest_differences", "proxy", "Object types that differed then.", "upstream.digest_differences"),
    _counter("digest_healed", "proxy", "Object types that were put right.", "upstream.digest_healed"),
    _gauge("digest_age_seconds", "proxy", "Time since the last comparison.", "upstream.digest_last_check_s"),
    _states(
        "data_source",
        "proxy",
        "What is served: the master's data, or those of the local copy or the database, which it has not confirmed.",
        "data.source",
        ("master", "copy", "database"),
    ),
    _gauge("copy_age_seconds", "proxy", "Age of the local copy.", "copy.age_s"),
    _gauge("copy_snapshot_bytes", "proxy", "Its snapshot on disk.", "copy.snapshot_bytes"),
    _gauge("copy_journal_bytes", "proxy", "Its journal on disk.", "copy.journal_bytes"),
    _counter("copy_snapshots", "proxy", "Snapshots written.", "copy.snapshots"),
    _counter("copy_failures", "proxy", "Writes of the local copy that failed.", "copy.failures"),
    _gauge("writable", "proxy", "1 when clients' changes are forwarded.", "writable"),
    _counter("writes_forwarded", "proxy", "Changes forwarded to the master.", "writes.forwarded"),
    _counter("writes_unknown", "proxy", "Those whose outcome the proxy could not learn.", "writes.unknown"),
    _gauge("writes_under_way", "proxy", "Those that wait for the master's answer.", "writes.under_way"),
    _gauge("passwords", "proxy", "Accounts whose passwords the proxy can check.", "passwords.count"),
    _gauge("passwords_checked_here", "proxy", "1 when it does.", "passwords.checked_here"),
    _gauge("unreported_logins", "proxy", "Log-ins of which the master has not heard.", "passwords.unreported"),
    _gauge("persistent_mode", "proxy", "1 in persistent mode; none for a proxy started without it.", "persistent"),
)
_PAIR: Final = (
    _states("pair_role", "pair", "The member's role in its pair.", "pair.role", (role.value for role in Role)),
    Metric("csproxy_pair_linked", "gauge", "pair", "1 when the members see each other.", _is_linked),
    _gauge("pair_term", "pair", "Number that grows with each takeover.", "pair.term"),
    _gauge(
        "pair_stored_sessions",
        "pair",
        "Sessions of the other member that can be restored here.",
        "pair.stored_sessions",
    ),
    _gauge("pair_untold_sessions", "pair", "Sessions that the other one has not yet.", "pair.untold_sessions"),
    _counter("pair_takeovers", "pair", "Times that this member began to serve.", "pair.takeovers"),
)

METRICS: Final[tuple[Metric, ...]] = (
    *_SERVER,
    *_CLIENTS,
    *_CHANGES,
    *_LIMITS,
    *_CERTIFICATES,
    *_PROXY,
    *_PAIR,
)
