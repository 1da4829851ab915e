"""What `csproxy init` writes into confserv.conf, and where the database is."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from csproxy.daemon.usage import UsageError
from csproxy.errors import ConfigurationError

__all__ = ["BACKUP", "LOOPBACK", "DatabasePlace", "conf_text", "database_place"]

LOOPBACK: Final = "127.0.0.1"
BACKUP: Final = "confserv_backup"
"""Name of the backup master's Application, and of its section."""

_CONF: Final = """\
# Written by csproxy init. Options: docs/reference/confserv-conf.md

[{application}]
port = {port}
# The master can be reached from this machine only. 0.0.0.0 opens it on all addresses.
address = {address}
{transport}server = dbserver

[dbserver]
{database}
# Options of the master itself, in sections such as [log] and [csproxy], go into its Application object when it is
# started for the first time; from then on they are changed there.
#
# [log]
# verbose = standard
# all = stdout
"""


class DatabasePlace(NamedTuple):
    """A database: its URL, the options of its section, and its file if it is one.

    ``is_inside`` says that the file is in the folder that is being made.
    """

    url: str
    options: dict[str, str]
    file: Path | None = None
    is_inside: bool = False

    @property
    def has_password(self) -> bool:
        """Whether the conf file holds a secret."""
        return "password" in self.options


def database_place(url: str | None, directory: Path) -> DatabasePlace:
    """The place that ``--db`` names, or DIR/config.db. Raises `UsageError` for what is no database."""
    from csproxy.core.persistence.engine import parse_url, sqlite_url
    from csproxy.core.persistence.kinds import KINDS

    if url is None:
        path = directory.absolute() / "config.db"
        return DatabasePlace(sqlite_url(path), {"dbengine": "sqlite", "dbname": "config.db"}, path, True)
    try:
        parsed = parse_url(url)
    except ConfigurationError as e:
        raise UsageError(f"--db: {e}") from None
    kind = next((kind for kind in KINDS if kind.driver == parsed.drivername), None)
    if kind is None or not (parsed.database or parsed.query.get("service_name")):
        raise UsageError(
            f"--db {parsed.render_as_string()}: sqlite:///FILE is valid, with four slashes for an absolute path, and "
            "postgresql, oracle or mssql ://USER:PASSWORD@HOST:PORT/NAME"
        )
    if kind.backend == "sqlite":
        path = Path(parsed.database or "").absolute()
        return DatabasePlace(sqlite_url(path), {"dbengine": "sqlite", "dbname": str(path)}, path)
    host = parsed.host or str(parsed.query.get("host", "localhost"))
    options = {"dbengine": kind.names[0], "dbserver": host, "dbport": str(parsed.port or parsed.query.get("port", ""))}
    options |= {"dbname": str(parsed.database or parsed.query.get("service_name"))}
    options |= {"username": parsed.username or "", "password": str(parsed.password or "")}
    return DatabasePlace(
        parsed.render_as_string(hide_password=False), {name: value for name, value in options.items() if value}
    )


def conf_text(
    place: DatabasePlace, *, application: str, port: int, is_secure: bool = False, is_below: bool = False
) -> str:
    """The file; ``is_below`` for one in a folder below that of the database.

    A port that ``is_secure`` has the certificate of its Host.
    """
    options = dict(place.options)
    if place.is_inside and is_below:
        options["dbname"] = "../" + options["dbname"]
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    transport = "transport = tls=1\n" if is_secure else ""
    return _CONF.format(application=application, port=port, address=LOOPBACK, transport=transport, database=lines)
