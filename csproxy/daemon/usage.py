"""Exit statuses of the programs, and the error that means wrong usage."""

from __future__ import annotations

from typing import Final

from csproxy.errors import ConfigurationError

__all__ = ["DONE", "FAILED", "INTERRUPTED", "WRONG_USAGE", "UsageError"]

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130


class UsageError(ConfigurationError):
    """The command line is wrong: exit status 2; any other refusal is 1."""
