"""The roofline picture: FLOP/s allowed over FLOPs a byte, and each stage's ceiling as requests/s."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perf.roofline.ceiling import Ceiling, by_model
from perf.roofline.devices import Device

COLOURS = {"bytes": "#3182bd", "FLOPs": "#e6550d", "node visits": "#31a354", "calls": "#756bb1"}


def plot(found: Sequence[Ceiling], device: Device, batch: int, path: Path) -> None:
    """Two panels, written to `path`."""
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    roof, bars = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _roof(roof, found, device)
    _bars(bars, found)
    figure.suptitle(f"{device.name}, batch {batch}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _roof(axes: Axes, found: Sequence[Ceiling], device: Device) -> None:
    ridge = device.flops / device.bytes_per_s
    intensity = np.geomspace(min(0.01, ridge / 100), ridge * 30, 200)
    axes.loglog(intensity, np.minimum(device.flops, intensity * device.bytes_per_s), color="#08306b")
    for place, group in enumerate(_neighbours(found)):
        at = group[0].stage.intensity
        allowed = min(device.flops, at * device.bytes_per_s)
        axes.plot(at, allowed, "o", color=COLOURS[group[0].binds])
        offset, side = ((7, -13), "left") if place % 2 else ((-7, 8), "right")
        names = ", ".join(one.stage.name for one in group)
        axes.annotate(names, (at, allowed), xytext=offset, textcoords="offset points", ha=side, fontsize=9)
    axes.axvline(ridge, ls=":", color="#999999", lw=1)
    axes.set(xlabel="FLOPs a byte", ylabel="FLOP/s", title="Roofline; stages with arithmetic")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _neighbours(found: Sequence[Ceiling]) -> list[list[Ceiling]]:
    """Stages by intensity, those within a fifth of each other together: they would be one point."""
    groups: list[list[Ceiling]] = []
    for one in sorted((one for one in found if one.stage.intensity), key=lambda one: one.stage.intensity):
        if groups and one.stage.intensity < 1.2 * groups[-1][0].stage.intensity:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _bars(axes: Axes, found: Sequence[Ceiling]) -> None:
    places = np.arange(len(found))[::-1]
    axes.barh(places, [one.rate for one in found], color=[COLOURS[one.binds] for one in found], height=0.6)
    limits = by_model(found)
    for place, one in zip(places, found, strict=True):
        said = f" {one.rate:,.0f}"
        if one.achieved:
            axes.plot(one.achieved, place, "k|", ms=14, mew=2)
            said += f"; {one.stage.model} at {100 * one.achieved / limits[one.stage.model]:.1f} %"
        axes.annotate(said, (one.rate, place), va="center", fontsize=9)
    axes.set_xscale("log")
    rates = [one.achieved or one.rate for one in found] + [one.rate for one in found]
    axes.set_xlim(min(rates) / 5, max(rates) * 60)
    axes.set_yticks(places, [one.stage.name for one in found])
    axes.set(xlabel="requests/s", title="Ceiling by stage")
    axes.legend(handles=_legend(found), frameon=False, fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def _legend(found: Sequence[Ceiling]) -> list[object]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[object] = [Patch(color=COLOURS[binds], label=binds) for binds in sorted({one.binds for one in found})]
    if any(one.achieved for one in found):
        handles.append(Line2D([], [], color="k", marker="|", ls="", ms=10, mew=2, label="achieved"))
    return handles
