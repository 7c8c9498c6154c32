"""`perf_analyzer` on each served model and on the whole ensemble, fed with a release's own data."""

import csv
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.settings import Settings
from exporters.manifest import Manifest
from model_repository.contract import CANDIDATES, MODELS, RANKER, recommend_name
from perf.binary import Binary, environment, obtain
from perf.errors import PerfError
from perf.inputs import write_inputs
from perf.release import newest

WINDOW_MS = 2000
STABILITY_PERCENT = 999  # windows are reported as they are: this is a measurement, not a search for a quiet machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One model at one concurrency; times in milliseconds as the client saw them, queue and compute by Triton."""

    model: str
    batch: int
    concurrency: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    queue_ms: float
    compute_ms: float


def analyze(settings: Settings, concurrencies: tuple[int, ...]) -> Iterator[Measurement]:
    """Measure every model of the newest published release on the running Triton. Raises PerfError."""
    manifest, line = newest(settings)
    work = settings.workspace / "perf"
    inputs = write_inputs(settings, line, work)
    binary = obtain()
    for name, key, batch in _targets(manifest):
        for concurrency in concurrencies:
            command = _command(binary, settings, name, inputs[key], batch, concurrency, work / "result.csv")
            yield _measure(command, binary, name, batch, concurrency, work / "result.csv")


def _targets(manifest: Manifest) -> Iterator[tuple[str, str, int]]:
    """(Triton name, input file, batch) of each model; the forest is asked for a request's worth of candidates."""
    for model in MODELS:
        name = manifest.slots[model.name].model
        yield name, model.name, CANDIDATES if model is RANKER else 1
    yield recommend_name(manifest.release), "recommend", 1


def _command(
    binary: Binary, settings: Settings, name: str, data: Path, batch: int, concurrency: int, result: Path
) -> list[str]:
    return [
        str(binary.path), "-m", name, "-i", "grpc", "-u", settings.triton_url, "--input-data", str(data),
        "-b", str(batch), "--concurrency-range", str(concurrency), "--measurement-interval", str(WINDOW_MS),
        "--stability-percentage", str(STABILITY_PERCENT), "--max-trials", "3", "--percentile", "99",
        "--verbose-csv", "-f", str(result),
    ]  # fmt: skip


def _measure(command: list[str], binary: Binary, name: str, batch: int, concurrency: int, result: Path) -> Measurement:
    result.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            command, env=environment(binary), capture_output=True, text=True, check=False, timeout=120
        )
    except subprocess.TimeoutExpired:
        raise PerfError(f"perf_analyzer on {name} did not end within 120 s; is Triton overloaded?") from None
    if done.returncode or not result.is_file():
        reason = (done.stderr + done.stdout).strip().splitlines()[-1:]
        raise PerfError(f"perf_analyzer on {name} failed: {reason}; is the stack up (`make serve`)?")
    with result.open() as file:
        row = next(csv.DictReader(file))
    compute = ("Server Compute Input", "Server Compute Infer", "Server Compute Output")
    return Measurement(
        model=name, batch=batch, concurrency=concurrency,
        requests_per_second=float(row["Inferences/Second"]) / batch,
        p50_ms=float(row["p50 latency"]) / 1000, p99_ms=float(row["p99 latency"]) / 1000,
        queue_ms=float(row["Server Queue"]) / 1000, compute_ms=sum(float(row[c]) for c in compute) / 1000,
    )  # fmt: skip


def as_rows(measurements: list[Measurement]) -> list[dict[str, object]]:
    """Rows for a table or JSON, rounded."""
    return [{k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(m).items()} for m in measurements]
