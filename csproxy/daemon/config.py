"""`csproxy config`: the configuration as a file, compared with a server, brought into it, or taken from it."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from csproxy.core.files.checks import Findings, check
from csproxy.core.files.keys import full_text, key_text
from csproxy.core.files.operations import SKIP, Operation
from csproxy.core.files.planning import Plan, Workspace, make_plan
from csproxy.core.files.reading import FileObject, read_file
from csproxy.core.files.writing import repetitions, write_file
from csproxy.daemon.config_apply import apply_plan, check_atomic
from csproxy.daemon.config_session import needed_types, open_client, read_directory
from csproxy.daemon.config_show import print_plan
from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.output import error_document, pretty_json, progress, say
from csproxy.daemon.session import run
from csproxy.daemon.usage import DONE, FAILED, UsageError
from csproxy.errors import ConfigurationError, CsproxyError

__all__ = ["run_config"]

_STREAM = (None, "-")


def run_config(arguments: argparse.Namespace) -> int:
    """Carry out ``csproxy config ACTION``; returns the exit status."""
    was_enabled = gc.isenabled()
    gc.disable()  # millions of small objects, none of them garbage before the command ends
    try:
        return _export(arguments) if arguments.action == "export" else _with_file(arguments)
    finally:
        if was_enabled:
            gc.enable()


def _with_file(arguments: argparse.Namespace) -> int:
    if arguments.action == "import" and not arguments.yes and (arguments.file in _STREAM or not sys.stdin.isatty()):
        raise UsageError("config import asks before it changes anything, and there is no terminal to ask on: use --yes")
    flags = connection_flags(arguments)
    objects, warnings = read_file(_content(arguments.file), os.environ)
    for warning in warnings:
        say(f"warning: {warning}")

    async def main() -> int:
        return await _carry_out(arguments, flags, objects)

    return run(main)


def _content(file: str | None) -> bytes:
    if file is None or file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as e:
        raise ConfigurationError(f"{file} cannot be read: {e.strerror}") from e


async def _carry_out(arguments: argparse.Namespace, flags: ConnectionFlags, objects: list[FileObject]) -> int:
    action, as_json = arguments.action, arguments.output == "json"
    async with open_client(flags) as client:
        directory = await read_directory(client, needed_types(objects), timeout_s=flags.timeout_s)
        work = Workspace(objects, directory)
        findings = check(work)
        if findings:
            for sentence in findings.sentences():
                say(sentence)
            if as_json:
                print(pretty_json(_document("refused", findings=findings)))
            return FAILED
        plan = make_plan(work)
        if arguments.atomic:
            check_atomic(plan)
        if action != "validate" and not as_json:
            print_plan(plan, work, detailed=action == "diff" or not arguments.yes)
        done = list(plan.operations)
        late: list[FileObject] = []
        if action == "import" and (plan.operations or plan.late) and (arguments.yes or _confirmed(plan)):
            done = []
            with progress("importing objects") as report:
                error = await apply_plan(
                    client,
                    plan,
                    work,
                    atomic=arguments.atomic,
                    done=done,
                    late=late,
                    report=report,
                    timeout_s=flags.timeout_s,
                )
            if error is not None:
                return _broken_off(error, done, plan, as_json=as_json)
        elif action == "import" and (plan.operations or plan.late):
            say("nothing was changed")
            return FAILED
        _print_result(action, done, plan, late, as_json=as_json)
    return DONE


def _confirmed(plan: Plan) -> bool:
    count = len(plan.operations) + len(plan.late)
    print(f"Carry out {count} operation{'s' * (count != 1)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _broken_off(error: CsproxyError, done: list[Operation], plan: Plan, *, as_json: bool) -> int:
    say(f"csproxy config import: {error}")
    count = f"{len(done)} of {len(plan.operations)} operations"
    say(f"{count} were carried out; repeat the import and it goes on there")
    if as_json:
        print(pretty_json({**_document("failed", done, plan.skipped), **error_document(error)}))
    return FAILED


def _print_result(action: str, done: list[Operation], plan: Plan, late: list[FileObject], *, as_json: bool) -> None:
    document = _document("ok", done, plan.skipped, late=late if action == "import" else plan.late)
    if as_json:
        print(pretty_json(document))
    elif action == "validate":
        print("valid")
    elif action == "import":
        print(f"created {document['created']}, updated {document['updated']}, skipped {document['skipped']}")


def _document(
    result: str,
    done: list[Operation] | tuple[Operation, ...] = (),
    skipped: tuple[FileObject, ...] = (),
    *,
    late: list[FileObject] | tuple[FileObject, ...] = (),
    findings: Findings | None = None,
) -> dict[str, Any]:
    """The document of ``--output json``; its keys are documented and do not change."""
    rows = [(each.action, each.object) for each in done]
    rows += [("update", each) for each in late]
    rows += [(SKIP, each) for each in skipped]
    actions = [action for action, _ in rows]
    found = findings or Findings()
    return {
        "result": result,
        "created": actions.count("create"),
        "updated": actions.count("update"),
        "skipped": actions.count(SKIP),
        "objects": [
            {"action": action, "type": full_text(each.key).partition(" ")[0], "reference": key_text(each.key)}
            for action, each in rows
        ],
        "missing_properties": found.missing_properties,
        "missing_dependencies": found.missing_dependencies,
        "unchangeable_properties": found.unchangeable_properties,
    }


def _export(arguments: argparse.Namespace) -> int:
    """Write the configuration as a file."""
    flags = connection_flags(arguments)

    async def main() -> int:
        async with open_client(flags) as client:
            directory = await read_directory(client, None, timeout_s=flags.timeout_s)
        total = sum(len(directory.objects(number)) for number in directory.types)
        for text in repetitions(directory):
            say(f"warning: several objects are called {text}: a file that is imported keeps the first")
        path = None if arguments.file in _STREAM else Path(arguments.file)
        with _opened(path) as file, progress("writing objects") as report:
            for piece in write_file(directory, on_object=_now_and_then(report, total)):
                file.write(piece)
        return DONE

    return run(main)


def _now_and_then(report: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    def on_object(count: int) -> None:
        if not count % 500:
            report(count, total)

    return on_object


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears under its name when it is complete."""
    if path is None:
        yield sys.stdout
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        part.replace(path)
    except OSError as e:
        raise ConfigurationError(f"{path} cannot be written: {e.strerror}") from e
    finally:
        part.unlink(missing_ok=True)
