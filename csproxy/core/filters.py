"""How a filter is answered: candidates, checks, and the answer in parts.

The shortest list of candidates among the criteria drives the search; the rest is checked with a
decoder that reads only the attributes in question. Without a list the whole type is scanned, a part
at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from csproxy.core import codec
from csproxy.core.criteria import Criterion, Test
from csproxy.core.filter_values import Query
from csproxy.core.records import reader

__all__ = ["IMMEDIATE_LIMIT", "Matcher", "Part", "Selection", "driver_of", "trim", "trim_all"]

IMMEDIATE_LIMIT: Final = 200
"""Up to so many candidates are looked at within one call: 0.3 ms with their decoding."""

_LONG_STRING: Final = 255


class Part(NamedTuple):
    """Some objects of an answer, as a reader sees them, in ascending order of DBID.

    ``folders`` and ``paths`` are parallel to ``objects`` where the filter wants them, else empty; a
    path is the list of folder names, outermost first. The sequences are shared: do not write.
    """

    dbids: Sequence[int]
    objects: Sequence[bytes]
    folders: Sequence[int] = ()
    paths: Sequence[Sequence[str]] = ()


class Selection:
    """The answer to a filter, as of the moment when it was asked for.

    ``total`` is the number of objects, -1 while unknown. ``immediate`` says that all of it is ready,
    in at most one part; otherwise each step of `parts` is about a millisecond of work and may find
    nothing.
    """

    __slots__ = ("_parts", "immediate", "total", "want_folders", "want_paths")

    def __init__(
        self,
        parts: Callable[[], Iterator[Part]],
        *,
        total: int,
        immediate: bool = False,
        want_folders: bool = False,
        want_paths: bool = False,
    ) -> None:
        self._parts = parts
        self.total = total
        self.immediate = immediate
        self.want_folders = want_folders
        self.want_paths = want_paths

    def __repr__(self) -> str:
        count = "an unknown number of" if self.total < 0 else self.total
        return f"<Selection of {count} objects{', immediate' if self.immediate else ''}>"

    def parts(self) -> Iterator[Part]:
        """The objects, in parts of at most 4,096; may be asked for again."""
        return self._parts()


def driver_of(found: Sequence[Criterion]) -> tuple[Criterion | None, list[Criterion]]:
    """The criterion with the shortest list of candidates (None: everything is one), and those still to be checked."""
    driver: Criterion | None = None
    for criterion in found:
        if criterion.dbids is not None and (
            driver is None or driver.dbids is None or len(criterion.dbids) < len(driver.dbids)
        ):
            driver = criterion
    if driver is None:
        return None, list(found)
    return driver, [criterion for criterion in found if criterion is not driver]


class Matcher:
    """Checks candidates of one type against criteria."""

    def __init__(self, type_number: int, to_check: Sequence[Criterion]) -> None:
        self._excluded = [criterion.excluded for criterion in to_check if criterion.excluded]
        self._required = [
            frozenset(criterion.dbids) for criterion in to_check if criterion.dbids is not None and not criterion.bind
        ]
        paths = tuple(dict.fromkeys(path for criterion in to_check for path in criterion.paths))
        self._reader = reader(type_number, paths)
        columns = {column.path: column for column in self._reader.columns}
        self._tests: list[Test] = [
            criterion.bind([columns[path] for path in criterion.paths]) for criterion in to_check if criterion.bind
        ]
        self.passes_all = not (self._excluded or self._required or self._tests)

    def fitting(self, dbids: Sequence[int], objects: Sequence[bytes]) -> Sequence[int]:
        """The places (offsets) of the objects that fit. ModelError if one cannot be decoded."""
        places: Sequence[int] = range(len(dbids))
        for required in self._required:
            places = [place for place in places if dbids[place] in required]
        for excluded in self._excluded:
            places = [place for place in places if dbids[place] not in excluded]
        if self._tests and places:
            records = self._reader.decode_many([objects[place] for place in places])
            for test in self._tests:
                kept = [number for number, record in enumerate(records) if test(record)]
                places = [places[number] for number in kept]
                records = [records[number] for number in kept]
        return places


def trim_all(query: Query, objects: Sequence[bytes]) -> Sequence[bytes]:
    """The objects without what the filter's ``exclude_…`` keys leave out."""
    if not (query.exclude_bytecode or query.exclude_longstrings):
        return objects
    return [trim(stored, bytecode=query.exclude_bytecode, long_strings=query.exclude_longstrings) for stored in objects]


def trim(stored: bytes, *, bytecode: bool = False, long_strings: bool = False) -> bytes:
    """An object without the binary values, or the texts above 255 characters, of its userProperties.

    Sections stay, even when nothing is left in them.
    """
    obj = codec.decode_map(stored)
    sections: Mapping[str, Mapping[str, Any]] | None = obj.get("userProperties")
    if not sections:
        return stored
    obj["userProperties"] = {
        name: {
            option: value
            for option, value in options.items()
            if not (bytecode and isinstance(value, bytes))
            and not (long_strings and isinstance(value, str) and len(value) > _LONG_STRING)
        }
        for name, options in sections.items()
    }
    return codec.encode(obj)
