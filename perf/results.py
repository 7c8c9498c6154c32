"""How a measurement is kept: its document, the machine, and the run that made it, in one JSON file.

`run` says the command, when it started and how long it took, and whether the code differed from `machine.revision`.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.settings import ROOT
from perf.errors import PerfError
from training.machine import facts, run

FOLDER = ROOT / "perf" / "results"


def stamped(document: Mapping[str, object]) -> dict[str, object]:
    """The document with `machine` and `run` before it; what it says of them itself stays."""
    return {"machine": facts(), "run": run("perf")} | {name: _finite(value) for name, value in document.items()}


def store(document: Mapping[str, object], path: Path) -> None:
    """Write a stamped document, replacing an earlier one. Raises ValueError for NaN."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")


def read(path: Path) -> dict[str, Any]:
    """A stored document. Raises PerfError when there is none."""
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise PerfError(f"{path}: {error.strerror}; measure with `--save {path}` first") from None
    except ValueError as error:
        raise PerfError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise PerfError(f"{path} holds a {type(document).__name__}; a result is one JSON object")
    return document


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity: a figure that nothing came of is null."""
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
