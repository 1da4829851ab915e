"""Sentences for users: those of all ways of logging in, and those of other systems, made safe to show."""

from __future__ import annotations

from typing import Final

__all__ = ["WRONG_PASSWORD", "shown"]

WRONG_PASSWORD: Final = "user name or password is wrong"
"""The one sentence for unknown users, wrong passwords and disabled Persons: nobody can find out which."""

_MAX_TEXT: Final = 300


def shown(text: str) -> str:
    """Another system's text without control characters, and of bounded length."""
    return "".join(character if character.isprintable() else " " for character in text).strip()[:_MAX_TEXT]
