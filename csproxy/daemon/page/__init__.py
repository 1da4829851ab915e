"""The status page for people: files that the management port sends as they are, and nothing else.

No build step and nothing from elsewhere: the browser takes these files only (see `csproxy.daemon.management_page` for
the Content-Security-Policy). What they show comes from /events, /states.json and /clients.json, and gets into the page
as text, never as markup: names of clients and objects are others' data.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

__all__ = ["page_files"]

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def page_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type of each file, by its name."""
    found = {}
    for file in files(__name__).iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            found[file.name] = (file.read_bytes(), kind)
    return found
