"""Reading objects from XML, as a stream and without trust.

The standard library's expat does the parsing. A document type declaration is refused altogether, so that
there are no entities to expand, no files to fetch and no default attributes; elements that may not
be where they are end the reading at once, so that nesting is bounded; and one object may have
`MAX_OBJECT_BYTES`, so that memory is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.parsers import expat

from csproxy.core.files.frames import BuildError, Frame, RootFrame, StartFrame
from csproxy.core.files.xml_decoding import Readable, decoded
from csproxy.core.files.xml_format import XmlObject
from csproxy.errors import ErrorCode, ModelError

__all__ = ["MAX_OBJECT_BYTES", "read_xml"]

MAX_OBJECT_BYTES: Final = 16 * 1024 * 1024
"""Of one object, comment or anything else in the file, as UTF-8; a folder with 300,000 members fits."""


def read_xml(stream: Readable, *, encoding: str = "utf-8") -> Iterator[XmlObject]:
    """The objects of a file, in its order: (type number, plain form, DBID of the folder or 0).

    Values are of the kind that the schema says, but not checked further: `check_object` does that.
    Objects come as they are read; an error can therefore come after some of them.

    Raises `ModelError`: UNSUPPORTED_ENCODING with the byte position where the file is not in
    ``encoding`` or declares another; XML_PARSE_ERROR with line and column for what is not
    well-formed, a document type declaration, an element or attribute that does not belong where it
    is, a value of another kind, an object that is too large.
    """
    reader = _Reader()
    for text in decoded(stream, encoding):
        yield from reader.feed(text)
    yield from reader.close()


class _Reader:
    """Expat and the open elements."""

    def __init__(self) -> None:
        self._root = RootFrame()
        self._open: list[Frame] = [StartFrame(self._root)]
        self._fed = 0
        self._boundary = 0
        self._parser = parser = expat.ParserCreate("utf-8", " ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, text: str) -> list[XmlObject]:
        """The objects that are complete after ``text``."""
        for piece in self._prolog_pieces(text):
            data = piece.encode()
            self._parse(data, final=False)
            self._fed += len(data)
        if len(self._open) <= 2:
            self._boundary = max(self._boundary, self._parser.CurrentByteIndex)
        if self._fed - self._boundary > MAX_OBJECT_BYTES:
            raise self._error(f"something here is longer than {MAX_OBJECT_BYTES // 1_048_576} MiB")
        return self._complete()

    def _prolog_pieces(self, text: str) -> Iterator[str]:
        """``text`` in one piece; before the root element has begun, one piece for each ``>``.

        When a handler raises, expat still parses the rest of what it was given, only without
        handlers: a refused DOCTYPE must not come in one piece with an element that uses its entities.
        """
        start = 0
        while len(self._open) == 1 and (end := text.find(">", start)) >= 0:
            yield text[start : end + 1]
            start = end + 1
        if start < len(text):
            yield text[start:]

    def close(self) -> list[XmlObject]:
        """The rest; raises if the document is not complete."""
        self._parse(b"", final=True)
        return self._complete()

    def _complete(self) -> list[XmlObject]:
        """Take the objects whose elements have ended."""
        found = self._root.begun
        unfinished = found[-1:] if len(self._open) > 2 else []
        self._root.begun = unfinished
        return found[: len(found) - len(unfinished)]

    def _parse(self, data: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as e:
            raise self._error(f"this is not well-formed XML: {expat.ErrorString(e.code)}") from e

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) == 2:
            self._boundary = self._parser.CurrentByteIndex
        try:
            self._open.append(self._open[-1].child(name, attributes))
        except BuildError as e:
            raise self._error(str(e), e) from e  # here, because the parser still stands there

    def _end(self, name: str) -> None:
        del name
        self._open.pop()

    def _characters(self, text: str) -> None:
        if not text.isspace():
            raise self._error(f"there may be no text between elements: {text.strip()[:40]!r}")

    def _doctype(self, *declaration: object) -> None:
        del declaration
        raise self._error("a document type declaration (DOCTYPE) is refused, and with it entities: leave it out")

    def _error(self, message: str, cause: BuildError | None = None) -> ModelError:
        parser = self._parser
        where = f"line {parser.CurrentLineNumber}, column {parser.CurrentColumnNumber + 1}"
        return ModelError(
            ErrorCode.XML_PARSE_ERROR,
            f"{where}: {message}",
            object_type=cause.kind.number if cause is not None and cause.kind is not None else 0,
            property_name=cause.path if cause is not None else "",
        )
