"""Does a stored profile foretell what it has not seen? Five settings predicted, then measured, all of them shown."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deploy.settings import Settings
from perf.load import OpenLoop, drive
from perf.plan.calibrate import Report, Running, running, see
from perf.plan.fit import left
from perf.plan.local import Stack
from perf.plan.meter import ALL_CORES
from perf.plan.profile import Profile, Seen
from perf.plan.trials import VALIDATION, Trial

SHARE = 0.6  # of the predicted saturation, at which the p99 is compared
SECONDS, WARM_UP_S = 20.0, 3.0
TARGET = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A setting: predicted and measured requests/s at saturation, and p99 in ms at `asked` requests/s."""

    name: str
    seen: Seen
    predicted_rate: float
    asked: float
    predicted_p99_ms: float
    measured_p99_ms: float

    @property
    def rate_error(self) -> float:
        """Relative to what was measured; positive is optimism."""
        return self.predicted_rate / self.seen.rate - 1

    @property
    def left_error(self) -> float:
        """The rate's error once the prediction is scaled to the cores that other processes left."""
        share = left(self.seen, self.seen.cores) / self.seen.cores
        return share * self.predicted_rate / self.seen.rate - 1

    @property
    def p99_error(self) -> float:
        """Relative to what was measured; negative is optimism."""
        return self.predicted_p99_ms / self.measured_p99_ms - 1


def validate(
    settings: Settings, profile: Profile, report: Report, trials: Sequence[Trial] = VALIDATION
) -> Iterator[Check]:
    """Each setting, as it is measured. Raises PerfError."""
    for trial in trials:
        with running(settings, trial, report) as one:
            yield check(one, profile)


def check(one: Running, profile: Profile) -> Check:
    """Saturate, then ask at a share of the prediction. The prediction takes nothing from the measurement but the share
    of misses, which the draw of the users decides."""
    seen = see(one)
    stack = stack_of(profile, seen)
    rate = stack.saturation()
    asked = SHARE * min(rate, seen.rate)
    measured = drive(one.target, OpenLoop(rate=asked, seconds=SECONDS, arrivals="poisson", seed=4, warm_up_s=WARM_UP_S))
    return Check(
        name=one.trial.name, seen=seen, predicted_rate=rate, asked=asked,
        predicted_p99_ms=float(np.percentile(stack.latency_ms(asked), 99)),
        measured_p99_ms=float(np.percentile(measured.latency_ms, 99)),
    )  # fmt: skip


def stack_of(profile: Profile, seen: Seen) -> Stack:
    """The stack of a setting. The generator may run everywhere: beside a confined stack it finds a core left over."""
    beside = seen.cores == ALL_CORES
    return Stack(profile=profile, work=seen.work, cores=seen.cores, shares_with_generator=beside)


def summary(checks: Sequence[Check]) -> dict[str, float]:
    """Median absolute errors, and the target for the rate's."""
    return {
        "median_rate_error": round(statistics.median(abs(c.rate_error) for c in checks), 4),
        "median_p99_error": round(statistics.median(abs(c.p99_error) for c in checks), 4),
        "target_rate_error": TARGET,
    }


def as_rows(checks: Sequence[Check]) -> list[dict[str, object]]:
    """Rows for a table or JSON."""
    return [
        {
            "setting": c.name, "items": c.seen.items, "candidates": c.seen.candidates, "trees": c.seen.trees,
            "leaves": c.seen.leaves, "misses": round(c.seen.misses, 3), "cores": c.seen.cores,
            "predicted_rps": round(c.predicted_rate, 1), "measured_rps": round(c.seen.rate, 1),
            "rate_error": round(c.rate_error, 3), "at_rps": round(c.asked, 1),
            "predicted_p99_ms": round(c.predicted_p99_ms, 1), "measured_p99_ms": round(c.measured_p99_ms, 1),
            "p99_error": round(c.p99_error, 3), "others_cores": c.seen.others_cores,
            "error_on_cores_left": round(c.left_error, 3),
        }
        for c in checks
    ]  # fmt: skip
