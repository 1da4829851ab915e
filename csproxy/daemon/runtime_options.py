"""Options that may change while the server runs, and the order of their sources.

The Application object's options win over the file once they have been read; the command line and
the environment win over both. [log] is the exception: options of the command line are bootstrap
logging, which ends when the Application object says otherwise.

A bad value in the Application object never stops a running server: the old value stays and a
Standard event names option, value and what is valid.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from csproxy.core.option_values import value_text
from csproxy.core.options import APPLICATION_OPTIONS, Effect, Option, OptionValue, find_option
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
            value_text(change.value) or "empty",
            ", which counts from the next start on" if running and option.effect is Effect.RESTART else "",
            extra={"event": 4110},
        )


class RuntimeOptions:
    """The values in force, keyed by section and name."""

    def __init__(self, layers: RuntimeLayers) -> None:
        self._layers = layers
        self._application: dict[tuple[str, str], OptionValue] = {}
        given = [option for key in (*layers.fixed, *layers.file) if (option := find_option(*key)) is not None]
        self._values = {
            (option.section, option.name): self._resolve(option) for option in (*APPLICATION_OPTIONS, *given)
        }

    def __repr__(self) -> str:
        return f"<RuntimeOptions {len(self._application)} from the Application object>"

    def get(self, section: str, name: str) -> OptionValue:
        """The value in force; KeyError for an option that the table does not have."""
        return self._values[section, name]

    def section(self, section: str) -> dict[str, OptionValue]:
        """The values in force of a section, by name."""
        return {name: value for (of, name), value in self._values.items() if of == section}

    def apply_application(self, options: Mapping[str, Any]) -> list[OptionChange]:
        """Take the Application object's options ({section: {option: text or number}}).

        Returns the options whose value in force has changed. A bad value keeps what the option had.
        """
        taken: dict[tuple[str, str], OptionValue] = {}
        for option, raw in _given(options):
            key = option.section, option.name
            try:
                taken[key] = option.parse(str(raw))
            except ValueError:
                _log.warning(
                    "option %s of [%s] in the Application object: %r is not valid, the value %s stays; valid: %s",
                    option.name,
                    option.section,
                    raw,
                    value_text(self._value(option)) or "empty",
                    option.valid,
                    extra={"event": 31004},
                )
                if key in self._application:
                    taken[key] = self._application[key]
        self._application = taken
        return self._changes()

    def hidden(self) -> list[str]:
        """A sentence for each option of confserv.conf that does not count, as the Application object says otherwise."""
        return [
            f"{name} of [{section}] is {value_text(value) or 'empty'} in confserv.conf and "
            f"{value_text(self._application[section, name]) or 'empty'} in the Application object, which counts"
            for (section, name), value in self._layers.file.items()
            if self._application.get((section, name), value) != value
        ]

    def _changes(self) -> list[OptionChange]:
        changes: list[OptionChange] = []
        for key in dict.fromkeys((*self._values, *self._application)):
            option = find_option(*key)
            assert option is not None  # only such are taken
            value = self._resolve(option)
            if value != self._value(option):
                self._values[key] = value
                changes.append(OptionChange(option, value))
        return changes

    def _value(self, option: Option) -> OptionValue:
        return self._values.get((option.section, option.name), option.default)

    def _resolve(self, option: Option) -> OptionValue:
        key = option.section, option.name
        fixed, file = self._layers.fixed, self._layers.file
        layers = (self._application, fixed, file) if option.section == "log" else (fixed, self._application, file)
        return next((layer[key] for layer in layers if key in layer), option.default)


def _given(options: Mapping[str, Any]) -> Iterator[tuple[Option, object]]:
    """What the Application object has of the options that it may set; others are none of the server's business."""
    for section, names in options.items():
        for name, raw in names.items() if isinstance(names, Mapping) else ():
            option = find_option(section, name)
            if option is not None and option.from_application and raw is not None:
                yield option, raw
