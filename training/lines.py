"""A line: one training run on disk, `lines/L`. Written whole or not at all.

`user_tower.onnx`, `item_tower.onnx`, `assemble.onnx`: the graphs training itself ran; `towers.safetensors`: the
weights they came from; `forest.txt`: the merged LightGBM model; `metrics.json`, `line.json`: how it did, what it is;
`reference.json`: how every feature and score was distributed, which drift is measured against; `recipe/`: the models
before the refit, which have not seen the validation and test windows.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import DataError

USER_TOWER, ITEM_TOWER, ASSEMBLE = "user_tower.onnx", "item_tower.onnx", "assemble.onnx"
WEIGHTS, FOREST, METRICS, FACTS = "towers.safetensors", "forest.txt", "metrics.json", "line.json"
REFERENCE = "reference.json"
LEARNT, VERDICT = "recipe.json", "gate.json"  # of a recipe: what training found; of a daily run: what the gate said
RECIPE = "recipe"  # folder of a line: the same trained on the training window alone, by which it is judged


@dataclass(frozen=True, slots=True)
class Line:
    """A finished line."""

    number: int
    folder: Path

    @property
    def facts(self) -> dict[str, Any]:
        """Schema hash, windows, rounds, library versions."""
        return read_json(self.folder / FACTS)

    @property
    def metrics(self) -> dict[str, Any]:
        """What the recipe reached on the test window."""
        return read_json(self.folder / METRICS)

    @property
    def tower_digest(self) -> str:
        """Identity of its embedding space."""
        return tower_digest(self.folder / USER_TOWER, self.folder / ITEM_TOWER)


def tower_digest(user_tower: Path, item_tower: Path) -> str:
    """Identity of an embedding space: 16 hex digits over both towers' graphs."""
    return hashlib.sha256(user_tower.read_bytes() + item_tower.read_bytes()).hexdigest()[:16]


def latest(folder: Path) -> Line:
    """The newest line. Raises DataError when there is none."""
    numbers = sorted(_numbers(folder))
    if not numbers:
        raise DataError(f"no trained line in {folder}; run `python -m training train` first")
    return Line(numbers[-1], folder / str(numbers[-1]))


def marked(folder: Path, day: str) -> Line | None:
    """The line that a daily run trained for its day."""
    lines = (Line(number, folder / str(number)) for number in sorted(_numbers(folder), reverse=True))
    return next((line for line in lines if line.facts.get("day") == day), None)


@contextmanager
def new_line(folder: Path, day: str | None = None) -> Iterator[Line]:
    """The next line's folder, which appears under its number only when the block ends well.

    What a killed daily run left of its line is removed by the next run of the same day.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = max(_numbers(folder), default=0) + 1
    draft = folder / f".line-{day}" if day else Path(tempfile.mkdtemp(prefix=".line-", dir=folder))
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield Line(number, draft)
        draft.chmod(0o755)
        draft.rename(folder / str(number))
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_json(path: Path, content: object) -> None:
    """Write indented JSON with sorted keys."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _numbers(folder: Path) -> Iterator[int]:
    return (int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit() and (p / FACTS).is_file())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON document."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content
