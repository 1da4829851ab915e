"""Payloads of the requests about permissions, accounts, operational mode, schema, locale and passwords.

The object that a request is about is named by ``type`` and ``dbid``, an account (a Person or an
Access Group) by its type number and DBID. How payloads are written is said in
`csproxy.transport.wire.messages`, which lists them.
"""

from __future__ import annotations

import msgspec

from csproxy.transport.wire.payload import Forwardable, Payload

__all__ = [
    "AccessEntry",
    "Account",
    "BriefInfo",
    "ChangePassword",
    "LocaleRead",
    "LocaleSet",
    "LocaleSets",
    "ObjectPermissionsRead",
    "OperationalMode",
    "PermissionsChanged",
    "PermissionsRead",
    "PermissionsUpdated",
    "ReadAccount",
    "ReadLocale",
    "ReadObjectPermissions",
    "ReadPermissions",
    "SchemaFileSent",
    "SchemaInfo",
    "UpdatePermissions",
]


class AccessEntry(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What one Person (3) or Access Group (21) may do: ``mask`` is a sum of the published permissions."""

    type: int
    dbid: int
    mask: int = 0


class ReadPermissions(Payload, kw_only=True):
    """24, request: the access control list that holds for an object."""

    type: int
    dbid: int


class PermissionsRead(Payload, kw_only=True):
    """25: the list, and the object that it belongs to.

    ``source_type`` and ``source_dbid`` name the object itself if the list is its own, else the
    container it is inherited from; both 0 for the built-in list, which holds where nobody set one.
    """

    type: int
    dbid: int
    entries: list[AccessEntry] = msgspec.field(default_factory=list)
    source_type: int = 0
    source_dbid: int = 0


class UpdatePermissions(Forwardable, kw_only=True):
    """26, request: give an object this list as its own.

    ``inherit`` takes its own list away instead; ``entries`` is then empty. ``recursive`` also takes
    away the lists of all objects below it, which then inherit from it.
    """

    type: int
    dbid: int
    entries: list[AccessEntry] = msgspec.field(default_factory=list)
    inherit: bool = False
    recursive: bool = False


class PermissionsUpdated(Payload, kw_only=True):
    """27: the list is in place; ``removed`` objects below it have lost their own."""

    type: int
    dbid: int
    removed: int = 0


class ReadObjectPermissions(Payload, kw_only=True):
    """47, request: what an account may do with an object; without an account, what the caller may do.

    ``account_type`` 9 names an Application and means the account that it acts as.
    """

    type: int
    dbid: int
    account_type: int = 0
    account_dbid: int = 0


class ObjectPermissionsRead(Payload, kw_only=True):
    """48: the effective mask, over the account and all groups that it belongs to."""

    mask: int = 0


class PermissionsChanged(Payload, kw_only=True):
    """66, event: the list of an object has changed, and with it what its content inherits."""

    type: int
    dbid: int
    recursive: bool = False
    user: str = ""
    application: str = ""


class ReadAccount(Payload, kw_only=True):
    """30, request: as whom does Application ``dbid`` act when it runs without a user?"""

    dbid: int


class Account(Forwardable, kw_only=True):
    """31, 33 answer, 32 request: Application ``dbid`` acts as this Person (3) or Access Group (21)."""

    dbid: int
    account_type: int
    account_dbid: int


class OperationalMode(Forwardable, kw_only=True):
    """36 request, 37 and 39 answer: a number of CfgOperationalMode; 1 full, 2 read-only, 3 emergency."""

    mode: int


class BriefInfo(Payload, kw_only=True):
    """29, one part of an answer. ``objects`` are Brief structures, such as CfgPersonBrief."""

    type: int
    total: int = 0
    objects: list[msgspec.Raw] = msgspec.field(default_factory=list)


class SchemaInfo(Payload, kw_only=True):
    """44: ``version`` is the release of the object model; ``digest`` (hexadecimal SHA-256) and ``size`` of its file."""

    version: str
    digest: str
    size: int


class SchemaFileSent(Payload, kw_only=True):
    """72: the object model as JSON in UTF-8."""

    version: str
    content: bytes


class LocaleSet(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A language: its Windows language identifier, its name, and the number of items."""

    id: int
    name: str
    items: int = 0


class LocaleSets(Payload, kw_only=True):
    """80: the languages that there are."""

    sets: list[LocaleSet] = msgspec.field(default_factory=list)


class ReadLocale(Payload, kw_only=True):
    """58, request: the texts of a language; ``items`` empty means all of them."""

    set: int
    items: list[str] = msgspec.field(default_factory=list)


class LocaleRead(Payload, kw_only=True):
    """59: item → text."""

    set: int
    items: dict[str, str] = msgspec.field(default_factory=dict)


class ChangePassword(Forwardable, kw_only=True):
    """81, request: set a user's password. Whoever knows the old one may do it."""

    user: str
    old_password: str = ""
    new_password: str = ""
