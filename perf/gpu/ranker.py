"""The forest on one device: parity with Treelite and with the CPU engine first, then rows per call swept."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import treelite

from exporters.gates import TOLERANCE
from feature_repo.vectors import Floats
from perf.gpu.backends import fil_engine
from perf.gpu.cells import Cells, Status
from perf.gpu.device import Device
from perf.gpu.parity import gate
from perf.gpu.timing import sweep

PART = "ranker"
ROWS = (500, 1000, 2000, 4000, 8000, 16000, 32000)


def measure_ranker(
    cells: Cells, checkpoint: Path, rows: Floats, sizes: Sequence[int] = ROWS, seconds: float = 1.0
) -> dict[str, Status]:
    """A cell for each way the device evaluates the forest; `rows` [n, features] hold edge rows as well."""
    work = partial(_measure, cells.device, checkpoint, rows, sizes, seconds)
    return {name: cells.measure(PART, name, partial(work, name)) for name in cells.device.forests}


def parity(predictor: Any, checkpoint: Path, rows: Floats) -> dict[str, float]:
    """Largest differences from Treelite's own evaluation and from the CPU engine. Raises ParityError beyond 1e-6."""
    found = predictor.predict(rows)
    model = treelite.Model.deserialize(checkpoint)
    treelite_scores = np.asarray(treelite.gtil.predict(model, rows)).reshape(found.shape)
    cpu_scores = fil_engine("forest").Forest(str(checkpoint)).predict(rows)
    alone = np.concatenate([predictor.predict(rows[i : i + 1]) for i in range(min(len(rows), 32))])
    return {
        "treelite": gate("ranker against Treelite", found, treelite_scores.astype(np.float32), TOLERANCE),
        "cpu_engine": gate("ranker against the CPU engine", found, cpu_scores, TOLERANCE),
        "one_row": gate("ranker, one row at a time", alone, found[: len(alone)], TOLERANCE),
    }


def _measure(
    device: Device, checkpoint: Path, rows: Floats, sizes: Sequence[int], seconds: float, name: str
) -> dict[str, Any]:
    before = device.memory_mib()
    predictor = device.forest(name, checkpoint)
    differences = parity(predictor, checkpoint, rows)
    matrix = np.resize(rows, (max(sizes), rows.shape[1]))

    def prepare(size: int) -> Any:
        return lambda _: predictor.predict(matrix[:size])

    model = treelite.Model.deserialize(checkpoint)
    return {
        "engine": name, "trees": int(model.num_tree), "features": int(model.num_feature), "parity": differences,
        "parity_rows": len(rows), "memory_mib": round(device.memory_mib() - before, 1),
        "clock": "host: copy of the rows in and of the scores out included",
        "points": sweep(prepare, sizes, seconds),
    }  # fmt: skip
