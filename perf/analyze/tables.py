"""Points as tidy tables: CSV for other tools, and the document that is stored."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporters.manifest import Manifest
from perf.analyze.points import Point, row, stage_rows

SHOWN = ("requests_per_second", "p50_ms", "p99_ms", "queue_ms", "compute_infer_ms")


def document(points: Sequence[Point], manifest: Manifest, version: str, seconds: float) -> dict[str, object]:
    """What is stored of a sweep: `points` one row each, `stages` one row for each point and stage, ms throughout."""
    return {
        "perf_analyzer": version,
        "seconds_per_point": seconds,
        "release": manifest.release,
        "index": manifest.index.model_dump(mode="json"),
        "points": [row(point) for point in points],
        "stages": [one for point in points for one in stage_rows(point)],
    }


def write_csv(points: Sequence[Point], path: Path) -> list[Path]:
    """The points to `path`, their stages to `<stem>-stages.csv` beside it."""
    stages = path.with_name(f"{path.stem}-stages.csv")
    _write(path, [row(point) for point in points])
    _write(stages, [one for point in points for one in stage_rows(point)])
    return [path, stages]


def shown(points: Sequence[Point]) -> list[dict[str, object]]:
    """The columns for a terminal."""
    return [{"model": point.model, "load": str(point.load)} | _figures(point) for point in points]


def _figures(point: Point) -> dict[str, object]:
    values = row(point)
    return {name.removesuffix("_ms"): values[name] for name in SHOWN} | {"": point.error or ""}


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0] if rows else [])
        writer.writeheader()
        writer.writerows(rows)
