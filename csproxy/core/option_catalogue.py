"""All options in one place, for the reference page and for whoever asks what an option means.

The rows themselves stand in `csproxy.core.options` (what the server and the Application object have),
`csproxy.core.auth_options` (log-ins), `csproxy.core.security_options` (rules in annexes) and
`csproxy.core.transport_parameters` (ports and connections).
"""

from __future__ import annotations

import difflib
from typing import Final

from csproxy.core.auth_options import ANNEX_OPTIONS, AUTH_OPTIONS, log_in_kind
from csproxy.core.option_values import Option, value_text
from csproxy.core.options import OPTIONS, find_option
from csproxy.core.security_options import RULE_OPTIONS, RULES
from csproxy.core.transport_parameters import TRANSPORT_PARAMETERS, places

__all__ = ["ANNEX_LIBRARY", "CATALOGUE", "TRANSPORT", "default_text", "find_options", "similar_options", "sources"]

TRANSPORT: Final = "transport"
"""Where transport parameters stand in the catalogue: no section of a file, but what follows ``-transport-``."""

_TRANSPORT_OPTIONS: Final = tuple(
    Option(
        section=TRANSPORT,
        name=row.name,
        default=row.default,
        valid=row.valid,
        # a port or a connection checks its parameters together
        parse=str,
        effect=row.effect,
        origin=row.origin,
        meaning=row.meaning,
        from_application=False,
        from_file=False,
        of="port, connection" if row.place == "both" else row.place,
    )
    for row in TRANSPORT_PARAMETERS
)

CATALOGUE: Final[tuple[Option, ...]] = (*OPTIONS, *AUTH_OPTIONS, *RULE_OPTIONS, *_TRANSPORT_OPTIONS)
"""Every option, by section, and the transport parameters; `ANNEX_LIBRARY` stands beside the server's ``library``."""

ANNEX_LIBRARY: Final = ANNEX_OPTIONS[0]
"""``library`` of [authentication] as the annex of a Tenant or a Person may have it."""

_PARAMETERS: Final = frozenset({"cs-persistent-failover-tmout", "db-persistent-failover-tmout"})


def find_options(name: str) -> list[Option]:
    """The options of a name, in any case: ``verbose``, ``log/verbose`` with its section, ``gauth_ldap_2/ldap-url``.

    ``transport/tls`` is a transport parameter.
    """
    section, _, last = name.strip().lower().rpartition("/")
    kind = log_in_kind(section)
    found = [option for option in CATALOGUE if option.name.lower() == last and kind in ("", option.section)]
    single = find_option("log-extended", last) if not found and section in ("", "log-extended") else None
    return found if single is None else [single]


def similar_options(name: str) -> list[str]:
    """Names that look like ``name``, best first."""
    names = {option.name for option in CATALOGUE}
    return difflib.get_close_matches(name.strip().lower().rpartition("/")[2], sorted(names), n=3, cutoff=0.6)


def sources(option: Option) -> list[str]:
    """Where the option may stand, in the order in which the places win."""
    if option.section == TRANSPORT:
        return next(places(row) for row in TRANSPORT_PARAMETERS if row.name == option.name)
    if option.section == RULES:
        return [f"section [{RULES}] of the annex of a Person, of its Tenant, and of the tenants above"]
    application = f"section [{option.section}] of the Application object's options"
    if not option.from_file:
        return [application]
    variable = f"CSPROXY_{option.section}__{option.name}".upper().replace("-", "_").replace("DBSERVER__", "DATABASE__")
    first = [f"environment variable {variable}"]
    if option.section == "log":
        first.insert(0, f"parameter -log-{option.name}")
    elif option.name in _PARAMETERS:
        first.insert(0, f"parameter -{option.name}")
    file = [f"section [{option.section}] of confserv.conf"]
    if not option.from_application:
        return first + file
    return [application, *first, *file] if option.section == "log" else [*first, application, *file]


def default_text(option: Option) -> str:
    """The default in the words that the option takes; ``empty`` for nothing."""
    if isinstance(option.default, bool):
        words = option.valid.split(", ")
        return words[0] if option.default else words[1]
    return value_text(option.default) or "empty"
