"""The changes of files that an installation consists of, each of them on the disk when it returns.

One class, so that a test can let a process die, or a disk be full, before any one of them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

__all__ = ["FileOperations", "Owner", "copy_tree", "remove_tree"]


class Owner(NamedTuple):
    """Whom files belong to."""

    uid: int
    gid: int


class FileOperations:
    """Real files; every method raises OSError. ``owner`` gets what is made, None: whoever makes it."""

    def __init__(self, owner: Owner | None = None) -> None:
        self._owner = owner

    def make_folder(self, path: Path, mode: int = 0o750) -> None:
        """A new folder; its parent must be there."""
        path.mkdir(mode=mode)
        if self._owner is not None:
            os.chown(path, *self._owner)

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """A new file with all its bytes."""
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            os.fchmod(file, mode)
            if self._owner is not None:
                os.fchown(file, *self._owner)
            os.fsync(file)
        finally:
            os.close(file)

    def copy(self, source: Path, target: Path) -> None:
        """A file or a symbolic link with its times, permissions and, for root, its owner."""
        shutil.copy2(source, target, follow_symlinks=False)
        self._keep_owner(source, target)
        if not source.is_symlink():
            _sync(target)

    def copy_folder(self, source: Path, target: Path) -> None:
        """A folder without what is in it; with the permissions and, for root, the owner of another."""
        target.mkdir()
        shutil.copystat(source, target)
        self._keep_owner(source, target)

    def sync_folder(self, path: Path) -> None:
        """The names in a folder."""
        _sync(path)

    def rename(self, source: Path, target: Path) -> None:
        """A new name, in the place of a file or an empty folder if there is one."""
        source.rename(target)
        for folder in {source.parent, target.parent}:
            _sync(folder)

    def remove(self, path: Path) -> None:
        """A file or a symbolic link."""
        path.unlink()

    def remove_folder(self, path: Path) -> None:
        """An empty folder."""
        path.rmdir()

    def _keep_owner(self, source: Path, target: Path) -> None:
        if os.geteuid() == 0:
            found = source.lstat()
            os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)


def remove_tree(operations: FileOperations, path: Path) -> None:
    """A folder, or file, with everything in it; nothing that a link leads to. What is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        for each in sorted(path.iterdir()):
            remove_tree(operations, each)
        operations.remove_folder(path)
    elif path.is_symlink() or path.exists():
        operations.remove(path)


def copy_tree(operations: FileOperations, source: Path, target: Path) -> None:
    """A folder with everything in it. Sockets and pipes are left out: they are of no use without their process."""
    operations.copy_folder(source, target)
    for each in sorted(source.iterdir()):
        if each.is_dir() and not each.is_symlink():
            copy_tree(operations, each, target / each.name)
        elif each.is_symlink() or each.is_file():
            operations.copy(each, target / each.name)
    operations.sync_folder(target)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
