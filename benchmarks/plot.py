"""Plots: each work beside its peers, as ratios, with the targets; and how cost grows.

    python benchmarks/plot.py [results/latest.json]

Writes docs/images/benchmarks.png and .svg. Needs matplotlib (extra ``bench``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from results import FOLDER, Result, target_of

__all__ = ["plot_growth", "plot_results"]

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
_COLOURS = {"redis": "#c0392b", "etcd": "#2980b9", "redis TLS": "#e59866", "plain": "#7f8c8d"}


def plot_results(source: Path, folder: Path = IMAGES) -> Sequence[Path]:
    """Draw the ratios of a results file; returns the files written."""
    document = json.loads(source.read_text())
    results = [Result(**each) for each in document["results"]]
    compared = [each for each in results if each.ratio and each.peer in _COLOURS and not each.work.startswith("mem")]
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(compared) + 1.2))
    for place, each in enumerate(reversed(compared)):
        assert each.ratio is not None
        axes.barh(place, each.ratio, color=_COLOURS[each.peer], height=0.7)
        target = target_of(each)
        if target is not None and target.peer:
            axes.plot([target.bound, target.bound], [place - 0.45, place + 0.45], color="black", linewidth=2)
        axes.text(each.ratio * 1.05, place, f"{each.ratio:.2f}", va="center", fontsize=7)
    axes.set_yticks(range(len(compared)), [f"{each.work} : {each.peer}" for each in reversed(compared)], fontsize=8)
    axes.set_xscale("log")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlabel("csproxy : peer (paced: time, less is better); black: target")
    machine, versions = document["machine"], document["versions"]
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    axes.set_title(f"One server core of {machine['cpu']}; {names}", fontsize=9)
    return _saved(figure, folder / "benchmarks")


def plot_growth(source: Path, folder: Path = IMAGES) -> Sequence[Path]:
    """Draw what growth.py has measured; returns the files written."""
    document = json.loads(source.read_text())
    by_objects, by_clients = document["objects"], document["clients"]
    figure, ((reads, memory), (cost, last)) = plt.subplots(2, 2, figsize=(9, 6.5))
    objects = [row["objects"] for row in by_objects]
    for key, label in (("point_per_s", "by number"), ("indexed_per_s", "by user name")):
        reads.plot(objects, [row[key] for row in by_objects], marker="o", label=label)
    memory.plot(objects, [row["bytes_per_object"] for row in by_objects], marker="o")
    for wanted, label in ((True, "subscribed to the type"), (False, "subscribed to another type")):
        rows = [row for row in by_clients if row["subscribed"] is wanted]
        spent = [row["processor_ms_per_change"] for row in rows]
        cost.plot([row["clients"] for row in rows], spent, marker="o", label=label)
    rows = [row for row in by_clients if "last_ms" in row]
    last.plot([row["clients"] for row in rows], [row["last_ms"] for row in rows], marker="o")
    for axes, title, x in (
        (reads, "reads/s, 50 connections", "objects"),
        (memory, "bytes for each object", "objects"),
        (cost, "processor ms for each change", "clients"),
        (last, "ms until the last one has a change", "clients"),
    ):
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(x, fontsize=8)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=8)
        if x == "objects":
            axes.set_xscale("log")
    reads.legend(fontsize=8)
    cost.legend(fontsize=8)
    return _saved(figure, folder / "growth")


def _saved(figure: Figure, path: Path) -> Sequence[Path]:
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    paths = [path.with_suffix(ending) for ending in (".png", ".svg")]
    for each in paths:
        figure.savefig(each, dpi=110, metadata={"Date": None} if each.suffix == ".svg" else None)
    plt.close(figure)
    return paths


if __name__ == "__main__":
    for written in plot_results(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "latest.json"):
        print(written)
