"""Where the integrity rules differ from what the schema alone says, each with its reason.

The schema's flags are readings of prose and therefore hints; conformance outcomes and the rules of
the import format win over them. Everything that treats one type differently stands here, so that
the checks themselves know no types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from csproxy.core.containers import FOLDER, TENANT
from csproxy.core.model.applications import is_daemon
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.model.schema import ObjectType

__all__ = [
    "EXTRA_FIXED",
    "EXTRA_MANDATORY",
    "GIVEN_AT_CREATION",
    "HIERARCHIES",
    "LINKED_TYPES",
    "MAX_CHANGES",
    "MAX_NAMED",
    "OWNING_LINKS",
    "ONLY_FOR_KINDS",
    "PASSWORD_TYPES",
    "SAME_KIND",
    "SCRYPT_ALGORITHM",
    "TENANT_FREE_TYPES",
    "WEAK_LINKS",
    "ZERO_IS_A_VALUE",
    "state_path",
]

MAX_CHANGES: Final = 1_000
"""Changes in one transaction at most: it is applied and announced in one turn."""

MAX_NAMED: Final = 20
"""Dependants that a refusal names at most."""

SCRYPT_ALGORITHM: Final = 1
"""``passwordHashAlgorithm`` of a Person whose password this server hashed; the vendor publishes no numbers."""

_person = int(CfgObjectType.CFGPerson)
_application = int(CfgObjectType.CFGApplication)
_access_group = int(CfgObjectType.CFGAccessGroup)
_agent_group = int(CfgObjectType.CFGAgentGroup)
_place_group = int(CfgObjectType.CFGPlaceGroup)
_dn_group = int(CfgObjectType.CFGDNGroup)
_switch = int(CfgObjectType.CFGSwitch)
_ivr = int(CfgObjectType.CFGIVR)
_enumerator = int(CfgObjectType.CFGEnumerator)
_campaign = int(CfgObjectType.CFGCampaign)

PASSWORD_TYPES: Final = frozenset({_person, _application})
"""Types whose password is a log-in here: its hash is kept. Other passwords (Tenant, AgentLogin) are kept nowhere,
because no answer may ever hold one and nothing here checks them."""

ZERO_IS_A_VALUE: Final = frozenset({"GctiCallState", "CfgHAType"})
"""Enumerations whose 0 means something (GctiCStOk; redundancy *Not Specified*): never missing although mandatory."""

GIVEN_AT_CREATION: Final[dict[str, frozenset[str]]] = {
    # "isAgent may be given at creation and is otherwise derived" (published object model)
    "CfgPerson": frozenset({"isAgent"}),
    # recorded imports set isPrimary when they create an application (conformance, applications)
    "CfgApplication": frozenset({"isPrimary", "startupType"}),
    "CfgService": frozenset({"startupType"}),
    "CfgDN": frozenset({"loginFlag"}),
    # no container to take the tenant from; the import format requires it
    "CfgGVPIVRProfile": frozenset({"tenantDBID"}),
}
"""Read-only attributes that a creation may set; all others are the server's, and what a client sends is ignored."""

EXTRA_FIXED: Final[dict[str, frozenset[str]]] = {
    # unchangeable in the import format, and a change would leave what the object contains elsewhere
    "CfgFolder": frozenset({"type", "ownerID"}),
    "CfgIVR": frozenset({"tenantDBID"}),
    "CfgIVRPort": frozenset({"IVRDBID"}),
    "CfgVoicePrompt": frozenset({"tenantDBID", "switchDBID"}),
    "CfgGVPReseller": frozenset({"tenantDBID"}),
    "CfgGVPCustomer": frozenset({"tenantDBID"}),
}
"""Attributes that may not change once set, beyond the schema's ``fixed``."""

EXTRA_MANDATORY: Final[dict[str, frozenset[str]]] = {
    # a mandatory whole number may be 0, but these are links
    "CfgCampaignGroup": frozenset({"groupDBID"}),
}

LINKED_TYPES: Final[dict[tuple[str, str], frozenset[int]]] = {
    ("CfgAccessGroup", "memberIDs.DBID"): frozenset({_person, _access_group}),
    ("CfgFolder", "ownerID.DBID"): frozenset({TENANT, _switch, _ivr, _enumerator, _campaign}),
    ("CfgFolder", "parentID.DBID"): frozenset({FOLDER}),
    ("CfgCampaignGroup", "groupDBID"): frozenset({_agent_group, _place_group, _dn_group}),
    ("CfgCampaign", "campaignGroups.groupDBID"): frozenset({_agent_group, _place_group, _dn_group}),
}
"""Types that a link may lead to where the type stands beside the DBID, by type and path."""

SAME_KIND: Final[dict[str, tuple[str, ...]]] = {
    # type comes from the prototype and may not change; a backup takes over what its primary does
    "CfgApplication": ("appPrototypeDBID", "serverInfo.backupServerDBID"),
}
"""Links to objects that must have the same ``type`` attribute as the object itself."""

ONLY_FOR_KINDS: Final[dict[tuple[str, str], tuple[Callable[[int], bool], str]]] = {
    # "the server information is that of a daemon application" (published object model)
    ("CfgApplication", "serverInfo"): (is_daemon, "a server"),
}
"""Structures that only some values of ``type`` allow, and what those are called."""

HIERARCHIES: Final = frozenset({("CfgTenant", "parentTenantDBID"), ("CfgApplication", "serverInfo.backupServerDBID")})
"""Links that never lead from an object back to itself: a tenant above itself, a server as its own backup.
Two servers may be each other's backup: only the tenants' link is followed further."""

TENANT_FREE_TYPES: Final = frozenset({"CfgAccessGroup", "CfgRole"})
"""Types in a tenant that may link to objects of any tenant: accounts are given rights across tenants."""

OWNING_LINKS: Final = frozenset(
    {
        ("CfgFolder", "ownerID(type,DBID)"),
        ("CfgFolder", "parentID(type,DBID)"),
        ("CfgPersonLastLogin", "personDBID"),
    }
)
"""Links that make the object part of what they lead to, beyond containers and tenants: it is deleted with it."""

WEAK_LINKS: Final = frozenset({("CfgPersonLastLogin", "applicationDBID")})
"""Scalar links that are cleared when what they lead to is deleted, instead of preventing it."""


def state_path(kind: ObjectType) -> str | None:
    """Where the type keeps its state: ``state``, ``groupInfo.state``, or None."""
    if "state" in kind.attributes:
        return "state"
    return "groupInfo.state" if "groupInfo" in kind.attributes else None
