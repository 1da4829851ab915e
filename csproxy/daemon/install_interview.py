"""The questions of `csproxy install` in their order, and what follows from the answers."""

from __future__ import annotations

import argparse
import os
import pwd
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.file_operations import FileOperations
from csproxy.daemon.install_answers import SECRETS, Answers, FileAnswers
from csproxy.daemon.install_folder import (
    check_may_move,
    default_directory,
    is_empty,
    not_in_use,
    recover_unused,
)
from csproxy.daemon.install_master import SiteView, host_of_this_machine, read_site
from csproxy.daemon.install_questions import QUESTIONS, Check, visible
from csproxy.daemon.install_transaction import Existing, Recovery
from csproxy.daemon.output import say
from csproxy.daemon.usage import UsageError
from csproxy.errors import ConfigurationError, CsproxyError

__all__ = ["Chosen", "Interview"]

_TLS: Final = ("tls", "tls-ca", "tls-cert", "tls-key")


class Chosen(NamedTuple):
    """What was answered. ``answers`` has the texts by key, without passwords."""

    flags: ConnectionFlags
    application: Mapping[str, Any]
    app_password: str
    directory: Path
    existing: Existing
    back_up_to: Path | None
    licence: str
    run_as: str
    answers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Chosen {self.application['name']!r} in {self.directory}>"

    @property
    def transport(self) -> dict[str, str]:
        """The transport parameters of the proxy's connection to its master."""
        tls = self.flags.tls
        if tls is None:
            return {}
        files = {
            "trusted-ca": ",".join(os.path.abspath(path) for path in tls.trusted_ca),
            "certificate": ",".join(os.path.abspath(path) for path in tls.certificate),
            "certificate-key": tls.certificate_key and os.path.abspath(tls.certificate_key),
        }
        return {"tls": "1"} | {name: value for name, value in files.items() if value}


