"""The comparison as a picture: which columns moved, and how the worst of them look now."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from training.drift.compare import Drift
from training.drift.psi import DRIFTED, MODERATE

BARS, HISTOGRAMS = 20, 6
INK, QUIET = "#263238", "#90a4ae"
COLOURS = {"stable": "#5b8db8", "moderate": "#e0a030", "drifted": "#c8453b"}
NOW, THEN = "#37618a", "#b0bec5"


def draw(drifts: Sequence[Drift], title: str, path: Path) -> Path:
    """Write the picture as PNG; `drifts` by falling PSI. Returns its path."""
    figure = Figure(figsize=(16, 9), layout="constrained")
    figure.suptitle(title, fontsize=14, color=INK, fontweight="bold")
    grid = figure.add_gridspec(HISTOGRAMS // 2, 3, width_ratios=[1.25, 1, 1])
    _bars(figure.add_subplot(grid[:, 0]), drifts[:BARS])
    for n, drift in enumerate(drifts[:HISTOGRAMS]):
        handles = _histogram(figure.add_subplot(grid[n // 2, 1 + n % 2]), drift)
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=10, labelcolor=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _bars(axes: Axes, drifts: Sequence[Drift]) -> None:
    places = np.arange(len(drifts))
    values = [drift.psi for drift in drifts]
    axes.barh(places, values, color=[COLOURS[drift.status] for drift in drifts], height=0.72)
    axes.set_yticks(places, [drift.name for drift in drifts], fontsize=9, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.15 * max(values), 1.3 * DRIFTED))
    for place, value in zip(places, values, strict=True):
        axes.annotate(f"{value:.3f}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    for limit, name in ((MODERATE, "moderate"), (DRIFTED, "drifted")):
        axes.axvline(
            limit, color=COLOURS[name], linestyle="--", linewidth=1.2, zorder=0, label=f"{name} from {limit:g}"
        )
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=INK)
    axes.set_title("Population stability index, worst first", fontsize=11, color=INK, loc="left")
    _plain(axes)


def _histogram(axes: Axes, drift: Drift) -> list[BarContainer]:
    held = np.flatnonzero(drift.reference.shares + drift.current)
    places, labels = np.arange(len(held)), np.array(drift.reference.bins.labels())[held]
    then = axes.bar(places - 0.2, drift.reference.shares[held] * 100, width=0.4, color=THEN, label="reference")
    now = axes.bar(places + 0.2, drift.current[held] * 100, width=0.4, color=NOW, label="now")
    axes.set_xticks(places, labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=7, color=INK)
    axes.set_title(f"{drift.name}   PSI {drift.psi:.3f}", fontsize=10, color=INK, loc="left")
    axes.set_ylabel("% of rows", fontsize=8, color=INK)
    _plain(axes)
    return [then, now]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    axes.tick_params(length=0, labelsize=8)
    axes.tick_params(axis="x", colors=INK)
