"""Stages × device → the most requests/s each stage allows, what binds it, and how near a measured run came."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from perf.errors import PerfError
from perf.roofline.devices import Device
from perf.roofline.stages import Stage

WORK = ("bytes", "flops", "visits", "calls")
ON_GPU = ("user_tower", "candidates", "assemble", "ranker")
Resource = Literal["bytes", "FLOPs", "node visits", "calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """A stage on a device that does nothing else. `achieved` is measured requests/s of the stage's model or process."""

    stage: Stage
    seconds: float
    binds: Resource
    achieved: float | None = None

    @property
    def rate(self) -> float:
        """Requests/s; infinite for a stage without work."""
        return 1 / self.seconds if self.seconds else float("inf")


def ceiling(stage: Stage, device: Device, achieved: float | None = None) -> Ceiling:
    """The slowest of moving, computing, visiting and calling, each at the device's peak and all at once."""
    times: dict[Resource, float] = {
        "bytes": stage.bytes / device.bytes_per_s,
        "FLOPs": stage.flops / device.flops,
        "node visits": stage.visits / device.visits,
        "calls": stage.calls * device.call_s / (device.cores if device.kind == "cpu" else 1),
    }
    binds = max(times, key=lambda name: times[name])
    return Ceiling(stage=stage, seconds=times[binds], binds=binds, achieved=achieved)


def ceilings(stages: Sequence[Stage], device: Device, result: Mapping[str, float] | None = None) -> list[Ceiling]:
    """The ceiling of every stage that runs on the device and has work. `result`: calls/s of models and processes."""
    chosen = [stage for stage in stages if stage.share and (device.kind == "cpu" or stage.model in ON_GPU)]
    found = [ceiling(stage, device, _requests(stage, result or {})) for stage in chosen]
    return [one for one in found if one.seconds]


def _requests(stage: Stage, calls: Mapping[str, float]) -> float | None:
    """Requests/s that a measured rate of calls answers."""
    rate = calls.get(stage.model)
    return None if rate is None else rate / stage.share


def whole(found: Sequence[Ceiling]) -> float:
    """Requests/s of the path when all stages take turns on the device."""
    return 1 / sum(one.seconds for one in found)


def by_model(found: Sequence[Ceiling]) -> dict[str, float]:
    """Requests/s a served model or process could reach with all its stages."""
    seconds: dict[str, float] = {}
    for one in found:
        seconds[one.stage.model] = seconds.get(one.stage.model, 0.0) + one.seconds
    return {model: 1 / spent for model, spent in seconds.items() if spent}


def read_achieved(path: Path, cores: int) -> dict[str, float]:
    """Requests/s by model or process in a stored result: rows with `model` and `requests_per_second`, the highest of
    each, and `cpu_ms_per_request` by process, as cores ÷ milliseconds. Raises PerfError when there is neither."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PerfError(f"{path} is no stored result: {error}") from None
    found: dict[str, float] = {}
    for model, rate in _rates(document, cores):
        found[model] = max(rate, found.get(model, 0.0))
    if not found:
        raise PerfError(f"{path} holds no rates by model and no CPU by process; give a result of `perf analyze`")
    return found


def _rates(node: Any, cores: int) -> Iterator[tuple[str, float]]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict):
        if isinstance(node.get("model"), str) and isinstance(node.get("requests_per_second"), int | float):
            yield node["model"], float(node["requests_per_second"])
        spent = node.get("cpu_ms_per_request")
        if isinstance(spent, dict):
            yield from ((role, 1000 * cores / ms) for role, ms in spent.items() if isinstance(ms, int | float) and ms)
    for child in children:
        yield from _rates(child, cores)


def as_rows(found: Sequence[Ceiling]) -> list[dict[str, object]]:
    """Rows for a table or JSON. A model's several stages share its achieved rate: they are one call."""
    limits = by_model(found)
    return [_row(one, limits.get(one.stage.model)) for one in found]


def _row(one: Ceiling, limit: float | None) -> dict[str, object]:
    work = {name: round(value, 1) for name, value in asdict(one.stage).items() if name in WORK}
    near = one.achieved / limit if one.achieved and limit else None
    return {
        "stage": one.stage.name,
        "model": one.stage.model,
        **work,
        "ceiling_rps": round(one.rate),
        "binds": one.binds,
        "achieved_rps": None if one.achieved is None else round(one.achieved, 1),
        "achieved_of_ceiling": None if near is None else round(near, 4),
    }