class Interview:
    """Asks ``answers``; flags in ``arguments`` are answers, too."""

    def __init__(self, arguments: argparse.Namespace, answers: Answers) -> None:
        self._arguments = arguments
        self._answers = answers
        self._flags = {name: value for name, value in vars(arguments).items() if value is not None}
        self._given: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Interview with {self._answers!r}>"

    def run(self) -> Chosen:
        """All questions. Raises `ConfigurationError` and other `CsproxyError`, KeyboardInterrupt at a terminal."""
        own = socket.gethostname()
        name = self._ask("this-host", default=own)
        flags, site = self._reach_master()
        host = self._find_host(site, name, own)
        application = self._choose(site, host)
        app_password = self._ask("app-password")
        directory = self._directory(str(application["name"]), str(application.get("workDirectory", "")))
        existing, back_up_to = self._existing(directory)
        licence = self._ask("licence")
        run_as = self._ask("run-as", default=pwd.getpwuid(os.geteuid()).pw_name)
        return Chosen(
            flags, application, app_password, directory, existing, back_up_to, licence, run_as, dict(self._given)
        )

    def _ask(
        self, key: str, *, default: str | None = None, choices: Sequence[str] = (), check: Check | None = None
    ) -> str:
        question = QUESTIONS[key]
        if question.flag in self._flags:
            try:
                text = question.check(str(self._flags[question.flag]))
            except ValueError as e:
                raise UsageError(f"--{question.flag} {visible(str(self._flags[question.flag]))}: {e}") from None
        else:
            text = self._answers.ask(key, default=default, choices=choices, check=check)
        if key not in SECRETS:
            self._given[key] = text
        return text

    def _reach_master(self) -> tuple[ConnectionFlags, SiteView]:
        while True:
            flags = self._connection()
            try:
                return flags, read_site(flags)
            except CsproxyError as e:
                if not self._answers.again(str(e)):
                    raise
                # what did not work is asked, even if it was given
                for name in ("host", "port", "user", "password_file", "password_stdin", "kerberos"):
                    self._flags.pop(name, None)

    def _connection(self) -> ConnectionFlags:
        found: dict[str, Any] = {
            "host": self._ask("master-host"),
            "port": int(self._ask("master-port")),
        }
        environment = dict(os.environ)
        if not (self._flags.get("kerberos") or environment.get("CSPROXY_KERBEROS")):
            found["user"] = self._ask("user")
            if self._flags.keys().isdisjoint(("password_file", "password_stdin")):
                environment["CSPROXY_PASSWORD"] = self._ask("password")
        for key in _TLS if isinstance(self._answers, FileAnswers) else ():
            name = QUESTIONS[key].flag
            if name not in self._flags and (text := self._ask(key)) not in ("", "false"):
                found[name] = text
        flags = connection_flags(argparse.Namespace(**{**self._flags, **found}), environment=environment)
        self._given |= _tls_answers(flags)
        return flags

    def _find_host(self, site: SiteView, name: str, own: str) -> Mapping[str, Any]:
        host = site.host(name)
        if host is None and name == own:
            host = site.host(own.split(".")[0]) or host_of_this_machine(site.hosts)
            if host is not None:
                say(f"this machine, {own}, is Host {visible(host['name'])!r}: it has the address {host['IPaddress']}")
        names = [str(each["name"]) for each in site.hosts]
        while host is None:
            problem = f"there is no Host {visible(name)!r} in the configuration; it has {_list(names)}"
            if not self._answers.again(problem):
                raise ConfigurationError(f"this-host: {problem}")
            name = self._ask("this-host", choices=names)
            host = site.host(name)
        if name == own:  # the next machine has another
            del self._given["this-host"]
        return host

    def _choose(self, site: SiteView, host: Mapping[str, Any]) -> Mapping[str, Any]:
        found = {str(each["name"]): each for each in site.applications(host["DBID"])}
        if not found:
            raise ConfigurationError(
                f"no Application of type ConfigurationServer (CFGConfigServer), other than the master itself, is "
                f"configured for Host {visible(host['name'])!r}: create one with this Host in its Server Info, or name "
                "another Host"
            )
        name = self._ask("application", choices=list(found))
        try:
            return found[QUESTIONS["application"].check(name)]
        except ValueError as e:
            raise ConfigurationError(f"Application {visible(name)!r} cannot be installed: {e} as its name") from None

    def _directory(self, application: str, work_directory: str) -> Path:
        default = str(default_directory(application, work_directory))
        path = Path(os.path.realpath(self._ask("directory", default=default, check=_folder)))
        self._given["directory"] = str(path)
        return path

    def _existing(self, directory: Path) -> tuple[Existing, Path | None]:
        recovered = recover_unused(directory, FileOperations())
        if recovered.completed is not None:
            say(f"the installation into {directory} that was broken off has been completed first")
        elif recovered.removed:
            say(f"what an installation into {directory} that was broken off had left was removed")
        if is_empty(directory):
            return (Existing.OVERWRITE if directory.exists() else Existing.NONE), None
        while True:
            way = Existing(self._ask("existing"))
            try:
                if way is not Existing.OVERWRITE:
                    check_may_move(directory)
                    with not_in_use(directory):
                        pass
            except ConfigurationError as e:
                if not self._answers.again(str(e)):
                    raise
                continue
            if way is Existing.BACK_UP:
                return self._back_up(directory, recovered)
            if self._ask("confirm") == "y":
                return way, None
            if not self._answers.again("nothing was changed"):
                raise ConfigurationError(f"{directory} has files in it, and confirm is n: nothing was changed")

    def _back_up(self, directory: Path, recovered: Recovery) -> tuple[Existing, Path | None]:
        def check(text: str) -> str:
            path = Path(os.path.realpath(QUESTIONS["back-up-to"].check(text)))
            if path != recovered.back_up_to:
                _check_back_up(path, directory)
            return str(path)

        path = Path(self._ask("back-up-to", check=check))
        if path == recovered.back_up_to:
            return Existing.OVERWRITE, None  # it has just been done
        return Existing.BACK_UP, path


def _tls_answers(flags: ConnectionFlags) -> dict[str, str]:
    """Wherever TLS was asked for: flags, environment, file."""
    if flags.tls is None:
        return {}
    texts = {"tls-ca": flags.tls.trusted_ca, "tls-cert": flags.tls.certificate, "tls-key": (flags.tls.certificate_key,)}
    return {"tls": "true"} | {key: os.path.abspath(paths[0]) for key, paths in texts.items() if paths and paths[0]}


def _folder(text: str) -> str:
    path = QUESTIONS["directory"].check(text)
    if os.path.realpath(path) == "/" or (os.path.lexists(path) and not os.path.isdir(path)):
        raise ValueError(f"the path of a folder, or of one to be made, is valid; {path} is none")
    return path


def _check_back_up(path: Path, directory: Path) -> None:
    if path.exists():
        raise ValueError(f"a path that is not there yet is valid; {path} is there")
    if path.is_relative_to(directory):
        raise ValueError(f"a path outside {directory} is valid")
    if not path.parent.is_dir():
        raise ValueError(f"a path in a folder that is there is valid; {path.parent} is none")


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(visible(name) for name in names[:10]) + more
