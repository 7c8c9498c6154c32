"""The curves as a picture: latency and rate over batch for searches, latency over rows and batch for the models."""

from pathlib import Path
from typing import Any

from perf.gpu.report import Curves


def plot(document: Curves, path: Path) -> None:
    """Four panels; a part without cells stays empty."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2)
    searches, forests, towers = document["candidates"], document["ranker_engines"], document["towers"]
    _panel(panels[0, 0], searches, ("batch", "ms"), "Candidates: one batch", "queries at once", "ms")
    _panel(panels[0, 1], searches, ("batch", "qps"), "Candidates: rate", "queries at once", "queries/s")
    _panel(panels[1, 0], forests, ("rows", "ms"), "Ranker", "rows", "ms")
    _panel(panels[1, 1], towers, ("batch", "ms"), "Graphs", "batch", "ms")
    figure.suptitle(str(document["gpu"]["name"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _panel(axes: Any, lines: dict[str, list[dict[str, Any]]], keys: tuple[str, str], *texts: str) -> None:
    for name, points in lines.items():
        axes.plot([p[keys[0]] for p in points], [p[keys[1]] for p in points], "o-", ms=3, label=name)
    title, across, up = texts
    axes.set(title=title, xlabel=across, ylabel=up)
    if lines:
        axes.set(xscale="log", yscale="log")
        axes.legend(frameon=False, fontsize=7)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
