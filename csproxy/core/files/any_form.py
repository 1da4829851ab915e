"""Configuration files in any of their forms: JSON and RAW of *mutagen*, and XML.

The form of a file that is read is told by its content: XML begins with ``<``, RAW says that it is.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from csproxy.core.files.keys import Directory
from csproxy.core.files.numbered import read_numbered
from csproxy.core.files.raw import RAW_NAME, read_raw, write_raw
from csproxy.core.files.reading import METADATA, FileObject, read_file
from csproxy.core.files.writing import write_file
from csproxy.core.files.xml import read_xml, write_xml

__all__ = ["FORMS", "form_of", "read_form", "write_form"]

FORMS: Final = ("json", "raw", "xml")

_BEFORE_XML: Final = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"
"""Byte order marks, and the other half of a character in UTF-16 and UTF-32."""
_SAYS_RAW: Final = re.compile(rb'"formatName"\s*:\s*"RAW"')


def form_of(data: bytes) -> str:
    """The form of a file, one of `FORMS`; what is neither XML nor RAW is to be read as JSON."""
    if data[:1_000].lstrip(_BEFORE_XML).startswith(b"<"):
        return "xml"
    if _SAYS_RAW.search(data) is None:
        return "json"
    try:
        document = json.loads(data)  # the words may stand in the options of an object
    except (ValueError, RecursionError):
        return "json"
    metadata = document.get(METADATA) if isinstance(document, dict) else None
    return "raw" if isinstance(metadata, dict) and metadata.get("formatName") == RAW_NAME else "json"


def read_form(
    data: bytes, environment: Mapping[str, str], *, form: str = "", encoding: str = "utf-8"
) -> tuple[list[FileObject], list[str]]:
    """The objects of a file and warnings. ``form`` "" is what `form_of` says; ``encoding`` is that of XML.

    Raises as `read_file`, `read_raw` and `read_numbered` (`ConfigurationError`) and `read_xml` (`ModelError`).
    """
    form = form or form_of(data)
    if form == "json":
        return read_file(data, environment)
    told: list[str] = []
    found = read_xml(io.BytesIO(data), encoding=encoding) if form == "xml" else read_raw(data, told)
    objects, warnings = read_numbered(found)
    return objects, [*told, *warnings]


def write_form(
    directory: Directory,
    form: str,
    *,
    encoding: str = "utf-8",
    on_object: Callable[[int], object] = lambda count: None,
) -> Iterator[bytes]:
    """The file in pieces; ``on_object`` is told how many objects are written. Raises as `write_xml`."""
    if form == "xml":
        yield from write_xml(_numbered(directory, on_object), encoding=encoding)
        return
    pieces = write_raw(directory, on_object=on_object) if form == "raw" else write_file(directory, on_object=on_object)
    for piece in pieces:
        yield piece.encode()


def _numbered(directory: Directory, on_object: Callable[[int], object]) -> Iterator[tuple[int, Mapping[str, Any], int]]:
    """The objects by type and DBID, with the DBIDs of their folders."""
    count = 0
    for number in sorted(directory.types):
        for dbid, obj in sorted(directory.objects(number).items()):
            yield number, obj, directory.folder_of(number, dbid)
            count += 1
            on_object(count)
