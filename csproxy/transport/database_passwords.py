"""New passwords on their way into the database: hashed off the event loop, and none of the last ones again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from csproxy.core.credentials import CredentialBook
from csproxy.core.ownership import ObjectId
from csproxy.core.persistence.credentials import read_former
from csproxy.core.rules import PASSWORD_TYPES
from csproxy.core.transactions import RequestedChange
from csproxy.core.writes import Plan
from csproxy.errors import ErrorCode, ModelError
from csproxy.transport.blocking import run_each
from csproxy.transport.database_store import OpenStore
from csproxy.transport.database_transactions import NewHash
from csproxy.transport.wire.writes import WriteRequest

__all__ = ["PasswordHasher", "has_password"]

_HASHED_AT_ONCE: Final = 4
"""Passwords of one transaction that are hashed at a time, each in 16 MiB; other requests need threads, too."""


def has_password(change: WriteRequest | RequestedChange) -> bool:
    """Whether a request sets a password that is kept."""
    if change.type not in PASSWORD_TYPES:
        return False
    return any("password" in getattr(change, part, ()) for part in ("object", "delta"))


class PasswordHasher:
    """Hashes with ``hash_password(password)``, compares with ``verify_password(password, hash)``: both are slow."""

    def __init__(
        self,
        book: CredentialBook,
        hash_password: Callable[[str], str],
        verify_password: Callable[[str, str], bool],
    ) -> None:
        self._book = book
        self._hash = hash_password
        self._verify = verify_password

    async def hashes(self, plan: Plan, store: OpenStore) -> list[str]:
        """The hashes of a plan's passwords, in their order.

        Raises `ModelError` VALUE_OUT_OF_RANGE for one that is among the last ones of its Person, and `StoreError`.
        """
        if plan.no_repeats:
            await self._check_repeats(plan, store)
        return await run_each(self._hash, plan.passwords.values(), at_once=_HASHED_AT_ONCE)

    async def with_former(self, plan: Plan, hashes: Sequence[str], store: OpenStore) -> dict[ObjectId, NewHash]:
        """The hashes with those before them that the rules want kept, as they are while no other write runs.

        ``hashes`` may come from an earlier plan of the same request: then a new object had another DBID.
        """
        former = await self._former(plan, store, least=1)
        return {
            id: NewHash(hash, former.get(id, [])[: plan.no_repeats.get(id, 1) - 1])
            for id, hash in zip(plan.passwords, hashes, strict=True)
        }

    async def _check_repeats(self, plan: Plan, store: OpenStore) -> None:
        former = await self._former(plan, store, least=0)
        for id, count in plan.no_repeats.items():
            is_the_same = partial(self._verify, plan.passwords[id])
            if any(await run_each(is_the_same, former[id][:count], at_once=_HASHED_AT_ONCE)):
                which = "the present one" if count == 1 else f"one of the last {count} passwords"
                raise ModelError(
                    ErrorCode.VALUE_OUT_OF_RANGE,
                    f"the new password is refused, it is {which}: take another one (password-no-repeats)",
                    object_type=id[0],
                    property_name="password",
                )

    async def _former(self, plan: Plan, store: OpenStore, *, least: int) -> dict[ObjectId, Sequence[str]]:
        """The present and the former hashes of objects with a rule of more than ``least`` passwords, newest first."""
        wanted = [id for id, count in plan.no_repeats.items() if count > least]
        if not wanted:
            return {}
        found = await store.call(lambda store: store.read_beside(lambda connection: read_former(connection, wanted)))
        present = self._book.hashes
        return {id: [present[id], *found[id]] if id in present else found[id] for id in wanted}
