"""`csproxy config`: the configuration as a file, compared with a server, brought into it, or taken from it."""

from __future__ import annotations

import argparse
import gc
import sys
from typing import Any

from csproxy.core.files.checks import Findings, check
from csproxy.core.files.keys import full_text, key_text
from csproxy.core.files.operations import CREATE, SKIP, UPDATE, Operation
from csproxy.core.files.planning import Plan, Workspace, make_plan
from csproxy.core.files.reading import FileObject
from csproxy.daemon.config_apply import apply_plan, check_atomic
from csproxy.daemon.config_export import export
from csproxy.daemon.config_session import needed_types, open_client, read_directory
from csproxy.daemon.config_show import print_plan
from csproxy.daemon.config_source import Source, check_usage, is_stream, read_source
from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.output import error_document, pretty_json, progress, say
from csproxy.daemon.session import run
from csproxy.daemon.usage import DONE, FAILED, UsageError
from csproxy.errors import CsproxyError

__all__ = ["run_config"]


def run_config(arguments: argparse.Namespace) -> int:
    """Carry out ``csproxy config ACTION``; returns the exit status."""
    check_usage(arguments)
    was_enabled = gc.isenabled()
    gc.disable()  # millions of small objects, none of them garbage before the command ends
    try:
        return export(arguments) if arguments.action == "export" else _with_source(arguments)
    finally:
        if was_enabled:
            gc.freeze()  # the command ends: to look through all that it leaves behind would take a second
            gc.enable()


def _with_source(arguments: argparse.Namespace) -> int:
    if arguments.action == "import" and not arguments.yes and (is_stream(arguments) or not sys.stdin.isatty()):
        raise UsageError("config import asks before it changes anything, and there is no terminal to ask on: use --yes")
    flags = connection_flags(arguments)
    source = read_source(arguments)

    async def main() -> int:
        return await _carry_out(arguments, flags, source)

    return run(main)


async def _carry_out(arguments: argparse.Namespace, flags: ConnectionFlags, source: Source) -> int:
    action, as_json = arguments.action, arguments.output == "json"
    async with open_client(flags) as client:
        directory = await read_directory(client, needed_types(source.objects), timeout_s=flags.timeout_s)
        work = Workspace(source.objects, directory)
        findings = check(work)
        if findings:
            for sentence in findings.sentences():
                say(sentence)
            if as_json:
                print(pretty_json(_document("refused", source, findings=findings)))
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
                return _broken_off(error, source, done, plan, as_json=as_json)
        elif action == "import" and (plan.operations or plan.late):
            say("nothing was changed")
            return FAILED
        if as_json:
            made = late if action == "import" else plan.late
            print(pretty_json(_document("ok", source, done, plan.skipped, late=made)))
        else:
            _print_result(action, [each.action for each in done] + [UPDATE] * len(late), len(plan.skipped))
    return DONE


def _confirmed(plan: Plan) -> bool:
    count = len(plan.operations) + len(plan.late)
    print(f"Carry out {count} operation{'s' * (count != 1)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _broken_off(error: CsproxyError, source: Source, done: list[Operation], plan: Plan, *, as_json: bool) -> int:
    say(f"csproxy config import: {error}")
    count = f"{len(done)} of {len(plan.operations)} operations"
    say(f"{count} were carried out; repeat the import and it goes on there")
    if as_json:
        print(pretty_json({**_document("failed", source, done, plan.skipped), **error_document(error)}))
    return FAILED


def _print_result(action: str, done: list[str], skipped: int) -> None:
    if action == "validate":
        print("valid")
    elif action == "import":
        print(f"created {done.count(CREATE)}, updated {done.count(UPDATE)}, skipped {skipped}")


def _document(
    result: str,
    source: Source,
    done: list[Operation] | tuple[Operation, ...] = (),
    skipped: tuple[FileObject, ...] = (),
    *,
    late: list[FileObject] | tuple[FileObject, ...] = (),
    findings: Findings | None = None,
) -> dict[str, Any]:
    """The document of ``--output json``; its keys are documented and do not change."""
    rows = [(each.action, each.object) for each in done]
    rows += [(UPDATE, each) for each in late]
    rows += [(SKIP, each) for each in skipped]
    actions = [action for action, _ in rows]
    found = findings or Findings()
    return {
        "result": result,
        "created": actions.count(CREATE),
        "updated": actions.count(UPDATE),
        "skipped": actions.count(SKIP),
        "objects": [
            {"action": action, "type": full_text(each.key).partition(" ")[0], "reference": key_text(each.key)}
            for action, each in rows
        ],
        "missing_properties": found.missing_properties,
        "missing_dependencies": found.missing_dependencies,
        "unchangeable_properties": found.unchangeable_properties,
        **({} if source.report is None else {"report": source.report}),
    }
