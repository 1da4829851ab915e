"""What a proxy says of its local copy: in its status, and in the log when it starts from it."""

from __future__ import annotations

import logging
import time
from typing import Any

from csproxy.daemon.health import iso
from csproxy.transport.local_copy import LocalCopy
from csproxy.transport.upstream import UpstreamSource

__all__ = ["age_in_words", "announce_copy", "copy_status"]

_log = logging.getLogger("csproxy.copy")


def copy_status(copy: LocalCopy, source: UpstreamSource) -> dict[str, Any]:
    """The keys ``data`` (where what is served comes from) and ``copy`` (what is on disk) of the Status answer."""
    now = copy.statistics()
    data: dict[str, Any] = {"source": "master"}
    if source.serves_copy and copy.loaded_as_of_s is not None:
        data = {
            "source": "copy",
            "as_of": iso(copy.loaded_as_of_s),
            "age_s": round(_age_s(copy.loaded_as_of_s), 3),
        }
    return {
        "data": data,
        "copy": {
            "enabled": copy.is_enabled,
            "file": str(copy.paths.snapshot),
            "as_of": iso(now.as_of_s) if now.as_of_s else "",
            "age_s": now.age_s,
            "snapshot_bytes": now.snapshot_bytes,
            "journal_bytes": now.journal_bytes,
            "snapshots": now.snapshots,
            "failures": now.failures,
            "last_error": now.last_error,
        },
    }


def announce_copy(copy: LocalCopy, source: UpstreamSource, objects: int) -> None:
    """The Standard event of a start from the copy: how old it is, where it stands, and why."""
    assert copy.loaded_as_of_s is not None
    now = source.statistics()
    _log.info(
        "serving from the local copy %s as of %s (%s old): %d objects at UEN %d of epoch %d; not confirmed by the "
        "master %s: %s",
        copy.paths.snapshot,
        iso(copy.loaded_as_of_s),
        age_in_words(_age_s(copy.loaded_as_of_s)),
        objects,
        now.position.uen,
        now.position.epoch,
        now.endpoint,
        now.last_error or f"{now.state} still",
    )


def _age_s(since_s: float) -> float:
    return max(time.time() - since_s, 0.0)


def age_in_words(seconds: float) -> str:
    """An age in the largest two units that matter: ``3 d 4 h``, ``12 min``, ``7 s``."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"
