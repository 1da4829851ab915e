"""`csproxy uninstall DIR`: takes away what `csproxy install` brought, and nothing else.

The files of the manifest go if they are unchanged, the manifest last, so that an uninstallation that was broken off can
be called again. Changed files and foreign ones (local copy, logs) stay and are named, unless ``--erase`` is given.
What the installer has filled in at the Application object is set back if it is still as written.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Final

from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.file_operations import FileOperations, remove_tree
from csproxy.daemon.install import LEFT_TO_INSTALLER, TITLES
from csproxy.daemon.install_folder import check_may_move, not_in_use, recover_unused
from csproxy.daemon.install_manifest import MANIFEST, Manifest, digest, read_manifest
from csproxy.daemon.install_master import change_application
from csproxy.daemon.install_questions import QUESTIONS, visible
from csproxy.daemon.output import say
from csproxy.daemon.usage import DONE, FAILED, UsageError
from csproxy.errors import ConfigurationError, CsproxyError, ErrorCode, ServerError

__all__ = ["run_uninstall"]

_UNITS: Final = Path("/etc/systemd/system")


def run_uninstall(arguments: argparse.Namespace) -> int:
    """Take the installation away; returns the exit status. Raises `CsproxyError` if nothing was removed."""
    directory = Path(os.path.realpath(arguments.directory))
    if not arguments.yes and not sys.stdin.isatty():
        raise UsageError("no terminal to ask on: --yes uninstalls without asking")
    if not directory.name:
        raise UsageError(f"{arguments.directory} is no directory of an installation")
    operations = FileOperations()
    recover_unused(directory, operations)
    manifest = read_manifest(directory)
    if manifest is None:
        raise ConfigurationError(
            f"{directory} holds no installation: csproxy install writes {MANIFEST}, which is missing"
        )
    if arguments.erase:
        check_may_move(directory)
    flags = None if arguments.no_master else _flags(arguments, manifest)
    with not_in_use(directory):
        own = _unchanged(directory, manifest)
        if not arguments.yes and not _is_confirmed(directory, manifest, own, erase=arguments.erase):
            say("nothing was removed")
            return FAILED
        if flags is not None:
            _take_back(flags, manifest)
        try:
            kept = _remove(directory, own, operations, erase=arguments.erase)
        except OSError as e:
            raise ConfigurationError(
                f"{e.filename} cannot be removed: {e.strerror}; csproxy uninstall goes on when it is called again"
            ) from e
    _report(directory, manifest, kept)
    return DONE


def _flags(arguments: argparse.Namespace, manifest: Manifest) -> ConnectionFlags:
    """The master of the installation, unless flags name another."""
    found: dict[str, Any] = {}
    for question in QUESTIONS.values():
        text = manifest.answers.get(question.key, "")
        if question.flag and text not in ("", "false"):
            found[question.flag] = int(text) if question.flag == "port" else text
    try:
        return connection_flags(argparse.Namespace(**{**found, **vars(arguments)}))
    except UsageError as e:
        raise UsageError(f"{e}; --no-master leaves the Application object as it is") from None


def _unchanged(directory: Path, manifest: Manifest) -> list[Path]:
    found = []
    for name, sha256 in manifest.files.items():
        path = directory / name
        if path.is_file() and not path.is_symlink():
            try:
                is_own = digest(path.read_bytes()) == sha256
            except OSError as e:
                raise ConfigurationError(f"{path} cannot be read: {e.strerror}; nothing was removed") from e
            if is_own:
                found.append(path)
    return sorted(found)


def _is_confirmed(directory: Path, manifest: Manifest, own: list[Path], *, erase: bool) -> bool:
    print(f"Configuration Server Proxy {visible(manifest.application)} in {directory}:")
    if erase:
        print("  everything in this directory is removed")
    for path in own if not erase else ():
        print(f"  {path.name}")
    try:
        return input("Uninstall it (y/n): ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _take_back(flags: ConnectionFlags, manifest: Manifest) -> None:
    name = visible(manifest.application)
    present = {attribute: (text,) for attribute, text in manifest.written.items() if attribute in LEFT_TO_INSTALLER}
    wanted = {attribute: LEFT_TO_INSTALLER[attribute] for attribute in present}
    try:
        changed = change_application(flags, manifest.application_dbid, present, wanted)
    except CsproxyError as e:
        if isinstance(e, ServerError) and e.code is ErrorCode.LOGIN_INCORRECT:
            raise ConfigurationError(f"{e}; nothing was removed. --no-master leaves the master alone") from e
        say(f"warning: Application {name!r} was not changed: {e}")
        return
    if changed:
        print(f"Set back at Application {name!r}: {', '.join(TITLES[each] for each in changed)}.")
    else:
        say(f"Application {name!r} is left as it is: it has not what the installer wrote")


def _remove(directory: Path, own: list[Path], operations: FileOperations, *, erase: bool) -> list[Path]:
    """Returns what stays."""
    manifest = directory / MANIFEST
    for path in sorted(directory.iterdir()) if erase else own:
        if path != manifest:
            remove_tree(operations, path)
    remove_tree(operations, manifest)
    kept = sorted(directory.iterdir())
    if not kept:
        operations.remove_folder(directory)
    return kept


def _report(directory: Path, manifest: Manifest, kept: list[Path]) -> None:
    print(f"Uninstalled Configuration Server Proxy {visible(manifest.application)} from {directory}.")
    for path in kept:
        why = "changed since the installation" if path.name in manifest.files else "not of the installation"
        print(f"  kept: {path.name} ({why})")
    for name in manifest.files:
        if name.endswith(".service") and os.path.lexists(_UNITS / name):
            say(f"systemd still knows {name}: systemctl disable --now {name}")
