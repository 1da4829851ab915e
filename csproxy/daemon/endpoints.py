"""Servers on the command line: HOST:PORT."""

from __future__ import annotations

from csproxy.daemon.usage import UsageError

__all__ = ["host_and_port"]


def host_and_port(flag: str, text: str) -> tuple[str, int]:
    """``host:2020`` or ``[::1]:2020``. Raises `UsageError` that names the flag."""
    host, separator, port = text.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"{flag} {text!r} is not of the form HOST:PORT, such as 127.0.0.1:2020")
    return host.strip("[]"), int(port)
