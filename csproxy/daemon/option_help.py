"""`csproxy options [NAME]`: what the options mean, from the tables that the servers obey."""

from __future__ import annotations

import argparse
from typing import Any

from csproxy.core.option_catalogue import CATALOGUE, TRANSPORT, default_text, find_options, similar_options, sources
from csproxy.core.option_values import Option
from csproxy.daemon.output import compact_json, pretty_json, print_rows
from csproxy.daemon.usage import DONE
from csproxy.errors import ConfigurationError

__all__ = ["run_options"]

_ORIGINS = {"D": "documented by the vendor", "O": "ours"}


def run_options(arguments: argparse.Namespace) -> int:
    """Explain the options of a name, or list all. Raises `ConfigurationError` for a name that no option has."""
    found = list(CATALOGUE) if arguments.name is None else find_options(arguments.name)
    if not found:
        similar = similar_options(arguments.name)
        hint = f"; similar: {', '.join(similar)}" if similar else "; csproxy options lists all"
        raise ConfigurationError(f"there is no option {arguments.name}{hint}")
    if arguments.output == "json":
        print(pretty_json([_document(option) for option in found]))
    elif arguments.output == "jsonl":
        for option in found:
            print(compact_json(_document(option)))
    elif arguments.name is None:
        print_rows(
            "Options",
            ("Section", "Option", "Default", "Takes effect", "Of"),
            [(option.section, option.name, default_text(option), option.effect.value, option.of) for option in found],
            numeric=frozenset(),
        )
    else:
        print("\n\n".join(_explained(option) for option in found))
    return DONE


def _document(option: Option) -> dict[str, Any]:
    return {
        "section": option.section,
        "option": option.name,
        "default": default_text(option),
        "valid": option.valid,
        "takes_effect": option.effect.value,
        "of": option.of,
        "origin": option.origin,
        "meaning": option.meaning,
        "sources": sources(option),
    }


def _explained(option: Option) -> str:
    rows = (
        ("default", default_text(option)),
        ("valid", option.valid),
        ("takes effect", option.effect.value),
        ("of", {"both": "master and proxy"}.get(option.of, option.of)),
        ("origin", _ORIGINS[option.origin]),
        ("stands in", "; ".join(sources(option))),
    )
    title = "transport parameter" if option.section == TRANSPORT else f"[{option.section}]"
    lines = [f"{title} {option.name}", f"  {option.meaning}"]
    return "\n".join([*lines, *(f"  {name + ':':<14}{text}" for name, text in rows)])
