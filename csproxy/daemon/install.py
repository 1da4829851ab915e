"""`csproxy install`: a Configuration Server Proxy on this machine, from questions or from a file of answers.

The order: questions (with a look into the master's configuration), files (all of them or none:
`csproxy.daemon.install_transaction`), the Application object, a registration to check, what to do next. If the
Application object cannot be changed, or the check fails, the installation stands, and what is wrong is said; exit
status 1 for the latter.
"""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from csproxy import __version__
from csproxy.daemon.file_operations import FileOperations, Owner
from csproxy.daemon.install_answers import Answers, FileAnswers, answers_text
from csproxy.daemon.install_folder import not_in_use
from csproxy.daemon.install_interview import Chosen, Interview
from csproxy.daemon.install_manifest import MANIFEST, Manifest, digest, read_manifest
from csproxy.daemon.install_master import change_application, check_registration
from csproxy.daemon.install_questions import visible
from csproxy.daemon.install_texts import conf_text, proxy_arguments, run_script, start_batch
from csproxy.daemon.install_transaction import Existing, Installation, NewFile, install_files
from csproxy.daemon.output import say
from csproxy.daemon.systemd_units import installed_unit, unit_name
from csproxy.daemon.usage import DONE, FAILED, UsageError
from csproxy.errors import ConfigurationError, CsproxyError, ServerError

__all__ = ["LEFT_TO_INSTALLER", "TITLES", "run_install"]

LEFT_TO_INSTALLER: Final = {"workDirectory": ".", "commandLine": ".", "commandLineArguments": ""}
"""What stands in an Application object that the installer is to fill in (reference chapter, step 1 d iii)."""

TITLES: Final = {
    "workDirectory": "Working Directory",
    "commandLine": "Command Line",
    "commandLineArguments": "Command Line Arguments",
}
"""What people know these attributes as."""


def run_install(arguments: argparse.Namespace) -> int:
    """Ask, install, check; returns the exit status. Raises `CsproxyError` when nothing was installed."""
    program = _program()
    chosen = Interview(arguments, _answers(arguments)).run()
    command = [str(program), *_parameters(chosen)]
    _bring_files(chosen, command)
    if arguments.write_answers is not None:
        _write_answers(arguments.write_answers, chosen)
    _fill_in(chosen, command)
    is_right = _check(chosen)
    _print_next_steps(chosen)
    return DONE if is_right else FAILED


def _answers(arguments: argparse.Namespace) -> Answers:
    if arguments.answers is not None:
        if arguments.write_answers is not None:
            raise UsageError("--write-answers is for the answers of a person: leave it out with --answers")
        return FileAnswers(arguments.answers)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "no terminal to ask on: give the answers in a file with --answers FILE, "
            "which --write-answers FILE writes at a terminal"
        )
    from csproxy.daemon.install_terminal import TerminalAnswers

    return TerminalAnswers()


def _program() -> Path:
    """The absolute path of `confserv`: that of the environment which this program runs in."""
    beside = Path(sysconfig.get_path("scripts"), "confserv")
    if beside.is_file():
        return beside
    found = shutil.which("confserv")
    if found is None:
        raise ConfigurationError(f"the program confserv is neither in {beside.parent} nor on the path: install csproxy")
    return Path(found).absolute()


def _parameters(chosen: Chosen) -> list[str]:
    return proxy_arguments(
        host=chosen.flags.host,
        port=chosen.flags.port,
        application=str(chosen.application["name"]),
        licence=chosen.licence,
        transport=chosen.transport,
    )


def _files(chosen: Chosen, command: Sequence[str]) -> list[NewFile]:
    application = str(chosen.application["name"])
    user = pwd.getpwnam(chosen.run_as)
    unit = installed_unit(
        application=visible(application),
        command=command,
        directory=chosen.directory,
        user=user.pw_name,
        group=grp.getgrgid(user.pw_gid).gr_name,
        reads=[Path(path) for name, value in chosen.transport.items() if name != "tls" for path in value.split(",")],
    )
    conf = conf_text(application, app_password=chosen.app_password)
    return [
        NewFile("run.sh", run_script(application, command).encode(), 0o750),
        NewFile("startServer.bat", start_batch(application, ["confserv", *command[1:]]).encode()),
        NewFile("confserv.conf", conf.encode(), 0o600 if chosen.app_password else 0o640),
        NewFile(unit_name(application), unit.encode(), 0o644),
    ]


