"""A pool as a configuration of HAProxy."""

from __future__ import annotations

from typing import Final

from csproxy.core.failover import Endpoint
from csproxy.daemon.balancers import Sizing, snat_comment, token
from csproxy.daemon.pools import Pool, PoolServer
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.frames import FLAG_END
from csproxy.transport.wire.messages import MessageId

__all__ = ["haproxy_config"]

_LINUX_PORTS: Final = 28_232
"""Ports of the default range of Linux for outgoing connections, 32768 to 60999."""
_OVERHEAD: Final = 100
"""Connections beside those of clients: checks, and clients that the limit makes wait."""


def haproxy_config(pool: Pool, sizing: Sizing, *, proxy_protocol: bool = False) -> str:
    """The text of haproxy.cfg, complete.

    With ``proxy_protocol`` each connection to a member begins with a PROXY header, version 2: members then see the
    address of the client. They must be told that the balancer may send one.
    """
    lines = [
        f"# Pool {pool.balancer.name!r}: {len(pool.members)} Configuration Server Proxies, round robin.",
        "# Made by: csproxy lb-config haproxy",
        "#",
        *(f"# {line}" for line in snat_comment(sizing)),
        *_range_comment(sizing),
        "",
        "global",
        f"    maxconn {sizing.clients + _OVERHEAD}",
        "",
        "defaults",
        "    mode tcp",
        "    timeout connect 3s",
        f"    timeout client {sizing.idle_timeout_s}s",
        f"    timeout server {sizing.idle_timeout_s}s",
        "    timeout check 3s",
        # a member that has just died fails once for each of its lines: two may be dead before checks have found it
        f"    retries {max(3, 2 * len(sizing.sources))}",
        "    option redispatch 1",
        "    option clitcpka",
        "    option srvtcpka",
    ]
    for id_, port in pool.balancer.ports.items():
        name = f"{token(pool.balancer.name)}_{token(id_)}"
        lines += [
            "",
            f"frontend {name}",
            f"    bind {Endpoint(pool.balancer.address, port)}",
            f"    maxconn {sizing.clients}",
            f"    default_backend {name}",
            "",
            f"backend {name}",
            "    balance roundrobin",
            *_check_lines(pool, id_),
            f"    default-server check inter {sizing.check_interval_s}s fall 2 rise 2 on-marked-down shutdown-sessions"
            + (" send-proxy-v2 check-send-proxy" if proxy_protocol else ""),
            *(line for member in pool.members for line in _server_lines(member, id_, sizing)),
        ]
    return "\n".join(lines) + "\n"


def _range_comment(sizing: Sizing) -> list[str]:
    if sizing.clients <= _LINUX_PORTS * max(len(sizing.sources), 1):
        return []
    return [
        f"# Linux uses {_LINUX_PORTS} of them unless told otherwise: sysctl net.ipv4.ip_local_port_range='1024 65535'"
    ]


def _check_lines(pool: Pool, id_: str) -> list[str]:
    if any(id_ in member.mutual for member in pool.members):
        return [
            "    # members demand a certificate, and HAProxy has none: it only connects, and finds no frozen process"
        ]
    # a stopped process still has its connections completed by the kernel: only an answer shows that it lives
    hello = ClientProtocol().connect("balancer").hex()
    answer = f"{int(MessageId.PROTOCOL_VERSION_READ):04x}{FLAG_END:02x}"
    return [
        "    option tcp-check",
        "    # the first bytes of a client, and the number of the answer to them",
        f"    tcp-check send-binary {hello}",
        f"    tcp-check expect binary {answer}",
    ]


def _server_lines(member: PoolServer, id_: str, sizing: Sizing) -> list[str]:
    where = Endpoint(member.address, member.ports[id_])
    name = token(member.name)
    # a port that takes TLS only answers nothing else; whether the member lives is all that is asked
    tls = " check-ssl verify none" if id_ in member.secure - member.mutual else ""
    if not sizing.sources:
        return [f"    server {name} {where}{tls}"]
    # one line for each source address: together they are one member
    return [
        f"    server {name}{f'_{number}' if number > 1 else ''} {where} source {source}{tls}"
        for number, source in enumerate(sizing.sources, 1)
    ]
