"""Whether files that hold secrets are readable by others than their owner."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["loose_permissions"]


def loose_permissions(path: Path, *, is_secret: bool, group_may_read: bool = False) -> str | None:
    """A warning for a file that others may change, or if it ``is_secret`` read; None when all is well.

    With ``group_may_read`` the members of its group are no others when it is read: private keys of TLS are often
    readable for a group of servers.

    Says nothing where files have no such permissions, or the file is not there.
    """
    if os.name != "posix":
        return None
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if is_secret and mode & (0o007 if group_may_read else 0o077):
        return f"{path} holds a secret and has mode {mode:04o}: others can read it; chmod 600 {path}"
    if mode & 0o022:
        return f"{path} has mode {mode:04o}: others can change it; chmod go-w {path}"
    return None
