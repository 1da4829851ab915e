"""Run seeds of the simulation from the command line.

PYTHONHASHSEED=0 python -m tests.simulation.run 4711           one seed, with its transcript if it fails
PYTHONHASHSEED=0 python -m tests.simulation.run --seeds 0-999  many
"""

# ruff: noqa: T201 - this is a command
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from tests.simulation.world import Report, run_seed

TAIL = 60
SHARE = 50
"""Seeds that one process runs."""


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 1 if any seed shows a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("seed", nargs="*", type=int)
    parser.add_argument("--seeds", help="ranges such as 0-199,100000-100099")
    parser.add_argument("--transcript", action="store_true", help="print the whole transcript")
    parser.add_argument("--summary", action="store_true", help="print what happened, per seed")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--plant", action="store_true", help="make the proxies' data wrong in the end")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the seeds of a range")
    given = parser.parse_args(arguments)
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"  # else sets of strings have another order in every process
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation.run", *sys.argv[1:]])
    seeds = [*given.seed, *(seed for part in (given.seeds or "").split(",") if part for seed in range_of(part))]
    if given.jobs > 1:
        return share(seeds, given.jobs, plant=given.plant)
    totals: dict[str, int] = {}
    failed: list[int] = []
    began = time.perf_counter()
    for seed in seeds:
        report = run_seed(seed, plant=given.plant)
        if given.summary:
            known = {"seed": seed, "digest": report.digest, "traffic": report.traffic, "faults": report.faults}
            print(json.dumps(known))
        for name, count in report.traffic.items():
            totals[name] = totals.get(name, 0) + count
        if given.transcript:
            print("\n".join(in_order(report)))
        if report.violations:
            failed.append(seed)
            print(describe(report))
    if given.json:
        print(json.dumps({"seeds": len(seeds), "failed": failed, "traffic": totals}))
    else:
        print(f"{len(seeds)} seeds, failed: {failed or 'none'}, {time.perf_counter() - began:.1f} s; {totals}")
    return 1 if failed else 0


def range_of(text: str) -> range:
    """``0-199``, both included."""
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1)


def share(seeds: list[int], jobs: int, *, plant: bool = False) -> int:
    """Run the seeds in several processes; what fails is printed by them. 1 if any failed."""
    command = [sys.executable, "-m", "tests.simulation.run", "--json", *(["--plant"] if plant else [])]
    began = time.perf_counter()
    failed: list[int] = []
    done = 0
    left = [seeds[start : start + SHARE] for start in range(0, len(seeds), SHARE)]
    with ThreadPoolExecutor(jobs) as pool:
        runs = [
            pool.submit(subprocess.run, [*command, *map(str, part)], capture_output=True, text=True) for part in left
        ]
        for run in as_completed(runs):
            output = run.result().stdout.splitlines()
            result = json.loads(output[-1]) if output else {"seeds": 0, "failed": ["a process that said nothing"]}
            done += result["seeds"]
            failed += result["failed"]
            print(*output[:-1], sep="\n", end="\n" if len(output) > 1 else "")
            print(
                f"{done} of {len(seeds)} seeds, failed: {failed or 'none'}, {time.perf_counter() - began:.0f} s",
                flush=True,
            )
    return 1 if failed else 0


def in_order(report: Report) -> list[str]:
    """Events and notes by time; what happened at one time stays in its order."""
    return sorted([*report.transcript, *report.notes], key=lambda line: float(line.split(None, 1)[0]))


def describe(report: Report) -> str:
    """A failed run: the violations, the end of the transcript, and how to run it again."""
    lines = [f"seed {report.seed}:", *(f"  {violation}" for violation in report.violations[:12])]
    lines += [
        "  the end of the transcript:",
        *(f"    {line[:220]}" for line in in_order(report)[-TAIL:]),
    ]
    lines.append(f"  replay: PYTHONHASHSEED=0 python -m tests.simulation.run {report.seed}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
