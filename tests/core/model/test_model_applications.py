"""Application types are told apart: daemons connect once, user interfaces any number of times."""

from __future__ import annotations

import pytest

from csproxy.core.model import CfgAppType
from csproxy.core.model.applications import INTERACTIVE_TYPES, is_daemon


@pytest.mark.parametrize(
    "app_type",
    [
        CfgAppType.CFGTServer,
        CfgAppType.CFGConfigServer,
        CfgAppType.CFGStatServer,
        CfgAppType.CFGMessageServer,
        CfgAppType.CFGThirdPartyServer,
        CfgAppType.CFGGenesysAdministratorServer,
        CfgAppType.CFGIVRInterfaceServer,
    ],
)
def test_servers_are_daemons(app_type: CfgAppType) -> None:
    assert is_daemon(app_type)
    assert is_daemon(int(app_type))


@pytest.mark.parametrize(
    "app_type", [CfgAppType.CFGSCE, CfgAppType.CFGSCI, CfgAppType.CFGAgentDesktop, CfgAppType.CFGThirdPartyApp]
)
def test_user_interfaces_are_not(app_type: CfgAppType) -> None:
    assert not is_daemon(app_type)


@pytest.mark.parametrize("app_type", [0, 9999, -1, CfgAppType(9999), CfgAppType.CFGMaxAppType])
def test_what_is_no_application_type_is_no_daemon(app_type: int) -> None:
    assert not is_daemon(app_type)


def test_nothing_that_calls_itself_a_server_is_interactive() -> None:
    assert not [member for member in INTERACTIVE_TYPES if member.name.lower().endswith("server")]
    assert not [m for m in CfgAppType if "client" in m.name.lower() and m not in INTERACTIVE_TYPES]
