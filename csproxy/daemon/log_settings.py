"""From options in force to what the log outputs need."""

from __future__ import annotations

from csproxy import __version__
from csproxy.core.log_events import LEVELS
from csproxy.core.log_options import LOG_OUTPUT_LEVELS, expiry, reassigned_event, segment_limit, size_bytes
from csproxy.daemon.log_files import FilePolicy
from csproxy.daemon.logs import LogSettings
from csproxy.daemon.runtime_options import RuntimeOptions

__all__ = ["log_settings"]


def log_settings(options: RuntimeOptions, *, application: str, role: str, keeps_startup: str) -> LogSettings:
    """The settings as the options are now. ``keeps_startup`` is keep-startup-file as it was at the start."""

    def text(name: str) -> str:
        return str(options.get("log", name))

    outputs: dict[str, tuple[str, ...]] = {}
    for level in LOG_OUTPUT_LEVELS:
        targets = options.get("log", level)
        if isinstance(targets, tuple):
            outputs[level] = targets
    utc = text("time-convert") == "utc"
    segment = segment_limit(text("segment"))
    host, _, port = text("network-address").rpartition(":")
    return LogSettings(
        verbose=text("verbose"),
        outputs=outputs,
        application=application,
        is_json=text("format") == "json",
        is_full=text("message-format") == "full",
        time_format=text("time-format"),
        utc=utc,
        buffering=bool(options.get("log", "buffering")),
        files=FilePolicy(
            segment=segment,
            expiry=expiry(text("expire")),
            startup_bytes=_startup_bytes(keeps_startup) if any(segment) else None,
            utc=utc,
            header=f"{role} {application}, csproxy {__version__}, ",
        ),
        memory=(text("memory"), size_bytes(text("memory-storage-size"))),
        network=(host.strip("[]"), int(port)) if host else None,
        reassigned=_reassigned(options),
    )


def _startup_bytes(value: str) -> int | None:
    if value == "false":
        return None
    return 0 if value == "true" else size_bytes(value)


def _reassigned(options: RuntimeOptions) -> dict[int, int | None]:
    """Other levels of events by number; None: not logged."""
    if options.get("log-extended", "level-reassign-disable"):
        return {}
    found: dict[int, int | None] = {}
    for name, value in options.section("log-extended").items():
        number = reassigned_event(name)
        if number is not None and value:
            found[number] = LEVELS.get(str(value))
    return found
