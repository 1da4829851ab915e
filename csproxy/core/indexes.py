"""Indexes: from a value of an attribute to the DBIDs of the objects that have it.

Every link of the object model is indexed (so that the objects that refer to another are found
without a scan), and so are the texts of unique keys and a few attributes that clients often ask
for. Absent values are not indexed: an attribute that nobody uses costs nothing.

A posting, what one value leads to, is a single DBID, a short sorted list, or a SortedList. Most
relations are one to one: an int costs nothing beyond the dict's entry, and for links not even that
(`LinkIndex`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any, Final

from sortedcontainers import SortedList

from csproxy.core.model import SCHEMA, AttributeKind, ObjectType
from csproxy.core.records import Column, reader

__all__ = ["HOST_AND_PORTS", "Index", "LinkIndex", "TypeIndexes", "indexed_paths", "link_paths", "path_loader"]

_LIST_LIMIT: Final = 256
"""Longest plain list: beyond it an insertion into a SortedList is cheaper than moving the tail."""

_PAGE_BITS: Final = 8
_PAGE_MASK: Final = (1 << _PAGE_BITS) - 1
_EMPTY_PAGE: Final = bytes(array("i").itemsize << _PAGE_BITS)
_THIN: Final = 16
"""A page with fewer values than that takes more memory than a dict of them."""

_MANY: Final = -1
"""In the place of a DBID: there are several, in the dict."""

Posting = Any
"""int | list[int] | SortedList: the kinds are told apart by their exact type."""


class Index:
    """Value → DBIDs for one path of one type."""

    __slots__ = ("_lists", "_postings")

    def __init__(self) -> None:
        self._postings: dict[Hashable, Posting] = {}
        self._lists: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._postings)

    def values(self) -> Collection[Hashable]:
        """All values that some object has."""
        return self._postings.keys()

    def find(self, value: Hashable) -> Sequence[int]:
        """The DBIDs with this value, ascending; valid until the next change, not to be written to."""
        posting = self._postings.get(value, ())
        return (posting,) if type(posting) is int else posting

    def shared(self) -> Iterator[Sequence[int]]:
        """The postings of the values that more than one object has."""
        for posting in self._postings.values():
            if type(posting) is not int and len(posting) > 1:
                yield posting

    def add(self, value: Hashable, dbid: int) -> None:
        """Note that object ``dbid``, which had it not, has the value now."""
        posting = self._postings.setdefault(value, dbid)
        if posting is dbid:
            return
        if type(posting) is int:
            self._postings[value] = [posting, dbid] if posting < dbid else [dbid, posting]
        elif type(posting) is list:
            insort(posting, dbid)
            if len(posting) > _LIST_LIMIT:
                self._postings[value] = SortedList(posting)
        else:
            posting.add(dbid)

    def discard(self, value: Hashable, dbid: int) -> None:
        """Note that object ``dbid``, which had the value, has it no longer."""
        posting = self._postings[value]
        if type(posting) is int:
            del self._postings[value]
            return
        if type(posting) is list:
            del posting[bisect_left(posting, dbid)]
        else:
            posting.remove(dbid)
        if len(posting) == 1:
            self._postings[value] = posting[0]

    def extend(self, values: Iterable[Any], dbids: Iterable[int]) -> None:
        """Load objects of which none is in the index yet, one value each; `settle` must follow.

        An absent value (0, "") is passed over.
        """
        postings = self._postings
        setdefault = postings.setdefault
        for value, dbid in zip(values, dbids, strict=True):
            if value:
                posting = setdefault(value, dbid)
                if posting is dbid:
                    continue
                if type(posting) is int:
                    postings[value] = [posting, dbid]
                    self._lists.add(value)
                else:
                    posting.append(dbid)

    def settle(self) -> None:
        """Put what `extend` left in order: sorted, and long postings as SortedList."""
        for value in self._lists:
            posting = self._postings[value]
            if len(posting) > _LIST_LIMIT:
                self._postings[value] = SortedList(posting)
            else:
                posting.sort()
        self._lists.clear()

    def extend_lists(self, lists: Iterable[Sequence[Any]], dbids: Iterable[int]) -> None:
        """As `extend`, for paths with many values per object; a value counts once per object."""
        postings = self._postings
        setdefault = postings.setdefault
        for values, dbid in zip(lists, dbids, strict=True):
            for value in values:
                if value:
                    posting = setdefault(value, dbid)
                    if posting is dbid:
                        continue
                    if type(posting) is int:
                        postings[value] = [posting, dbid]
                        self._lists.add(value)
                    elif posting[-1] is not dbid:
                        posting.append(dbid)


class LinkIndex(Index):
    """An Index of whole numbers, above all DBIDs: 5 bytes for one that leads to one object, where a dict takes 80.

    The DBIDs of a type stand close together. 256 neighbours share a page, which has for each the one DBID that it leads
    to, 0, or `_MANY`. Pages are made by a load, and those with few values are dissolved at its end; what is in no page
    is in the dict, as in any Index.
    """

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        super().__init__()
        self._pages: dict[int, array[int]] = {}

    def __len__(self) -> int:
        return sum(1 for _ in self._numbers())

    def values(self) -> Collection[Hashable]:
        """As `Index.values`."""
        return _Numbers(self)

    def find(self, value: Any) -> Sequence[int]:
        """As `Index.find`: for what is no number, nothing."""
        page = self._pages.get(value >> _PAGE_BITS) if isinstance(value, int) else None
        if page is not None and (dbid := page[value & _PAGE_MASK]) != _MANY:
            return (dbid,) if dbid else ()
        return super().find(value)

    def add(self, value: Any, dbid: int) -> None:
        """As `Index.add`."""
        page = self._pages.get(value >> _PAGE_BITS)
        if page is not None and (found := page[value & _PAGE_MASK]) != _MANY:
            if not found:
                page[value & _PAGE_MASK] = dbid
                return
            page[value & _PAGE_MASK] = _MANY
            self._postings[value] = found
        super().add(value, dbid)

    def discard(self, value: Any, dbid: int) -> None:
        """As `Index.discard`."""
        page = self._pages.get(value >> _PAGE_BITS)
        if page is None:
            super().discard(value, dbid)
        elif page[value & _PAGE_MASK] != _MANY:
            page[value & _PAGE_MASK] = 0
        else:
            super().discard(value, dbid)
            if type(self._postings[value]) is int:
                page[value & _PAGE_MASK] = self._postings.pop(value)

    def extend(self, values: Iterable[Any], dbids: Iterable[int]) -> None:
        """As `Index.extend`."""
        pages, postings = self._pages, self._postings
        for value, dbid in zip(values, dbids, strict=True):
            if value:
                page = pages.get(value >> _PAGE_BITS)
                if page is None:
                    page = self._new_page(value)
                found = page[value & _PAGE_MASK]
                if not found:
                    page[value & _PAGE_MASK] = dbid
                elif found == _MANY:
                    postings[value].append(dbid)
                else:
                    self._share(page, value, dbid)

    def extend_lists(self, lists: Iterable[Sequence[Any]], dbids: Iterable[int]) -> None:
        """As `Index.extend_lists`. A loop of its own: shared with `extend`, a load takes a tenth longer."""
        pages, postings = self._pages, self._postings
        for values, dbid in zip(lists, dbids, strict=True):
            for value in values:
                if value:
                    page = pages.get(value >> _PAGE_BITS)
                    if page is None:
                        page = self._new_page(value)
                    found = page[value & _PAGE_MASK]
                    if not found:
                        page[value & _PAGE_MASK] = dbid
                    elif found == _MANY:
                        if postings[value][-1] != dbid:
                            postings[value].append(dbid)
                    elif found != dbid:
                        self._share(page, value, dbid)

    def settle(self) -> None:
        """As `Index.settle`; dissolves pages with few values."""
        super().settle()
        for number, page in list(self._pages.items()):
            if len(page) - page.count(0) < _THIN:
                self._postings.update(_singles(number, page))
                del self._pages[number]

    def _new_page(self, value: int) -> array[int]:
        page = self._pages[value >> _PAGE_BITS] = array("i", _EMPTY_PAGE)
        return page

    def _share(self, page: array[int], value: int, dbid: int) -> None:
        """A second object has the value."""
        self._postings[value] = [page[value & _PAGE_MASK], dbid]
        self._lists.add(value)
        page[value & _PAGE_MASK] = _MANY

    def _numbers(self) -> Iterator[Hashable]:
        yield from self._postings
        for number, page in self._pages.items():
            for value, _ in _singles(number, page):
                yield value


def _singles(number: int, page: array[int]) -> Iterator[tuple[int, int]]:
    """The values of a page that lead to one object, with its DBID."""
    for value, dbid in enumerate(page, number << _PAGE_BITS):
        if dbid and dbid != _MANY:
            yield value, dbid


class _Numbers(Collection[Hashable]):
    """The values of a `LinkIndex`."""

    def __init__(self, index: LinkIndex) -> None:
        self._index = index

    def __contains__(self, value: object) -> bool:
        return bool(self._index.find(value))

    def __iter__(self) -> Iterator[Hashable]:
        return self._index._numbers()

    def __len__(self) -> int:
        return len(self._index)


HOST_AND_PORTS: Final = "host and ports"
"""The path of a made-up attribute of applications: ``host DBID:port`` for each port they listen on."""

_OFTEN_ASKED: Final[dict[str, tuple[str, ...]]] = {
    "CfgApplication": ("type", "serverInfo.port", "portInfos.port"),
    "CfgFolder": ("ownerID.DBID",),
}
"""Attributes beyond links and unique keys that are indexed."""


class TypeIndexes:
    """All indexes of one type, and the decoders of the records they are fed from."""

    def __init__(self, object_type: ObjectType) -> None:
        paths = indexed_paths(object_type)
        source = reader(object_type.number, paths)
        columns = list(source.columns)
        if object_type.name == "CfgApplication":
            columns.append(Column(HOST_AND_PORTS, True, _host_and_ports))
        links = {path for path, _ in link_paths(object_type)}
        self.indexes = {column.path: LinkIndex() if column.path in links else Index() for column in columns}
        self._columns = tuple((column, self.indexes[column.path]) for column in columns)
        self.decode = source.decode
        self.decode_many = source.decode_many

    def load(self, records: Sequence[Any], dbids: Sequence[int]) -> None:
        """Index new objects in bulk; `settle` must follow when all are there."""
        for column, index in self._columns:
            values = map(column.read, records)
            if column.many:
                index.extend_lists(values, dbids)
            else:
                index.extend(values, dbids)

    def settle(self) -> None:
        """Finish `load`."""
        for index in self.indexes.values():
            index.settle()

    def change(self, dbid: int, former: Any, now: Any) -> None:
        """An object's record was ``former`` and is ``now``; one of them None for *not there*."""
        if former is None:
            for column, index in self._columns:
                found = column.read(now)
                for value in set(found) if column.many else (found,):
                    if value:
                        index.add(value, dbid)
            return
        for column, index in self._columns:
            if now is None or column.read(former) != column.read(now):  # most columns are as they were
                before = column.values(former)
                after = column.values(now) if now is not None else frozenset()
                for value in before - after:
                    index.discard(value, dbid)
                for value in after - before:
                    index.add(value, dbid)


