"""Where a value of a configuration file stands, and what has been read of the file so far.

A file of 100,000 objects holds a million values; what is only needed for a message, such as the path of a
value, is put together when there is something to say.
"""

from __future__ import annotations

from csproxy.core.files.keys import Key, tenant_key

__all__ = ["Progress", "ReadContext"]


class Progress:
    """A file while it is read: warnings in their order, and keys, which many references have in common."""

    __slots__ = ("_tenants", "_texts", "warnings")

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._tenants: dict[str, Key] = {}
        self._texts: dict[Key | None, dict[tuple[int, str], Key]] = {}

    def tenant(self, name: str) -> Key:
        """The key of a tenant."""
        found = self._tenants.get(name)
        if found is None:
            found = self._tenants[name] = tenant_key(name)
        return found

    def texts(self, tenant: Key | None) -> dict[tuple[int, str], Key]:
        """What references that are a mere text mean in objects of ``tenant``, by target type and text."""
        return self._texts.setdefault(tenant, {})

    def context(self, tenant: Key | None, name: str) -> ReadContext:
        """The context of an object."""
        return ReadContext(self, tenant, self.texts(tenant), name)


class ReadContext:
    """An object of a file, or something in it whose values are being read.

    ``tenant`` is that of the object, to which references without a tenant belong; ``texts`` are the
    references of this tenant that are known already.
    """

    __slots__ = ("_name", "_outer", "progress", "tenant", "texts")

    def __init__(
        self,
        progress: Progress,
        tenant: Key | None,
        texts: dict[tuple[int, str], Key],
        name: str,
        outer: ReadContext | None = None,
    ) -> None:
        self.progress = progress
        self.tenant = tenant
        self.texts = texts
        self._name = name
        self._outer = outer

    @property
    def where(self) -> str:
        """``persons[3].agentInfo.place``, for messages."""
        return self._name if self._outer is None else f"{self._outer.where}.{self._name}"

    def inside(self, name: str) -> ReadContext:
        """The context of something below."""
        return ReadContext(self.progress, self.tenant, self.texts, name, self)

    def of_tenant(self, tenant: Key) -> ReadContext:
        """The same place, with references that belong to another tenant."""
        return ReadContext(self.progress, tenant, self.progress.texts(tenant), self._name, self._outer)
