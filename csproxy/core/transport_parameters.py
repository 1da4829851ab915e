"""Transport parameters of ports and connections: ``name=value;name=value``."""

from __future__ import annotations

__all__ = ["transport_parameters"]


def transport_parameters(text: str) -> dict[str, str]:
    """``name=value;name=value`` as a dictionary with lower-case names; the last of two equal names counts."""
    parameters: dict[str, str] = {}
    for part in text.split(";"):
        name, separator, value = part.partition("=")
        if separator and name.strip():
            parameters[name.strip().lower()] = value.strip()
    return parameters
