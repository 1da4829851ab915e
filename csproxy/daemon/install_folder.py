"""The folder of an installation: where it is by default, whether it may be moved, and whether a proxy runs in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Final

from csproxy.daemon.file_operations import FileOperations
from csproxy.daemon.install_transaction import Recovery, recover, staging_folders
from csproxy.errors import ConfigurationError

__all__ = ["check_may_move", "default_directory", "is_empty", "not_in_use", "recover_unused"]

_PROGRAMS: Final = (b"confserv", b"csproxy.daemon.confserv")


def default_directory(application: str, work_directory: str) -> Path:
    """That of the Application object if it names one, else one named after the Application."""
    from csproxy.core.persistence.copy_reading import CopyPaths

    if work_directory.startswith("/"):
        return Path(work_directory)
    base = Path("/var/lib/csproxy") if os.geteuid() == 0 else Path.home() / "csproxy"
    return base / CopyPaths.of(base, application).stem


def is_empty(directory: Path) -> bool:
    """Whether there is nothing in it, or it is not there. Raises `ConfigurationError` for what is no folder."""
    try:
        return next(directory.iterdir(), None) is None
    except FileNotFoundError:
        return True
    except OSError as e:
        raise ConfigurationError(f"{directory} cannot be used: {e.strerror}") from e


def check_may_move(directory: Path) -> None:
    """Raise `ConfigurationError` for folders that nobody means to erase or move."""
    precious = {Path("/"), Path.home(), Path.cwd(), *Path("/").iterdir()}
    if any(each.is_relative_to(directory) for each in precious):
        raise ConfigurationError(
            f"{directory} is, or holds, a folder of the system, a home, or the working directory: it is neither backed "
            "up nor erased; choose overwrite, or another directory"
        )


@contextmanager
def not_in_use(directory: Path) -> Iterator[None]:
    """Hold the local copies of a folder, so that no proxy begins to use them.

    Raises `ConfigurationError` if one uses a copy now, or works in the folder: one that has just been started, or whose
    option proxy-snapshot is off, holds no copy.
    """
    process = _process_in(directory)
    if process is not None:
        raise ConfigurationError(f"a proxy is running in {directory} (process {process}): stop it first")
    with ExitStack() as stack:
        for path in sorted(directory.glob("*.snapshot.lock")):
            try:
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                stack.callback(os.close, file)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigurationError(
                    f"a proxy is running in {directory} (it holds {path.name}): stop it first"
                ) from None
            except OSError as e:
                raise ConfigurationError(f"{path} cannot be locked: {e.strerror}") from e
        yield


def recover_unused(directory: Path, operations: FileOperations) -> Recovery:
    """`recover`; raises `ConfigurationError` also if a proxy runs in a folder that may have to be moved for it."""
    beside, _ = staging_folders(directory)
    with not_in_use(directory) if beside.exists() else nullcontext():
        return recover(directory, operations)


def _process_in(directory: Path) -> int | None:
    """A `confserv` whose working directory this is, as far as this user can see it; None where /proc tells nothing."""
    for found in Path("/proc").glob("[0-9]*"):
        try:
            if (found / "cwd").readlink() == directory:
                words = (found / "cmdline").read_bytes().split(b"\0")
                if any(os.path.basename(word) in _PROGRAMS for word in words):
                    return int(found.name)
        except OSError:  # it has ended, or belongs to somebody else
            continue
    return None
