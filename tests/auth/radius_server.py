"""A RADIUS server for tests: FreeRADIUS with a few users; one port answers without Message-Authenticator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from csproxy.auth.radius import RadiusServer
from tests.auth.real_servers import running
from tests.own_ports import free_ports

__all__ = ["RadiusPorts", "freeradius_server"]

_SITE = """
server {name} {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {port}
    }}
    authorize {{
        if (&User-Name == "carol") {{
            update control {{
                &Response-Packet-Type := Access-Challenge
            }}
            update reply {{
                &Reply-Message := "Enter the next code"
                &State := 0x01
                {sign}
            }}
            handled
        }}
        if (&NAS-Identifier != "csproxy") {{
            reject
        }}
        files
        pap
    }}
    authenticate {{
        Auth-Type PAP {{
            pap
        }}
    }}
    post-auth {{
        update reply {{
            {sign}
        }}
        Post-Auth-Type REJECT {{
            update reply {{
                {sign}
            }}
        }}
    }}
}}
"""

_CONFIG = """
libdir = /usr/lib/freeradius
logdir = {folder}
run_dir = {folder}
raddbdir = {folder}
pidfile = {folder}/radiusd.pid
security {{
    allow_vulnerable_openssl = yes
    reject_delay = 0
}}
client tests {{
    ipaddr = 127.0.0.1
    secret = shared
    require_message_authenticator = yes
}}
modules {{
    always handled {{
        rcode = handled
    }}
    always reject {{
        rcode = reject
    }}
    pap {{
    }}
    files {{
        usersfile = {folder}/users
    }}
}}
{sites}
"""

_USERS = """
jane Cleartext-Password := "secret"
zoë Cleartext-Password := "gehäim"
locked Auth-Type := Reject
    Reply-Message = "locked until noon"
"""


class RadiusPorts(NamedTuple):
    """The same users on two ports."""

    signed: int
    unsigned: int

    def server(self, *, port: int = 0, **more: Any) -> RadiusServer:
        """Settings that reach the port with signed answers, or another."""
        return RadiusServer(
            host="127.0.0.1", port=port or self.signed, **{"secret": "shared", "timeout_s": 1.0, "retries": 0, **more}
        )


@contextmanager
def freeradius_server(folder: Path) -> Iterator[RadiusPorts]:
    """Start FreeRADIUS with its files in ``folder``."""
    ports = RadiusPorts(*free_ports(2))
    sites = "".join(
        _SITE.format(
            name=name, port=port, sign="&Message-Authenticator := 0x00" if name == "signed" else "&Class := 0x00"
        )
        for name, port in ports._asdict().items()
    )
    (folder / "radiusd.conf").write_text(_CONFIG.format(folder=folder, sites=sites))
    (folder / "users").write_text(_USERS)
    log = folder / "freeradius.log"

    def is_ready() -> bool:
        return "Ready to process requests" in log.read_text(errors="replace")

    command = ["/usr/sbin/freeradius", "-d", str(folder), "-n", "radiusd", "-f", "-l", "stdout"]
    with running(command, folder, is_ready=is_ready):
        yield ports
