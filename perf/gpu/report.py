"""The cells of a folder as one document of curves, which the capacity planner reads, and as a Markdown report."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perf.errors import PerfError
from perf.gpu.cells import read_cells

Cell = Mapping[str, Any]
Curves = dict[str, Any]
CURVES, REPORT, PICTURE = "curves.json", "report.md", "curves.png"


def curves(folder: Path) -> Curves:
    """{candidates: {index: [{items, batch, ms, p99_ms, qps, recall}]}, ranker: [{rows, ms, …}] of the fastest engine,
    ranker_engines: {engine: the same}, towers: {graph: [{batch, ms, bound_ms, …}]}, path: {label: [{clients, …}]},
    missing: [{part, cell, status, reason}], gpu: facts, machine: facts}. Raises PerfError for an empty folder.
    """
    cells = list(read_cells(folder))
    if not cells:
        raise PerfError(f"{folder} holds no cell; measure with `python -m perf gpu --out {folder}` first")
    measured = [cell for cell in cells if cell["status"] == "measured"]
    engines = {cell["engine"]: _forest_points(cell) for cell in _of(measured, "ranker")}
    return {
        "candidates": {cell["cell"]: _search_points(cell) for cell in _of(measured, "candidates") if "index" in cell},
        "ranker": min(engines.values(), key=lambda points: points[-1]["ms"], default=[]),
        "ranker_engines": engines,
        "towers": {cell["graph"]: _graph_points(cell) for cell in _of(measured, "towers")},
        "path": _paths(_of(measured, "path")),
        "missing": [{key: cell.get(key, "") for key in ("part", "cell", "status", "reason")}
                    for cell in cells if cell["status"] != "measured"],
        "gpu": cells[-1]["device"], "machine": cells[-1]["machine"],
    }  # fmt: skip


def markdown(document: Curves) -> str:
    """The report; its picture lies beside it."""
    gpu = document["gpu"]
    parts = [f"# Device suite: {gpu['name']}", f"![curves]({PICTURE})", _device(gpu, document["machine"])]
    for name, points in document["candidates"].items():
        parts.append(_section(f"Candidates, {name}", points))
    for name, points in document["ranker_engines"].items():
        parts.append(_section(f"Ranker, {name}", points))
    for name, points in document["towers"].items():
        parts.append(_section(f"Graph {name}", points))
    for name, points in document["path"].items():
        parts.append(_section(f"Whole path, {name}", points))
    if document["missing"]:
        parts.append(_section("Not measured", document["missing"]))
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """A Markdown table with the first row's columns."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row.get(name, "")) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _of(cells: Iterable[Cell], part: str) -> list[Cell]:
    return [cell for cell in cells if cell["part"] == part]


def _search_points(cell: Cell) -> list[dict[str, object]]:
    return [
        {"items": cell["items"], "batch": p["batch"], "ms": p["ms"], "p99_ms": p["p99_ms"], "qps": p["per_second"],
         "recall": cell["recall"], "setting": cell["setting"], "memory_mib": cell["memory_mib"]}
        for p in cell["points"]
    ]  # fmt: skip


def _forest_points(cell: Cell) -> list[dict[str, Any]]:
    worst = max(cell["parity"].values())
    return [
        {"rows": p["batch"], "ms": p["ms"], "p99_ms": p["p99_ms"], "rows_per_second": p["per_second"],
         "max_difference": worst}
        for p in cell["points"]
    ]  # fmt: skip


def _graph_points(cell: Cell) -> list[dict[str, object]]:
    return [
        {"batch": p["batch"], "ms": p["ms"], "p99_ms": p["p99_ms"], "bound_ms": b["ms"], "per_second": p["per_second"],
         "max_difference": cell["parity"]}
        for p, b in zip(cell["points"], cell["bound"], strict=True)
    ]  # fmt: skip


def _paths(cells: Iterable[Cell]) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for cell in sorted(cells, key=lambda c: c["clients"]):
        label = cell["cell"].rsplit("-", 1)[0]
        found.setdefault(label, []).append(_path_point(cell))
    return found


def _path_point(cell: Cell) -> dict[str, object]:
    if cell["what"] == "rest":
        return {"clients": cell["clients"], "per_second": cell["answered_per_second"],
                "p50_ms": cell["latency_ms"]["p50"], "p99_ms": cell["latency_ms"]["p99"]}  # fmt: skip
    client = cell["client"]
    return {"clients": cell["clients"], "per_second": client["requests_per_second"], "p50_ms": client["p50_ms"],
            "p99_ms": client["p99_ms"]}  # fmt: skip


def _device(gpu: Mapping[str, object], machine: Mapping[str, object]) -> str:
    facts = [{"fact": key, "value": value} for key, value in {**gpu, **machine}.items()]
    return table(facts)


def _section(title: str, rows: Sequence[Mapping[str, object]]) -> str:
    return f"## {title}\n\n{table(rows)}" if rows else f"## {title}\n\nnothing"


def write_report(folder: Path) -> Curves:
    """Write `curves.json`, `curves.png` and `report.md` into the folder; returns the curves."""
    from perf.gpu.plot import plot

    document = curves(folder)
    (folder / CURVES).write_text(json.dumps(document, indent=1) + "\n")
    plot(document, folder / PICTURE)
    (folder / REPORT).write_text(markdown(document))
    return document
