"""Candidate search on one device: each index at its cheapest setting with recall@500 ≥ 0.95, at growing batches."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from exporters.exact import ExactSearch, recall
from exporters.index import TARGET_RECALL
from feature_repo.vectors import Ints
from model_repository.contract import CANDIDATES
from perf.gpu.cells import Cells, Status
from perf.gpu.device import Device, Searcher
from perf.gpu.timing import sweep
from perf.gpu.vectors import Vectors

PART = "candidates"
BATCHES = (1, 4, 16, 64, 256)
RECALL_QUERIES = 200
POOL = 4096  # queries to draw batches from, so that no batch is asked twice in a row


def measure_candidates(
    cells: Cells, sizes: Sequence[Vectors], batches: Sequence[int] = BATCHES, seconds: float = 1.0, k: int = CANDIDATES
) -> dict[str, Status]:
    """A cell of exact answers for each size, then one for each index: {cell: what became of it}."""
    outcome: dict[str, Status] = {}
    for vectors in sizes:
        exact = f"{vectors.items}-exact"
        outcome[exact] = cells.measure(PART, exact, partial(_exact, vectors, k))
        known = cells.measured(PART, exact)
        for name in cells.device.indexes:
            cell = f"{vectors.items}-{name}"
            if known is None:
                outcome[cell] = "waiting"
                continue
            work = partial(_measure, cells.device, name, vectors, np.array(known["rows"]), batches, seconds)
            outcome[cell] = cells.measure(PART, cell, work)
    return outcome


def _exact(vectors: Vectors, k: int) -> dict[str, Any]:
    """The k best rows of each recall query, by a streaming scan on the host."""
    search, started = ExactSearch(vectors.queries(RECALL_QUERIES), k), time.perf_counter()
    for first, rows in vectors.chunks():
        search.add(rows, first)
    seconds = round(time.perf_counter() - started, 2)
    return {"items": vectors.items, "vectors": vectors.name, "seconds": seconds, "rows": search.top(k).tolist()}


def _measure(
    device: Device, name: str, vectors: Vectors, exact: Ints, batches: Sequence[int], seconds: float
) -> dict[str, Any]:
    before, started = device.memory_mib(), time.perf_counter()
    index = device.index(name, vectors)
    built, memory = time.perf_counter() - started, device.memory_mib() - before
    recalls = _recalls(index, vectors, exact)
    setting, reached = list(recalls.items())[-1]
    pool, k = vectors.queries(POOL), exact.shape[1]

    def prepare(batch: int) -> Any:
        starts = np.arange(0, POOL - batch + 1, batch)
        return lambda number: index.search(pool[starts[number % len(starts)] :][:batch], k, setting)

    return {
        "index": name, "items": vectors.items, "dimension": vectors.dimension, "vectors": vectors.name, "k": k,
        "clock": "host, around the blocking search: copy of queries in and of answers out included",
        "build_s": round(built, 2), "memory_mib": round(memory, 1), "setting": setting,
        "recall": round(reached, 4), "reached_target": reached >= TARGET_RECALL, "target_recall": TARGET_RECALL,
        "recalls": {str(s): round(r, 4) for s, r in recalls.items()},
        "points": sweep(prepare, batches, seconds),
    }  # fmt: skip


def _recalls(index: Searcher, vectors: Vectors, exact: Ints) -> dict[int, float]:
    """Recall by setting from cheap to thorough, ending at the first that reaches the target."""
    queries, found = vectors.queries(len(exact)), dict[int, float]()
    for setting in index.settings:
        found[setting] = recall(index.search(queries, exact.shape[1], setting), exact)
        if found[setting] >= TARGET_RECALL:
            break
    return found
