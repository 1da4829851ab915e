"""What the XML form looks like: names, namespaces, what an attribute value can hold, encodings.

The format is described in docs/reference/xml-format.md. Reading and writing share this module and
nothing else.
"""

from __future__ import annotations

import codecs
import re
import string
from typing import Final, NamedTuple

from csproxy.core.model.schema import AttributeKind
from csproxy.errors import ErrorCode, ModelError

__all__ = [
    "BASE64",
    "BIN_PAIR",
    "CSPROXY",
    "INT_PAIR",
    "INTEGERS",
    "LINK",
    "LIST_PAIR",
    "NESTED",
    "NOT_XML",
    "ROOT",
    "STR_PAIR",
    "XmlObject",
    "text_encoding",
]

ROOT: Final = "ConfData"
LINK: Final = "DBID"
LIST_PAIR: Final = "list_pair"
STR_PAIR: Final = "str_pair"
INT_PAIR: Final = "int_pair"
BIN_PAIR: Final = "bin_pair"

CSPROXY: Final = "urn:csproxy:confdata:1"
"""Namespace of what is not an attribute of the object: its folder, attributes of a newer release."""
BASE64: Final = "urn:csproxy:base64"
"""Namespace of XML attributes whose text XML cannot hold: the value is base64 of its UTF-8."""

NESTED: Final = frozenset({AttributeKind.STRUCT, AttributeKind.STRUCT_LIST, AttributeKind.LINK_LIST, AttributeKind.KV})
"""Attributes that are child elements; all others are XML attributes."""

INTEGERS: Final = range(-(2**63), 2**64)
"""Whole numbers that an object can hold, on the wire and therefore here."""

NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document can hold, not even as a character reference (section 2.2)."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._\-]*")
_MARKUP: Final = string.ascii_letters + string.digits + "<>=&;#/?!.:_-\"' \n"
# Python has them as text encodings, but they are escapes or hold single labels only.
_NO_FILE_ENCODINGS: Final = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "utf-7"}
)


class XmlObject(NamedTuple):
    """One object of a file: type number, plain form, and the DBID of its folder (0: not said)."""

    type: int
    object: dict[str, object]
    folder: int


def text_encoding(name: str) -> str:
    """Python's name of the encoding ``name``; raises `ModelError` (UNSUPPORTED_ENCODING) if it is none."""
    try:
        if not _NAME.fullmatch(name):
            raise LookupError(name)
        found = codecs.lookup(name)
        holds_markup = _MARKUP.encode(found.name).decode(found.name) == _MARKUP  # refuses rot13 with a LookupError
    except (LookupError, UnicodeError) as e:
        raise _unsupported(name) from e
    if found.name in _NO_FILE_ENCODINGS or not holds_markup:
        raise _unsupported(name)
    return "utf-8" if found.name == "utf-8-sig" else found.name


def _unsupported(name: str) -> ModelError:
    return ModelError(
        ErrorCode.UNSUPPORTED_ENCODING,
        f"there is no text encoding {name!r}: valid are UTF-8 and others such as UTF-16, ISO-8859-1 and GB18030",
    )
