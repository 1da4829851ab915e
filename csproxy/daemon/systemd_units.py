"""The text of systemd units: the two of packaging/systemd, and the one that `csproxy install` writes.

    python -m csproxy.daemon.systemd_units packaging/systemd

writes the two files; a test compares them. What they have in common, the sandbox above all, stands here once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

__all__ = ["PACKAGED_UNITS", "exec_start", "installed_unit", "unit_name"]

_PROGRAM: Final = "/opt/csproxy/bin/confserv"
_HOMES: Final = ("/home", "/root", "/run/user")
_TEMPORARY: Final = ("/tmp", "/var/tmp")
_MAX_NAME: Final = 120

_UNIT: Final = """\
{heading}

[Unit]
Description={description}
After=network-online.target{after}
Wants=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
# {ready}
TimeoutStartSec=infinity
# a server that hangs is killed and started again
WatchdogSec=60
{start}
# An orderly stop takes up to 5 s of grace for clients; 1 means that it cannot start, which may pass
Restart=on-failure
RestartSec=2
RestartPreventExitStatus=2
TimeoutStopSec=20
KillMode=mixed
OOMScoreAdjust=-500
LimitNOFILE=262144
# a crash must not leave passwords on the disk
LimitCORE=0

User={user}
Group={group}
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictSUIDSGID=yes
ProtectSystem=strict
ProtectHome={protect_home}
PrivateTmp={private_tmp}
PrivateDevices=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @mount @debug
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

_FOLDERS: Final = """\
WorkingDirectory=%S/csproxy/{name}
StateDirectory=csproxy/{name}
StateDirectoryMode=0700
ConfigurationDirectory=csproxy
ConfigurationDirectoryMode=0750
LogsDirectory=csproxy
LogsDirectoryMode=0750"""

_PROXY_READY: Final = "ready means that the ports are open: however long the master is away, the server goes on trying"
_STRICT: Final = {"user": "csproxy", "group": "csproxy", "protect_home": "yes", "private_tmp": "yes"}

PACKAGED_UNITS: Final = {
    "confserv.service": _UNIT.format(
        heading="# A Configuration Server (master). How to install it: docs/howto/systemd.md",
        description="Configuration Server",
        after=" postgresql.service",
        ready="ready means that the ports are open; reading a large database takes its time",
        start=f"ExecStart={_PROGRAM} -c /etc/csproxy/confserv.conf\n# relative paths start here\n"
        + _FOLDERS.format(name="confserv"),
        **_STRICT,
    ),
    "csproxy-proxy@.service": _UNIT.format(
        heading="# A Configuration Server Proxy for each instance: csproxy-proxy@NAME runs as the Application NAME, "
        "with the master's\n# address in /etc/csproxy/NAME.env. How to install it: docs/howto/systemd.md",
        description="Configuration Server Proxy %I",
        after="",
        ready=_PROXY_READY,
        start="EnvironmentFile=/etc/csproxy/%i.env\n"
        f"ExecStart={_PROGRAM} -host ${{MASTER_HOST}} -port ${{MASTER_PORT}} -app %I\n"
        "# the local copy is kept here\n" + _FOLDERS.format(name="%i"),
        **_STRICT,
    ),
}
"""The files of packaging/systemd by name."""


def installed_unit(
    *,
    application: str,
    command: Sequence[str],
    directory: Path,
    user: str,
    group: str,
    reads: Iterable[Path] = (),
) -> str:
    """The unit of one installed proxy, which may write ``directory`` only.

    ``reads`` are other files that it must be able to see. Homes and the system's temporary folders are shut off
    unless something that it needs is there.
    """
    needed = [directory, Path(command[0]), *reads]
    return _UNIT.format(
        heading=f"# Configuration Server Proxy {application}. Written by csproxy install; docs/howto/install.md",
        description=_literal(f"Configuration Server Proxy {application}"),
        after="",
        ready=_PROXY_READY,
        start=f"ExecStart={exec_start(command)}\n"
        f"# the local copy and log files are kept here, and nothing else can be written\n"
        f"WorkingDirectory={_literal(str(directory))}\n"
        f"ReadWritePaths={_quoted(str(directory))}",
        user=user,
        group=group,
        protect_home="read-only" if _is_below(needed, _HOMES) else "yes",
        private_tmp="no" if _is_below(needed, _TEMPORARY) else "yes",
    )


def unit_name(application: str) -> str:
    """``csproxy-NAME.service``; characters that a unit's name may not have are written as systemd-escape does."""
    name = "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in ":_.-") else f"\\x{byte:02x}"
        for byte in application.encode()
    )
    if len(name) > _MAX_NAME:
        import hashlib

        name = f"{name[: _MAX_NAME - 20]}_{hashlib.sha256(application.encode()).hexdigest()[:16]}"
    return f"csproxy-{name}.service"


def exec_start(command: Sequence[str]) -> str:
    """A command for ExecStart=, every word as it is: no specifier and no variable is expanded."""
    return " ".join(_quoted(word).replace("$", "$$") for word in command)


def _quoted(word: str) -> str:
    escaped = _literal(word.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"'


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _is_below(paths: Iterable[Path], folders: Sequence[str]) -> bool:
    seen = [form for path in paths for form in (path, path.resolve())]
    return any(path.is_relative_to(folder) for path in seen for folder in folders)


def main(folder: str) -> None:
    """Write the units of packaging/systemd."""
    for name, text in PACKAGED_UNITS.items():
        Path(folder, name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
