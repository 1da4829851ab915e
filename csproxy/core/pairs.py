"""Two Configuration Servers that are a pair: one Application names the other as its backup.

Read from Application objects in plain form, wherever they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["are_pair", "backup_of"]


def backup_of(application: Mapping[str, Any]) -> int:
    """DBID of the Application that is the backup of ``application``; 0 for none."""
    return int(application.get("serverInfo", {}).get("backupServerDBID", 0))


def are_pair(applications: Iterable[Mapping[str, Any]], one: str, other: str) -> bool:
    """Whether one of the two, given by name, is configured as the backup of the other."""
    found = {each.get("name"): each for each in applications}
    first, second = found.get(one), found.get(other)
    if first is None or second is None:
        return False
    return backup_of(first) == int(second["DBID"]) or backup_of(second) == int(first["DBID"])
