"""The plots of the report, each as an SVG in a data URI. They are drawn from counts, never from rows."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.validation.activity import Activity
from training.validation.fences import Distribution

INK, MUTED, LINE, FILL, ALARM = "#1f2933", "#7b8794", "#2f6f8f", "#cfe3ec", "#c2410c"
STYLE: Any = {
    "font.size": 8.5, "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": "#cbd2d9",
    "xtick.color": MUTED, "ytick.color": MUTED, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 9, "axes.titlelocation": "left", "svg.fonttype": "none", "svg.hashsalt": "trident",
    "font.family": "sans-serif", "text.parse_math": False,
}  # fmt: skip
WIDTH, ROW_HEIGHT, COLUMNS = 10.2, 1.7, 4  # inches


@contextmanager
def drawing(height: float) -> Iterator[tuple[Figure, list[str]]]:
    """A figure to draw on; its data URI is in the list when the block ends."""
    drawn: list[str] = []
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, drawn
        content = BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None}, transparent=True)
    drawn.append("data:image/svg+xml;base64," + b64encode(content.getvalue()).decode())


def days(activity: Activity) -> str:
    """Rows by day; a band of what is usual, odd days marked, empty days at zero."""
    odd, empty = activity.odd_days, activity.empty_days
    volume = dict(sorted({**activity.days, **dict.fromkeys(empty, 0)}.items()))
    lower, upper = activity.limits
    with drawing(2.1) as (figure, drawn):
        axes = figure.subplots()
        axes.axhspan(max(lower, 0), upper, color=FILL, alpha=0.45, linewidth=0, label="usual")
        axes.plot(_dates(volume), list(volume.values()), color=LINE, linewidth=1.2)
        axes.plot(_dates(odd), [activity.days[day] for day in odd], "o", color=ALARM, markersize=5, label="odd")
        axes.plot(_dates(empty), [0] * len(empty), "x", color=ALARM, markersize=5, label="empty")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderaxespad=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return drawn[0]


def hours(activities: Mapping[str, Activity]) -> str:
    """Share of the rows by hour of the day, a panel for each table."""
    with drawing(1.7) as (figure, drawn):
        panels = figure.subplots(1, len(activities), sharey=True, squeeze=False)[0]
        for axes, (name, activity) in zip(panels, activities.items(), strict=True):
            share = np.array(activity.hours) / max(sum(activity.hours), 1)
            axes.bar(range(24), 100 * share, color=LINE, width=0.8)
            axes.set_title(f"{name}, % by hour (UTC)")
            axes.set_xticks(range(0, 24, 3))
    return drawn[0]


def distributions(found: Mapping[tuple[str, str], Distribution]) -> str:
    """Histograms between the fences; the dashed lines are the fences, outliers are counted beside them."""
    rows = -(-len(found) // COLUMNS)
    with drawing(ROW_HEIGHT * rows) as (figure, drawn):
        panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes, (key, distribution) in zip(panels, found.items(), strict=False):
            _histogram(axes, " ".join(key), distribution)
        for axes in panels[len(found) :]:
            axes.set_axis_off()
    return drawn[0]


def _histogram(axes: Axes, title: str, found: Distribution) -> None:
    start, width, bins = found.spread.grid
    gap = 0.9 if found.spread.whole else 1.0
    axes.bar(start + width * (np.arange(bins) + 0.5), found.bins, width=gap * width, color=LINE, linewidth=0)
    axes.axvline(found.spread.median, color=INK, linewidth=0.8)
    for fence, beyond in zip(found.spread.fences, (found.below, found.above), strict=True):
        if beyond:
            axes.axvline(fence, color=ALARM, linewidth=0.9, linestyle="--")
    axes.set_title(title + (f" · {found.outliers:,} beyond" if found.outliers else ""), color=_colour(found))
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=4)


def _colour(found: Distribution) -> str:
    return ALARM if found.outliers else INK


def _dates(days: Iterable[date]) -> npt.NDArray[np.datetime64]:
    return np.array(list(days), "datetime64[D]")