def path_loader(type_number: int, path: str) -> Callable[[Index, Sequence[int], Sequence[bytes]], None]:
    """A function that feeds objects of a type (DBIDs, stored bytes) into an index of one path."""
    if path == HOST_AND_PORTS:
        source = reader(type_number, ("serverInfo.hostDBID", "serverInfo.port", "portInfos.port"))
        column = Column(HOST_AND_PORTS, True, _host_and_ports)
    else:
        source = reader(type_number, (path,))
        column = source.columns[0]

    def load(index: Index, dbids: Sequence[int], objects: Sequence[bytes]) -> None:
        values = map(column.read, source.decode_many(objects))
        if column.many:
            index.extend_lists(values, dbids)
        else:
            index.extend(values, dbids)

    return load


def indexed_paths(object_type: ObjectType) -> tuple[str, ...]:
    """The paths that are indexed for a type, each once."""
    paths = [path for path, _ in link_paths(object_type)]
    for key in object_type.unique_keys:
        paths.extend(path for path in key if _kind(object_type, path) is AttributeKind.TEXT)
    if object_type.name_path:
        paths.append(object_type.name_path)
    paths.extend(_OFTEN_ASKED.get(object_type.name, ()))
    return tuple(dict.fromkeys(paths))


def link_paths(object_type: ObjectType) -> list[tuple[str, str | None]]:
    """Every link of a type: its path, and the name of the type it leads to.

    None stands for a link that names the type beside the DBID; its path ends with the two names in
    parentheses, such as ``ownerID(type,DBID)``. ``objectIDs`` of folders is no link but a view of
    the membership, and is never stored.
    """
    found: list[tuple[str, str | None]] = []
    _collect_links(object_type.attributes, "", found)
    return [(path, target) for path, target in found if path != "objectIDs(type,DBID)"]


