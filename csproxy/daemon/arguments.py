"""The command line of `confserv`: the documented parameters, with one dash or two.

The vendor's servers take long options with a single dash (``-host``, ``-log-all``). argparse would
read ``-log-all x`` as ``-l og-all``, so every ``-word`` becomes ``--word`` before argparse sees it.
Parameters that belong to functions of a later release are known here and refused with a sentence:
a server that ignored them would look as if it obeyed.

Source of the names: the reference chapter, "Starting Configuration Server Proxy".
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from csproxy import __version__
from csproxy.core.transport_parameters import unknown_parameters
from csproxy.daemon.usage import UsageError

__all__ = ["Arguments", "confserv_parser", "normalise", "parse_arguments"]

_NOT_AVAILABLE: dict[str, bool] = {
    "nco": True,
    "lmspath": True,
}
"""Documented parameters without their function in this release; the value says whether they take one."""

_TAKES_VALUE = frozenset(
    {"host", "port", "app", "l", "c", "s", "dumpauditxml", "last"}
    | {"db-persistent-failover-tmout", "cs-persistent-failover-tmout"}
    | {name for name, takes in _NOT_AVAILABLE.items() if takes}
)
_FAMILIES = ("log-", "transport-")
"""Parameters whose names argparse cannot know: ``-log-OPTION VALUE``, ``-transport-NAME VALUE``."""
_SHORT = frozenset({"c", "l", "s", "V", "h"})


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the command line says; None is *not given*.

    ``host`` and ``port`` name the master that a proxy follows; without ``host`` the process is a
    master. With ``audit_file`` it only exports the history log, of the last ``audit_days`` days.
    ``log`` holds the bootstrap log options by name (``-log-verbose debug``), ``csproxy`` those of [csproxy],
    ``transport`` the transport parameters of a proxy's connection to its master (``-transport-tls 1``).
    """

    host: str | None = None
    port: int | None = None
    application: str | None = None
    licence: str | None = None
    conf_file: str | None = None
    audit_file: str | None = None
    audit_days: int | None = None
    persistent: bool = False
    log: dict[str, str] = field(default_factory=dict)
    csproxy: dict[str, str] = field(default_factory=dict)
    transport: dict[str, str] = field(default_factory=dict)


def normalise(argv: Sequence[str]) -> list[str]:
    """Give every single-dash long option its second dash; values stay as they are.

    ``-host h`` → ``--host h``, ``-log-all=x`` → ``--log-all=x``; ``-c``, ``-l``, ``-s``, ``-V`` and
    everything that follows ``--`` are left alone.
    """
    result: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word == "--":
            result.append(word)
            break
        if not word.startswith("-") or word == "-":
            result.append(word)
            continue
        name, separator, value = word.lstrip("-").partition("=")
        result.append(("-" if name in _SHORT else "--") + name + separator + value)
        if not separator and (name in _TAKES_VALUE or name.startswith(_FAMILIES)):
            following = next(rest, None)
            if following is not None:
                result.append(following)
    result.extend(rest)
    return result


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sentence = message.removeprefix("argument ").replace("--", "-")
        raise UsageError(f"{sentence}; confserv -help lists the parameters")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 1 to 65535 is valid")
    return int(text)


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 36500:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days: 1 to 36500 is valid")
    return int(text)


