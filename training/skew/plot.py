"""The comparison as a picture: which columns differ in how many requests, and the scores beside each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_repository.contract import OBJECTIVES
from training.skew.compare import Difference
from training.skew.scores import Scored

BARS = 20
INK, QUIET, SAME, OTHER = "#263238", "#90a4ae", "#5b8db8", "#c8453b"
COLOURS = ("#37618a", "#e0a030", "#7a9e4b")


def draw(found: Sequence[Difference], scored: Scored, title: str, path: Path) -> Path:
    """Write the picture as PNG; `found` the most differing first. Returns its path."""
    figure = Figure(figsize=(14, 7), layout="constrained")
    figure.suptitle(title, fontsize=14, color=INK, fontweight="bold")
    left, right = figure.subplots(1, 2)
    _bars(left, found[:BARS])
    _scores(right, scored)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _bars(axes: Axes, found: Sequence[Difference]) -> None:
    places, shares = np.arange(len(found)), [100 * one.share for one in found]
    axes.barh(places, shares, color=[OTHER if share else SAME for share in shares], height=0.72)
    axes.set_yticks(places, [one.name for one in found], fontsize=9, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.4 * max(shares, default=0), 1.0))
    for place, one, share in zip(places, found, shares, strict=True):
        told = f"{share:.2f} %, at most {one.largest:.3g}" if one.differing else "none"
        axes.annotate(told, (share, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
    axes.set_title("% of requests in which serving and training differ", fontsize=11, color=INK, loc="left")
    _plain(axes)


def _scores(axes: Axes, scored: Scored) -> None:
    for n, (name, colour) in enumerate(zip(OBJECTIVES, COLOURS, strict=True)):
        axes.scatter(scored.again[:, n], scored.served[:, n], s=9, color=colour, alpha=0.6, label=name, linewidths=0)
    axes.axline((0, 0), slope=1, color=QUIET, linewidth=1, linestyle="--", zorder=0)
    axes.set_xlabel("the line's own forest, again", fontsize=9, color=INK)
    axes.set_ylabel("as served", fontsize=9, color=INK)
    axes.set_title(f"Scores of {len(scored.served):,} items shown", fontsize=11, color=INK, loc="left")
    axes.legend(loc="upper left", frameon=False, fontsize=9, labelcolor=INK)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(length=0, labelsize=8, colors=INK)
