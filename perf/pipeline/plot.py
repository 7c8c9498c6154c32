"""The growth of the pipeline as a picture."""

from collections.abc import Sequence
from pathlib import Path

from perf.pipeline.growth import Size

LIMIT_GIB = 10.0


def plot(sizes: Sequence[Size], path: Path) -> None:
    """Seconds by stage and peak memory over events, with the straight line through the size before the largest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    million = [size.events / 1e6 for size in sizes]
    validated, total = [size.validate_s for size in sizes], [size.total_s for size in sizes]
    seconds.fill_between(million, 0, validated, color="#9ecae1", label="validate")
    seconds.fill_between(million, validated, total, color="#3182bd", alpha=0.7, label="features")
    seconds.plot(million, total, "o-", color="#08306b", label="both")
    if len(sizes) > 1:
        per_event = sizes[-2].total_s / sizes[-2].events
        line = [per_event * size.events for size in sizes]
        seconds.plot(million, line, "--", color="#e6550d", label=f"linear through {million[-2]:g}M")
    seconds.set(xlabel="million events", ylabel="seconds, 2 stages", xlim=(0, None), ylim=(0, None), title="Time")
    seconds.legend(frameon=False)
    memory.plot(million, [size.peak_gib for size in sizes], "o-", color="#31a354")
    memory.axhline(LIMIT_GIB, ls="--", color="#e6550d", lw=1)
    memory.annotate(f"limit {LIMIT_GIB:g} GiB", (0, LIMIT_GIB), xytext=(2, -12), textcoords="offset points")
    memory.set(xlabel="million events", ylabel="GiB", xlim=(0, None), ylim=(0, LIMIT_GIB * 1.1),
               title="Peak resident memory, all processes")  # fmt: skip
    for axes in (seconds, memory):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
