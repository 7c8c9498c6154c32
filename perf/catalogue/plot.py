"""Growth of the catalogue as a picture: time to make, memory by role, rate and latency over items."""

from collections.abc import Sequence
from pathlib import Path

from perf.catalogue.measure import Scale

COLOURS = {
    "candidates": "#08519c", "redis": "#31a354", "orchestrator": "#e6550d", "triton": "#756bb1", "others": "#bdbdbd",
}  # fmt: skip
LIMIT_GIB = 12.0


def plot(scales: Sequence[Scale], path: Path) -> None:
    """Four panels over a logarithmic number of items."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.8), layout="constrained")
    making, memory, rate, latency = figure.subplots(1, 4)
    items = [scale.items for scale in scales]
    making.plot(items, [scale.made.seconds / 60 for scale in scales], "o-", color="#08519c")
    making.set(title="Release made in", ylabel="minutes", ylim=(0, None))
    _memory(memory, scales)
    rate.plot(items, [scale.saturation for scale in scales], "o-", color="#31a354", label="saturation")
    rate.plot(items, [scale.knee for scale in scales], "o-", color="#756bb1", label="knee, p99 < 100 ms")
    rate.set(title="Full answers over REST", ylabel="requests/s", ylim=(0, None))
    rate.legend(frameon=False)
    latency.plot(items, [scale.p50_ms for scale in scales], "o-", color="#6baed6", label="p50")
    latency.plot(items, [scale.p99_ms for scale in scales], "o-", color="#e6550d", label="p99")
    latency.set(title="Latency at 60 % of the knee", ylabel="ms", ylim=(0, None))
    latency.legend(frameon=False)
    for axes in (making, memory, rate, latency):
        axes.set(xscale="log", xlabel="items")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _memory(axes, scales: Sequence[Scale]) -> None:  # type: ignore[no-untyped-def]
    """Stacked by role."""
    named = [role for role in COLOURS if role != "others"]
    parts = {role: [scale.resident_mib.get(role, 0.0) / 1024 for scale in scales] for role in named}
    parts["others"] = [
        scale.resident_total_mib / 1024 - sum(parts[role][i] for role in named) for i, scale in enumerate(scales)
    ]
    axes.stackplot([s.items for s in scales], list(parts.values()), labels=list(parts), colors=list(COLOURS.values()))
    axes.axhline(LIMIT_GIB, ls="--", lw=1, color="#a50f15")
    axes.set(title="Resident memory (PSS)", ylabel="GiB", ylim=(0, LIMIT_GIB * 1.05))
    axes.legend(frameon=False, fontsize=7, loc="upper left")
