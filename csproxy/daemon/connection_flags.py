"""Where a command connects to, and as whom: flags, then environment, then defaults.

The same flags are accepted before and after the subcommand. A password is never a flag: everybody
on the machine can read a process's arguments.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from csproxy.daemon.private_files import loose_permissions
from csproxy.daemon.usage import UsageError
from csproxy.errors import ConfigurationError

if TYPE_CHECKING:
    from csproxy.core.tls_settings import TlsSettings
    from csproxy.transport.tickets import TicketSource

__all__ = ["CONNECTION_TITLE", "ConnectionFlags", "add_connection_flags", "connection_flags", "port_number"]

CONNECTION_TITLE = "connection"
"""The heading of the flags in a help text."""

_DEFAULT_TIMEOUT_S = 30.0
_TLS_FLAGS = {
    "ca": ("FILE", "certificate authorities of the server, PEM (those of the system)"),
    "cert": ("FILE", "own certificate with its chain, PEM, for a server that demands one"),
    "key": ("FILE", "its private key, PEM (in the certificate's file)"),
    "name": ("NAME", "the name that the server's certificate must have (that of --host)"),
}
"""By the rest of their names; the environment has them as CSPROXY_TLS_CA and so on."""


@dataclass(frozen=True, kw_only=True, repr=False)
class ConnectionFlags:
    """Everything that is needed to connect and log in. ``timeout_s`` bounds each request."""

    host: str
    port: int
    user: str
    password: str
    application: str
    timeout_s: float
    tls: TlsSettings | None = None
    spn: str = ""
    """The service for which a Kerberos ticket takes the place of user and password; "" for none."""
    password_source: str = "the password"
    """Where the password comes from, in words."""

    @property
    def tickets(self) -> TicketSource | None:
        """Where tickets come from, if they are used."""
        if not self.spn:
            return None
        from csproxy.auth.kerberos_client import kerberos_tickets

        return kerberos_tickets(self.spn)

    def __repr__(self) -> str:
        return f"<ConnectionFlags {self.user!r} at {self.host}:{self.port} as {self.application!r}>"


def port_number(text: str) -> int:
    """An argparse type: a port."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 1 to 65535 is valid")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: seconds above 0, at most 86400, are valid")
    return value


def add_connection_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags; absent ones leave no trace, so that a subcommand's parser overrides nothing."""
    group = parser.add_argument_group(
        CONNECTION_TITLE, "also as CSPROXY_HOST, _PORT, _USER, _PASSWORD, _KERBEROS, _APP, _TLS, _TLS_CA, ..."
    )
    group.add_argument("--host", default=argparse.SUPPRESS, help="host of the master or proxy (127.0.0.1)")
    group.add_argument("--port", type=port_number, default=argparse.SUPPRESS, help="its port (2020)")
    group.add_argument("--user", default=argparse.SUPPRESS, help="user name (default)")
    secret = group.add_mutually_exclusive_group()
    secret.add_argument(
        "--password-file", metavar="FILE", default=argparse.SUPPRESS, help="file whose first line is the password"
    )
    secret.add_argument(
        "--password-stdin",
        action="store_true",
        default=argparse.SUPPRESS,
        help="the password is the first line of standard input",
    )
    secret.add_argument(
        "--kerberos",
        metavar="SPN",
        default=argparse.SUPPRESS,
        help="instead of user and password: a ticket for this service, such as confserv/host.example.com",
    )
    group.add_argument(
        "--tls", action="store_true", default=argparse.SUPPRESS, help="connect with TLS; the flags below imply it"
    )
    for name, (metavar, what) in _TLS_FLAGS.items():
        group.add_argument(f"--tls-{name}", metavar=metavar, default=argparse.SUPPRESS, help=what)
    group.add_argument("--app", default=argparse.SUPPRESS, help="Application object of type CFGSCE (default)")
    group.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=argparse.SUPPRESS, help="for each request (30)"
    )


