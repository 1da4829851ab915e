"""What a server says of itself at its management port."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final

_ASK_S: Final = 2.0


def environment(port: int) -> dict[str, str | None]:
    """What makes a server open this management port. Its coverage is not measured: under very many clients everything
    would take half as long again."""
    return {"CSPROXY_CSPROXY__MANAGEMENT_PORT": str(port), "COVERAGE_PROCESS_CONFIG": None}


def status(port: int) -> dict[str, Any]:
    """The whole of status.json; nothing if the server does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ASK_S)
    try:
        connection.request("GET", "/status.json")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
    return found
