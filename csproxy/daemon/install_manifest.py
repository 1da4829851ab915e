"""What an installation consists of: ``csproxy-install.json``, from which `csproxy uninstall` takes it away again.

    {"release": "…", "application": "CSProxy_1", "application_dbid": 101, "files": {"run.sh": "<SHA-256>", …},
     "answers": {…}, "written": {"workDirectory": "…", "commandLine": "…", "commandLineArguments": "…"}}

``answers`` has the answers by key, without passwords. ``written`` is what stands in the Application object if it was
left to the installer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from csproxy.errors import ConfigurationError

__all__ = ["MANIFEST", "Manifest", "digest", "read_manifest"]

MANIFEST: Final = "csproxy-install.json"


class Manifest(NamedTuple):
    """The document."""

    release: str
    application: str
    application_dbid: int
    files: Mapping[str, str]
    answers: Mapping[str, str]
    written: Mapping[str, str]

    def data(self) -> bytes:
        """The file's bytes."""
        return (json.dumps(self._asdict(), indent=2, ensure_ascii=False) + "\n").encode()


def digest(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a folder; None without one. Raises `ConfigurationError` for one that cannot be used."""
    path = directory / MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as e:
        raise ConfigurationError(f"{path} cannot be read: {e.strerror}") from e
    except ValueError as e:
        raise ConfigurationError(f"{path} is damaged: {e}") from e
    if not _is_manifest(found):
        raise ConfigurationError(f"{path} is damaged: it is not what csproxy install writes")
    return Manifest(**found)


def _is_manifest(found: Any) -> bool:
    if not isinstance(found, dict) or found.keys() != set(Manifest._fields):
        return False
    texts = [found["files"], found["answers"], found["written"]]
    if not all(isinstance(each, dict) and all(isinstance(value, str) for value in each.values()) for each in texts):
        return False
    # a name with a folder in it would lead out of the directory
    names = all(name not in ("", ".", "..") and "/" not in name for name in found["files"])
    return names and isinstance(found["application"], str) and isinstance(found["application_dbid"], int)
