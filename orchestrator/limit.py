"""Admission: a bound on requests in flight; one more is refused in microseconds, before any work."""

from types import TracebackType

from orchestrator.errors import OverloadedError
from orchestrator.lag import Lag


class Limit:
    """`with limit:` holds a slot, which none gets while the event loop lags. It is freed however the block ends,
    cancellation included."""

    def __init__(self, most: int, lag: Lag | None = None) -> None:
        if most < 1:
            raise ValueError(f"limit must be at least 1, got {most}")
        self.most = most
        self.in_flight = 0
        self._lag = lag

    def __enter__(self) -> None:
        if self.in_flight >= self.most or (self._lag is not None and self._lag.standing):
            raise OverloadedError
        self.in_flight += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.in_flight -= 1
