"""What a sweep finds: one point for each model and load, and how Triton says the time was spent."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["concurrency", "rate"]
KEPT_UP = 0.9  # of all requests of a run are answered within its windows, the rest after them


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """`value` requests always in flight (`concurrency`), or `value` requests/s sent at Poisson intervals (`rate`)."""

    mode: Mode
    value: float

    def __post_init__(self) -> None:
        """Refuse what perf_analyzer would round or wait for without end."""
        if self.value <= 0:
            raise ValueError(f"{self.mode} is {self.value}, it must be above 0")
        if self.mode == "concurrency" and self.value != int(self.value):
            raise ValueError(f"concurrency is {self.value}, it must be a whole number")

    def __str__(self) -> str:
        return f"{self.value:g} {'clients' if self.mode == 'concurrency' else 'requests/s'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is asked: a Triton model by name and version, rows a request, the file of inputs, the models it is made of.

    `parts` is the model itself unless it is an ensemble.
    """

    name: str
    version: int
    batch: int
    data: Path
    parts: tuple[tuple[str, int], ...]

    @property
    def served(self) -> tuple[tuple[str, int], ...]:
        """The model, then its parts; each once."""
        return tuple(dict.fromkeys(((self.name, self.version), *self.parts)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """What perf_analyzer saw of the `counted` requests answered in its windows; times in ms.

    `network` is its "Network+Server Send/Recv": wait minus the server's time. `delayed_percent` of the requests left
    later than a rate said they should; 0 under concurrency.
    """

    counted: int
    requests_per_second: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    client_send_ms: float
    client_recv_ms: float
    network_ms: float
    delayed_percent: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One model between two readings of Triton's statistics; times are ms a successful request.

    `total_ms` is from arrival to answer. A stage's output lasts until the answer has been handed on, which in an
    ensemble starts the next stage: stages overlap a little, and their sum can exceed the ensemble's own total. All
    requests of a run count, its warm-up and what still waited when it ended too.
    """

    stage: str
    requests: int
    failed: int
    executions: int
    total_ms: float
    queue_ms: float
    compute_input_ms: float
    compute_infer_ms: float
    compute_output_ms: float

    @property
    def compute_ms(self) -> float:
        """Input, infer and output."""
        return self.compute_input_ms + self.compute_infer_ms + self.compute_output_ms

    @property
    def requests_per_execution(self) -> float:
        """How many requests dynamic batching put together, on average."""
        return self.requests / max(self.executions, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One model under one load: figures, or the reason why there are none."""

    model: str
    batch: int
    load: Load
    client: Client | None = None
    own: Stage | None = None
    stages: tuple[Stage, ...] = ()
    error: str | None = None

    @property
    def kept_up(self) -> bool:
        """Whether answers came about as fast as requests were sent; where not, times say how long the run was.

        Not the rate asked for ÷ answered: perf_analyzer's Poisson schedule starts with the same arrivals each time, and
        those of a few seconds are not at the rate.
        """
        if self.client is None or self.own is None:
            return False
        return self.client.counted >= KEPT_UP * self.own.requests

    @property
    def overhead_ms(self) -> float:
        """What stages leave of the client's mean: network, gRPC, the ensemble's work; 0 where stages overlap."""
        if self.client is None:
            return 0.0
        return max(self.client.mean_ms - sum(stage.queue_ms + stage.compute_ms for stage in self.stages), 0.0)

    def summed(self, of: Callable[[Stage], float]) -> float:
        """A figure over all stages."""
        return sum(map(of, self.stages))


def row(point: Point) -> dict[str, object]:
    """A point as one flat row; every row has the same columns, None where the point has no figure."""
    client = {name: getattr(point.client, name, None) for name in Client.__dataclass_fields__}
    split = {name: point.summed(_named(name)) if point.own else None for name in SPLIT}
    return _rounded(
        {"model": point.model, "batch": point.batch, "mode": point.load.mode, "value": point.load.value}
        | {name: getattr(point.own, name, None) for name in ("requests", "failed")}
        | client
        | {"server_ms": point.own.total_ms if point.own else None}
        | split
        | {"overhead_ms": point.overhead_ms if point.client else None}
        | {"kept_up": point.kept_up, "error": point.error}
    )


def stage_rows(point: Point) -> list[dict[str, object]]:
    """A row for each stage of the point."""
    at = {"model": point.model, "mode": point.load.mode, "value": point.load.value}
    return [
        _rounded(at | asdict(stage) | {"requests_per_execution": stage.requests_per_execution})
        for stage in point.stages
    ]


SPLIT = ("queue_ms", "compute_input_ms", "compute_infer_ms", "compute_output_ms")


def _named(name: str) -> Callable[[Stage], float]:
    return lambda stage: float(getattr(stage, name))


def _rounded(values: dict[str, object]) -> dict[str, object]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
