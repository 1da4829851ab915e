"""Payloads show no secrets, whichever of them hold any."""

from __future__ import annotations

import pytest

from csproxy.transport.wire.administration import ChangePassword
from csproxy.transport.wire.pairs import PeerSession, PeerUpdate
from csproxy.transport.wire.payload import Payload
from csproxy.transport.wire.registration import Authenticate, ClientRegistered, RegisterClient, RestoreSession
from csproxy.transport.wire.subscriptions import HistoryLog
from csproxy.transport.wire.writes import CreateObject, UpdateObject

HUSH = "hush-Qz7"
SECRETS = {"password": HUSH, "app_password": HUSH, "new_password": HUSH, "ticket": HUSH.encode()}
SESSION = PeerSession(id=HUSH, application="a", application_dbid=1, type=2)


@pytest.mark.parametrize(
    "payload",
    [
        RegisterClient(type=1, name="a", gss_token=HUSH.encode(), **SECRETS),  # type: ignore[arg-type]
        RestoreSession(type=1, name="a", session=HUSH),
        ClientRegistered(session=HUSH, protocol_version=1),
        Authenticate(user="a", password=HUSH),
        ChangePassword(user="a", old_password=HUSH, new_password=HUSH),
        HistoryLog(session=HUSH),
        CreateObject(type=3, object={"userName": "a", "password": HUSH}),
        UpdateObject(type=9, dbid=1, delta={"options": {"changed": {"s": {"shared-secret": HUSH}}}}),
        SESSION,
        PeerUpdate(sessions=[SESSION]),
    ],
    ids=lambda payload: type(payload).__name__,
)
def test_a_payload_does_not_show_its_secrets(payload: Payload) -> None:
    assert HUSH not in repr(payload)
    assert "***" in repr(payload)
    assert repr(payload).startswith(type(payload).__name__ + "(")
