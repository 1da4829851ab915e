"""Where a msgpack value holds a text that is not UTF-8.

msgspec checks every text that it decodes, but its error says neither which text it was nor where it stands. This
module finds that out, for the message that people read. It is asked only when decoding has failed, and
never trusts the bytes: they may go on as nonsense after the wrong text, or be made to keep it busy.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from csproxy.core import codec
from csproxy.core.model.schema import SCHEMA
from csproxy.errors import ErrorCode, ModelError

__all__ = ["Misencoded", "find_misencoded", "text_error"]

MOST_VALUES: Final = 20_000
"""Values that are looked at, some 20 ms: a text further back is reported without its place."""

_SIZES: Final = {
    **{0xC0: 0, 0xC2: 0, 0xC3: 0},  # nil, false, true
    **{0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8},  # numbers
    **{0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17},  # extensions of a fixed size
}
"""Bytes that follow the first one."""
_COUNTED: Final = {
    **{0xC4: ("skip", 1), 0xC5: ("skip", 2), 0xC6: ("skip", 4)},  # bytes
    **{0xC7: ("extension", 1), 0xC8: ("extension", 2), 0xC9: ("extension", 4)},
    **{0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4)},
    **{0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4)},
}
"""What follows, and the bytes of its size or count."""
_HOLDERS: Final = frozenset({"object", "objects", "delta", "former", "former_values", "filter"})
"""Keys beside which ``type`` names the object type that the value is about."""


class Misencoded(NamedTuple):
    """A text that is not UTF-8: offsets (from 0) of its first wrong byte, in the text and in the whole value.

    ``path`` leads to it, dotted, with places in lists as ``[17]``; the text may be the last key itself
    (``is_name``). ``object_type`` and ``attribute`` are 0 and "" where it is not of an object.
    """

    path: str
    is_name: bool
    object_type: int
    attribute: str
    in_text: int
    offset: int
    byte: int
    reason: str

    def __str__(self) -> str:
        kind = SCHEMA.types.get(self.object_type)
        where = self.path if kind is None else ".".join(filter(None, (kind.name, self.attribute)))
        return (
            f"{'a name in ' if self.is_name else ''}{where or 'a text'} is not UTF-8: byte 0x{self.byte:02x} at offset "
            f"{self.in_text} of the text, offset {self.offset} of the whole ({self.reason})"
        )


def find_misencoded(data: bytes, *, object_type: int = 0) -> Misencoded | None:
    """The first text in ``data`` that is not UTF-8; None if there is none as far as it can be read.

    ``object_type``: the value is an object of this type, not a payload.
    """
    start = _Place((), object_type, ()) if object_type else _Place((), 0, None)
    try:
        _Walk(data).value(0, start)
    except _Found as found:
        return found.text
    except (IndexError, KeyError, RecursionError, _GivenUp, msgspec.DecodeError):
        pass
    return None


def text_error(what: str, data: bytes, error: UnicodeDecodeError, *, object_type: int = 0) -> ModelError:
    """The error (41) for ``data``, ``what`` to people, whose decoding failed with ``error``."""
    found = find_misencoded(data, object_type=object_type)
    if found is None:
        wrong = error.object[error.start]
        problem = f"a text is not UTF-8: byte 0x{wrong:02x} at offset {error.start} of the text ({error.reason})"
        return ModelError(ErrorCode.UNSUPPORTED_ENCODING, f"{what}: {problem}", object_type=object_type)
    return ModelError(
        ErrorCode.UNSUPPORTED_ENCODING,
        f"{what}: {found}",
        object_type=found.object_type,
        property_name=found.attribute if found.object_type else found.path,
    )


class _Found(Exception):  # noqa: N818  # it is what is looked for
    def __init__(self, text: Misencoded) -> None:
        super().__init__()
        self.text = text


class _GivenUp(Exception):  # noqa: N818
    pass


_Path = tuple[str | int, ...]


class _Place(NamedTuple):
    """Where a value stands: the path to it, the object type around it, and the path inside of the object."""

    path: _Path
    kind: int
    inner: _Path | None

    def child(self, step: str | int) -> _Place:
        """What stands under a key or, in a list, at a place."""
        return _Place((*self.path, step), self.kind, None if self.inner is None else (*self.inner, step))


class _Walk:
    """One way through the bytes; each method takes where a value begins and returns where it ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MOST_VALUES

    def value(self, at: int, place: _Place) -> int:
        self._left -= 1
        if self._left < 0:
            raise _GivenUp
        head = self._data[at]
        at += 1
        if head < 0x80 or head >= 0xE0:
            return at
        if head < 0x90:
            return self._map(at, head & 0x0F, place)
        if head < 0xA0:
            return self._list(at, head & 0x0F, place)
        if head < 0xC0:
            return self._text(at, head & 0x1F, place)
        if head in _SIZES:
            return at + _SIZES[head]
        what, width = _COUNTED[head]
        count = int.from_bytes(self._data[at : at + width], "big")
        at += width
        if what == "map":
            return self._map(at, count, place)
        if what == "list":
            return self._list(at, count, place)
        if what == "text":
            return self._text(at, count, place)
        return at + count + (what == "extension")

    def _map(self, at: int, count: int, place: _Place) -> int:
        kind = 0
        for _ in range(count):
            start = at
            at = self.value(at, place.child(_NAME))
            name = str(codec.decode(self._data[start:at]))
            child = place.child(name)
            if place.inner is None and name in _HOLDERS and kind in SCHEMA.types:
                child = child._replace(kind=kind, inner=(name,) if name == "filter" else ())
            start = at
            at = self.value(at, child)
            if name == "type" and self._data[start] < 0x80:
                kind = self._data[start]
        return at

    def _list(self, at: int, count: int, place: _Place) -> int:
        for number in range(count):
            child = place.child(number)
            # a list of objects, and not of an attribute's values
            at = self.value(at, child if place.inner else child._replace(inner=place.inner))
        return at

    def _text(self, at: int, size: int, place: _Place) -> int:
        text = self._data[at : at + size]
        try:
            text.decode()
        except UnicodeDecodeError as e:
            if len(text) < size:
                raise _GivenUp from None  # cut off: nobody can tell whether it would have been right
            found = Misencoded(
                path=_dotted(place.path),
                is_name=place.path[-1:] == (_NAME,),
                object_type=place.kind,
                attribute=_dotted(place.inner or ()),
                in_text=e.start,
                offset=at + e.start,
                byte=text[e.start],
                reason=e.reason,
            )
            raise _Found(found) from None
        return at + size


_NAME: Final = ""
"""Stands in a path for a key itself; it is left out of what people read."""


def _dotted(path: _Path) -> str:
    words = ""
    for step in path:
        if isinstance(step, int):
            words += f"[{step}]"
        elif step != _NAME:
            words += f".{step}" if words else step
    return words
