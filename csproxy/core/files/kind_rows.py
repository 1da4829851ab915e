"""The kinds of objects in a configuration file, as data.

The first table is the published JSON format of *mutagen* (formatVersion 1.0.0): its thirty kinds with
exactly their properties, what it requires to create an object, and what it refuses to change. A property is
written ``name=attribute``, or ``name`` alone where both are the same. ``*`` marks a rule with a condition
that `csproxy.core.files.checks` knows.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FORMAT_NAME", "FORMAT_VERSION", "KIND_ROWS", "STRUCTURE_ROWS"]

FORMAT_NAME: Final = "JSON"
FORMAT_VERSION: Final = "1.0.0"

KIND_ROWS: Final[tuple[tuple[str, str, str, str, str], ...]] = (
    (
        "accessGroups",
        "CfgAccessGroup",
        "group=groupInfo members=memberIDs type folder",
        "",
        "type",
    ),
    (
        "actionCodes",
        "CfgActionCode",
        "tenant=tenantDBID name type code subcodes state userProperties folder",
        "code",
        "",
    ),
    (
        "agentGroups",
        "CfgAgentGroup",
        "agents=agentDBIDs group=groupInfo folder",
        "",
        "",
    ),
    (
        "alarmConditions",
        "CfgAlarmCondition",
        (
            "name alarmDetectEvent alarmDetectScript=alarmDetectScriptDBID alarmRemovalEvent category "
            "clearanceScripts=clearanceScriptDBIDs clearanceTimeout description isMasked "
            "reactionScripts=reactionScriptDBIDs state userProperties folder"
        ),
        "alarmDetectEvent alarmDetectEvent.logEventID category",
        "",
    ),
    (
        "appPrototypes",
        "CfgAppPrototype",
        "name type version options state userProperties folder",
        "type version",
        "type version",
    ),
    (
        "applications",
        "CfgApplication",
        (
            "name appPrototype=appPrototypeDBID appServers=appServerDBIDs autoRestart commandLine "
            "commandLineArguments componentType flexibleProperties isPrimary options password portInfos "
            "redundancyType serverInfo shutdownTimeout startupTimeout tenants=tenantDBIDs workDirectory state "
            "userProperties folder"
        ),
        "appPrototype autoRestart redundancyType commandLine* workDirectory*",
        "",
    ),
    (
        "campaigns",
        "CfgCampaign",
        "tenant=tenantDBID name callingLists description script=scriptDBID state userProperties folder",
        "",
        "",
    ),
    (
        "campaignGroups",
        "CfgCampaignGroup",
        (
            "campaign=campaignDBID name description dialMode group=groupDBID interactionQueue=interactionQueueDBID "
            "ivrProfile=IVRProfileDBID maxQueueSize minRecBuffSize numOfChannels operationMode optMethod "
            "optMethodValue optRecBuffSize origDN=origDNDBID script=scriptDBID servers=serverDBIDs tenant=tenantDBID "
            "state userProperties folder"
        ),
        "group",
        "",
    ),
    (
        "dns",
        "CfgDN",
        (
            "tenant=tenantDBID number switch=switchDBID type registerAll switchSpecificType association routeType "
            "destinationDNs=destDNDBIDs dnLoginID=DNLoginID group=groupDBID trunks override state userProperties "
            "folder name useOverride accessNumbers site=siteDBID contract=contractDBID"
        ),
        "routeType",
        "",
    ),
    (
        "dnGroups",
        "CfgDNGroup",
        "group=groupInfo dns=DNs type folder",
        "type",
        "type",
    ),
    (
        "enumerators",
        "CfgEnumerator",
        "tenant=tenantDBID name displayName description type state userProperties folder",
        "displayName type",
        "",
    ),
    (
        "enumeratorValues",
        "CfgEnumeratorValue",
        (
            "enumerator=enumeratorDBID name isDefault description displayName state tenant=tenantDBID userProperties "
            "folder"
        ),
        "displayName tenant",
        "",
    ),
    (
        "fields",
        "CfgField",
        (
            "tenant=tenantDBID name defaultValue description fieldType isNullable isPrimaryKey isUnique length type "
            "state userProperties folder"
        ),
        "fieldType isNullable isPrimaryKey isUnique type",
        "isNullable isPrimaryKey isUnique length* type",
    ),
    (
        "folders",
        "CfgFolder",
        "name type description folderClass customType state userProperties folder",
        "",
        "type",
    ),
    (
        "gvpCustomers",
        "CfgGVPCustomer",
        (
            "name tenant=tenantDBID reseller=resellerDBID channel displayName notes isProvisioned isAdminCustomer "
            "timeZone=timeZoneDBID state userProperties folder"
        ),
        "channel isAdminCustomer isProvisioned reseller tenant",
        "reseller tenant",
    ),
    (
        "gvpIVRProfiles",
        "CfgGVPIVRProfile",
        (
            "name tenant=tenantDBID displayName type notes description startServiceDate endServiceDate isProvisioned "
            "tfn status dids=DIDDBIDs state userProperties folder"
        ),
        "displayName tenant",
        "tenant",
    ),
    (
        "gvpResellers",
        "CfgGVPReseller",
        (
            "tenant=tenantDBID name timeZone=timeZoneDBID startDate displayName isParentNSP notes state "
            "userProperties folder"
        ),
        "",
        "",
    ),
    (
        "hosts",
        "CfgHost",
        "name ipAddress=IPaddress lcaPort=LCAPort osInfo=OSinfo scs=SCSDBID type state userProperties folder",
        "lcaPort osInfo type",
        "type",
    ),
    (
        "ivrs",
        "CfgIVR",
        "name description ivrServer=IVRServerDBID tenant=tenantDBID type version state userProperties folder",
        "tenant type version",
        "tenant type",
    ),
    (
        "persons",
        "CfgPerson",
        (
            "tenant=tenantDBID employeeId=employeeID userName externalId=externalID firstName lastName password "
            "passwordHashAlgorithm changePasswordOnNextLogin emailAddress state agent=isAgent "
            "externalAuth=isExternalAuth appRanks agentInfo userProperties folder"
        ),
        "userName",
        "",
    ),
    (
        "physicalSwitches",
        "CfgPhysicalSwitch",
        "name type state userProperties folder",
        "type",
        "type",
    ),
    (
        "places",
        "CfgPlace",
        (
            "tenant=tenantDBID name dns=DNDBIDs capacityRule=capacityRuleDBID contract=contractDBID site=siteDBID "
            "state userProperties folder"
        ),
        "",
        "",
    ),
    (
        "placeGroups",
        "CfgPlaceGroup",
        "group=groupInfo places=placeDBIDs folder",
        "",
        "",
    ),
    (
        "roles",
        "CfgRole",
        "tenant=tenantDBID name description state members userProperties folder",
        "",
        "",
    ),
    (
        "scripts",
        "CfgScript",
        "tenant=tenantDBID name type index state userProperties folder",
        "type",
        "type",
    ),
    (
        "services",
        "CfgService",
        (
            "name assignedTenant=assignedTenantDBID componentDefinitions components scs=SCSDBID solutionType "
            "startupType version state userProperties folder"
        ),
        "solutionType version",
        "solutionType",
    ),
    (
        "skills",
        "CfgSkill",
        "tenant=tenantDBID name state userProperties folder",
        "",
        "",
    ),
    (
        "switches",
        "CfgSwitch",
        (
            "tenant=tenantDBID name physicalSwitch=physSwitchDBID tServer=TServerDBID linkType switchAccessCodes "
            "dnRange=DNRange state userProperties folder"
        ),
        "physicalSwitch",
        "physicalSwitch",
    ),
    (
        "tenants",
        "CfgTenant",
        (
            "name chargeableNumber defaultContract=defaultContractDBID defaultCapacityRule=defaultCapacityRuleDBID "
            "parentTenant=parentTenantDBID password state userProperties folder"
        ),
        "",
        "",
    ),
    (
        "transactions",
        "CfgTransaction",
        "tenant=tenantDBID name type alias description recordPeriod state userProperties folder",
        "alias",
        "",
    ),
)
"""Name in the file, object type, properties, what is required to create, what may not change."""

STRUCTURE_ROWS: Final[dict[str, str]] = {
    "CfgAgentInfo": (
        "capacityRule=capacityRuleDBID contract=contractDBID place=placeDBID site=siteDBID skillLevels agentLogins"
    ),
    "CfgAgentLoginInfo": "agentLogin=agentLoginDBID wrapupTime",
    "CfgDetectEvent": "app=appDBID appType logEventID selectionMode",
    "CfgRemovalEvent": "logEventID selectionMode",
    "CfgConnInfo": (
        "appParams appServer=appServerDBID charField1 charField2 charField3 charField4 connProtocol description "
        "id longField1 longField2 longField3 longField4 mode proxyParams timeoutLocal=timoutLocal "
        "timeoutRemote=timoutRemote transportParams"
    ),
    "CfgServer": "attempts backupServer=backupServerDBID host=hostDBID timeout",
    "CfgPortInfo": (
        "appParams charField1 charField2 charField3 charField4 connProtocol description id longField1 longField2 "
        "longField3 longField4 port transportParams"
    ),
    "CfgCallingListInfo": "callingList=callingListDBID isActive share",
    "CfgDNAccessNumber": "number switch=switchDBID",
    "CfgDNInfo": "dn=DNDBID trunks",
    "CfgGroup": (
        "tenant=tenantDBID name managers=managerDBIDs routeDNs=routeDNDBIDs capacityTable=capacityTableDBID "
        "quotaTable=quotaTableDBID state userProperties capacityRule=capacityRuleDBID site=siteDBID "
        "contract=contractDBID"
    ),
    "CfgOS": "type=OStype version=OSversion",
    "CfgSolutionComponent": "app=appDBID startupPriority isOptional",
    "CfgSolutionComponentDefinition": "startupPriority type isOptional version",
    "CfgSwitchAccessCode": (
        "switch=switchDBID accessCode targetType routeType dnSource destinationSource locationSource dnisSource "
        "reasonSource extensionSource"
    ),
}
"""The properties of nested structures."""
