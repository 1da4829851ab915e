"""Which application types are daemons and which are user interfaces.

A daemon Application object may be connected once at a time; the object of a user interface serves
any number of users. The published model does not say which types are which: the list below is our
reading of their names.
"""

from __future__ import annotations

from typing import Final

from csproxy.core.model.enumerations import CfgAppType

__all__ = ["INTERACTIVE_TYPES", "is_daemon"]

INTERACTIVE_TYPES: Final = frozenset(
    {
        # Desktops of agents and supervisors.
        CfgAppType.CFGAgentDesktop,
        CfgAppType.CFGAgentView,
        CfgAppType.CFGCCView,
        CfgAppType.CFGCustomerView,
        CfgAppType.CFGInteractionWorkspace,
        CfgAppType.CFGKWorkerPortal,
        CfgAppType.CFGWFMReports,
        # Clients: the server of the same name has a type of its own.
        CfgAppType.CFGBackUpControlClient,
        CfgAppType.CFGBillingClient,
        CfgAppType.CFGCMClient,
        CfgAppType.CFGDARTClient,
        CfgAppType.CFGEAClient,
        CfgAppType.CFGGCNClient,
        CfgAppType.CFGGenericClient,
        CfgAppType.CFGThirdPartyApp,
        CfgAppType.CFGWFMClient,
        CfgAppType.CFGWebClient,
        # Administration: SCE, the type of wizards too, configures; SCI controls.
        CfgAppType.CFGGenesysAdministrator,
        CfgAppType.CFGIWDManager,
        CfgAppType.CFGITCUtility,
        CfgAppType.CFGSCE,
        CfgAppType.CFGSCI,
        CfgAppType.CFGVSSConsole,
        CfgAppType.CFGiWDManager,
        # Designers, editors and managers that a person works with.
        CfgAppType.CFGContactServerManager,
        CfgAppType.CFGIVRDT,
        CfgAppType.CFGInfomartStatConfigurator,
        CfgAppType.CFGInteractionRoutingDesigner,
        CfgAppType.CFGKnowledgeManager,
        CfgAppType.CFGResponseManager,
        CfgAppType.CFGStrategyBuilder,
        CfgAppType.CFGStrategyLoader,
        CfgAppType.CFGStrategyScheduler,
        CfgAppType.CFGStrategySimulator,
        CfgAppType.CFGWFMBuilder,
        # Reserved for more of them.
        CfgAppType.CFGReservedGUIApplication1,
        CfgAppType.CFGReservedGUIApplication2,
    }
)
"""Types whose Application object serves any number of users at a time."""

_DAEMON_TYPES: Final = (
    frozenset(CfgAppType)
    - INTERACTIVE_TYPES
    - {CfgAppType.CFGNoApplication, CfgAppType.CFGMaxAppType, CfgAppType.CFGReserved}
)


def is_daemon(app_type: int) -> bool:
    """Whether an Application of this type may be connected only once at a time.

    By our reading of the names: every known type that is not in `INTERACTIVE_TYPES`. A number that
    this release does not know is not called a daemon, because refusing a second user would be the
    worse mistake.
    """
    return app_type in _DAEMON_TYPES
