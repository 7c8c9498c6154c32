"""Measured GPU curves as a server of batches: what `python -m perf gpu --report` wrote, at the demand's size.

A search was measured at some catalogue sizes. Between the two nearest both parts of a batch's time, fixed and each, are
linear in the items, as the bytes read are; outside of the measured sizes there is no answer.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perf.errors import PerfError
from perf.plan.bulk import Batches, fit_batches
from perf.plan.demand import Demand

RECALL = 0.95
Document = Mapping[str, Any]


class UnmeasuredError(PerfError):
    """The curves lack what a demand needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """An index at a size: its batches, and the measured sizes they are from."""

    batches: Batches
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        if len(self.sizes) == 1:
            return f"measured at {self.sizes[0]:,} items"
        return f"interpolated between {self.sizes[0]:,} and {self.sizes[1]:,} items"


def from_curves(document: Document, demand: Demand, count: int = 1) -> tuple[Batches, str]:
    """The sum of the search's, the ranker's and the graphs' lines, and what the search's is from. The document is that
    of `perf.gpu.report.curves`; the search is the fastest with recall ≥ 0.95, over each of `count` GPUs' items.

    Raises UnmeasuredError when the curves lack one of them.
    """
    search = _search(document, demand, round(demand.items / count))
    ranker = _line([(p["rows"] / demand.candidates, p["ms"]) for p in document.get("ranker", ())], demand)
    tower = _line([(p["batch"], p["ms"]) for p in _graph(document, "user_tower")], demand)
    assemble_ms = _graph(document, "assemble")[0]["ms"]  # a call for each request
    whole = replace(
        search.batches,
        fixed_ms=search.batches.fixed_ms + ranker.fixed_ms + tower.fixed_ms,
        each_ms=search.batches.each_ms + ranker.each_ms + (1 - demand.hit_rate) * tower.each_ms + assemble_ms,
    )
    return whole, str(search)


def read_curves(path: Path) -> Document:
    """A stored document. Raises PerfError."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise PerfError(f"{path} holds no GPU curves: {error}; make them with `python -m perf gpu`") from None


def _search(document: Document, demand: Demand, items: int) -> Search:
    indexes = _indexes(document, demand)
    found = [search for lines in indexes.values() if (search := _at(lines, items)) is not None]
    if not found:
        sizes = sorted({size for lines in indexes.values() for size in lines})
        measured = f"; it was measured at {', '.join(f'{size:,}' for size in sizes)}" if sizes else ""
        raise UnmeasuredError(
            f"the curves hold no {demand.gpu_index} search of {items:,} items with recall ≥ {RECALL}{measured}"
        )
    return max(found, key=lambda search: search.batches.saturation())


def _indexes(document: Document, demand: Demand) -> dict[str, dict[int, Batches]]:
    """{index: {items: its batches}} of the demanded kind, without the sizes at which an index finds too little."""
    points: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for cell, measured in document.get("candidates", {}).items():
        for p in measured:
            if p["recall"] >= RECALL:
                points[cell.removeprefix(f"{p['items']}-"), p["items"]].append((p["batch"], p["ms"]))
    indexes: dict[str, dict[int, Batches]] = defaultdict(dict)
    for (name, items), line in points.items():
        if demand.gpu_index in name and len(line) > 1:
            indexes[name][items] = _line(line, demand)
    return indexes


def _at(lines: Mapping[int, Batches], items: int) -> Search | None:
    """The index at a size, None outside of the measured ones."""
    below = max((size for size in lines if size <= items), default=None)
    above = min((size for size in lines if size >= items), default=None)
    if below is None or above is None:
        return None
    if below == above:
        return Search(batches=lines[below], sizes=(below,))
    part, low, high = (items - below) / (above - below), lines[below], lines[above]
    between = replace(
        low,
        fixed_ms=low.fixed_ms + part * (high.fixed_ms - low.fixed_ms),
        each_ms=low.each_ms + part * (high.each_ms - low.each_ms),
    )
    return Search(batches=between, sizes=(below, above))


def _graph(document: Document, name: str) -> list[Mapping[str, Any]]:
    """A graph's points, the smallest batch first."""
    points = document.get("towers", {}).get(name)
    if not points:
        raise UnmeasuredError(f"the curves hold no {name}; measure it with `python -m perf gpu --part towers`")
    return sorted(points, key=lambda point: point["batch"])


def _line(points: list[tuple[float, float]], demand: Demand) -> Batches:
    try:
        return fit_batches(points, demand.gpu_batch, demand.gpu_window_ms)
    except ValueError as error:
        raise UnmeasuredError(f"GPU curves: {error}") from None
