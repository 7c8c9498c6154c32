"""What a generation tells of the overlay on Triton's own metrics endpoint, by model and version."""

import time

import triton_python_backend_utils as pb_utils
from overlay import Read

FAMILIES = {
    "overlay_position": "Batches of the overlay that a generation holds",
    "overlay_rows": "Rows of a generation that the overlay says anything of",
    "overlay_broken": "Entries and values of the overlay that were passed over",
    "overlay_read_timestamp_seconds": "When a generation last read the overlay, to 5 seconds",
}
STEP_S = 5


class Gauges:
    """Telling Triton is a round trip to its process, so only what changed is told."""

    def __init__(self, model: str, version: str) -> None:
        gauge = pb_utils.MetricFamily.GAUGE
        self._families = {name: pb_utils.MetricFamily(name, text, gauge) for name, text in FAMILIES.items()}
        labels = {"model": model, "version": version}
        self._metrics = {name: family.Metric(labels=labels) for name, family in self._families.items()}
        self._told: dict[str, float] = {}
        self._broken = 0

    def tell(self, read: Read, rows: int) -> None:
        """After a read, with so many rows overlaid."""
        self._broken += read.broken
        now = time.time() // STEP_S * STEP_S
        values = dict(zip(FAMILIES, (read.position.sequence, rows, self._broken, now), strict=True))
        for name, value in values.items():
            if self._told.get(name) != value:
                self._metrics[name].set(value)
        self._told = values
