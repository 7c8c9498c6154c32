"""p99 over time around the swaps, all of them laid upon each other, and before and during each of them."""

from pathlib import Path
from typing import Any

import numpy as np

from perf.load.outcome import quantile
from perf.swap.cycle import Swaps
from perf.swap.run import STEADY_S

STEADY, SWAP, MARK = "#9ecae1", "#08306b", "#e6550d"


def plot(swaps: Swaps, path: Path) -> None:
    """Write the picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    over_time, each = figure.subplots(1, 2, sharey=True)
    _over_time(over_time, swaps)
    _each(each, swaps)
    for axes in (over_time, each):
        axes.axhline(swaps.limit_ms, ls="--", color=MARK, lw=1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    over_time.set(ylabel="p99, ms", ylim=(0, None), title=f"{len(swaps.cycles)} swaps at {swaps.rate:.0f} requests/s")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _over_time(axes: Any, swaps: Swaps) -> None:
    publish, gone = (float(np.median(ends)) for ends in zip(*_ends(swaps), strict=True))
    seconds = np.arange(-STEADY_S, gone + 1)
    pooled = [np.concatenate([cycle.between(at, at + 1) for cycle in swaps.cycles]) for at in seconds]
    axes.step(seconds, [quantile(values, 0.99) for values in pooled], where="post", color=SWAP)
    for at, what in ((0.0, "publish"), (publish, "promoted"), (gone, "unloaded")):
        axes.axvline(at, ls=":", color=MARK, lw=1)
        axes.annotate(what, (at, 1.0), xycoords=("data", "axes fraction"), ha="left", va="top", fontsize=8)
    axes.set(xlabel="seconds from the start of publishing")


def _each(axes: Any, swaps: Swaps) -> None:
    numbers = range(1, len(swaps.cycles) + 1)
    for name, color in (("steady_ms", STEADY), ("swap_ms", SWAP)):
        p99 = [quantile(getattr(cycle, name), 0.99) for cycle in swaps.cycles]
        axes.plot(numbers, p99, "o", color=color, label={"steady_ms": "before", "swap_ms": "during"}[name])
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="swap", title="dashed: limit of the median swap")
    axes.legend(frameon=False)


def _ends(swaps: Swaps) -> list[tuple[float, float]]:
    return [(cycle.publish_s, cycle.publish_s + cycle.retire_s) for cycle in swaps.cycles]
