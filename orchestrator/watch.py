"""Stage times of one request: seconds by stage, observed in the latency histogram as they end."""

import time
from types import TracebackType

from orchestrator.metrics import LATENCY
from orchestrator.tracing import CURRENT, Trace


class Watch:
    """`with watch.stage("read"): …`. A stage that runs twice adds up."""

    __slots__ = ("_began", "_stage", "_stage_began", "seconds")

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._stage = ""
        self._stage_began = 0.0
        self.seconds: dict[str, float] = {}

    def stage(self, name: str) -> "Watch":
        """The watch itself, as the context of a stage. Stages do not nest."""
        self._stage = name
        return self

    def __enter__(self) -> None:
        self._stage_began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        took = time.perf_counter() - self._stage_began
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + took
        LATENCY.observe(self._stage, took)

    def failed(self, reason: str) -> None:
        """The stage that runs failed; whoever looks at its times may want to know."""

    def total(self) -> float:
        """Seconds since the request was admitted."""
        return time.perf_counter() - self._began

    def milliseconds(self) -> dict[str, float]:
        """Stage times for the answer."""
        return {stage: round(1000 * seconds, 3) for stage, seconds in self.seconds.items()}


class TracedWatch(Watch):
    """A watch whose stages are spans of the request's trace, too."""

    __slots__ = ("_trace",)

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def __enter__(self) -> None:
        self._trace.enter(self._stage)
        super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._trace.leave()

    def failed(self, reason: str) -> None:
        """See `Watch`."""
        self._trace.failed(reason)


def new_watch() -> Watch:
    """The watch of a request that begins now."""
    trace = CURRENT.get()
    return Watch() if trace is None else TracedWatch(trace)
