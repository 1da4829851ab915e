"""Writing objects as XML.

Objects are written in canonical form, so that two configurations that mean the same give the same
bytes if their objects come in the same order.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from csproxy.core.files.elements import Element, base64_text, element_of
from csproxy.core.files.xml_format import BASE64, CSPROXY, NOT_XML, ROOT, text_encoding
from csproxy.core.model.schema import SCHEMA

__all__ = ["XmlEncoder", "write_xml"]

CHUNK_CHARACTERS: Final = 65_536

# A line break in an attribute value would be read as a space if it stood there as it is.
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


def write_xml(objects: Iterable[tuple[int, Mapping[str, Any], int]], *, encoding: str = "utf-8") -> Iterator[bytes]:
    """The bytes of a file that holds ``objects``: (type number, plain form, DBID of the folder or 0).

    Pieces have about 64 KiB; ``objects`` is consumed as they are asked for. Characters that
    ``encoding`` cannot hold become character references, text that XML cannot hold base64.

    Raises `ModelError`: at once UNSUPPORTED_ENCODING; while writing UNSUPPORTED_OBJECT for a type
    number that does not exist, and what `element_of` raises.
    """
    return _pieces(objects, text_encoding(encoding), encoding)


def _pieces(objects: Iterable[tuple[int, Mapping[str, Any], int]], name: str, declared: str) -> Iterator[bytes]:
    encode = XmlEncoder(name).encode
    out = [
        f'<?xml version="1.0" encoding="{declared.upper()}"?>\n',
        f'<{ROOT} xmlns:csproxy="{CSPROXY}" xmlns:base64="{BASE64}">\n',
    ]
    size = 0
    for type_number, obj, folder in objects:
        before = len(out)
        _write(out, element_of(SCHEMA.object_type(type_number), obj, folder), "  ")
        size += sum(map(len, out[before:]))
        if size >= CHUNK_CHARACTERS:
            yield encode("".join(out))
            out, size = [], 0
    out.append(f"</{ROOT}>\n")
    yield encode("".join(out), True)


class XmlEncoder:
    """From text to bytes; what would be read as something else becomes a character reference.

    Some encodings write two characters as the same byte (EUC-JP: yen sign and backslash), so that
    being able to encode a character is not enough.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._encode = codecs.getincrementalencoder(name)().encode
        self._checked: set[str] | None = None if name.startswith("utf") else set()
        self._references: dict[int, str] = {}

    def encode(self, text: str, final: bool = False) -> bytes:
        """The next bytes of the document; ``final`` for the last ones."""
        if self._checked is not None:
            new = set(text) - self._checked
            self._checked |= new
            self._references |= {
                ord(character): f"&#{ord(character)};" for character in new if not self._holds(character)
            }
            text = text.translate(self._references)
        return self._encode(text, final)

    def _holds(self, character: str) -> bool:
        try:
            return character.encode(self._name).decode(self._name) == character
        except UnicodeError:
            return False


def _write(out: list[str], element: Element, indent: str) -> None:
    out.append(f"{indent}<{element.name}")
    for name, value in element.attributes.items():
        if isinstance(value, int):
            out.append(f' {name}="{value}"')
        elif NOT_XML.search(value) is None:
            out.append(f' {name}="{value.translate(_ESCAPES)}"')
        else:
            out.append(f' base64:{name}="{base64_text(value.encode())}"')
    if not element.children:
        out.append("/>\n")
        return
    out.append(">\n")
    for child in element.children:
        _write(out, child, indent + "  ")
    out.append(f"{indent}</{element.name}>\n")