def _bring_files(chosen: Chosen, command: Sequence[str]) -> None:
    directory = chosen.directory
    files = _files(chosen, command)
    digests = {file.name: digest(file.data) for file in files}
    before = read_manifest(directory) if chosen.existing is Existing.OVERWRITE else None
    manifest = Manifest(
        release=__version__,
        application=str(chosen.application["name"]),
        application_dbid=int(chosen.application["DBID"]),
        # files of an earlier installation that stay are still to be uninstalled
        files={**(before.files if before is not None else {}), **digests},
        answers=chosen.answers,
        written=_wanted(chosen, command),
    )
    files.append(NewFile(MANIFEST, manifest.data()))
    user = pwd.getpwnam(chosen.run_as)
    owner = Owner(user.pw_uid, user.pw_gid) if os.geteuid() == 0 and user.pw_uid else None
    moves = chosen.existing in (Existing.ERASE, Existing.BACK_UP)
    with not_in_use(directory) if moves else nullcontext():
        installation = Installation(directory, files, chosen.existing, chosen.back_up_to)
        install_files(installation, FileOperations(owner))
    if chosen.back_up_to is not None:
        print(f"Moved what was in {directory} to {chosen.back_up_to}.")
    print(f"Installed in {directory}:")
    for file in files:
        print(f"  {file.name}")
    if directory.stat().st_uid != user.pw_uid:
        say(
            f"warning: {directory} does not belong to {user.pw_name}, who must be able to write there: "
            f"chown -R {user.pw_name} {shlex.quote(str(directory))}"
        )


def _wanted(chosen: Chosen, command: Sequence[str]) -> dict[str, str]:
    return {
        "workDirectory": str(chosen.directory),
        "commandLine": command[0],
        "commandLineArguments": shlex.join(command[1:]),
    }


def _write_answers(path: Path, chosen: Chosen) -> None:
    try:
        path.write_text(answers_text(chosen.answers), encoding="utf-8")
    except OSError as e:
        say(f"warning: the answers file {path} cannot be written: {e.strerror}")
    else:
        print(f"Wrote the answers, without passwords, to {path}.")


def _fill_in(chosen: Chosen, command: Sequence[str]) -> None:
    name = visible(str(chosen.application["name"]))
    try:
        changed = change_application(
            chosen.flags,
            int(chosen.application["DBID"]),
            {attribute: (text,) for attribute, text in LEFT_TO_INSTALLER.items()},
            _wanted(chosen, command),
        )
    except CsproxyError as e:
        may_not = isinstance(e, ServerError)
        advice = "a user who may change it can" if may_not else "when the master answers again,"
        say(
            f"warning: Application {name!r} was not changed: {e}. The installation stands; {advice} set Working "
            f"Directory {chosen.directory}, Command Line {command[0]}, Command Line Arguments {shlex.join(command[1:])}"
        )
        return
    if changed:
        print(f"Application {name!r} has now")
        for attribute, text in changed.items():
            print(f"  {TITLES[attribute]}: {visible(text)}")
    else:
        print(f"Application {name!r} is as it was: its Working Directory and Command Line were filled in already.")


def _check(chosen: Chosen) -> bool:
    try:
        sentence = check_registration(
            chosen.flags.host,
            chosen.flags.port,
            str(chosen.application["name"]),
            app_password=chosen.app_password,
            transport=chosen.transport,
            timeout_s=chosen.flags.timeout_s,
        )
    except CsproxyError as e:
        say(f"The installation stands, but the proxy would not start now: {e}")
        return False
    print(f"Checked: {sentence}.")
    return True


def _print_next_steps(chosen: Chosen) -> None:
    directory = chosen.directory
    unit = shlex.quote(str(directory / unit_name(str(chosen.application["name"]))))
    port = (chosen.application.get("serverInfo") or {}).get("port", "")
    print("\nStart it:")
    print(f"  sh {shlex.quote(str(directory / 'run.sh'))}")
    print("or as a service, as root:")
    print(f"  systemctl enable --now {unit}")
    print("\nSee how it is:")
    print(f"  csproxy status --port {port or 'PORT'} --wait 60")
