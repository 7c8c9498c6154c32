"""CPU time and resident memory of a running stack, by role."""

from collections.abc import Mapping, Sequence

from perf.memory import cpu_s, pss_mib

Pids = Mapping[str, Sequence[int]]


def cpu_seconds(pids: Pids) -> dict[str, float]:
    """User and system seconds so far of each role's processes, their threads included."""
    return {role: sum(map(cpu_s, members)) for role, members in pids.items()}


def resident_mib(pids: Pids) -> dict[str, float]:
    """PSS of each role's processes in MiB: shared pages are divided among those that map them."""
    return {role: round(sum(map(pss_mib, members)), 1) for role, members in pids.items()}


def spent(before: Mapping[str, float], after: Mapping[str, float], requests: int) -> dict[str, float]:
    """CPU milliseconds per request of each role, between two calls of `cpu_seconds`."""
    return {role: round(1000 * (after[role] - before[role]) / max(requests, 1), 4) for role in before}
