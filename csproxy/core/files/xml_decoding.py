"""From the bytes of a file to text, with the position of the first byte that is wrong."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final, Protocol

from csproxy.core.files.xml_format import text_encoding
from csproxy.errors import ErrorCode, ModelError

__all__ = ["Readable", "decoded"]

CHUNK_BYTES: Final = 262_144
_DECLARATION: Final = re.compile(r"""<\?xml\s[^>]*?\bencoding\s*=\s*["']([^"'>]*)["']""")
_DECLARATION_LENGTH: Final = 1_024
_BYTE_ORDER_MARK: Final = "\ufeff"
_OTHER_MARKS: Final = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_COMPATIBLE: Final = frozenset(
    {("ascii", "utf-8")}
    | {
        (f"utf-{bits}{a}", f"utf-{bits}{b}")
        for bits in (16, 32)
        for a, b in [("", "-le"), ("", "-be"), ("-le", ""), ("-be", "")]
    }
)
"""(declared, read as): ASCII is a part of UTF-8, and the byte order may be told by the mark only."""


class Readable(Protocol):
    """A file opened for reading bytes."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; empty at the end."""


def decoded(stream: Readable, encoding: str) -> Iterator[str]:
    """The text of ``stream`` in pieces, without byte order mark.

    A declaration that names another encoding is refused, because text that happens to decode would
    be wrong. Raises `ModelError` (UNSUPPORTED_ENCODING) with the byte position.
    """
    name = text_encoding(encoding)
    decoder = codecs.getincrementaldecoder(name)()
    fed = 0
    head: str | None = ""
    ended = False
    while not ended:
        chunk = stream.read(CHUNK_BYTES)
        ended = not chunk
        fed += len(chunk)
        try:
            text = decoder.decode(chunk, ended)
        except UnicodeDecodeError as e:
            # what the decoder had kept back of the chunk before is a part of its message
            raise _undecodable(e, encoding, fed - len(e.object) + e.start) from e
        if head is not None:
            head += text
            if not ended and len(head) < _DECLARATION_LENGTH and "?>" not in head:
                continue
            text, head = head, None
            _check_declaration(text, encoding, name)
            text = text.removeprefix(_BYTE_ORDER_MARK)
        if text:
            yield text


def _check_declaration(text: str, encoding: str, name: str) -> None:
    found = _DECLARATION.match(text.removeprefix(_BYTE_ORDER_MARK))
    if found is None:
        return
    declared = found.group(1)
    try:
        declared_name = text_encoding(declared)
    except ModelError:
        declared_name = ""
    if declared_name == name or (declared_name, name) in _COMPATIBLE:
        return
    before = text[: text.index(declared, text.index("encoding"))]
    position = len(before.encode(name, "replace"))
    raise ModelError(
        ErrorCode.UNSUPPORTED_ENCODING,
        f"the file declares the encoding {declared!r} (byte {position}) and was to be read as {encoding}: "
        "convert it, or name its encoding",
    )


def _undecodable(error: UnicodeDecodeError, encoding: str, position: int) -> ModelError:
    mark = next((other for mark, other in _OTHER_MARKS.items() if position == 0 and error.object.startswith(mark)), "")
    hint = f"it begins like {mark}; " if mark else ""
    return ModelError(
        ErrorCode.UNSUPPORTED_ENCODING,
        f"byte {position} (0x{error.object[error.start]:02X}) is not valid in {encoding} ({error.reason}): "
        f"{hint}convert the file, or name its encoding",
    )
