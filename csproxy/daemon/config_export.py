"""`csproxy config export`: the configuration as a file that appears when it is complete."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from csproxy.core.files.any_form import write_form
from csproxy.core.files.writing import repetitions
from csproxy.core.files.xml_format import text_encoding
from csproxy.core.secret_options import MASK, masked
from csproxy.daemon.config_session import open_client, read_directory
from csproxy.daemon.connection_flags import connection_flags
from csproxy.daemon.output import progress, say
from csproxy.daemon.session import run
from csproxy.daemon.usage import DONE
from csproxy.errors import ConfigurationError

__all__ = ["export"]


def export(arguments: argparse.Namespace) -> int:
    """Write the configuration to ``arguments.file``; returns the exit status.

    Raises `ModelError` for an encoding that does not exist and a value that the form cannot hold.
    """
    flags = connection_flags(arguments)
    form, encoding = arguments.format or "json", arguments.encoding or "utf-8"
    text_encoding(encoding)  # before everything is read

    async def main() -> int:
        async with open_client(flags) as client:
            directory = await read_directory(client, None, timeout_s=flags.timeout_s)
        total = sum(len(directory.objects(number)) for number in directory.types)
        for text in repetitions(directory):
            say(f"warning: several objects are called {text}: a file that is imported keeps the first")
        hidden = directory.replace(masked)
        if hidden:
            say(f"warning: secret options of {hidden} objects are left out: {MASK} stands for their values")
        path = None if arguments.file in (None, "-") else Path(arguments.file)
        with _opened(path) as file, progress("writing objects") as report:
            for piece in write_form(directory, form, encoding=encoding, on_object=_now_and_then(report, total)):
                file.write(piece)
        return DONE

    return run(main)


def _now_and_then(report: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    def on_object(count: int) -> None:
        if not count % 500:
            report(count, total)

    return on_object


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears under its name when it is complete."""
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as e:
        raise ConfigurationError(f"{path} cannot be written: {e.strerror}") from e
    finally:
        part.unlink(missing_ok=True)
