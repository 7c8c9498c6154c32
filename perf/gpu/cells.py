"""Cells: the smallest thing that is measured and kept, one JSON file each, `<folder>/<part>/<name>.json`.

A cell is written by a rename as soon as it is measured, and never measured again; one that was absent or failed is
tried again by the next run. A run starts no cell after its time is over: call it again until nothing waits.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from perf.errors import PerfError
from perf.gpu.device import AbsentError, Device
from perf.gpu.parity import ParityError
from training.machine import facts

Status = Literal["measured", "absent", "failed", "waiting"]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The folder of one device's cells and the time this run may take."""

    folder: Path
    device: Device
    seconds: float
    say: Say = lambda _: None
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        for cell in read_cells(self.folder):
            if cell["device"]["kind"] != self.device.kind:
                raise PerfError(f"{self.folder} holds cells of device {cell['device']['kind']!r}, asked for "
                                f"{self.device.kind!r}; choose another folder")  # fmt: skip

    def measure(self, part: str, name: str, work: Callable[[], dict[str, Any]]) -> Status:
        """Run `work` unless the cell is there or the time is over; what it raises as absent or failed is kept."""
        if self.measured(part, name) is not None:
            return "measured"
        if time.monotonic() - self.started > self.seconds:
            return "waiting"
        self.say(f"{part} {name}")
        status, outcome = _attempt(work)
        self._write(part, name, status, outcome)
        return status

    def measured(self, part: str, name: str) -> dict[str, Any] | None:
        """What a measured cell holds, None before."""
        path = self._path(part, name)
        cell: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"status": "waiting"}
        return cell if cell["status"] == "measured" else None

    def _write(self, part: str, name: str, status: Status, outcome: dict[str, Any]) -> None:
        path = self._path(part, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        cell = {"part": part, "cell": name, "status": status, **outcome, "machine": facts(),
                "device": {"kind": self.device.kind, **self.device.facts()}}  # fmt: skip
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(cell, indent=1) + "\n")
        draft.rename(path)

    def _path(self, part: str, name: str) -> Path:
        return self.folder / part / f"{name}.json"


def read_cells(folder: Path) -> Iterator[dict[str, Any]]:
    """Every cell of the folder, by part and name. Raises PerfError for a file that is none."""
    for path in sorted(folder.glob("*/*.json")):
        try:
            cell = json.loads(path.read_text())
            cell["part"], cell["status"], cell["device"]["kind"]
        except (ValueError, KeyError, TypeError) as error:
            raise PerfError(f"{path} is not a cell of this suite ({error}); remove it") from None
        yield cell


def _attempt(work: Callable[[], dict[str, Any]]) -> tuple[Status, dict[str, Any]]:
    try:
        return "measured", work()
    except AbsentError as error:
        return "absent", {"reason": str(error)}
    except ParityError as error:
        return "failed", {"reason": str(error)}
    except Exception as error:  # the boundary: CUDA's libraries share no base class, and other cells are still to come
        return "failed", {"reason": f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"}
