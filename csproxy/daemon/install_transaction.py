"""The files of an installation come into their folder together, or not at all, whatever breaks it off.

Everything is first written, with fsync, into a staging folder; then comes its commit marker, and then names change.
For a folder DIR that is new, or whose content is backed up or erased, the staging folder is ``.NAME.csproxy-install``
beside it; for a DIR that stays (empty, or only files of the installation are overwritten) it is
``DIR/.csproxy-install``. Each run, and `csproxy uninstall`, begins with `recover`.

What is found after kill -9 (or a loss of power) at each point, and what the next run does:

====================================  ==============================================  ===========================
point                                 DIR                                             next run
====================================  ==============================================  ===========================
while files are staged, or copied     as before; the staging folder, perhaps          removes these
to another file system                ``BACKUP.csproxy-part`` and new parent folders
after the commit marker               as before, staged files complete                completes it
after a move to BACKUP, or aside      not there; its content is in BACKUP, or in      completes it
                                      the staging folder (erased)
between two overwritten files         some old, some new; each of them complete       replaces the rest
after the staged files have moved     the new installation                            removes what is left
====================================  ==============================================  ===========================

An error (full disk, no permission) or Ctrl-C before the commit marker removes what was staged, at once. After it Ctrl-C
has to wait the moment that renaming takes. An error in the first renaming takes everything back; a later one is left
for the next run, and the message says so. The process that works in a staging folder has it locked (flock).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from csproxy.daemon.file_operations import FileOperations, copy_tree, remove_tree
from csproxy.errors import ConfigurationError

__all__ = ["Existing", "Installation", "NewFile", "Recovery", "install_files", "recover", "staging_folders"]

_NEW: Final = "new"
_OLD: Final = "old"
_PROBE: Final = "probe"
_PLAN: Final = "plan"
_COMMIT: Final = "commit"


class Existing(Enum):
    """What is done with what is in the folder already."""

    OVERWRITE = "overwrite"
    """Nothing, but files of the installation take the place of theirs; also for an empty folder."""
    ERASE = "erase"
    BACK_UP = "back-up"
    NONE = "none"
    """The folder is not there."""


class NewFile(NamedTuple):
    """A file to be written."""

    name: str
    data: bytes
    mode: int = 0o640


class Installation(NamedTuple):
    """What is to be done; ``back_up_to`` is a path that is not there yet, its parent is."""

    directory: Path
    files: Sequence[NewFile]
    existing: Existing
    back_up_to: Path | None = None


class Recovery(NamedTuple):
    """What `recover` did: nothing, something removed, or an installation completed (its ``existing``)."""

    removed: bool = False
    completed: Existing | None = None
    back_up_to: Path | None = None


class _Commit(NamedTuple):
    existing: Existing
    back_up_to: Path | None
    is_copied: bool


def staging_folders(directory: Path) -> tuple[Path, Path]:
    """Beside it, and in it."""
    return directory.with_name(f".{directory.name}.csproxy-install"), directory / ".csproxy-install"


def install_files(installation: Installation, operations: FileOperations) -> None:
    """Bring the files into the folder. `recover` has been called before.

    Raises `ConfigurationError`; the message says whether nothing was changed or the next run completes it.
    """
    directory = installation.directory
    stage = staging_folders(directory)[installation.existing is Existing.OVERWRITE]
    made: list[Path] = []
    try:
        _check(installation)
        _make_parents(directory.parent, operations, made)
        try:
            operations.make_folder(stage, 0o700)
        except FileExistsError:
            raise ConfigurationError(f"another installation into {directory} is under way ({stage} is there)") from None
        with _locked(stage, directory):
            commit = _stage(stage, installation, operations)
            _finish(stage, directory, commit, operations)
    except OSError as e:
        _take_back(stage, directory, made, operations)
        raise ConfigurationError(f"{e.filename or directory}: {e.strerror}; nothing was changed") from e
    except KeyboardInterrupt:
        if (stage / _COMMIT).exists():  # it came in between, or once more
            recover(directory, operations)
        else:
            _take_back(stage, directory, made, operations)
        raise
    except ConfigurationError:
        _remove_parents(made, operations)
        raise


def recover(directory: Path, operations: FileOperations) -> Recovery:
    """Complete, or remove, what a run that was broken off has left for this folder. Raises `ConfigurationError`."""
    found = Recovery()
    for stage in staging_folders(directory):
        if not stage.is_dir():
            continue
        with _locked(stage, directory):
            try:
                if not (stage / _COMMIT).exists():
                    _discard(stage, operations)
                    found = found._replace(removed=True)
                    continue
            except OSError as e:
                raise ConfigurationError(
                    f"{stage}, left by an installation that was broken off, cannot be removed: {e.strerror}"
                ) from e
            commit = _read(stage / _COMMIT)
            _finish(stage, directory, commit, operations)
            found = Recovery(found.removed, commit.existing, commit.back_up_to)
    return found


def _check(installation: Installation) -> None:
    """What would fail after the commit marker."""
    directory, files, existing, _ = installation
    if existing is Existing.OVERWRITE:
        for path in (directory / file.name for file in files):
            if path.is_dir():
                raise ConfigurationError(f"{path} is a folder; a file must go there: move it away")
    elif existing is not Existing.NONE and directory.is_mount():
        raise ConfigurationError(f"{directory} is a mount point: choose overwrite, or a folder below it")


def _stage(stage: Path, installation: Installation, operations: FileOperations) -> _Commit:
    """Everything that needs space or may be refused; the commit marker last."""
    back_up_to = installation.back_up_to if installation.existing is Existing.BACK_UP else None
    plan = {"existing": installation.existing.value, "back_up_to": None if back_up_to is None else str(back_up_to)}
    operations.write(stage / _PLAN, json.dumps(plan).encode(), 0o600)
    operations.make_folder(stage / _NEW)
    for file in installation.files:
        operations.write(stage / _NEW / file.name, file.data, file.mode)
    operations.sync_folder(stage / _NEW)
    is_copied = False
    if back_up_to is not None and not _can_move(stage, back_up_to, operations):
        copy_tree(operations, installation.directory, _part(back_up_to))
        operations.sync_folder(back_up_to.parent)
        is_copied = True
    operations.write(stage / f"{_COMMIT}.new", json.dumps({**plan, "is_copied": is_copied}).encode(), 0o600)
    operations.rename(stage / f"{_COMMIT}.new", stage / _COMMIT)
    operations.sync_folder(stage.parent)
    return _Commit(installation.existing, back_up_to, is_copied)


def _can_move(stage: Path, back_up_to: Path, operations: FileOperations) -> bool:
    """Whether a folder can be renamed to there: tried, since file systems and mounts cannot be told by looking."""
    operations.make_folder(stage / _PROBE)
    try:
        operations.rename(stage / _PROBE, _part(back_up_to))
    except OSError as e:
        if e.errno != errno.EXDEV:
            raise
        return False
    operations.remove_folder(_part(back_up_to))
    return True


def _finish(stage: Path, directory: Path, commit: _Commit, operations: FileOperations) -> None:
    try:
        try:
            _roll_forward(stage, directory, commit, operations)
        except KeyboardInterrupt:
            _roll_forward(stage, directory, commit, operations)
            raise
    except OSError as e:
        raise ConfigurationError(
            f"{e.filename or directory}: {e.strerror}; the installation is not complete: csproxy install completes it "
            "when it is called again"
        ) from e


def _roll_forward(stage: Path, directory: Path, commit: _Commit, operations: FileOperations) -> None:
    """From any point behind the commit marker to the end."""
    if not stage.exists():
        return
    if commit.existing is Existing.OVERWRITE:
        for path in sorted((stage / _NEW).iterdir()) if (stage / _NEW).exists() else []:
            operations.rename(path, directory / path.name)
    elif (stage / _NEW).exists():
        _swap(stage, directory, commit, operations)
    if commit.back_up_to is not None and _part(commit.back_up_to).exists():
        operations.rename(_part(commit.back_up_to), commit.back_up_to)
    remove_tree(operations, stage / _OLD)
    _discard(stage, operations)


def _swap(stage: Path, directory: Path, commit: _Commit, operations: FileOperations) -> None:
    aside = stage / _OLD if commit.back_up_to is None or commit.is_copied else commit.back_up_to
    is_moved = aside.exists() or not directory.exists()
    try:
        if commit.existing is not Existing.NONE and not is_moved:
            operations.rename(directory, aside)
            is_moved = True
        operations.rename(stage / _NEW, directory)
    except OSError as e:
        if is_moved and commit.existing is not Existing.NONE:
            raise
        _discard(stage, operations)
        raise ConfigurationError(f"{directory} cannot be replaced: {e.strerror}; nothing was changed") from e


def _discard(stage: Path, operations: FileOperations) -> None:
    """Remove the staging folder: the commit marker first, what tells of things outside last."""
    remove_tree(operations, stage / _COMMIT)
    plan = _read(stage / _PLAN) if (stage / _PLAN).exists() else None
    if plan is not None and plan.back_up_to is not None:
        remove_tree(operations, _part(plan.back_up_to))
    for each in sorted(stage.iterdir()):
        if each.name != _PLAN:
            remove_tree(operations, each)
    remove_tree(operations, stage / _PLAN)
    operations.remove_folder(stage)


def _read(path: Path) -> _Commit:
    try:
        found = json.loads(path.read_bytes())
    except ValueError:  # a plan that was being written: nothing was done by it
        return _Commit(Existing.NONE, None, False)
    target = found["back_up_to"]
    return _Commit(Existing(found["existing"]), None if target is None else Path(target), found.get("is_copied", False))


def _part(back_up_to: Path) -> Path:
    return back_up_to.with_name(f"{back_up_to.name}.csproxy-part")


@contextlib.contextmanager
def _locked(stage: Path, directory: Path) -> Iterator[None]:
    folder = os.open(stage, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"another installation into {directory} is under way: wait for its end") from None
        yield
    finally:
        os.close(folder)


def _make_parents(path: Path, operations: FileOperations, made: list[Path]) -> None:
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        made.append(folder)
        operations.make_folder(folder, 0o755)


def _take_back(stage: Path, directory: Path, made: Sequence[Path], operations: FileOperations) -> None:
    """Remove what was staged; the folder of another run, which is locked, stays."""
    if stage.exists():
        with contextlib.suppress(ConfigurationError), _locked(stage, directory):
            _discard(stage, operations)
    _remove_parents(made, operations)


def _remove_parents(made: Sequence[Path], operations: FileOperations) -> None:
    with contextlib.suppress(OSError):  # something is there
        for folder in reversed(made):
            operations.remove_folder(folder)
