"""A pool as a configuration of an F5, in the form that the reference chapter shows.

Members are checked by connecting to them; every port of the balancer is a virtual server with a pool of its own. The
network of the F5 (VLAN, self addresses, route) is the site's and not written here.

Source: the sample configuration of the chapter on load-balanced proxies. It has one virtual server on one pool; a
pool for each port of the balancer, and the SNAT pool, are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from csproxy.core.failover import Endpoint
from csproxy.daemon.balancers import Sizing, snat_comment, token
from csproxy.daemon.pools import Pool

__all__ = ["f5_config"]


def f5_config(pool: Pool, sizing: Sizing) -> str:
    """The text to merge into the configuration of the F5."""
    name = token(pool.balancer.name)
    profile = f"tcp-idle{sizing.idle_timeout_s}"
    checked = sorted({member.ports[id_] for member in pool.members for id_ in pool.balancer.ports})
    text = [
        f"# Pool {pool.balancer.name!r}: {len(pool.members)} Configuration Server Proxies, round robin.",
        "# Made by: csproxy lb-config f5. The network (vlan, self, route) is yours to add.",
        "#",
        *(f"# {line}" for line in snat_comment(sizing)),
    ]
    for port in checked:
        text += _block(
            f"monitor TCP-{port}",
            [
                "defaults from tcp",
                f"dest *:{port}",
                f"interval {sizing.check_interval_s}",
                # the form of the vendor of the balancer: three checks and a second
                f"timeout {3 * sizing.check_interval_s + 1}",
            ],
        )
    text += _block(f"profile tcp {profile}", ["defaults from tcp", f"idle timeout {sizing.idle_timeout_s}"])
    for address, names in _nodes(pool).items():
        text += _block(f"node {address}", ["monitor icmp", f"screen {token('-'.join(names))}"])
    if sizing.sources:
        text += _block(f"snatpool {name}", [("members", sizing.sources)])
    for id_, port in pool.balancer.ports.items():
        of_port = f"{name}_{token(id_)}"
        members = [
            (str(Endpoint(member.address, member.ports[id_])), [f"monitor TCP-{member.ports[id_]}"])
            for member in pool.members
        ]
        text += _block(f"pool {of_port}", ["lb method round robin", ("members", members)])
        text += _block(
            f"virtual vs_{of_port}",
            [
                f"snatpool {name}" if sizing.sources else "snat automap",
                f"pool {of_port}",
                f"destination {Endpoint(pool.balancer.address, port)}",
                "ip protocol tcp",
                f"profiles {profile} {{}}",
            ],
        )
    return "\n".join(text) + "\n"


def _nodes(pool: Pool) -> dict[str, list[str]]:
    nodes: dict[str, list[str]] = {}
    for member in pool.members:
        nodes.setdefault(member.address, []).append(member.name)
    return nodes


def _block(head: str, body: Sequence[Any], depth: int = 0) -> Iterable[str]:
    """A head and what stands in its braces: lines, or pairs of a head and its own lines."""
    margin = "    " * depth
    yield f"{margin}{head} {{"
    for item in body:
        if isinstance(item, str):
            yield f"{margin}    {item}"
        else:
            inner, lines = item
            yield from _block(inner, lines, depth + 1)
    yield f"{margin}}}"
