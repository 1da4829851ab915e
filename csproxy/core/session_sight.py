"""What the account behind each session sees: worked out once per account, and shared by all who see the same.

The sight of an account is None when it reads every object, and otherwise the identities among its own that some list
names: so persons in the same groups have the same sight, although each is somebody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from csproxy.core.identities import identities
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.ownership import ObjectId
from csproxy.core.permissions import Masks, account_of_application
from csproxy.core.sight import Access, account_key, account_keys, accounts_of

if TYPE_CHECKING:
    from csproxy.core.cache import ConfigurationCache
    from csproxy.core.replica import Published
    from csproxy.core.sessions import Session

__all__ = ["SessionSight"]

_PERSON: Final = int(CfgObjectType.CFGPerson)
_APPLICATION: Final = int(CfgObjectType.CFGApplication)
_MOST_KNOWN: Final = 20_000


class SessionSight:
    """Identities and sights by account, as of the present data set. `follow` must be told of every change."""

    def __init__(self, cache: Callable[[], ConfigurationCache]) -> None:
        self._cache = cache
        self._identities: dict[ObjectId, frozenset[int]] = {}
        self._access: dict[frozenset[int], Access] = {}
        self._named: frozenset[int] | None = None

    def __repr__(self) -> str:
        return f"<SessionSight of {len(self._identities)} accounts, {len(self._access)} sights>"

    def follow(self, published: Published) -> bool:
        """Forget what a transaction made wrong; whether there was anything."""
        accounts = published.accounts
        if published.lists:
            self._access.clear()
            self._named = None
        if accounts is None:
            self._identities.clear()
        elif accounts:
            self._identities = {
                account: who for account, who in self._identities.items() if account_key(account) not in accounts
            }
        return published.lists or accounts is None or bool(accounts)

    def start_anew(self) -> None:
        """Forget everything: another data set is in place."""
        self._identities.clear()
        self._access.clear()
        self._named = None

    def admit(self, session: Session) -> None:
        """Set the session's identities and sight to what they are now."""
        session.identities = self.identities_of(self.account_of(session))
        session.access = self.access_of(session.identities)

    def account_of(self, session: Session) -> ObjectId:
        """The user's Person, or the account of the application that runs without one."""
        if session.account.person_dbid:
            return _PERSON, session.account.person_dbid
        return account_of_application(self._cache(), session.application_dbid)

    def identities_of(self, account: ObjectId) -> frozenset[int]:
        """The numbers of the account and of all groups whose permissions it has."""
        found = self._identities.get(account)
        if found is None:
            if len(self._identities) >= _MOST_KNOWN:
                self._identities.clear()
            found = self._identities[account] = account_keys(identities(self._cache(), account))
        return found

    def mask_of(self, id: ObjectId, account: ObjectId) -> int:
        """What an account may do with an object, as `csproxy.core.permissions.mask_of`."""
        return Masks(self._cache(), accounts_of(self.identities_of(account))).of(id)

    def access_of(self, who: frozenset[int]) -> Access:
        """The sight of somebody with these identities."""
        in_use = self._cache().readers.in_use()
        if self._named is None:
            self._named = frozenset().union(*in_use)
        who = who & self._named
        if who not in self._access:
            self._access[who] = None if not any(who.isdisjoint(readers) for readers in in_use) else who
        return self._access[who]

    @staticmethod
    def keys_of(session: Session) -> frozenset[int]:
        """The numbers under which a change of identities can concern the session."""
        person = session.account.person_dbid
        if person:
            return frozenset((account_key((_PERSON, person)),))
        return session.identities | {account_key((_APPLICATION, session.application_dbid))}
