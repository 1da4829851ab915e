"""Write docs/reference/options.md from the tables that the servers obey (csproxy/core/option_catalogue.py).

    python scripts/generate_options_reference.py [FILE]

A test runs this and compares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from csproxy.core.option_catalogue import ANNEX_LIBRARY, CATALOGUE, TRANSPORT, default_text
from csproxy.core.option_values import Option
from csproxy.core.security_options import RULES

TARGET: Final = Path(__file__).parent.parent / "docs" / "reference" / "options.md"

HEAD: Final = """# Options

Every option, by section. This page is made from the tables that the servers obey; `csproxy options NAME` says the same.

Where an option may stand, and which place wins: [confserv.conf](confserv-conf.md#where-a-value-comes-from). A change
in the Application object counts when the column *takes effect* says: *immediately* while the server runs; *next
reconnect* when the connection to the master is made anew; *restart* at the next start. Each change is logged (event
04110). A bad value in the Application object keeps the old one, and a Standard event says what is valid.

*of*: master, proxy, or both; the other one ignores the option. D: documented by the vendor (the name; some defaults,
limits and times are ours where its public pages are silent). O: our own.

Ports and connections have [transport parameters](#transport-parameters), and connections
[keep-alive](../topics/keep-alive.md) times.
"""
TITLES: Final = {TRANSPORT: "Transport parameters"}
TABLE: Final = """
| option | default | valid | takes effect | of | meaning | |
|---|---|---|---|---|---|---|
"""
SECTIONS: Final = {
    "confserv": "What a master needs to start; in confserv.conf and the environment only. The section is named after "
    "the server's Application object.",
    "dbserver": "The Configuration Database of a master, and of a proxy in "
    "[persistent mode](../topics/persistent-mode.md); in confserv.conf and the environment only. The section is "
    "named by `server` of `[confserv]`, here `dbserver`. [Databases](database.md).",
    "security": "Limits hold for one address: an IPv4 address, or the /64 network of an IPv6 one. Loopback is never "
    "limited. What a client is told: [protocol](../protocol.md#limits-per-address). Log-ins that a proxy asks its "
    "master to check count for the proxy's address, unless the master [trusts](../topics/writable-proxy.md) the "
    "proxy, which then limits its clients itself. A call centre of thousands behind one address (NAT) stays below "
    "the defaults, also when all come back at once.",
    "log": "How they work together: [logs](../topics/logs.md). Events: [log events](log-events.md).",
    "log-extended": "The level of single [events](log-events.md).",
    "history-log": "What they do together: [history log](../topics/history-log.md#options).",
    "authentication": "[Ways of logging in](../topics/authentication.md). The annex of a Tenant or Person may hold "
    f"`library`, too ({ANNEX_LIBRARY.valid}), for its users.",
    "gauth_ldap": "One LDAP server; further ones have sections `[gauth_ldap_1]`, `[gauth_ldap_2]` and so on with the "
    "same options. The annex of a Tenant or Person may have these sections, for its users.",
    "gauth_radius": "One RADIUS server; further ones have sections `[gauth_radius_1]`, `[gauth_radius_2]` and so on.",
    RULES: "Rules for passwords and accounts ([how they work together](../topics/passwords.md)), in the annex of a "
    "Person, else its Tenant, else the tenants above it, Environment last.",
    TRANSPORT: "Of a port or a connection, as *of* says; [where they stand](transport-parameters.md), [what they do "
    "together](../topics/tls.md). *New connections*: a change of an object counts for connections that are made from "
    "then on, whoever makes them; one of confserv.conf or the command line at the next start.",
}
SEE: Final = {
    "allow-external-empty-password": "../topics/authentication.md",
    "app-password": "../topics/writable-proxy.md",
    "balancer-addresses": "../howto/pool-behind-a-balancer.md",
    "consistent-port-selection": "../topics/master-pair.md#proxies-and-clients",
    "cs-persistent-failover-tmout": "../topics/persistent-mode.md",
    "db-persistent-failover-tmout": "../topics/persistent-mode.md",
    "delay-reload": "../topics/reload-control.md",
    "delay-reload-backup": "../topics/proxy-pair.md",
    "encoding": "../topics/text.md#encoding-of-the-audit",
    "encryption": "confserv-conf.md#encrypted-passwords",
    "last-login": "../topics/passwords.md#last-log-in",
    "no-default-access": "../topics/permissions.md",
    "lease-time": "../topics/master-pair.md",
    "locale": "../topics/text.md#order",
    "management-port": "../howto/monitoring.md",
    "master-transport": "transport-parameters.md",
    "proxy-cluster-name": "../howto/pool-behind-a-balancer.md",
    "proxy-snapshot": "../topics/local-copy.md",
    "proxy-trust-loopback": "../topics/writable-proxy.md",
    "proxy-writable": "../topics/writable-proxy.md",
    "serialize-write-transactions": "../topics/reload-control.md",
    "transport": "transport-parameters.md",
}


def reference() -> str:
    """The page."""
    by_section: dict[str, list[Option]] = {}
    for option in CATALOGUE:
        by_section.setdefault(option.section, []).append(option)
    parts = [HEAD]
    for section, rows in by_section.items():
        text = f"\n{SECTIONS[section]}\n" if section in SECTIONS else ""
        parts.append(f"\n## {TITLES.get(section, f'[{section}]')}\n{text}{TABLE}")
        parts += map(_line, rows)
    return "".join(parts)


def _line(row: Option) -> str:
    more = f" [More]({SEE[row.name]})." if row.name in SEE and row.section != TRANSPORT else ""
    cells = (row.name, default_text(row), row.valid, row.effect.value, row.of, row.meaning + more, row.origin)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET).write_text(reference(), encoding="utf-8")
