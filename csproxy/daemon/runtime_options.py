"""Options that may change while the server runs, and the order of their sources.

The Application object's options win over the file once they have been read; the command line and
the environment win over both. [log] is the exception: options of the command line are bootstrap
logging, which ends when the Application object says otherwise.

A bad value in the Application object never stops a running server: the old value stays and a
Standard event names option, value and what is valid.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from csproxy.core.options import APPLICATION_OPTIONS, Effect, Option, OptionValue
from csproxy.daemon.logs import TRACE
from csproxy.daemon.settings import RuntimeLayers

__all__ = ["OptionChange", "RuntimeOptions", "log_changes"]

_log = logging.getLogger("csproxy.daemon.options")


@dataclass(frozen=True)
class OptionChange:
    """One option whose value in force has changed."""

    option: Option
    value: OptionValue


def log_changes(changes: Sequence[OptionChange], *, running: bool = True) -> None:
    """Write event 00-04110 for each change; called when they are in force, those of the log included.

    A server that is not ``running`` yet still takes the options that count from the next start only.
    """
    for change in changes:
        option = change.option
        _log.log(
            TRACE,
            "option %s of [%s] is now %s%s",
            option.name,
            option.section,
            _shown(change.value),
            ", which counts from the next start on" if running and option.effect is Effect.RESTART else "",
            extra={"event": "00-04110"},
        )


class RuntimeOptions:
    """The values in force, keyed by section and name."""

    def __init__(self, layers: RuntimeLayers) -> None:
        self._layers = layers
        self._application: dict[tuple[str, str], OptionValue] = {}
        self._values = {(option.section, option.name): self._resolve(option) for option in APPLICATION_OPTIONS}

    def __repr__(self) -> str:
        return f"<RuntimeOptions {len(self._application)} from the Application object>"

    def get(self, section: str, name: str) -> OptionValue:
        """The value in force; KeyError for an option that the table does not have."""
        return self._values[section, name]

    def apply_application(self, options: Mapping[str, Any]) -> list[OptionChange]:
        """Take the Application object's options ({section: {option: text or number}}).

        Returns the options whose value in force has changed. A bad value keeps what the option had.
        """
        taken: dict[tuple[str, str], OptionValue] = {}
        for option in APPLICATION_OPTIONS:
            section = options.get(option.section)
            raw = section.get(option.name) if isinstance(section, Mapping) else None
            if raw is None:
                continue
            key = option.section, option.name
            try:
                taken[key] = option.parse(str(raw))
            except ValueError:
                _log.warning(
                    "option %s of [%s] in the Application object: %r is not valid, the value %s stays; valid: %s",
                    option.name,
                    option.section,
                    raw,
                    _shown(self._values[key]),
                    option.valid,
                )
                if key in self._application:
                    taken[key] = self._application[key]
        self._application = taken
        return self._changes()

    def _changes(self) -> list[OptionChange]:
        changes: list[OptionChange] = []
        for option in APPLICATION_OPTIONS:
            key = option.section, option.name
            value = self._resolve(option)
            if value != self._values[key]:
                self._values[key] = value
                changes.append(OptionChange(option, value))
        return changes

    def _resolve(self, option: Option) -> OptionValue:
        key = option.section, option.name
        fixed, file = self._layers.fixed, self._layers.file
        layers = (self._application, fixed, file) if option.section == "log" else (fixed, self._application, file)
        return next((layer[key] for layer in layers if key in layer), option.default)


def _shown(value: OptionValue) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else str(value)
