"""Answers from a person at a terminal: a default that Enter takes, validation while one types, completed paths."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from csproxy.daemon.install_answers import VARIABLES
from csproxy.daemon.install_questions import QUESTIONS, Check, Kind, Question, visible
from csproxy.errors import ConfigurationError

if TYPE_CHECKING:
    from prompt_toolkit.validation import Validator

__all__ = ["TerminalAnswers"]


class TerminalAnswers:
    """Asks. Raises KeyboardInterrupt at Ctrl-C and at the end of input, `ConfigurationError` without prompt_toolkit."""

    def __init__(self, *, environment: Mapping[str, str] = os.environ) -> None:
        try:
            import prompt_toolkit
        except ImportError as e:
            raise ConfigurationError(
                "questions need the package prompt-toolkit: install csproxy[daemon], or answer them with --answers FILE"
            ) from e
        self._toolkit = prompt_toolkit
        self._environment = environment
        self._before: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<TerminalAnswers {len(self._before)} answers>"

    def ask(
        self, key: str, *, default: str | None = None, choices: Sequence[str] = (), check: Check | None = None
    ) -> str:
        """As `Answers.ask`; what was said of the master before is the default the next time."""
        question = QUESTIONS[key]
        is_secret = question.kind is Kind.SECRET
        if is_secret and self._environment.get(VARIABLES[key]):
            return self._environment[VARIABLES[key]]
        if not is_secret:
            default = self._before.get(key) or default or self._environment.get(VARIABLES.get(key, "")) or None
        default = question.default if default is None else default
        names = choices or question.choices
        if names:
            print(f"{question.text}:")
            for number, name in enumerate(names, start=1):
                print(f"  {number}  {visible(name)}")
        reply = self._prompt(question, default, _numbered(names) if names else check or question.check, bool(names))
        if question.flag:  # a wrong choice must not be one Enter away
            self._before[key] = reply
        return reply

    def again(self, problem: str) -> bool:
        """Say it; the questions that matter are asked again, passwords even if the environment has them."""
        print(problem)
        self._environment = {}
        return True

    def _prompt(self, question: Question, default: str | None, check: Check, is_choice: bool) -> str:
        from prompt_toolkit.completion import PathCompleter

        shown = f" [{visible(default)}]" if default else ""
        label = f"Number{shown}: " if is_choice else f"{question.text}{shown}: "

        def checked(text: str) -> str:
            return text if default == "" == text else check(text or default or "")

        try:
            reply = self._toolkit.prompt(
                label,
                validator=_validator(checked),
                validate_while_typing=True,
                is_password=question.kind is Kind.SECRET,
                completer=PathCompleter(expanduser=True) if question.kind is Kind.PATH else None,
                complete_while_typing=False,
            )
        except EOFError:
            raise KeyboardInterrupt from None
        return checked(reply)


def _numbered(names: Sequence[str]) -> Check:
    def check(text: str) -> str:
        word = text.strip()
        if word.isascii() and word.isdigit() and 1 <= int(word) <= len(names):
            return names[int(word) - 1]
        if word in names:
            return word
        raise ValueError(f"a number, 1 to {len(names)}, is valid")

    return check


def _validator(check: Check) -> Validator:
    from prompt_toolkit.validation import ValidationError, Validator

    class Checked(Validator):
        def validate(self, document: Any) -> None:
            try:
                check(document.text)
            except ValueError as e:
                raise ValidationError(message=str(e), cursor_position=len(document.text)) from None

    return Checked()
