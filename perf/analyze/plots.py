"""A sweep as pictures: latency over throughput for each model, and where the ensemble's time goes."""

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from perf.analyze.points import Client, Load, Point

COLUMNS = 3
MODES = {"concurrency": "o-", "rate": "s--"}
QUEUE, COMPUTE = ("#c6dbef", "#c7e9c0", "#fdd0a2"), ("#3182bd", "#31a354", "#e6550d")
OVERHEAD = "#bdbdbd"
P50, P99 = "#3182bd", "#e6550d"
LEGEND = (
    Line2D([], [], color=P50, label="p50"),
    Line2D([], [], color=P99, label="p99"),
    Line2D([], [], color="#636363", marker="o", ls="", label="requests in flight"),
    Line2D([], [], color="#636363", marker="s", ls="", label="requests/s, Poisson"),
    Line2D([], [], color="#636363", marker="s", ls="", fillstyle="none", label="not kept up with"),
)


def curves(points: Sequence[Point]) -> Figure:
    """p50 and p99 over requests/s, a panel a model: circles at a concurrency, squares at a rate.

    A hollow square is a rate the model did not keep up with; its latency is that of a queue which grows until the end.
    """
    models = list(dict.fromkeys(point.model for point in points))
    rows = max(math.ceil(len(models) / COLUMNS), 1)
    figure = Figure(figsize=(4.2 * min(COLUMNS, max(len(models), 1)), 3.3 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, min(COLUMNS, max(len(models), 1)), squeeze=False).flat
    for axes, model in zip(panels, models, strict=False):
        _curve(axes, [point for point in points if point.model == model])
    for axes in list(panels)[len(models) :]:
        axes.set_visible(False)
    figure.legend(handles=LEGEND, loc="outside upper center", ncols=len(LEGEND), frameon=False, fontsize=9)
    return figure


def breakdown(points: Sequence[Point]) -> Figure | None:
    """Mean time of a request through the ensemble by stage, queue pale and compute dark, where it kept up.

    None when there is no such point.
    """
    measured = [point for point in points if point.kept_up and len(point.stages) > 1]
    if not measured:
        return None
    figure = Figure(figsize=(1.9 + 1.15 * len(measured) + 2.2, 4.4), layout="constrained")
    axes = figure.subplots()
    for place, point in enumerate(measured):
        _bar(axes, place, point)
    axes.set_xticks(range(len(measured)), [_tick(point.load) for point in measured])
    axes.set_ylabel("ms a request, mean")
    axes.set_title(f"{measured[0].model}: stages")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _plain(axes)
    return figure


def _curve(axes: Axes, points: Sequence[Point]) -> None:
    for mode, style in MODES.items():
        _line(axes, [p for p in points if p.load.mode == mode and p.kept_up], style, "full")
        _line(axes, [p for p in points if p.load.mode == mode and p.client and not p.kept_up], style[0], "none")
    failed = sum(point.error is not None for point in points)
    axes.set(title=points[0].model + (f" ({failed} failed)" if failed else ""), xlabel="requests/s", ylabel="ms")
    axes.set_yscale("log")
    axes.margins(x=0.12, y=0.15)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    _plain(axes)


def _line(axes: Axes, points: Sequence[Point], style: str, fill: Literal["full", "none"]) -> None:
    clients = [(point.client, point.load) for point in points if point.client is not None]
    rates = [client.requests_per_second for client, _ in clients]
    for colour, values in ((P50, [c.p50_ms for c, _ in clients]), (P99, [c.p99_ms for c, _ in clients])):
        axes.plot(rates, values, style, color=colour, ms=4.5, lw=1.2, fillstyle=fill)
    for client, load in clients:
        _label(axes, client, load)


def _label(axes: Axes, client: Client, load: Load) -> None:
    text = f"{load.value:g}" + ("/s" if load.mode == "rate" else "")
    axes.annotate(text, (client.requests_per_second, client.p99_ms), xytext=(0, 5), textcoords="offset points",
                  ha="center", fontsize=7)  # fmt: skip


def _bar(axes: Axes, place: int, point: Point) -> None:
    bottom = 0.0
    for i, stage in enumerate(point.stages):
        for part, value, colours in (("queue", stage.queue_ms, QUEUE), ("compute", stage.compute_ms, COMPUTE)):
            axes.bar(place, value, bottom=bottom, color=colours[i % len(colours)], label=f"{stage.stage}: {part}")
            bottom += value
    axes.bar(place, point.overhead_ms, bottom=bottom, color=OVERHEAD, label="overhead: ensemble, gRPC, network")
    if point.client is not None:
        axes.plot(place, point.client.mean_ms, "k_", ms=26, mew=1.5, label="client's mean")


def _tick(load: Load) -> str:
    return f"{load.value:g}\n" + ("client" + "s" * (load.value != 1) if load.mode == "concurrency" else "requests/s")


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
