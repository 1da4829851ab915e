"""Write docs/reference/authentication-options.md from the rows in csproxy/core/auth_options.py.

    python scripts/generate_auth_reference.py [FILE]

A test runs this and compares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from csproxy.core.auth_options import ANNEX_OPTIONS, AUTH_OPTIONS
from csproxy.core.option_values import Option
from csproxy.core.security_options import RULE_OPTIONS, RULES, SECURITY_OPTIONS

TARGET: Final = Path(__file__).parent.parent / "docs" / "reference" / "authentication-options.md"

HEAD: Final = """# Authentication options

In the Application object of the server. `[gauth_ldap]` and `[gauth_radius]` describe one server each; further ones
have sections `[gauth_ldap_1]`, `[gauth_radius_1]` and so on with the same options. What they do:
[authentication](../topics/authentication.md). This page is made from the tables in `csproxy/core/auth_options.py` and
`csproxy/core/security_options.py`.

D: documented by the vendor (names; defaults and semantics of some are ours). O: our own choice.
"""
TABLE: Final = """
| option | default | valid | takes effect | meaning | |
|---|---|---|---|---|---|
"""


def reference() -> str:
    """The page."""
    parts = [HEAD]
    by_section: dict[str, list[Option]] = {}
    for option in (*AUTH_OPTIONS, *SECURITY_OPTIONS):
        by_section.setdefault(option.section, []).append(option)
    for section, rows in by_section.items():
        parts.append(f"\n## [{section}]\n{TABLE}")
        parts += map(_line, rows)
    library = ANNEX_OPTIONS[0]
    parts.append(
        "\n## Annex of a Tenant or Person\n\n"
        f"`library` of `[authentication]` ({library.valid}), and the options of `[gauth_ldap]`, `[gauth_ldap_1]` "
        "and so on. They take effect at once.\n"
    )
    parts.append(
        f"\n### [{RULES}]\n\nRules for passwords and accounts ([how they work together](../topics/passwords.md)). "
        f"Each is taken from the Person, else the Tenant, else the tenants above it, Environment last.\n{TABLE}"
    )
    parts += map(_line, RULE_OPTIONS)
    return "".join(parts)


def _line(row: Option) -> str:
    return f"| {row.name} | {_shown(row)} | {row.valid} | {row.effect.value} | {row.meaning} | {row.origin} |\n"


def _shown(row: Option) -> str:
    value = row.default
    if isinstance(value, bool):
        words = row.valid.split(", ")
        return words[0] if value else words[1]
    return str(value) if value not in ("", ()) else "empty"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET).write_text(reference(), encoding="utf-8")
