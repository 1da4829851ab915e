"""Every filter key of every object type, as data.

The names are the published ones; the meanings follow the published descriptions where there are
any. docs/reference/filter-keys.md is generated from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from csproxy.core.filter_rules import (
    Absent,
    Account,
    Collected,
    Containing,
    Equal,
    FilterKey,
    InFolder,
    NotEnvironment,
    Option,
    PairEqual,
    Rule,
    SameHostAndPort,
    Section,
    Source,
    TenantList,
    Through,
    TopFolder,
    Unreferenced,
    ValueKind,
)
from csproxy.core.model import ObjectType
from csproxy.core.security_records import STORED_TYPES

__all__ = ["COMMON_KEYS", "FILTER_KEYS"]

_SYSTEM_GROUP: Final = 98
_ACCESS_GROUP_TYPE: Final = 21


def _int(name: str, rule: Rule, sentence: str) -> FilterKey:
    return FilterKey(name, ValueKind.INT, rule, sentence)


def _text(name: str, path: str, sentence: str) -> FilterKey:
    return FilterKey(name, ValueKind.TEXT, Equal((path,)), sentence)


def _link(name: str, path: str, sentence: str) -> FilterKey:
    return FilterKey(name, ValueKind.INT, Equal((path,)), sentence)


def _enum(name: str, path: str, enumeration: str, sentence: str) -> FilterKey:
    return FilterKey(name, ValueKind.ENUM, Equal((path,)), sentence, enumeration)


def _flag(name: str, path: str, sentence: str) -> FilterKey:
    return FilterKey(name, ValueKind.FLAG, Equal((path,)), sentence, "")


def _switch(name: str, rule: Rule, sentence: str) -> FilterKey:
    return FilterKey(name, ValueKind.SWITCH, rule, sentence)


def _member(name: str, type_name: str, take: str, sentence: str) -> FilterKey:
    return FilterKey(name, ValueKind.INT, Collected((Source(type_name, take),)), sentence)


COMMON_KEYS: Final[tuple[FilterKey, ...]] = (
    _int("dbid", Equal(("DBID",)), "The object with this DBID; all other keys are then without effect."),
    _int("folder_dbid", InFolder(), "Objects that lie immediately in this folder."),
    _switch("object_path", Option(), "Return the names of the folders that lead to each object, outermost first."),
    _switch("read_folder_dbid", Option(), "Return the DBID of each object's folder."),
    _switch("cmp_insensitive", Option(), "Compare texts without regard to upper and lower case."),
    _switch("exclude_bytecode", Option(), "Leave binary values out of userProperties."),
    _switch("exclude_longstrings", Option(), "Leave texts of more than 255 characters out of userProperties."),
    _int("delegate_dbid", Option(), "Evaluate permissions as this account (with delegate_type)."),
    FilterKey(
        "delegate_type",
        ValueKind.ENUM,
        Option(),
        "The type of the account in delegate_dbid: Person or Access Group.",
        "CfgObjectType",
    ),
)
"""Keys that every type accepts."""

_OWN_KEYS: Final[dict[str, tuple[FilterKey, ...]]] = {
    "CfgSwitch": (_link("tserver_dbid", "TServerDBID", "Switches that this T-Server application controls."),),
    "CfgDN": (
        _link("switch_dbid", "switchDBID", "DNs of this switch."),
        _enum("dn_type", "type", "CfgDNType", "DNs of this type."),
        _text("dn_number", "number", "DNs with this directory number."),
        _text("association", "association", "DNs associated with this entity."),
        _member("place_dbid", "CfgPlace", "DNDBIDs", "DNs assigned to this place."),
        _switch("no_place_dbid", Unreferenced("CfgPlace", "DNDBIDs"), "DNs that are assigned to no place."),
        _member("group_dbid", "CfgDNGroup", "DNs.DNDBID", "DNs that are members of this DN group."),
        _int(
            "ivr_dbid",
            Collected((Source("CfgIVRPort", "DNDBID", where="IVRDBID"),)),
            "DNs assigned to the ports of this IVR.",
        ),
    ),
    "CfgPerson": (
        _text("user_name", "userName", "The person with this user name."),
        _text("employee_id", "employeeID", "Persons with this employee ID (unique within a tenant)."),
        _text("first_name", "firstName", "Persons with this first name."),
        _text("last_name", "lastName", "Persons with this last name."),
        _flag("is_agent", "isAgent", "Persons who are agents (or, for False, who are not)."),
        _link("skill_dbid", "agentInfo.skillLevels.skillDBID", "Persons who have this skill."),
        _link("login_dbid", "agentInfo.agentLogins.agentLoginDBID", "The person this agent login is assigned to."),
        _switch("no_login_dbid", Absent("agentInfo.agentLogins.agentLoginDBID"), "Persons without an agent login."),
        _switch("no_place_dbid", Absent("agentInfo.placeDBID"), "Persons without a default place."),
        _member("group_dbid", "CfgAgentGroup", "agentDBIDs", "Members of this agent group (not of an access group)."),
        _int(
            "switch_dbid",
            Through("agentInfo.agentLogins.agentLoginDBID", "CfgAgentLogin", "switchDBID"),
            "Persons with an agent login at this switch.",
        ),
    ),
    "CfgPlace": (
        _link("dn_dbid", "DNDBIDs", "The place this DN is assigned to."),
        _switch("no_dn_dbid", Absent("DNDBIDs"), "Places without a DN."),
        _member("group_dbid", "CfgPlaceGroup", "placeDBIDs", "Places that are members of this place group."),
        _member("person_dbid", "CfgPerson", "agentInfo.placeDBID", "The default place of this person."),
    ),
    "CfgAgentGroup": (_link("person_dbid", "agentDBIDs", "Agent groups this person is a member of."),),
    "CfgPlaceGroup": (_link("place_dbid", "placeDBIDs", "Place groups this place is a member of."),),
    "CfgDNGroup": (
        _link("dn_dbid", "DNs.DNDBID", "DN groups this DN is a member of."),
        _enum("dn_group_type", "type", "CfgDNGroupType", "DN groups of this type."),
    ),
    "CfgAccessGroup": (
        _int(
            "person_dbid", PairEqual("memberIDs(type,DBID)", "CfgPerson"), "Access groups this person is a member of."
        ),
    ),
    "CfgTenant": (
        _switch(
            "all_tenants", NotEnvironment(), "True: every tenant, as without the key; False: not Environment (DBID 1)."
        ),
    ),
    "CfgService": (
        _enum("type", "solutionType", "CfgSolutionType", "Solutions of this type."),
        _link("app_dbid", "components.appDBID", "Solutions of which this application is a component."),
        _enum("app_type", "componentDefinitions.type", "CfgAppType", "Solutions that define a component of this type."),
        _link("scs_dbid", "SCSDBID", "Solutions under this Solution Control Server."),
        _link("tenant_dbid", "assignedTenantDBID", "Solutions assigned to this tenant."),
    ),
    "CfgApplication": (
        _enum("app_type", "type", "CfgAppType", "Applications of this type."),
        _text("version", "version", "Applications with this version."),
        _flag("is_server", "isServer", "Applications that are servers (or, for False, that are not)."),
        _enum("startup_type", "startupType", "CfgStartupType", "Applications that start in this way."),
        _link("host_dbid", "serverInfo.hostDBID", "Servers on this host."),
        FilterKey(
            "port",
            ValueKind.NUMERAL,
            Equal(("serverInfo.port", "portInfos.port")),
            "Servers that listen on this port number.",
        ),
        _switch(
            "same_host_and_port",
            SameHostAndPort(),
            "Servers that share a host and a port with another server, which is a mistake in the configuration.",
        ),
        _link("app_prototype_dbid", "appPrototypeDBID", "Applications made from this application template."),
        _int(
            "tenant_dbid",
            TenantList("tenantDBIDs"),
            "Applications of this tenant; those that name none are Environment's.",
        ),
        _link(
            "server_dbid",
            "appServerDBIDs.appServerDBID",
            "Applications that have a connection to this one: its clients.",
        ),
        _switch(
            "no_client_dbid",
            Unreferenced("CfgApplication", "appServerDBIDs.appServerDBID"),
            "Applications that no other application has a connection to.",
        ),
        _link(
            "backup_server_dbid", "serverInfo.backupServerDBID", "The primary server whose backup is this application."
        ),
        _member(
            "primary_server_dbid",
            "CfgApplication",
            "serverInfo.backupServerDBID",
            "The backup server of this application.",
        ),
        _int(
            "switch_dbid",
            Collected((Source("CfgSwitch", "TServerDBID"),)),
            "The T-Server of this switch.",
        ),
        _switch(
            "no_switch_dbid",
            Unreferenced("CfgSwitch", "TServerDBID", only_path="type", only=(1, 77)),
            "Applications of the types TServer and HAProxy that belong to no switch.",
        ),
        _int(
            "account_dbid",
            Account(_SYSTEM_GROUP),
            "Applications that run under this account; with account_type. All run under SYSTEM (98).",
        ),
        FilterKey(
            "account_type",
            ValueKind.ENUM,
            Account(_ACCESS_GROUP_TYPE),
            "The type of the account in account_dbid; that of SYSTEM is Access Group.",
            "CfgObjectType",
        ),
    ),
    "CfgHost": (
        _enum("host_type", "type", "CfgHostType", "Hosts of this type."),
        _enum("os_type", "OSinfo.OStype", "CfgOSType", "Hosts with this operating system."),
        _link("scs_dbid", "SCSDBID", "Hosts under this Solution Control Server."),
    ),
    "CfgScript": (
        _enum("script_type", "type", "CfgScriptType", "Scripts of this type."),
        _member(
            "capacity_tenant_dbid", "CfgTenant", "defaultCapacityRuleDBID", "The default capacity rule of this tenant."
        ),
        _member("capacity_agent_dbid", "CfgPerson", "agentInfo.capacityRuleDBID", "The capacity rule of this person."),
        _member(
            "capacity_agent_group_dbid",
            "CfgAgentGroup",
            "groupInfo.capacityRuleDBID",
            "The capacity rule of this agent group.",
        ),
        _member("capacity_place_dbid", "CfgPlace", "capacityRuleDBID", "The capacity rule of this place."),
        _member(
            "capacity_place_group_dbid",
            "CfgPlaceGroup",
            "groupInfo.capacityRuleDBID",
            "The capacity rule of this place group.",
        ),
    ),
    "CfgActionCode": (_enum("code_type", "type", "CfgActionCodeType", "Action codes of this type."),),
    "CfgAgentLogin": (
        _link("switch_dbid", "switchDBID", "Agent logins of this switch."),
        _text("login_code", "loginCode", "Agent logins with this code."),
        _switch(
            "no_person_dbid",
            Unreferenced("CfgPerson", "agentInfo.agentLogins.agentLoginDBID"),
            "Agent logins that are assigned to no person.",
        ),
    ),
    "CfgTransaction": (_enum("object_type", "type", "CfgTransactionType", "Transactions of this type."),),
    "CfgStatDay": (
        _enum("statday_type", "type", "CfgStatDayType", "Statistical days of this type."),
        _member("table_dbid", "CfgStatTable", "statDayDBIDs", "Statistical days of this statistical table."),
    ),
    "CfgStatTable": (
        _enum("table_type", "type", "CfgStatTableType", "Statistical tables of this type."),
        _link("stat_day_dbid", "statDayDBIDs", "Statistical tables that contain this statistical day."),
        _int(
            "group_dbid",
            Collected(
                tuple(
                    Source(type_name, f"groupInfo.{attribute}")
                    for type_name in ("CfgAgentGroup", "CfgPlaceGroup", "CfgDNGroup")
                    for attribute in ("capacityTableDBID", "quotaTableDBID")
                )
            ),
            "The capacity and quota tables of the agent, place or DN group with this DBID.",
        ),
    ),
    "CfgAppPrototype": (
        _enum("app_type", "type", "CfgAppType", "Application templates of this type."),
        _text("version", "version", "Application templates with this version."),
    ),
    "CfgFolder": (
        _enum("type", "type", "CfgObjectType", "Folders for objects of this type."),
        _enum("folder_class", "folderClass", "CfgFolderClass", "Folders of this class."),
        _link("owner_dbid", "ownerID.DBID", "Folders of the owner with this DBID (with owner_type)."),
        _enum("owner_type", "ownerID.type", "CfgObjectType", "Folders of owners of this type (with owner_dbid)."),
        _switch("default_folder", TopFolder(), "Topmost folders: those that lie in no other folder."),
        _int("object_dbid", Containing("object_type"), "The folder that holds this object; needs object_type."),
        FilterKey(
            "object_type",
            ValueKind.ENUM,
            Containing("object_dbid"),
            "The type of the object in object_dbid, which it needs.",
            "CfgObjectType",
        ),
    ),
    "CfgField": (
        _enum("type", "type", "CfgDataType", "Fields of this data type."),
        _enum("field_type", "fieldType", "CfgFieldType", "Fields of this field type."),
        _member("format_dbid", "CfgFormat", "fieldDBIDs", "Fields of this format."),
    ),
    "CfgFormat": (_link("field_dbid", "fieldDBIDs", "Formats that contain this field."),),
    "CfgTableAccess": (
        _enum("type", "type", "CfgTableType", "Table accesses of this type."),
        _link("dbaccess_dbid", "dbAccessDBID", "Table accesses through this database access point."),
        _link("format_dbid", "formatDBID", "Table accesses with this format."),
        _text("db_table_name", "dbTableName", "Table accesses to the database table of this name."),
    ),
    "CfgCallingList": (
        _link("table_access_dbid", "tableAccessDBID", "Calling lists that use this table access."),
        _link("log_table_access_dbid", "logTableAccessDBID", "Calling lists that log to this table access."),
        _link("filter_dbid", "filterDBID", "Calling lists with this filter."),
        _link("treatment_dbid", "treatmentDBIDs", "Calling lists with this treatment."),
        _link("script_dbid", "scriptDBID", "Calling lists with this script."),
    ),
    "CfgCampaign": (
        _link("calling_list_dbid", "callingLists.callingListDBID", "Campaigns with this calling list."),
        _link("group_dbid", "campaignGroups.groupDBID", "Campaigns with the group of this DBID."),
        _link("script_dbid", "scriptDBID", "Campaigns with this script."),
    ),
    "CfgTreatment": (
        _enum("call_result", "callResult", "GctiCallState", "Treatments for this call result."),
        _enum("rec_action_code", "recActionCode", "CfgRecActionCode", "Treatments with this record action."),
        _enum("call_action_code", "callActionCode", "CfgCallActionCode", "Treatments with this call action."),
        _link("dest_dn_dbid", "destDNDBID", "Treatments that lead to this DN."),
    ),
    "CfgFilter": (_link("format_dbid", "formatDBID", "Filters for this format."),),
    "CfgTimeZone": (
        _int("offset", Equal(("offset",)), "Time zones with this offset."),
        _text("name_netscape", "nameNetscape", "Time zones with this second name."),
        _text("name_msexplorer", "nameMSExplorer", "Time zones with this third name."),
    ),
    "CfgVoicePrompt": (
        _link("switch_dbid", "switchDBID", "Voice prompts of this switch."),
        _link("script_dbid", "scriptDBID", "Voice prompts with this script."),
    ),
    "CfgIVRPort": (
        _link("ivr_dbid", "IVRDBID", "Ports of this IVR."),
        _link("dn_dbid", "DNDBID", "The IVR port this DN is assigned to."),
        _text("port_number", "portNumber", "IVR ports with this number."),
    ),
    "CfgIVR": (
        _enum("type", "type", "CfgIVRType", "IVRs of this type."),
        _link("ivr_server_dbid", "IVRServerDBID", "IVRs of this IVR Interface Server."),
    ),
    "CfgEnumerator": (
        _enum("enumerator_type", "type", "CfgEnumeratorType", "Business attributes of this type."),
        _text("display_name", "displayName", "Business attributes with this display name."),
    ),
    "CfgEnumeratorValue": (
        _link("enumerator_dbid", "enumeratorDBID", "Values of this business attribute."),
        _text("display_name", "displayName", "Values with this display name."),
        _flag("default_value", "isDefault", "Values that are their attribute's default (or, for False, that are not)."),
    ),
    "CfgCampaignGroup": (
        _link("campaign_dbid", "campaignDBID", "Campaign groups of this campaign."),
        _link("group_dbid", "groupDBID", "Campaign groups made of the group with this DBID."),
    ),
    "CfgScheduledTask": (_enum("task_type", "type", "CfgTaskType", "Scheduled tasks of this type."),),
    "CfgRole": (
        FilterKey(
            "rbac_app_ns",
            ValueKind.TEXT,
            Section("userProperties"),
            "Roles with privileges of this application: userProperties has a section of this name.",
        ),
    ),
}
"""Keys beyond the common ones and those that `_usual_keys` derives."""


def _usual_keys(object_type: ObjectType) -> list[FilterKey]:
    """``name``, ``state`` and ``tenant_dbid``, where the type publishes them."""
    group = "groupInfo." if "groupInfo" in object_type.attributes else ""
    usual = (
        _text("name", f"{group}name", "Objects with this name."),
        _enum("state", f"{group}state", "CfgObjectState", "Objects in this state: enabled or disabled."),
        _link("tenant_dbid", f"{group}tenantDBID", "Objects of this tenant."),
    )
    own = {key.name for key in _OWN_KEYS.get(object_type.name, ())}
    return [key for key in usual if key.name in object_type.filter_names and key.name not in own]


def _keys(object_type: ObjectType) -> Mapping[str, FilterKey]:
    keys = [*_usual_keys(object_type), *_OWN_KEYS.get(object_type.name, ()), *COMMON_KEYS]
    return MappingProxyType({key.name: key for key in keys})


FILTER_KEYS: Final[Mapping[int, Mapping[str, FilterKey]]] = MappingProxyType(
    {number: _keys(object_type) for number, object_type in STORED_TYPES.items()}
)
"""Type number → key name → key; each type's own keys first, the common ones last."""
