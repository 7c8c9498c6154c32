"""A sweep as a report: one self-contained HTML page, or Markdown with its pictures beside it."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from matplotlib.figure import Figure

from perf.analyze.plots import breakdown, curves
from perf.analyze.points import Point, row, stage_rows
from perf.errors import PerfError

DPI = 150
HTML, MARKDOWN = ".html", ".md"
POINT_COLUMNS = {
    "mode": "load", "value": "of", "requests_per_second": "requests/s", "p50_ms": "p50", "p90_ms": "p90",
    "p95_ms": "p95", "p99_ms": "p99", "queue_ms": "queue", "compute_input_ms": "input", "compute_infer_ms": "infer",
    "compute_output_ms": "output", "client_send_ms": "send", "client_recv_ms": "receive", "overhead_ms": "overhead",
    "requests": "answered", "failed": "failed", "delayed_percent": "late %",
}  # fmt: skip
STAGE_COLUMNS = {
    "mode": "load", "value": "of", "stage": "stage", "total_ms": "total", "queue_ms": "queue",
    "compute_input_ms": "input", "compute_infer_ms": "infer", "compute_output_ms": "output",
    "requests": "answered", "failed": "failed", "requests_per_execution": "requests an execution",
}  # fmt: skip


def check_path(path: Path) -> None:
    """Refuse an ending that says neither format. Raises PerfError."""
    if path.suffix not in (HTML, MARKDOWN):
        raise PerfError(f"--report {path}: a report is {HTML} or {MARKDOWN}")


def write(document: Mapping[str, object], points: Sequence[Point], path: Path) -> None:
    """The report of a sweep; `document` is what is stored of it, with the machine's facts. Raises PerfError."""
    check_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = {"curves": curves(points), "stages": breakdown(points)}
    pictures = {name: _picture(figure, path, name) for name, figure in figures.items() if figure is not None}
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",)),
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["figure"] = figure_text
    page = environment.get_template(f"report{path.suffix}.j2").render(
        document=document, pictures=pictures, models=_by_model([row(point) for point in points]),
        stages=_by_model([one for p in points if len(p.stages) > 1 for one in stage_rows(p)]),
        point_columns=POINT_COLUMNS, stage_columns=STAGE_COLUMNS,
    )  # fmt: skip
    path.write_text(page)


def figure_text(value: object) -> str:
    """A cell: three digits that matter, nothing for what was not measured."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _by_model(rows: Sequence[Mapping[str, object]]) -> dict[str, list[Mapping[str, object]]]:
    found: dict[str, list[Mapping[str, object]]] = {}
    for one in rows:
        found.setdefault(str(one["model"]), []).append(one)
    return found


def _picture(figure: Figure, path: Path, name: str) -> str:
    """The address of the picture for the report: the picture itself in HTML, a file beside Markdown."""
    if path.suffix == MARKDOWN:
        file = path.with_name(f"{path.stem}-{name}.png")
        figure.savefig(file, dpi=DPI)
        return file.name
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
