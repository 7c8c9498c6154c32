"""p99 before and during each swap, and the limit."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from perf.load.outcome import quantile
from perf.swap.run import ADDED_MS, FACTOR, Swaps


def plot(swaps: Swaps, path: Path) -> None:
    """Write the picture."""
    numbers = range(1, len(swaps.swaps) + 1)
    steady = quantile(swaps.steady_ms, 0.99)
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(numbers, [swap.steady_p99_ms for swap in swaps.swaps], "o-", label="steady, before the swap")
    axes.plot(numbers, [swap.swap_p99_ms for swap in swaps.swaps], "s-", label="from publish to a second after ready")
    axes.axhline(max(FACTOR * steady, steady + ADDED_MS), linestyle="--", color="grey", label="limit for the median")
    axes.set(xlabel="swap", ylabel="p99, ms", ylim=(0, None), title=f"Releases swapped at {swaps.rate:.0f} requests/s")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
