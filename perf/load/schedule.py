"""When requests are sent: at times drawn beforehand (open loop), or whenever a client is free (closed loop)."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Arrivals = Literal["poisson", "constant"]
SECONDS, WARM_UP_S = 10.0, 2.0
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenLoop:
    """`rate` requests per second for `seconds`, after `warm_up_s` at the same rate that is not counted."""

    rate: float
    seconds: float = SECONDS
    arrivals: Arrivals = "poisson"
    seed: int = 0
    warm_up_s: float = WARM_UP_S

    def __post_init__(self) -> None:
        """Raises ValueError."""
        _check_times(self.seconds, self.warm_up_s)
        if not 0 < self.rate < 1e6:
            raise ValueError(f"rate is {self.rate}, must be above 0 and below 1e6 requests per second")
        if self.arrivals not in get_args(Arrivals):
            raise ValueError(f"arrivals is {self.arrivals!r}, must be one of {', '.join(get_args(Arrivals))}")

    def times(self) -> Seconds:
        """Intended send times in seconds from the start of the warm-up, ascending: [n]."""
        return arrival_times(self.arrivals, self.rate, self.warm_up_s + self.seconds, self.seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedLoop:
    """`clients` that each send as soon as they are answered, for `seconds` or until `requests` were sent.

    What is sent in the first `warm_up_s` is not counted.
    """

    clients: int
    seconds: float = SECONDS
    warm_up_s: float = WARM_UP_S
    requests: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError."""
        _check_times(self.seconds, self.warm_up_s)
        if self.clients < 1:
            raise ValueError(f"clients is {self.clients}, must be at least 1")
        if self.requests is not None and self.requests < 1:
            raise ValueError(f"requests is {self.requests}, must be at least 1")


def arrival_times(arrivals: Arrivals, rate: float, seconds: float, seed: int) -> Seconds:
    """Times in [0, seconds) of `rate` arrivals per second: evenly spaced, or a Poisson process (exponential gaps)."""
    if arrivals == "constant":
        return np.arange(round(rate * seconds)) / rate
    expected = rate * seconds
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=int(expected + 10 * expected**0.5) + 20)
    times: Seconds = np.cumsum(gaps)  # ten standard deviations more than needed, cut at the end
    return times[times < seconds]


def _check_times(seconds: float, warm_up_s: float) -> None:
    if not 0 < seconds < float("inf"):
        raise ValueError(f"seconds is {seconds}, must be above 0")
    if not 0 <= warm_up_s < float("inf"):
        raise ValueError(f"warm_up_s is {warm_up_s}, must be at least 0")
