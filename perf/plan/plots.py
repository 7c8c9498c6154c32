"""The what-if sweeps as one picture."""

from collections.abc import Sequence
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from perf.plan.demand import Demand
from perf.plan.sweep import Case

LOOK = {"cpu": ("#3182bd", "o-"), "gpu": ("#e6550d", "s-")}
LOGARITHMIC = ("rate", "items", "candidates")
NAMES = {"rate": "requests/s", "items": "items", "candidates": "candidates", "hit_rate": "hit rate", "spare": "spare"}


def picture(cases: Sequence[Case], demand: Demand) -> bytes:
    """A column for each quantity: Triton replicas above, p99 with the spare ones lost below. PNG."""
    names = list(dict.fromkeys(case.changed for case in cases))
    figure = Figure(figsize=(3.0 * len(names), 5.6), layout="constrained")
    axes = figure.subplots(2, len(names), sharex="col", squeeze=False)
    for column, name in enumerate(names):
        chosen = [case for case in cases if case.changed == name]
        _column(axes[0][column], axes[1][column], name, chosen, demand)
    axes[0][0].set_ylabel("Triton replicas")
    axes[1][0].set_ylabel("p99 with spare lost, ms")
    axes[0][0].legend(frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _column(above: Axes, below: Axes, name: str, cases: Sequence[Case], demand: Demand) -> None:
    for variant, (colour, style) in LOOK.items():
        found = [(case.value, case.plan) for case in cases if case.plan is not None and case.variant == variant]
        if not found:
            continue
        values = [value for value, _ in found]
        above.plot(values, [p.pool("triton").replicas for _, p in found], style, color=colour, label=variant.upper())
        below.plot(values, [p.latency.p99_short_ms for _, p in found], style, color=colour)
    below.axhline(demand.p99_ms, ls="--", lw=1, color="#666666")
    for axes in (above, below):
        axes.axvline(getattr(demand, name), ls=":", lw=1, color="#666666")
        axes.set_ylim(0, None)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    if name in LOGARITHMIC:
        below.set_xscale("log")
    ticks = sorted({case.value for case in cases})
    below.set_xticks(ticks, [short(tick) for tick in ticks])
    below.minorticks_off()
    below.set_xlabel(NAMES[name])


def short(number: float) -> str:
    """2500 → 2.5K, 10000000 → 10M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"
