"""How a server is, beyond the Status answer: whether it serves, what is doubtful, what went wrong last.

The management port (`csproxy.daemon.management`) shows it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from csproxy.transport.server import ConfigurationServer

__all__ = ["LastErrors", "Readiness", "beyond_status"]

_KEPT_ERRORS: Final = 20
_MAX_TEXT: Final = 1000


@dataclass(frozen=True)
class Readiness:
    """Whether clients are served. ``text`` is why not; or, when they are, what is doubtful ("": nothing)."""

    ready: bool
    text: str = ""


class LastErrors(logging.Handler):
    """The last warnings and errors of the log, newest last; one that comes again is counted. They hold no secrets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._found: dict[str, dict[str, str | int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - as every handler of logging: a bad line must not end who wrote it
            self.handleError(record)
            return
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        text = text[:_MAX_TEXT]
        times = 1 + int(self._found.pop(text, {}).get("times", 0))
        self._found[text] = {"time": time, "times": times, "level": record.levelname.lower(), "text": text}
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


def beyond_status(server: ConfigurationServer | None, status: Mapping[str, Any]) -> dict[str, Any]:
    """Queues, memory and certificates: what status.json has besides the Status answer."""
    more: dict[str, Any] = {"process": {"pid": os.getpid(), "rss_bytes": _rss_bytes()}}
    if server is not None:
        now = server.statistics()
        more["queues"] = {
            "congested": now.congested,
            "unregistered": now.unregistered,
            "fan_out": now.fan_out._asdict(),
        }
    more["certificates"] = [
        {"port": port["id"], **port["certificate"]} for port in status.get("ports", ()) if "certificate" in port
    ]
    return more


def _rss_bytes() -> int | None:
    """What the process has in memory; None where the kernel does not say it."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
