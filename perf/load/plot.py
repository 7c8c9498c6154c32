"""Pictures of a run and of a knee."""

from pathlib import Path
from typing import Any

import numpy as np

from perf.load.knee import Knee
from perf.load.outcome import QUANTILES, Milliseconds, Outcome

INTENDED, SENT, LIMIT = "#08306b", "#9ecae1", "#e6550d"


def plot_latency(outcome: Outcome, title: str, path: Path) -> None:
    """Latency over the share of requests that stay below it; each nine of the share takes the same width."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    _tail(axes, outcome.service_ms, color=SENT, label="from the actual send")
    _tail(axes, outcome.latency_ms, color=INTENDED, label="from the intended send")
    shares = [share for share in (0.0, *QUANTILES.values()) if share < 1]
    axes.set_xticks([nines(share) for share in shares], ["0", *(f"{100 * share:g}" for share in shares[1:])])
    farthest = nines(1 - 1 / max(len(outcome.latency_ms), 10))
    axes.set(xlabel="% of requests", ylabel="ms", yscale="log", xlim=(0, farthest), title=title)
    _finish(figure, axes, path)


def plot_knee(knee: Knee, title: str, path: Path) -> None:
    """p50 and p99 over the rate of each probe; probes that failed are hollow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    probes = sorted(knee.probes, key=lambda probe: probe.rate)
    for name, color in (("p50_ms", SENT), ("p99_ms", INTENDED)):
        points = [(probe.rate, getattr(probe, name), probe.holds(knee.limit_ms)) for probe in probes]
        axes.plot([x for x, _, _ in points], [y for _, y, _ in points], "-", color=color, lw=1, alpha=0.6)
        for holds, face in ((True, color), (False, "white")):
            chosen = [(x, y) for x, y, held in points if held is holds]
            axes.plot(*zip(*chosen, strict=True) if chosen else ((), ()), "o", mfc=face, mec=color, ls="",
                      label=f"{name[:3]}, {'holds' if holds else 'fails'}")  # fmt: skip
    axes.axhline(knee.limit_ms, ls="--", color=LIMIT, lw=1, label=f"limit {knee.limit_ms:g} ms")
    if knee.rate:
        axes.axvline(knee.rate, ls=":", color=LIMIT, lw=1, label=f"knee {knee.rate:,.0f}/s")
    axes.set(xlabel="requests per second offered", ylabel="ms", xscale="log", yscale="log", title=title)
    _plain(axes.xaxis)
    _finish(figure, axes, path)


def nines(share: Any) -> Any:
    """0 at 0, 1 at 90 %, 2 at 99 %, …"""
    return -np.log10(1 - np.asarray(share))


def _tail(axes: Any, values: Milliseconds, **style: str) -> None:
    shares = np.arange(len(values)) / max(len(values), 1)
    axes.plot(nines(shares), np.sort(values), lw=1.6, **style)


def _plain(axis: Any) -> None:
    """Numbers, not powers of ten, on a logarithmic axis; between the decades only where there is room."""
    from matplotlib.ticker import LogFormatter

    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))


def _finish(figure: Any, axes: Any, path: Path) -> None:
    _plain(axes.yaxis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, which="both")
    figure.legend(frameon=False, loc="outside right upper")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