def connection_flags(
    arguments: argparse.Namespace, *, environment: Mapping[str, str] = os.environ, stdin: TextIO | None = None
) -> ConnectionFlags:
    """Put flags, environment and defaults together; asks for the password on a terminal.

    Raises `UsageError` for a bad value and for a password that cannot be had.
    """
    given = vars(arguments)
    port = given.get("port")
    if port is None:
        try:
            port = port_number(environment.get("CSPROXY_PORT", "2020"))
        except argparse.ArgumentTypeError as e:
            raise UsageError(f"environment variable CSPROXY_PORT: {e}") from e
    host = str(given.get("host") or environment.get("CSPROXY_HOST") or "127.0.0.1")
    user = str(given.get("user") or environment.get("CSPROXY_USER") or "default")
    has_password = not given.keys().isdisjoint(("password_file", "password_stdin"))
    spn = str(given.get("kerberos") or ("" if has_password else environment.get("CSPROXY_KERBEROS", "")))
    password, source = ("", "") if spn else _password(given, environment, stdin or sys.stdin, f"{user}@{host}:{port}")
    return ConnectionFlags(
        host=host,
        port=port,
        user=user,
        password=password,
        password_source=source,
        spn=spn,
        application=str(given.get("app") or environment.get("CSPROXY_APP") or "default"),
        timeout_s=float(given.get("timeout", _DEFAULT_TIMEOUT_S)),
        tls=_tls(given, environment),
    )


def _tls(given: Mapping[str, object], environment: Mapping[str, str]) -> TlsSettings | None:
    values = {
        name: str(given.get(f"tls_{name}") or environment.get(f"CSPROXY_TLS_{name.upper()}") or "")
        for name in _TLS_FLAGS
    }
    # not at the top: --help imports nothing heavy
    from csproxy.core.tls_settings import TlsSettings
    from csproxy.core.transport_parameters import switch

    try:
        wanted = bool(given.get("tls")) or switch({"tls": environment.get("CSPROXY_TLS", "")}, "tls", "CSPROXY_TLS")
        if not wanted and not any(values.values()):
            return None
        return TlsSettings(
            certificate=(values["cert"],) if values["cert"] else (),
            certificate_key=values["key"],
            trusted_ca=(values["ca"],) if values["ca"] else (),
            server_name=values["name"],
        )
    except ConfigurationError as e:
        raise UsageError(str(e)) from e


def _password(given: Mapping[str, object], environment: Mapping[str, str], stdin: TextIO, who: str) -> tuple[str, str]:
    """The password, and where it comes from in words."""
    if "password_file" in given:
        path = Path(str(given["password_file"]))
        warning = loose_permissions(path, is_secret=True)
        if warning is not None:
            print(f"warning: {warning}", file=sys.stderr)
        try:
            return _first_line(path.read_text(encoding="utf-8")), f"the password in {path}"
        except OSError as e:
            raise UsageError(f"password file {path} cannot be read: {e.strerror}") from e
        except UnicodeDecodeError as e:
            raise UsageError(f"password file {path} is not UTF-8 at byte {e.start}") from e
    # one that is typed is asked for without showing it
    if given.get("password_stdin") and not stdin.isatty():
        try:
            return _first_line(stdin.readline()), "the password on standard input"
        except UnicodeDecodeError as e:
            raise UsageError(f"the password on standard input is not UTF-8 at byte {e.start}") from e
    if "CSPROXY_PASSWORD" in environment and not given.get("password_stdin"):
        return environment["CSPROXY_PASSWORD"], "the password in CSPROXY_PASSWORD"
    if not stdin.isatty():
        raise UsageError(
            "no password given and no terminal to ask on: use --password-file FILE (csproxy init wrote one to "
            "DIR/password), --password-stdin, or CSPROXY_PASSWORD"
        )
    return getpass.getpass(f"Password of {who}: "), "the password that was typed"


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0].removesuffix("\r")