def _collect_links(attributes: Any, prefix: str, found: list[tuple[str, str | None]]) -> None:
    if "groupDBID" in attributes and "groupType" in attributes:
        found.append((f"{prefix}(groupType,groupDBID)".removeprefix("."), None))
    for name, attribute in attributes.items():
        path = f"{prefix}.{name}" if prefix else name
        if attribute.kind in (AttributeKind.LINK, AttributeKind.LINK_LIST):
            found.append((path, attribute.target))
        elif attribute.kind in (AttributeKind.STRUCT, AttributeKind.STRUCT_LIST):
            inner = SCHEMA.structures[attribute.target].attributes
            if "DBID" in inner and "type" in inner:
                found.append((f"{path}(type,DBID)", None))
            elif "resourceType" in inner and "objectDBID" in inner:
                found.append((f"{path}(resourceType,objectDBID)", None))
            else:
                _collect_links(inner, path, found)


def _kind(object_type: ObjectType, path: str) -> AttributeKind:
    attributes = object_type.attributes
    *outer, last = path.split(".")
    for step in outer:
        attributes = SCHEMA.structures[str(attributes[step].target)].attributes
    return attributes[last].kind


def _host_and_ports(record: Any) -> list[str]:
    host = record.serverInfo.hostDBID
    if not host:
        return []
    ports = {record.serverInfo.port, *(info.port for info in record.portInfos)}
    return [f"{host}:{port}" for port in ports if port]
