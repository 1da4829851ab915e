"""How a server is, beyond the Status answer: whether it serves, what is doubtful, what went wrong last.

The management port (`csproxy.daemon.management`) shows it.
"""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from csproxy.daemon.loop_lag import LoopLag
from csproxy.errors import ErrorCode
from csproxy.transport.listener import Listener
from csproxy.transport.peers import MAX_UNREGISTERED
from csproxy.transport.server import ConfigurationServer
from csproxy.transport.wire.exchanges import message_name

if TYPE_CHECKING:
    from csproxy.daemon.secure_ports import SecurePorts

__all__ = ["LastErrors", "Readiness", "beyond_status", "iso", "port_status"]

_KEPT_ERRORS: Final = 20
_MAX_TEXT: Final = 1000
_STARTED_S: Final = time.time()


@dataclass(frozen=True)
class Readiness:
    """Whether clients are served. ``text`` is why not; or, when they are, what is doubtful ("": nothing)."""

    ready: bool
    text: str = ""


class LastErrors(logging.Handler):
    """The last warnings and errors of the log, newest last; one that comes again is counted. They hold no secrets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts = {"warning": 0, "error": 0, "critical": 0}
        """Lines since the start, by level."""
        self._found: dict[str, dict[str, str | int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - as every handler of logging: a bad line must not end who wrote it
            self.handleError(record)
            return
        level = record.levelname.lower()
        self.counts[level] = self.counts.get(level, 0) + 1
        text = text[:_MAX_TEXT]
        times = 1 + int(self._found.pop(text, {}).get("times", 0))
        self._found[text] = {"time": iso(record.created), "times": times, "level": level, "text": text}
        if len(self._found) > _KEPT_ERRORS:
            del self._found[next(iter(self._found))]

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep those of all areas of csproxy meanwhile."""
        logger = logging.getLogger("csproxy")
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)

    def shown(self) -> list[dict[str, str | int]]:
        """For status.json: the last time, how often, level and text of each."""
        return list(self._found.values())


def port_status(ports: SecurePorts | None, listener: Listener | None) -> dict[str, Any]:
    """The keys ``ports`` and ``handshakes`` of the Status answer; nothing before there are ports."""
    if ports is None or listener is None:
        return {}
    return {"ports": ports.status(), "handshakes": asdict(listener.statistics().handshakes)}


def beyond_status(
    server: ConfigurationServer | None, listener: Listener | None, lag: LoopLag, certificates: list[dict[str, Any]]
) -> dict[str, Any]:
    """Process, queues, connections, limits and certificates: what status.json has besides the Status answer."""
    more: dict[str, Any] = {"process": _process(lag), "certificates": certificates}
    if server is not None:
        now = server.statistics()
        more["queues"] = {
            "congested": now.congested,
            "unregistered": now.unregistered,
            "subscription_classes": now.subscription_classes,
            "fan_out": now.fan_out._asdict(),
        }
        more["changes"] = {"logged": now.log.appended}
        more["limits"] = _limits(server)
        more["connections"] = _connections(server, listener)
        more["requests"] = _requests(server)
    return more


def _process(lag: LoopLag) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "pid": os.getpid(),
        "started": iso(_STARTED_S),
        "rss_bytes": _rss_bytes(),
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "loop_lag_s": round(lag.worst_s, 6),
    }


def _connections(server: ConfigurationServer, listener: Listener | None) -> dict[str, Any]:
    if listener is None:
        return {"accepted": 0, "refused": {}}
    now = listener.statistics()
    return {
        "accepted": now.accepted,
        "refused": {
            "address_limit": server.peers.turned_away,
            "descriptors": now.turned_away,
            "unsecured": now.unsecured,
            "handshake_limit": now.unwelcome,
        },
    }


def _requests(server: ConfigurationServer) -> dict[str, Any]:
    """By message and by error; those that have not been seen are left out."""
    return {
        "received": {message_name(number).split()[0]: count for number, count in server.requests.items()},
        "refused": {
            ErrorCode(code).name if code in ErrorCode._value2member_map_ else str(code): count
            for code, count in server.refusals.items()
        },
    }


def _limits(server: ConfigurationServer) -> dict[str, int]:
    """What is set at most; 0 for no limit."""
    settings, each = server.settings, server.peers.table.limits
    return {
        "unregistered": MAX_UNREGISTERED,
        "detached_sessions": settings.max_detached_sessions,
        "connections_per_address": each.connections,
        "unregistered_per_address": each.unregistered,
        "registrations_per_minute": each.registrations,
        "failed_logins_per_minute": each.failures,
        "client_output_bytes": settings.max_client_output_bytes,
        "output_bytes": settings.max_output_bytes,
        "history_bytes": settings.history.max_bytes,
    }


def iso(seconds: float) -> str:
    """A time in seconds since 1970 as text, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _rss_bytes() -> int | None:
    """What the process has in memory; None where the kernel does not say it."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
