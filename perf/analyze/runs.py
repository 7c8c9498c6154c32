"""One run of `perf_analyzer`: its command line, its file of figures, and why it failed where it did."""

import csv
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from perf.analyze.points import Client, Load, Target
from perf.binary import Binary, environment
from perf.errors import PerfError

WINDOWS = 3  # perf_analyzer needs three measurement windows before it reports
STABILITY_PERCENT = 999  # windows are reported as they are: this is a measurement, not a search for a quiet machine
START_S = 60.0  # to read its inputs and to wait for the last answers
US_PER_MS = 1000
COUNTED = re.compile(r"Request count: (\d+)")
DELAYED = re.compile(r"([\d.]+)% of the requests were delayed")


def run(
    binary: Binary, url: str, target: Target, load: Load, seconds: float, result: Path, start_s: float = START_S
) -> Client:
    """Drive `target` for `seconds` and read what came of it; raises PerfError with perf_analyzer's own reason."""
    result.unlink(missing_ok=True)
    limit = start_s + 4 * seconds
    try:
        done = subprocess.run(
            command(binary, url, target, load, seconds, result),
            env=environment(binary), capture_output=True, text=True, check=False, timeout=limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise PerfError(f"did not end within {limit:.0f} s") from None
    said = done.stdout + done.stderr
    if done.returncode or not result.is_file():
        raise PerfError(reason(said) or f"ended with {done.returncode} and said nothing")
    return read(result.read_text(), said, target.batch)


def command(binary: Binary, url: str, target: Target, load: Load, seconds: float, result: Path) -> list[str]:
    """The command line; `seconds` are divided among the windows."""
    return [
        str(binary.path), "-m", target.name, "-x", str(target.version), "-i", "grpc", "-u", url,
        "--input-data", str(target.data), "-b", str(target.batch), *_options(load),
        "--measurement-interval", str(round(seconds * 1000 / WINDOWS)), "--max-trials", str(WINDOWS),
        "--stability-percentage", str(STABILITY_PERCENT), "--percentile", "99", "--verbose-csv", "-f", str(result),
    ]  # fmt: skip


def _options(load: Load) -> list[str]:
    if load.mode == "concurrency":
        return ["--concurrency-range", f"{load.value:.0f}"]
    return ["--request-rate-range", f"{load.value:g}", "--async", "--request-distribution", "poisson"]


def read(text: str, said: str, batch: int) -> Client:
    """Figures of a verbose CSV of one row (times in µs) and of the program's output. Raises PerfError."""
    found = next(csv.DictReader(text.splitlines()), None)
    if found is None:
        raise PerfError(f"reported no measurement, saying: {reason(said)}")
    counted, delayed = COUNTED.search(said), DELAYED.search(said)
    if counted is None:
        raise PerfError("perf_analyzer did not say how many requests it counted")
    return Client(
        counted=int(counted.group(1)),
        requests_per_second=_number(found, "Inferences/Second") / batch,
        mean_ms=_ms(found, "request/response") + _ms(found, "response wait"),
        p50_ms=_ms(found, "p50 latency"), p90_ms=_ms(found, "p90 latency"),
        p95_ms=_ms(found, "p95 latency"), p99_ms=_ms(found, "p99 latency"),
        client_send_ms=_ms(found, "Client Send"), client_recv_ms=_ms(found, "Client Recv"),
        network_ms=_ms(found, "Network+Server Send/Recv"),
        delayed_percent=float(delayed.group(1)) if delayed else 0.0,
    )  # fmt: skip


def reason(said: str) -> str:
    """The line of the output that says what went wrong; its last one where none does."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|fail|unable|cannot", line, re.IGNORECASE)]
    return (telling or lines or [""])[-1].removeprefix("error: ")


def _ms(found: Mapping[str, str], column: str) -> float:
    return _number(found, column) / US_PER_MS


def _number(found: Mapping[str, str], column: str) -> float:
    try:
        return float(found[column])
    except (KeyError, ValueError):
        raise PerfError(f"perf_analyzer's file has no number in {column!r}; its columns: {', '.join(found)}") from None
