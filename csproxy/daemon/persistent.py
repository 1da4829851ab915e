"""Persistent mode: a proxy that starts while its master is away serves the Configuration Database itself, reading only.

    the master answers in time    an ordinary start
    else the database             within its own time
    else the local copy           as a proxy without this mode after its first attempt

Then clients are served, log-ins checked with the database's password hashes, writes refused, and a Standard
event says so every minute. With ``persistent-resync`` the master is tried meanwhile, and when it
answers the proxy goes on from where the data stands, with its clients. Without, only a new start
leaves the mode, as with the vendor's proxy.

Source: the vendor's persistent mode; orders, times and messages are partly ours (docs/topics/persistent-mode.md).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import anyio

from csproxy.core.cache import ConfigurationCache
from csproxy.core.credentials import CredentialBook
from csproxy.core.persistence.store import Store
from csproxy.core.replica import ReplicaSink
from csproxy.core.replication import State
from csproxy.daemon.health import iso
from csproxy.daemon.settings import DatabaseSettings, PersistentSettings
from csproxy.errors import StoreError
from csproxy.transport.database_store import OpenStore, load, load_book
from csproxy.transport.upstream import UpstreamSource

__all__ = ["PersistentMode", "master_answers", "read_database"]

_log = logging.getLogger("csproxy.persistent")

REPEAT_S: Final = 60.0
"""How often the log says again that the mode is on."""
_RETRY_S: Final = 1.0
_UNDER_WAY: Final = frozenset({State.REGISTERING, State.RESTORING, State.WAITING, State.LOADING})


async def master_answers(source: UpstreamSource, *, timeout_s: float) -> bool:
    """Whether a source becomes live within ``timeout_s``; a load that has begun by then is waited for.

    Raises as `UpstreamSource.wait_live`.
    """
    with anyio.move_on_after(timeout_s):
        await source.wait_live()
        return True
    while source.state in _UNDER_WAY:
        with anyio.move_on_after(_RETRY_S):
            await source.wait_live()
            return True
    return source.state is State.LIVE


async def read_database(
    database: DatabaseSettings, sink: ReplicaSink, book: CredentialBook, *, timeout_s: float
) -> bool:
    """Bring the database's content into ``sink``, passwords and log-ins into ``book``, without writing anything.

    False if the database could not be read within ``timeout_s``.
    """
    give_up_s = anyio.current_time() + timeout_s
    while True:
        try:
            await _read_once(database.url, sink, book)
            return True
        except StoreError as e:
            _log.warning("the Configuration Database %s cannot be read: %s", database.shown, e, extra={"event": 31053})
        wait_s = min(_RETRY_S, database.reconnect_s)
        if anyio.current_time() + wait_s >= give_up_s:
            return False
        await anyio.sleep(wait_s)


async def _read_once(url: str, sink: ReplicaSink, book: CredentialBook) -> None:
    store = await OpenStore.open(partial(Store.open, url, reading=True))
    try:
        if not await store.call(Store.epochs):
            raise StoreError("no master has ever served it")
        await load_book(store, book)
        await load(store, sink)
    finally:
        await store.close(reachable=False)


class PersistentMode:
    """What is special about a proxy that was started without its master. ``origin`` is ``database`` or ``copy``.

    ``source`` is set when the master is being tried; the mode ends when it has been reached.
    """

    def __init__(
        self,
        settings: PersistentSettings,
        origin: str,
        cache: Callable[[], ConfigurationCache],
    ) -> None:
        self.origin = origin
        self.source: UpstreamSource | None = None
        self._shown = settings.database.shown if origin == "database" else "the local copy"
        self._cache = cache
        self._since_s = time.time()

    def __repr__(self) -> str:
        return f"<PersistentMode {'on' if self.is_on else 'off'}, from the {self.origin}>"

    @property
    def is_on(self) -> bool:
        """The master has not been reached yet."""
        return self.source is None or self.source.serves_copy

    @property
    def refusal(self) -> str:
        """Why nothing can be written while the mode is on."""
        return (
            "this Configuration Server Proxy is in persistent mode, because its master is away: "
            f"it serves {self._shown} for reading only"
        )

    def status(self) -> dict[str, Any]:
        """The key ``data`` of the Status answer while the mode is on."""
        return {
            "source": self.origin,
            "as_of": iso(self._since_s),
            "age_s": round(max(time.time() - self._since_s, 0.0), 3),
        }

    async def announce(self) -> None:
        """Say what goes on, at once and every minute, until the mode ends."""
        while self.is_on:
            position = self._cache().position
            _log.warning(
                "persistent mode: the master is away%s; serving %s at UEN %d of epoch %d, reading only%s",
                self._reason(),
                self._shown,
                position.uen,
                position.epoch,
                "" if self.source is not None else "; only a new start ends this (persistent-resync = off)",
                extra={"event": 31020},
            )
            await self._until_over(REPEAT_S)
        uen = self._cache().position.uen
        _log.warning("persistent mode ends: the master is followed again from UEN %d on", uen, extra={"event": 31021})

    def _reason(self) -> str:
        error = self.source.statistics().last_error if self.source is not None else ""
        return f" ({error})" if error else ""

    async def _until_over(self, at_most_s: float) -> None:
        with anyio.move_on_after(at_most_s):
            if self.source is None:
                await anyio.sleep_forever()
            else:
                await self.source.wait_live()
