"""`csproxy`, the tool: its subcommands, and what all of them have in common.

Exit status: 0 done; 1 refused or failed, with a sentence on standard error (with ``--output json``
the document on standard output says it too); 2 wrong usage; 130 interrupted. A reader that closes
the pipe (``csproxy read person | head``) ends the command quietly.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from csproxy import __version__
from csproxy.daemon.advice import told
from csproxy.daemon.connection_flags import add_connection_flags
from csproxy.daemon.init import add_init_arguments
from csproxy.daemon.terminal import prepare_streams
from csproxy.daemon.usage import DONE, FAILED, INTERRUPTED, WRONG_USAGE, UsageError
from csproxy.errors import CsproxyError

__all__ = ["main", "tool_parser"]

_TYPE_HELP = "object type: person, persons or CfgPerson"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    prepare_streams()
    arguments = tool_parser().parse_args(argv)
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the interpreter flushes standard output once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return status


def _run(arguments: argparse.Namespace) -> int:
    run = _load(arguments.run)
    try:
        return run(arguments)
    except BaseExceptionGroup as group:
        from csproxy.daemon.process import single_error

        error = single_error(group)
        if not isinstance(error, CsproxyError):
            raise error from None
        return _failed(error, arguments)
    except CsproxyError as e:
        return _failed(e, arguments)


def _load(name: str) -> Callable[[argparse.Namespace], int]:
    """``module:function`` of csproxy.daemon, imported only now: ``csproxy --help`` needs none of them."""
    module, _, function = name.partition(":")
    found: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(f"csproxy.daemon.{module}"), function)
    return found


def _failed(error: CsproxyError, arguments: argparse.Namespace) -> int:
    print(f"csproxy {arguments.command}: {told(error)}", file=sys.stderr)
    if isinstance(error, UsageError):
        return WRONG_USAGE
    if getattr(arguments, "output", None) in ("json", "jsonl"):
        from csproxy.daemon.output import compact_json, error_document, pretty_json

        document = error_document(error)
        print(pretty_json(document) if arguments.output == "json" else compact_json(document))
    return FAILED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with what is wrong, and which help says what is right."""
        if "COMMAND" in message:
            advice = f"{self.prog} --help lists the commands"
        elif message.startswith("unrecognized"):
            advice = f"{self.prog} COMMAND --help shows what a command takes"
        else:
            advice = f"{self.prog} --help shows what is valid"
        super().error(f"{message}; {advice}")


class _CommandParser(_Parser):
    """A subcommand's parser that takes flags anywhere between its arguments.

    argparse alone would refuse ``read person --port 2021 user_name=ada``: it fills all positional arguments
    from the first run of words without a dash.
    """

    _is_inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._is_inside:
            return super().parse_known_args(args, namespace)
        self._is_inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_inside = False


def tool_parser() -> argparse.ArgumentParser:
    """What `csproxy` takes."""
    parser = _Parser(
        prog="csproxy",
        description="Read, watch and change a configuration; set up and try out servers.",
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"csproxy {__version__}")
    add_connection_flags(parser)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, parser_class=_CommandParser
    )

    def command(name: str, run: str, help: str, *, connects: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False)
        sub.set_defaults(run=run)
        if connects:
            add_connection_flags(sub)
        return sub

    command("demo", "tool:run_demo", "the whole system on this machine, explained while it runs", connects=False)
    add_init_arguments(command("init", "init:run_init", "write a folder to start servers from", connects=False))
    _add_status(command("status", "status:run_status", "what a server says of itself"))
    stop = command("stop", "management_client:run_stop", "stop a server in an orderly way", connects=False)
    promote = command(
        "promote",
        "management_client:run_promote",
        "let a proxy of a pair serve although the other cannot be asked",
        connects=False,
    )
    hand_over = command(
        "hand-over",
        "management_client:run_hand_over",
        "let the other proxy of a pair serve, without a loss for clients",
        connects=False,
    )
    for sub in (stop, promote, hand_over):
        _add_management(sub, required=True)
    _add_read(command("read", "read:run_read", "the objects of a type, as of one moment"))
    _add_verify(command("verify", "verify:run_verify", "compare a server's data with where it comes from"))
    _add_watch(command("watch", "watch:run_watch", "changes as they happen, one JSON document per line"))
    history = command("history", "history:run_history", "who changed what and when, and who was connected")
    history.add_argument("--since", metavar="UEN", type=_number, help="begin with the changes after this UEN")
    _add_output(history)
    create = command("create", "write:run_create", "create an object from JSON on standard input")
    create.add_argument("type", metavar="TYPE", help=_TYPE_HELP)
    create.add_argument("--folder", metavar="DBID", type=_number, default=0, help="folder (the type's default folder)")
    update = command("update", "write:run_update", "change attributes of an object")
    update.add_argument("type", metavar="TYPE", help=_TYPE_HELP)
    update.add_argument("dbid", metavar="DBID", type=_positive)
    update.add_argument(
        "assignments",
        metavar="ATTR=VALUE",
        nargs="+",
        help="agentInfo.placeDBID=101, options.log.verbose=all, state=CFGDisabled; null clears",
    )
    delete = command("delete", "write:run_delete", "delete an object and what belongs to it")
    delete.add_argument("type", metavar="TYPE", help=_TYPE_HELP)
    delete.add_argument("dbid", metavar="DBID", type=_positive)
    for sub in (create, update, delete):
        _add_output(sub)
    _add_lb_config(command("lb-config", "lb_config:run_lb_config", "the configuration of a pool's load balancer"))
    options = command("options", "option_help:run_options", "what an option means, or all of them", connects=False)
    options.add_argument(
        "name", metavar="NAME", nargs="?", help="an option (verbose, log/verbose) or a transport parameter (tls)"
    )
    _add_output(options)
    encrypt = command(
        "encrypt-password",
        "encryption:run_encrypt_password",
        "a password in the form that confserv.conf takes with encryption = true",
        connects=False,
    )
    encrypt.add_argument(
        "--key-file",
        metavar="FILE",
        type=Path,
        default=Path("confserv.key"),
        help="the key; made if it is not there (./confserv.key)",
    )
    encrypt.add_argument(
        "--password-stdin", action="store_true", help="the password is the first line of standard input"
    )
    _add_install(command("install", "install:run_install", "install a Configuration Server Proxy on this machine"))
    _add_uninstall(command("uninstall", "uninstall:run_uninstall", "take away what install has brought"))
    _add_config(command("config", "config:run_config", "the configuration as a file, and a vendor's database"))
    return parser


