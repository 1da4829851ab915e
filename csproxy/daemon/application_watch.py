"""A sink between the source of data and the server that notices changes of the server's own Application object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Change, Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.replica import ReplicaSink

__all__ = ["ApplicationWatch"]

_APPLICATION: Final = 9


class ApplicationWatch:
    """Passes everything on to ``sink``; calls ``on_change`` with the plain Application object ``name``.

    It is called after the first data set and after every change of the object, once the change is in
    place; not when the object is deleted: a server goes on with what it has. Before that, ``on_transaction`` is called
    with each transaction, and ``on_replace`` for each data set, when they are in place.
    """

    def __init__(
        self,
        sink: ReplicaSink,
        name: str,
        on_change: Callable[[dict[str, Any]], None],
        *,
        on_transaction: Callable[[Sequence[Change]], None] = lambda transaction: None,
        on_replace: Callable[[], object] = lambda: None,
    ) -> None:
        self._sink = sink
        self._name = name
        self._on_change = on_change
        self._on_transaction = on_transaction
        self._on_replace = on_replace
        self._dbid = 0
        self._seen: bytes | None = None
        self.application: dict[str, Any] = {}
        """The object in plain form as last seen; empty before."""

    def __repr__(self) -> str:
        return f"<ApplicationWatch {self._name!r} DBID {self._dbid}>"

    @property
    def position(self) -> Position:
        """The sink's position."""
        return self._sink.position

    @property
    def cache(self) -> ConfigurationCache:
        """The sink's data set."""
        return self._sink.cache

    @property
    def epochs(self) -> Sequence[Epoch]:
        """The sink's epoch table."""
        return self._sink.epochs

    def publish(self, transaction: Sequence[Change]) -> None:
        """Pass on, then look."""
        self._sink.publish(transaction)
        self._on_transaction(transaction)
        self._look()

    def replace(self, builder: CacheBuilder, position: Position, epochs: Sequence[Epoch]) -> None:
        """Pass on, then look; the object may have another DBID in the new data set."""
        self._sink.replace(builder, position, epochs)
        self._on_replace()
        self._dbid = self._sink.cache.find(_APPLICATION, name=self._name) or 0
        self._look()

    def set_epochs(self, epochs: Sequence[Epoch]) -> None:
        """Pass on."""
        self._sink.set_epochs(epochs)

    def extend_history(self, transactions: Sequence[Sequence[Change]]) -> None:
        """Pass on."""
        self._sink.extend_history(transactions)

    def _look(self) -> None:
        # objects are immutable bytes: an unchanged one is the same object, so this costs two lookups a transaction
        cache = self._sink.cache
        stored = cache.get(_APPLICATION, self._dbid)
        if stored is None or stored is self._seen:
            return
        self._seen = stored
        plain = cache.stored(_APPLICATION, self._dbid)
        if plain is not None:
            self.application = plain
            self._on_change(plain)