def confserv_parser() -> argparse.ArgumentParser:
    """What `confserv` takes, but for the names of families (``-log-…``), which stand for many."""
    parser = _Parser(
        prog="confserv",
        usage="confserv [-c FILE] [-app NAME] | confserv -host HOST -port PORT -app NAME  [parameters]",
        description="A Configuration Server. Without -host it is a master on the database that its confserv.conf "
        "names; with -host it is a Configuration Server Proxy of the master there. "
        "Parameters take one dash or two.",
        epilog="What an option means: csproxy options NAME; all of them: csproxy options.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--host", metavar="HOST", help="proxy: the host of the master Configuration Server")
    parser.add_argument("--port", metavar="PORT", type=_port, help="proxy: the port of the master")
    parser.add_argument(
        "--app",
        metavar="NAME",
        help="the Application object that this process runs as; a master reads the section of that name (confserv)",
    )
    parser.add_argument("-c", metavar="FILE", dest="conf_file", help="the configuration file (./confserv.conf)")
    parser.add_argument("-s", metavar="NAME", dest="section", help="master: the same as -app")
    parser.add_argument(
        "-l", metavar="LICENCE", dest="licence", help="licence file or server; shown, no licence is checked"
    )
    parser.add_argument(
        "--proxy-persistent-mode",
        action="store_true",
        dest="persistent",
        help="proxy: if the master is away at the start, serve the database that confserv.conf names, reading only",
    )
    for name, what in (("db", "the database"), ("cs", "the master")):
        parser.add_argument(
            f"--{name}-persistent-failover-tmout",
            metavar="SECONDS",
            help=f"with -proxy-persistent-mode: how long {what} is tried at the start (30)",
        )
    parser.add_argument(
        "--log-OPTION",
        metavar="VALUE",
        dest="_log",
        help="log option until the Application object is read: -log-verbose debug, -log-all FILE",
    )
    parser.add_argument(
        "--transport-NAME",
        metavar="VALUE",
        dest="_transport",
        help="proxy: transport parameter of the connection to the master: -transport-tls 1, -transport-trusted-ca FILE",
    )
    parser.add_argument(
        "--dumpauditxml",
        metavar="FILE",
        dest="audit_file",
        help="master: write the history log to FILE as XML and exit",
    )
    parser.add_argument(
        "--last", metavar="DAYS", type=_days, dest="audit_days", help="with -dumpauditxml: only the last DAYS days"
    )
    parser.add_argument("-V", action="store_true", dest="show_version", help="print the release and exit")
    parser.add_argument("-h", "--help", action="store_true", dest="show_help", help="print this and exit")
    return parser


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Read the arguments after the program's name.

    ``-V`` and ``-help`` print and raise SystemExit(0). Raises `UsageError` with one
    sentence for anything that is unknown, incomplete, or not available in this release.
    """
    words, log, transport = _split_families(normalise(argv))
    _refuse_unavailable(words)
    parser = confserv_parser()
    found = parser.parse_args(words)
    if found.show_version:
        print(f"confserv (csproxy) {__version__}")
        raise SystemExit(0)
    if found.show_help:
        parser.print_help()
        raise SystemExit(0)
    if found.section is not None and found.app not in (None, found.section):
        raise UsageError(f"-s {found.section} and -app {found.app} disagree: give one of them")
    if found.audit_days is not None and found.audit_file is None:
        raise UsageError("-last says how many days -dumpauditxml exports: give both")
    if found.audit_file is not None and found.host is not None:
        raise UsageError(
            "-dumpauditxml reads the master's database: leave out -host, and name its confserv.conf with -c"
        )
    if transport and found.host is None:
        raise UsageError(
            "-transport-NAME describes a proxy's connection to its master and needs -host; a master has the option "
            "transport in its confserv.conf"
        )
    persistent = {
        name.replace("_", "-"): value
        for name in ("db_persistent_failover_tmout", "cs_persistent_failover_tmout")
        if (value := getattr(found, name)) is not None
    }
    if found.persistent and found.host is None:
        raise UsageError("-proxy-persistent-mode is for a proxy: it needs -host, -port and -app")
    if persistent and not found.persistent:
        raise UsageError(f"-{next(iter(persistent))} belongs to -proxy-persistent-mode: give both")
    application = found.app or found.section
    if found.host is not None:
        missing = [name for name, value in (("-port", found.port), ("-app", application)) if value is None]
        if missing:
            raise UsageError(f"a proxy needs -host, -port and -app; {' and '.join(missing)} not given")
    elif found.port is not None:
        raise UsageError("-port is the master's port and needs -host; a master takes its own port from confserv.conf")
    return Arguments(
        host=found.host,
        port=found.port,
        application=application,
        licence=found.licence,
        conf_file=found.conf_file,
        audit_file=found.audit_file,
        audit_days=found.audit_days,
        persistent=found.persistent,
        log=log,
        csproxy=persistent,
        transport=transport,
    )


def _split_families(words: list[str]) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Take the ``--log-NAME VALUE`` and ``--transport-NAME VALUE`` pairs out."""
    others: list[str] = []
    log: dict[str, str] = {}
    transport: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word == "--":
            others.extend((word, *rest))
        elif word.startswith("--log-"):
            name, value = _pair(word, "log", rest)
            if not name:
                raise UsageError(f"{word} names no log option: -log-verbose debug is an example")
            log[name] = value
        elif word.startswith("--transport-"):
            name, value = _pair(word, "transport", rest)
            if unknown_parameters({name: value}):
                raise UsageError(f"-transport-{name} is no transport parameter: -transport-tls 1 is an example")
            transport[name] = value
        else:
            others.append(word)
            if word.lstrip("-") in _TAKES_VALUE:
                others.extend(value for value in (next(rest, None),) if value is not None)
    return others, log, transport


def _pair(word: str, family: str, rest: Iterator[str]) -> tuple[str, str]:
    name, separator, value = word.removeprefix(f"--{family}-").partition("=")
    if separator:
        return name, value
    following = next(rest, None)
    if following is None:
        raise UsageError(f"-{family}-{name} needs a value")
    return name, following


def _refuse_unavailable(words: Sequence[str]) -> None:
    rest = iter(words)
    for word in rest:
        if word == "--":
            return
        name = word.lstrip("-").partition("=")[0]
        if word.startswith("--") and name in _NOT_AVAILABLE:
            raise UsageError(f"-{name} is not available in this release ({__version__})")
        if word.startswith("-") and name in _TAKES_VALUE and "=" not in word:
            next(rest, None)
