"""Answers from a file (TOML), and writing one for the next machine.

Keys are those of the questions, and ``password-file`` and ``app-password-file``. Flags of the command line come
before the file, which comes before the environment (CSPROXY_HOST, _PORT, _USER, _PASSWORD) and the defaults.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from csproxy.daemon.install_questions import QUESTIONS, Check, Kind, Question, visible
from csproxy.daemon.output import say
from csproxy.daemon.private_files import loose_permissions
from csproxy.daemon.usage import UsageError
from csproxy.errors import ConfigurationError

__all__ = ["SECRETS", "VARIABLES", "Answers", "FileAnswers", "answers_text"]

SECRETS: Final = ("password", "app-password")
"""Questions whose answers are shown and kept nowhere."""
_DECISIONS: Final = ("existing", "back-up-to", "confirm")
VARIABLES: Final = {
    "master-host": "CSPROXY_HOST",
    "master-port": "CSPROXY_PORT",
    "user": "CSPROXY_USER",
    "password": "CSPROXY_PASSWORD",
    "app-password": "CSPROXY_CSPROXY__APP_PASSWORD",
}
"""Environment variables that answer questions."""


class Answers(Protocol):
    """Where answers come from."""

    def ask(
        self, key: str, *, default: str | None = None, choices: Sequence[str] = (), check: Check | None = None
    ) -> str:
        """The answer to a question of the table. ``default``, ``choices`` and ``check`` come before those of the table.

        Raises `ConfigurationError` when there is none that is valid.
        """
        ...

    def again(self, problem: str) -> bool:
        """Whether something else can be answered now that there is this problem."""
        ...


class FileAnswers:
    """The answers of a file, which is read at once.

    Raises `UsageError` that names file, key, what stands there and what is valid.
    """

    def __init__(self, path: Path, *, environment: Mapping[str, str] = os.environ) -> None:
        self._path = path
        self._environment = environment
        self._texts = {key: self._text(key, value) for key, value in self._read().items()}
        for secret in SECRETS:
            if secret in self._texts and f"{secret}-file" in self._texts:
                raise UsageError(f"{path}: {secret} and {secret}-file are both there: give one of them")
        if not self._texts.keys().isdisjoint(SECRETS):
            _warn(path)

    def __repr__(self) -> str:
        return f"<FileAnswers {self._path}, {len(self._texts)} answers>"

    def ask(
        self, key: str, *, default: str | None = None, choices: Sequence[str] = (), check: Check | None = None
    ) -> str:
        """As `Answers.ask`."""
        question = QUESTIONS[key]
        text = self._given(key)
        if text is None:
            text = question.default if default is None else default
            if text is None:
                raise ConfigurationError(f"{self._path}: {key} is missing: {_valid(question, choices)}")
            if text == question.default:
                return text
        if choices and text not in choices:
            raise ConfigurationError(f"{self._path}: {key} is {text!r}; {_valid(question, choices)}")
        try:
            return (check or question.check)(text)
        except ValueError as e:
            raise ConfigurationError(f"{self._path}: {key}{_shown(key, text)}: {e}") from None

    def again(self, problem: str) -> bool:
        """Never: nobody is asked."""
        return False

    def _given(self, key: str) -> str | None:
        if key in self._texts:
            return self._texts[key]
        if f"{key}-file" in self._texts:
            return self._first_line(f"{key}-file")
        return self._environment.get(VARIABLES.get(key, "")) or None

    def _first_line(self, key: str) -> str:
        path = Path(self._texts[key])
        path = path if path.is_absolute() else self._path.parent / path
        _warn(path)
        try:
            return path.read_text(encoding="utf-8").split("\n", 1)[0].removesuffix("\r")
        except (OSError, UnicodeDecodeError) as e:
            reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
            raise UsageError(f"{self._path}: {key}: {path} cannot be read: {reason}") from e

    def _read(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self._path.read_text(encoding="utf-8"))
        except OSError as e:
            raise UsageError(f"answers file {self._path} cannot be read: {e.strerror}") from e
        except UnicodeDecodeError as e:
            raise UsageError(f"answers file {self._path} is not UTF-8 at byte {e.start}") from e
        except tomllib.TOMLDecodeError as e:
            raise UsageError(f"answers file {self._path} is not TOML: {e}") from e

    def _text(self, key: str, value: Any) -> str:
        known = (*QUESTIONS, *(f"{secret}-file" for secret in SECRETS))
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"valid are {', '.join(known)}"
            raise UsageError(f"{self._path}: there is no question {key!r}: {hint}")
        kind = QUESTIONS[key].kind if key in QUESTIONS else Kind.PATH
        if isinstance(value, bool) and key == "tls":
            value = str(value).lower()
        elif isinstance(value, int) and not isinstance(value, bool) and kind is Kind.NUMBER:
            value = str(value)
        if not isinstance(value, str):
            raise UsageError(f"{self._path}: {key}{_shown(key, value)}; a text in quotes is valid")
        if key in QUESTIONS and value != QUESTIONS[key].default:
            try:
                value = QUESTIONS[key].check(value)
            except ValueError as e:
                raise UsageError(f"{self._path}: {key}{_shown(key, value)}: {e}") from None
        return str(value)


def answers_text(given: Mapping[str, str]) -> str:
    """An answers file: everything but passwords, and what was decided about files that were there."""
    lines = [
        "# For csproxy install --answers FILE. The password comes from CSPROXY_PASSWORD, --password-file, or the key",
        '# password-file = "..." here. Another machine has another application, and perhaps another directory.',
    ]
    for key, text in given.items():
        question = QUESTIONS[key]
        if key in (*SECRETS, *_DECISIONS) or text == question.default == "":
            continue
        is_bare = question.kind is Kind.NUMBER or key == "tls"
        lines.append(f"{key} = {text if is_bare else json.dumps(text, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _valid(question: Question, choices: Sequence[str]) -> str:
    names = choices or question.choices
    if names:
        return f"valid are {', '.join(visible(name) for name in names)}"
    return question.text[0].lower() + question.text[1:]


def _shown(key: str, value: Any) -> str:
    return "" if key in SECRETS else f" is {value!r}"


def _warn(path: Path) -> None:
    warning = loose_permissions(path, is_secret=True)
    if warning is not None:
        say(f"warning: {warning}")
