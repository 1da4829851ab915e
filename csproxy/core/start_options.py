"""The options that a server needs to start, from confserv.conf: its own section, and that of the database."""

from __future__ import annotations

from typing import Final

from csproxy.core.option_values import Effect, Option, address, boolean, integer, required_text

__all__ = ["MANAGEMENT_OPTIONS", "START_OPTIONS"]

_PORT = integer(1, 65535)


def _management(section: str, *, from_application: bool) -> tuple[Option, Option]:
    return (
        Option(
            section=section,
            name="management-port",
            default=0,
            valid="a port, 1 to 65535; 0 for none",
            parse=integer(0, 65535),
            effect=Effect.RESTART,
            origin="D",
            meaning="The HTTP port for status, health and stop. That of file or environment is open from the start on, "
            "and counts before that of the Application object, which opens with the first data.",
            from_application=from_application,
        ),
        Option(
            section=section,
            name="management-address",
            default="127.0.0.1",
            valid="an IP address of this machine; 0.0.0.0 or :: for all of them",
            parse=address,
            effect=Effect.RESTART,
            origin="O",
            meaning="Its local address. Other than loopback, every request needs the token.",
            from_application=from_application,
        ),
    )


MANAGEMENT_OPTIONS: Final = _management("csproxy", from_application=True)
"""Those of [csproxy]; a master's own section of the file may have them, too."""

START_OPTIONS: Final = (
    *_management("confserv", from_application=False),
    Option(
        section="confserv",
        name="port",
        default=2020,
        valid="a port, 1 to 65535",
        parse=_PORT,
        effect=Effect.RESTART,
        origin="D",
        meaning="The port on which a master listens. A proxy's ports are those of its Application object.",
        from_application=False,
    ),
    Option(
        section="confserv",
        name="address",
        default="0.0.0.0",
        valid="an address of this machine; 0.0.0.0 for all of them",
        parse=required_text,
        effect=Effect.RESTART,
        origin="O",
        meaning="The local address on which a master listens.",
        from_application=False,
    ),
    Option(
        section="confserv",
        name="transport",
        default="",
        valid="name=value;name=value",
        parse=str,
        effect=Effect.RESTART,
        origin="D",
        meaning="Transport parameters of the port on which a master listens, before those of its Application object "
        "and its Host.",
        from_application=False,
    ),
    Option(
        section="confserv",
        name="server",
        default="dbserver",
        valid="the name of a section of this file",
        parse=required_text,
        effect=Effect.RESTART,
        origin="D",
        meaning="The section that describes the Configuration Database.",
        from_application=False,
    ),
    Option(
        section="confserv",
        name="encryption",
        default=False,
        valid="true, false",
        parse=boolean,
        effect=Effect.RESTART,
        origin="D",
        meaning="Whether the passwords in this file are encrypted, by csproxy encrypt-password.",
        from_application=False,
    ),
    Option(
        section="confserv",
        name="key-file",
        default="confserv.key",
        valid="a file, a relative path starts at the folder of confserv.conf",
        parse=required_text,
        effect=Effect.RESTART,
        origin="O",
        meaning="The key of encrypted passwords.",
        from_application=False,
    ),
    Option(
        section="confserv",
        name="lease-time",
        default=10,
        valid="1 to 3600 seconds",
        parse=integer(1, 3600),
        effect=Effect.RESTART,
        origin="O",
        meaning="How long the backup of a pair of masters waits for a sign of life of the primary. Both should have "
        "the same; the longer one counts.",
        from_application=False,
    ),
    Option(
        section="dbserver",
        name="dbengine",
        default="sqlite",
        valid="sqlite, postgre, oracle, mssql",
        parse=required_text,
        effect=Effect.RESTART,
        origin="D",
        meaning="The kind of database. The section's name is what `server` says.",
        from_application=False,
    ),
    Option(
        section="dbserver",
        name="dbname",
        default="config.db",
        valid="for sqlite a file, a relative path starts at the folder of confserv.conf; else a name",
        parse=required_text,
        effect=Effect.RESTART,
        origin="D",
        meaning="The database: for sqlite its file, for oracle the service name.",
        from_application=False,
    ),
    Option(
        section="dbserver",
        name="dbserver",
        default="localhost",
        valid="a host; for postgre also the folder of its socket",
        parse=required_text,
        effect=Effect.RESTART,
        origin="D",
        meaning="The host of the database server. Not for sqlite.",
        from_application=False,
    ),
    Option(
        section="dbserver",
        name="dbport",
        default=0,
        valid="a port, 1 to 65535; 0 for the usual one",
        parse=integer(0, 65535),
        effect=Effect.RESTART,
        origin="D",
        meaning="The port of the database server, usually 5432, 1521 or 1433. Not for sqlite.",
        from_application=False,
    ),
    Option(
        section="dbserver",
        name="username",
        default="",
        valid="a name",
        parse=str.strip,
        effect=Effect.RESTART,
        origin="D",
        meaning="The user of the database server. Not for sqlite.",
        from_application=False,
    ),
    Option(
        section="dbserver",
        name="password",
        default="",
        valid="a text",
        parse=str,
        effect=Effect.RESTART,
        origin="D",
        meaning="The password of that user; the file should be readable by its owner only.",
        from_application=False,
    ),
    Option(
        section="dbserver",
        name="reconnect-timeout",
        default=10,
        valid="1 to 3600 seconds",
        parse=integer(1, 3600),
        effect=Effect.RESTART,
        origin="D",
        meaning="The longest time between two attempts to reach a database that is away; the first ones follow faster.",
        from_application=False,
    ),
)
