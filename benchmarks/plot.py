"""A plot of the results: each work beside its peers, as ratios, with the targets.

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
from results import FOLDER, Result, target_of

__all__ = ["plot_results"]

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
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"benchmarks.{ending}" for ending in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
    return paths


if __name__ == "__main__":
    for written in plot_results(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "latest.json"):
        print(written)
