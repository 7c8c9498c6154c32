"""The report's plots as SVG data URIs, in the style of the validation report."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from training.drift.psi import DRIFTED, MODERATE
from training.validation.plots import ALARM, FILL, LINE, MUTED, drawing

DAYS = 60


def figures(checks: Sequence[Mapping[str, Any]]) -> str:
    """Champion and challenger side by side, one panel for each figure, with the limit that had to be kept."""
    shown = [check for check in checks if check["challenger"] is not None]
    with drawing(2.0) as (figure, drawn):
        for axes, check in zip(figure.subplots(1, max(len(shown), 1), squeeze=False)[0], shown, strict=False):
            sides = {"champion": check["champion"] or 0.0, "challenger": check["challenger"]}
            axes.bar(list(sides), list(sides.values()), color=[FILL, LINE if check["passed"] else ALARM], width=0.6)
            if check["limit"] is not None:
                axes.axhline(check["limit"], color=MUTED, linestyle="--", linewidth=1)
            axes.set_title(check["name"].replace("_", " "))
            top = max(*sides.values(), check["limit"] or 0.0)
            axes.set_ylim(0, 1.25 * top or 1)
            for place, value in enumerate(sides.values()):
                axes.annotate(f"{value:.4f}", (place, value), (0, 2), textcoords="offset points", ha="center")
    return drawn[0]


def volume(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Rows by day of each table, the last days."""
    tables = {name: days for name, days in counts.items() if days}
    with drawing(1.5 * max(len(tables), 1)) as (figure, drawn):
        for axes, (name, days) in zip(
            figure.subplots(max(len(tables), 1), 1, squeeze=False)[:, 0], tables.items(), strict=False
        ):
            last = sorted(days.items())[-DAYS:]
            axes.bar([date.fromisoformat(day) for day, _ in last], [rows for _, rows in last], color=LINE, width=0.8)
            axes.set_title(f"{name} by day")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return drawn[0]


def drift(worst: Mapping[str, float]) -> str:
    """PSI of the columns that moved most, worst first."""
    with drawing(0.8 + 0.22 * len(worst)) as (figure, drawn):
        axes = figure.subplots()
        colours = [ALARM if psi >= DRIFTED else LINE for psi in worst.values()]
        axes.barh(range(len(worst)), list(worst.values()), color=colours, height=0.7)
        axes.set_yticks(range(len(worst)), list(worst))
        axes.invert_yaxis()
        for limit, name in ((MODERATE, "moderate"), (DRIFTED, "drifted")):
            axes.axvline(limit, color=MUTED, linestyle="--", linewidth=1)
            axes.annotate(
                name, (limit, 0), (2, 2), xycoords=("data", "axes fraction"), textcoords="offset points", color=MUTED
            )
        axes.set_title("population stability index against the champion's line")
    return drawn[0]
