"""`csproxy stop`, `promote`, `hand-over` and `status --management`: requests to a server's management port."""

from __future__ import annotations

import argparse
import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from csproxy.daemon.endpoints import host_and_port
from csproxy.daemon.management import token_file
from csproxy.daemon.output import say
from csproxy.daemon.usage import DONE, UsageError
from csproxy.errors import (
    ConfigurationError,
    ConnectionLostError,
    CsproxyError,
    LocalProtocolError,
    NothingListensError,
    RemoteProtocolError,
    TimedOutError,
)

__all__ = ["ManagementClient", "management_client", "run_hand_over", "run_promote", "run_stop"]

_TIMEOUT_S: Final = 10.0
_STOP_S: Final = 30.0
_POLL_S: Final = 0.1
_MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, repr=False)
class ManagementClient:
    """Asks one management port, a connection for each request. ``token`` may be empty."""

    host: str
    port: int
    token: str

    def __repr__(self) -> str:
        return f"<ManagementClient {self.host}:{self.port}>"

    def status(self) -> dict[str, Any]:
        """What status.json says. Raises as `request`."""
        content = self.request("GET", "/status.json")
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RemoteProtocolError(f"{self.host}:{self.port} is no management port: its status is no JSON object")
        return found

    def request(self, method: str, path: str) -> bytes:
        """The content of the answer.

        Raises `NothingListensError`, `ConnectionLostError`, `TimedOutError`, `ConfigurationError` for a token that is
        missing or wrong, `LocalProtocolError` for what the server cannot do now, `RemoteProtocolError` for every other
        answer than success.
        """
        where = f"{self.host}:{self.port}"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            content = answer.read(_MAX_BYTES)
        except ConnectionRefusedError as e:
            raise NothingListensError(f"nothing listens at the management port {where}") from e
        except TimeoutError as e:
            raise TimedOutError(f"the management port {where} has not answered within {_TIMEOUT_S:g} s") from e
        except http.client.HTTPException as e:
            raise RemoteProtocolError(f"{where} is no management port: {e!r}") from e
        except OSError as e:
            raise ConnectionLostError(f"the management port {where} cannot be reached: {e.strerror or e}") from e
        finally:
            connection.close()
        if answer.status == http.client.UNAUTHORIZED:
            raise ConfigurationError(
                f"{where} refuses the token{'' if self.token else ', of which there is none'}: --token-file names the "
                "file that the server's log names at its start"
            )
        if answer.status == http.client.CONFLICT:
            raise LocalProtocolError(content.decode(errors="replace").strip())
        if not 200 <= answer.status < 300:
            raise RemoteProtocolError(f"{where} is no management port: it answers {answer.status} to {method} {path}")
        return content


def management_client(arguments: argparse.Namespace) -> ManagementClient:
    """From ``--management`` and ``--token-file``; the default file may be missing. Raises `CsproxyError`."""
    host, port = host_and_port("--management", arguments.management)
    given = arguments.token_file
    path = given if given is not None else token_file(Path(), port)
    token = ""
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as e:
        if given is not None or not isinstance(e, FileNotFoundError):
            reason = getattr(e, "strerror", None) or "it is no token"
            raise ConfigurationError(f"token file {path} cannot be read: {reason}") from e
    if not token.isprintable() or " " in token:
        raise UsageError(f"token file {path} holds no token")
    return ManagementClient(host, port, token)


def run_promote(arguments: argparse.Namespace) -> int:
    """Let a proxy of a pair serve whose other one cannot be asked; returns the exit status."""
    client = management_client(arguments)
    client.request("POST", "/promote")
    say("it serves")
    return DONE


def run_hand_over(arguments: argparse.Namespace) -> int:
    """Let a proxy of a pair that serves hand over to the other one; returns the exit status."""
    client = management_client(arguments)
    client.request("POST", "/hand-over")
    say("handed over")
    return DONE


def run_stop(arguments: argparse.Namespace) -> int:
    """Ask the server to stop, and wait until its management port is closed; returns the exit status."""
    client = management_client(arguments)
    client.request("POST", "/stop")
    deadline_s = time.monotonic() + _STOP_S
    while time.monotonic() < deadline_s:
        try:
            client.request("GET", "/healthz")
        except NothingListensError:
            say("stopped")
            return DONE
        except CsproxyError:
            # it closes connections while it ends
            pass
        time.sleep(_POLL_S)
    raise TimedOutError(f"{client.host}:{client.port} has taken the request, but still runs after {_STOP_S:g} s")