def _add_install(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--answers", metavar="FILE", type=Path, help="TOML: the answers, instead of asking them")
    parser.add_argument("--write-answers", metavar="FILE", type=Path, help="write the answers, without passwords")


def _add_uninstall(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="the directory of the installation")
    parser.add_argument("--yes", action="store_true", help="without asking")
    parser.add_argument("--erase", action="store_true", help="changed files, the local copy and logs, too")
    parser.add_argument("--no-master", action="store_true", help="leave the Application object as it is")


def _add_config(parser: argparse.ArgumentParser) -> None:
    actions = ("import", "validate", "diff", "export")
    parser.add_argument("action", metavar="ACTION", choices=actions, help=", ".join(actions))
    parser.add_argument("file", metavar="FILE", nargs="?", help="configuration file (standard input or output)")
    parser.add_argument("--yes", action="store_true", help="import without asking")
    parser.add_argument("--atomic", action="store_true", help="import all in one transaction, or nothing")
    parser.add_argument(
        "--format", choices=("json", "raw", "xml"), help="form of the file (export: json; else told by its content)"
    )
    parser.add_argument("--encoding", metavar="NAME", help="text encoding of XML (UTF-8)")
    parser.add_argument("--db", metavar="URL", help="import from a vendor's database instead of a file")
    parser.add_argument("--mapping", metavar="FILE", help="with --db: completes the shipped mapping of tables")
    parser.add_argument("--report", metavar="FILE", help="with --db: file for what was not read (standard error)")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="form of the answer (text)")


def _add_lb_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("balancer", metavar="BALANCER", choices=("haproxy", "f5"), help="haproxy or f5")
    parser.add_argument("--pool", metavar="NAME", help="Application that stands for the balancer (the only one)")
    parser.add_argument("--clients", metavar="N", type=_positive, default=10_000, help="connections at a time (10000)")
    parser.add_argument(
        "--idle-timeout", metavar="SECONDS", type=_positive, default=600, help="cut a connection idle for so long (600)"
    )
    parser.add_argument(
        "--check-interval", metavar="SECONDS", type=_positive, default=5, help="time between two checks of a member (5)"
    )
    parser.add_argument(
        "--source",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="address of the balancer towards the members, repeatable (its own)",
    )
    parser.add_argument(
        "--proxy-protocol", action="store_true", help="haproxy: tell members the clients' addresses by PROXY headers"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", choices=("table", "json", "jsonl"), default="table", help="form of the answer (table)"
    )


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", metavar="SECONDS", type=_seconds, help="wait so long for the server to be ready")
    _add_management(parser, required=False)
    _add_output(parser)


def _add_management(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--management",
        metavar="HOST:PORT",
        required=required,
        help="ask at the server's management port" + ("" if required else " instead of logging in"),
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="the file that the server wrote for its management port (./management-PORT.token)",
    )


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--master", metavar="HOST:PORT", help="compare with this server, here, instead of asking the server to do it"
    )
    parser.add_argument("--output", choices=("table", "json"), default="table", help="form of the answer (table)")


def _add_read(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("type", metavar="TYPE", help=_TYPE_HELP)
    parser.add_argument(
        "filter",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="only what fits all of them: user_name=ada, state=CFGEnabled",
    )
    parser.add_argument("--consistent", action="store_true", help="at a proxy: as new as the master is now")
    _add_output(parser)


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("type", metavar="TYPE", help=f"{_TYPE_HELP}; all for every type")
    parser.add_argument("--from-uen", metavar="N", type=_number, help="begin with the changes after UEN N")
    parser.add_argument("--count", metavar="N", type=_positive, help="end after N changes")
    parser.add_argument("--output", choices=("json", "jsonl"), default="jsonl", help="both mean one document per line")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or above")
    return int(text)


def _positive(text: str) -> int:
    number = _number(text)
    if number == 0:
        raise argparse.ArgumentTypeError("0 is not valid: 1 and above are")
    return number


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 0 to 86400 seconds are valid")
    return value


def run_demo(arguments: argparse.Namespace) -> int:
    """`csproxy demo`."""
    demo = importlib.import_module("csproxy.daemon.demo")
    status: int = demo.main()
    return status


if __name__ == "__main__":
    sys.exit(main())
