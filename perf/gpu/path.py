"""The whole path through Triton on one device: KIND_GPU instances of every model, or the CPU profile's.

REST with always-busy clients, and perf_analyzer on the ensemble, which leaves the orchestrator out. One stack is
started for each workspace, and only when a cell of it is missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from deploy.settings import ROOT, Settings
from exporters.errors import ExportError
from exporters.manifest import release_numbers
from model_repository.contract import RECOMMEND
from perf.errors import PerfError
from perf.gpu.cells import Cells, Status
from perf.gpu.device import AbsentError
from perf.release import newest
from perf.stack import Serving, serving

PART = "path"
CLIENTS = (1, 4, 16, 64, 256)
WARM_UP_S = 2.0
IN_FLIGHT = 1024  # the limit is to be Triton's, not the API's admission
Work = Callable[[], dict[str, Any]]


def measure_path(
    cells: Cells, label: str, settings: Settings, clients: Sequence[int] = CLIENTS, seconds: float = 8.0
) -> dict[str, Status]:
    """Cells `<label>-rest-<clients>` and `<label>-ensemble-<clients>` of the workspace's newest release."""
    names = {f"{label}-{kind}-{count}": (kind, count) for kind in ("rest", "ensemble") for count in clients}
    missing = [name for name in names if cells.measured(PART, name) is None]
    outcome: dict[str, Status] = dict.fromkeys(names, "measured")
    if missing:
        outcome |= _measure(cells, settings, {name: names[name] for name in missing}, seconds)
    return outcome


def _measure(cells: Cells, settings: Settings, names: dict[str, tuple[str, int]], seconds: float) -> dict[str, Status]:
    profile = "gpu" if cells.device.kind == "cuda" else "cpu"
    chosen = settings.model_copy(update={"profile": profile, "max_in_flight": IN_FLIGHT})
    try:
        if not release_numbers(settings.releases):
            raise AbsentError(f"{settings.workspace.name} has no release; `make demo` or `python -m perf catalogue`")
        with serving(chosen) as stack:
            return {name: cells.measure(PART, name, _work(stack, *what, seconds)) for name, what in names.items()}
    except (PerfError, ExportError) as error:  # a stack that does not start is every cell's reason
        return {name: cells.measure(PART, name, partial(_raise, error)) for name in names}


def _work(stack: Serving, kind: str, count: int, seconds: float) -> Work:
    return partial(_rest if kind == "rest" else _ensemble, stack, count, seconds)


def _rest(stack: Serving, clients: int, seconds: float) -> dict[str, Any]:
    from perf.load import ClosedLoop, Target, drive, known_users
    from perf.usage import cpu_seconds, spent

    settings = stack.settings
    target = Target(host=settings.host, port=settings.api_port, users=known_users(settings))
    drive(target, ClosedLoop(clients=clients, seconds=WARM_UP_S, warm_up_s=0))  # apart: its CPU is not counted
    before = cpu_seconds(stack.pids())
    outcome = drive(target, ClosedLoop(clients=clients, seconds=seconds, warm_up_s=0))
    cpu = spent(before, cpu_seconds(stack.pids()), len(outcome))
    return {"what": "rest", "clients": clients, "profile": settings.profile, **outcome.as_dict(),
            "cpu_ms_per_request": cpu}  # fmt: skip


def _ensemble(stack: Serving, clients: int, seconds: float) -> dict[str, Any]:
    from perf.analyze.points import Load
    from perf.analyze.runs import run
    from perf.analyze.statistics import reader
    from perf.analyze.sweep import sweep, targets
    from perf.binary import obtain

    _require_binary()
    settings, binary = stack.settings, obtain()
    aims = targets(settings, *newest(settings), names=[RECOMMEND.name])
    result = settings.workspace / "perf" / "gpu.csv"

    def measure(target: Any, load: Load) -> Any:
        return run(binary, settings.triton_url, target, load, seconds, result)

    point = next(sweep(aims, [Load(mode="concurrency", value=clients)], measure, reader(settings.triton_url)))
    if point.error:
        raise PerfError(f"perf_analyzer: {point.error}")
    return {"what": "ensemble", "clients": clients, "profile": settings.profile, **asdict(point)}


def _require_binary() -> None:
    if not any(_unpacked()):
        raise AbsentError("perf_analyzer is not unpacked and nothing is downloaded here; run `python -m perf analyze` "
                          "once where packages can be reached")  # fmt: skip


def _unpacked() -> Iterator[Path]:
    return (ROOT / ".tools" / "perf_analyzer").glob("*/perf_analyzer")


def _raise(error: Exception) -> dict[str, Any]:
    raise error if isinstance(error, RuntimeError) else PerfError(str(error))
