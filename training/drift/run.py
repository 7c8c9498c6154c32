"""Drift: examples of a features folder, as a line sees and scores them, against what the line was trained on.

    python -m training drift --reference 3                               # the test window of the configured workspace
    python -m training drift --reference 3 --current sample-default-2    # another workspace's
    python -m training drift --reference 3 --days 1 --json --plot out    # what the last day's snapshots served

The reference is every window of the refit. So a window that isn't whole weeks moves the weekday columns, and while a
source is younger than the longest windows (90 days, or ever) their counts still fill up and move as well.

Writes `drift/drift.json` and `drift/drift.prom` (for node_exporter's textfile collector) to the configured workspace.
Exit codes: 0 stable or moderate, 3 some column's PSI is 0.2 or more, 2 nothing can be compared.
"""  # fmt: skip

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from deploy.settings import Settings
from training import lines
from training.dataset import Dataset, Split
from training.drift import reference as references
from training.drift.compare import Drift, against, figures, overall
from training.drift.examples import Window, examples_of
from training.drift.plot import draw
from training.drift.psi import NOISE, minimum_rows
from training.drift.reference import Reference, columns_of
from training.errors import DataError
from training.lines import FACTS, Line

LATEST, SPLITS = "latest", "splits.json"
FOLDER, JSON, PROMETHEUS, PLOT = "drift", "drift.json", "drift.prom", "drift.png"


def compare(
    settings: Settings, number: int | None, current: str, split: Split | None, days: float | None, plot: Path | None
) -> dict[str, Any]:
    """Line `number` (None: the newest) against a window of `current`; returns the document, which is also on disk.

    Raises DataError when nothing can be compared.
    """
    if plot and plot.exists() and not plot.is_dir():
        raise DataError(f"--plot {plot}: not a folder")
    line = _line(settings, number)
    reference = references.read(line.folder)
    dataset, window = Dataset(_folder(settings, current)), Window.asked(split, days)
    examples = examples_of(dataset, window, settings.seed)
    _require_rows(len(examples), reference, f"{dataset.folder}: {window}")
    drifts = against(reference, columns_of(dataset, examples, line.folder))
    document = _document(line, reference, dataset, window, len(examples), drifts)
    _write(settings.workspace / FOLDER, document, drifts)
    if plot:
        document["plot"] = str(draw(drifts, _title(document), plot / PLOT))
    return document


def _line(settings: Settings, number: int | None) -> Line:
    if number is None:
        return lines.latest(settings.lines)
    line = Line(number, settings.lines / str(number))
    if not (line.folder / FACTS).is_file():
        raise DataError(f"{settings.lines}: no line {number}, the newest is {lines.latest(settings.lines).number}")
    return line


def _folder(settings: Settings, current: str) -> Path:
    """The features folder meant: `latest`, a features folder, a workspace, or a workspace's name."""
    if current == LATEST:
        return settings.features
    places = [place for base in (Path(current), settings.home / current) for place in (base, base / "features")]
    found = next((place for place in places if (place / SPLITS).is_file()), None)
    if found is None:
        raise DataError(f"{current}: neither a features folder nor a workspace; none of them holds a {SPLITS}")
    return found


def _require_rows(rows: int, reference: Reference, where: str) -> None:
    least = minimum_rows(reference.rows)
    if least is None:
        raise DataError(f"the reference holds {reference.rows} rows, too few for any comparison to mean something")
    if rows < least:
        raise DataError(
            f"{where} holds {rows} rows; beside a reference of {reference.rows} at least {least} are needed, "
            f"or chance alone may show a PSI of {NOISE:g}"
        )


def _document(
    line: Line, reference: Reference, dataset: Dataset, window: Window, rows: int, drifts: Sequence[Drift]
) -> dict[str, Any]:
    same = dataset.keeps_codes_of(line.facts)
    worst = drifts[0]
    return {
        "reference": {"line": line.number, "rows": reference.rows, "examples": reference.examples},
        "current": {
            "folder": str(dataset.folder),
            "window": str(window),
            "as_of": dataset.facts["as_of"],
            "vocabulary": "same" if same else "other",  # other: codes of categories, brands, bands mean other things
        },
        "rows": rows,
        "features": figures(drifts, "feature"),
        "scores": figures(drifts, "score"),
        "worst": {"name": worst.name, "kind": worst.kind, "psi": round(worst.psi, 6)},
        "moderate": sum(drift.status == "moderate" for drift in drifts),
        "drifted": sum(drift.status == "drifted" for drift in drifts),
        "status": overall(drifts),
    }


def _write(folder: Path, document: dict[str, Any], drifts: Sequence[Drift]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    registry = CollectorRegistry()
    gauge = Gauge("trident_drift_psi", "PSI against the line's reference", ["name", "kind"], registry=registry)
    for drift in drifts:
        gauge.labels(drift.name, drift.kind).set(drift.psi)
    Gauge("trident_drift_rows", "examples compared", registry=registry).set(document["rows"])
    Gauge("trident_drift_line", "line whose reference it is", registry=registry).set(document["reference"]["line"])
    write_to_textfile(str(folder / PROMETHEUS), registry)


def _title(document: dict[str, Any]) -> str:
    reference, current = document["reference"], document["current"]
    now = f"{current['window']} as of {current['as_of'][:10]} ({document['rows']:,} rows)"
    return f"Line {reference['line']} ({reference['rows']:,} rows) against {now}"
