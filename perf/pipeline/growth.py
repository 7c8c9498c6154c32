"""Validation and features over 1M, 10M, 50M … events, as a person runs them: one process a command, its use watched."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from deploy.settings import ROOT, Settings, child_environment
from perf.errors import PerfError
from perf.memory import Usage, watched

STAGES = ("validate", "features")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Rows in, wall and CPU seconds by stage (JVM start included), peak resident memory, snapshots and bytes out."""

    events: int
    impressions: int
    users: int
    items: int
    validate_s: float
    features_s: float
    cpu_s: float
    peak_gib: float
    user_snapshots: int
    item_snapshots: int
    output_gib: float

    @property
    def total_s(self) -> float:
        """Wall seconds of all stages."""
        return self.validate_s + self.features_s


def measure(settings: Settings, sizes: Sequence[int], keep: bool) -> Iterator[Size]:
    """Each size in a workspace of its own, removed afterwards unless `keep`. Raises PerfError when a stage fails."""
    for events in sorted(sizes):
        home = settings.home / f"pipeline-{events}"
        place = settings.model_copy(update={"home": home, "source": "files", "data": None})
        yield _measured(place, events)
        if not keep:
            shutil.rmtree(home)


def slope(sizes: Sequence[Size]) -> dict[str, float]:
    """Seconds per event of the largest size ÷ of the one before it: 1 is linear. Empty below two sizes."""
    if len(sizes) < 2:
        return {}
    before, last = sizes[-2:]
    growth = last.events / before.events
    return {
        "from_events": before.events,
        "to_events": last.events,
        "seconds_per_event_ratio": round(last.total_s / before.total_s / growth, 3),
        "cpu_per_event_ratio": round(last.cpu_s / before.cpu_s / growth, 3),
    }


def _measured(settings: Settings, events: int) -> Size:
    rows, _, _ = _run(settings, "perf.pipeline.events", str(events))
    seconds, usages = {}, []
    for stage in STAGES:
        _, seconds[stage], usage = _run(settings, "training", stage, "--json")
        usages.append(usage)
    return Size(
        **rows,
        validate_s=round(seconds["validate"], 1),
        features_s=round(seconds["features"], 1),
        cpu_s=round(sum(usage.cpu_s for usage in usages), 1),
        peak_gib=round(max(usage.peak_mib for usage in usages) / 1024, 2),
        user_snapshots=_rows(settings.features / "user_snapshots"),
        item_snapshots=_rows(settings.features / "item_snapshots"),
        output_gib=round(_bytes(settings.tables, settings.features) / 2**30, 3),
    )


def _run(settings: Settings, module: str, *words: str) -> tuple[dict[str, Any], float, Usage]:
    """Run a command to its end: its last line as JSON, wall seconds, what it used."""
    settings.logs.mkdir(parents=True, exist_ok=True)
    log = settings.logs / f"{module}-{words[0]}.log"
    started = time.monotonic()
    with log.open("wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=ROOT, env=child_environment(settings), stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
        with watched(child.pid) as usage:
            output, _ = child.communicate()
    if child.returncode:
        said = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise PerfError(f"`python -m {module} {' '.join(words)}` ended with {child.returncode}, saying: {said} [{log}]")
    return json.loads(output.splitlines()[-1]), time.monotonic() - started, usage


def _rows(folder: Path) -> int:
    return int(ds.dataset(folder, format="parquet").count_rows())


def _bytes(*folders: Path) -> int:
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
