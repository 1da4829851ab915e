"""The files that an installation consists of, as texts: run.sh, startServer.bat, confserv.conf.

Names and paths come from the configuration and from people: whatever characters they have, they stay one argument.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence

from csproxy.daemon.install_questions import visible

__all__ = ["conf_text", "proxy_arguments", "run_script", "start_batch"]

_CONF = """\
# Configuration Server Proxy {application}. Written by csproxy install; options: docs/reference/confserv-conf.md
#
# What the proxy needs before it has read its Application object. Options that the Application object has come before
# those of this file.

[log]
verbose = standard
all = stdout
# further outputs, for example: all = stdout, proxy.log

[csproxy]
{password}
# Persistent mode: start from the Configuration Database when the master is away, reading only. Remove the "#" of the
# following lines, fill them in as in the master's confserv.conf, and start with
#
#     sh run.sh -proxy-persistent-mode
#
#[confserv]
#server = dbserver
#
#[dbserver]
#dbengine = postgre
#dbserver = database.example.com
#dbport = 5432
#dbname = config
#username = csproxy
#password =
"""


def proxy_arguments(
    *,
    host: str,
    port: int,
    application: str,
    licence: str = "",
    transport: Mapping[str, str],
    conf: str = "confserv.conf",
) -> list[str]:
    """The parameters that `confserv` is started with in its folder."""
    values = {"-host": host, "-port": str(port), "-app": application, "-c": conf, "-l": licence}
    values |= {f"-transport-{name}": value for name, value in transport.items()}
    words: list[str] = []
    for name, value in values.items():
        if value.startswith("-"):
            words.append(f"{name}={value}")  # else it would be taken for a parameter
        elif value:
            words += [name, value]
    return words


def run_script(application: str, command: Sequence[str]) -> str:
    """run.sh: what stands behind it on the command line is passed on."""
    return (
        "#!/bin/sh\n"
        f"# Starts Configuration Server Proxy {visible(application)}. Written by csproxy install.\n"
        "# More parameters may follow: sh run.sh -log-verbose debug\n"
        'CDPATH= cd -- "$(dirname -- "$0")" || exit 1\n'
        f'exec {shlex.join(command)} "$@"\n'
    )


def start_batch(application: str, command: Sequence[str]) -> str:
    """startServer.bat, with the line ends of Windows; what stands behind it is passed on."""
    program, *arguments = command
    words = [f'"{program}"'.replace("%", "%%"), *(_batch_word(argument) for argument in arguments)]
    lines = [
        "@echo off",
        "setlocal DisableDelayedExpansion",
        *([] if all(word.isascii() for word in command) else ["chcp 65001 >nul"]),
        f"rem Starts Configuration Server Proxy {_comment(application)}. Written by csproxy install.",
        'cd /d "%~dp0" || exit /b 1',
        f"{' '.join(words)} %*",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def _comment(text: str) -> str:
    return "".join(character if character.isalnum() or character in " ._-" else "?" for character in text)


def _batch_word(word: str) -> str:
    """One argument for the C run time behind cmd: quoted for the former, then whatever cmd knows is escaped.

    cmd does not know of ``\\"``: outside quotes, where carets work, a quote of the C run time must have one.
    """
    quoted = subprocess.list2cmdline([word])
    escaped = "".join(f"^{character}" if character in '^"&|<>()!' else character for character in quoted)
    return escaped.replace("%", "%%")


def conf_text(application: str, *, app_password: str = "") -> str:
    """confserv.conf, which holds a secret if there is an ``app_password``."""
    if app_password:
        password = f"# the password of the Application object\napp-password = {app_password}\n"
    else:
        password = "# the password of the Application object, if it has one; then this file needs mode 0600\n"
        password += "#app-password =\n"
    return _CONF.format(application=visible(application), password=password)
