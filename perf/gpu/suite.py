"""The parts of the suite over one workspace: which inputs each gets, and what a run says about its cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightgbm as lgb

from deploy.settings import Settings
from exporters.build import gate_matrix
from feature_repo.vectors import Floats
from model_repository.contract import RANKER
from perf.catalogue.make import catalogue_settings
from perf.errors import PerfError
from perf.gpu.candidates import measure_candidates
from perf.gpu.cells import Cells, Status, read_cells
from perf.gpu.path import measure_path
from perf.gpu.ranker import measure_ranker
from perf.gpu.towers import measure_towers
from perf.gpu.trained import Resampled
from perf.gpu.vectors import Kept, Mixture, Stored, Vectors
from training.dataset import Dataset
from training.lines import FOREST, Line, latest

Part = Literal["candidates", "ranker", "towers", "path"]
PARTS: tuple[Part, ...] = ("candidates", "ranker", "towers", "path")
OWN = "own"  # the workspace's release, beside those of made catalogues


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which sizes, and where vectors come from: `trained` (the newest line), `mixture`, or two files."""

    items: tuple[int, ...] = (1_000_000, 10_000_000)
    vectors: Literal["trained", "mixture"] = "trained"
    files: tuple[Path, Path] | None = None

    def __post_init__(self) -> None:
        if not self.items or min(self.items) < 1:
            raise ValueError(f"items is {self.items}, expected one size or more, each at least 1")


def run_part(cells: Cells, part: Part, settings: Settings, choice: Choice) -> dict[str, Status]:
    """Measure what is missing of one part: {cell: what became of it}. Raises PerfError, DataError."""
    if part == "candidates":
        return measure_candidates(cells, _sizes(settings, choice, cells.folder), k=settings.candidates)
    if part == "ranker":
        return measure_ranker(cells, *_forest(settings))
    if part == "towers":
        return measure_towers(cells, latest(settings.lines).folder, candidates=settings.candidates)
    outcome = measure_path(cells, OWN, settings)
    for label, made in _made(settings, choice.items).items():
        outcome |= measure_path(cells, label, made)
    return outcome


def rows(folder: Path, outcome: Mapping[Part, Mapping[str, Status]]) -> list[dict[str, object]]:
    """A row for each cell of the run: its part, status, and why it was not measured."""
    reasons = {(cell["part"], cell["cell"]): cell.get("reason", "") for cell in read_cells(folder)}
    return [
        {"part": part, "cell": name, "status": status, "reason": reasons.get((part, name), "") if status in
         ("absent", "failed") else ""}
        for part, found in outcome.items() for name, status in found.items()
    ]  # fmt: skip


def _made(settings: Settings, sizes: Sequence[int]) -> dict[str, Settings]:
    """Workspaces of made catalogues of these sizes, whatever their forest; where there is none, the one to make."""
    found: dict[str, Settings] = {}
    for items in sizes:
        wanted = catalogue_settings(settings, items)
        homes = sorted(wanted.home.parent.glob(f"{items}-k{settings.candidates}-*")) or [wanted.home]
        found |= {home.name: wanted.model_copy(update={"home": home}) for home in homes}
    return found


def _sizes(settings: Settings, choice: Choice, folder: Path) -> Sequence[Vectors]:
    if choice.files is not None:
        return [Stored(*choice.files)]
    if choice.vectors == "mixture":
        return [Kept(Mixture(items), folder) for items in choice.items]
    line = latest(settings.lines)
    return [Kept(Resampled(settings, line, items), folder) for items in choice.items]


def _forest(settings: Settings) -> tuple[Path, Floats]:
    """The newest release's checkpoint, and real and edge rows of its line to compare and time it on."""
    found = sorted(settings.releases.glob(f"[0-9]*/{RANKER.name}/{RANKER.artifact}"), key=_number)
    if not found:
        raise PerfError(f"{settings.workspace.name} has no release; run `make demo` first")
    line: Line = latest(settings.lines)
    booster = lgb.Booster(model_file=str(line.folder / FOREST))
    return found[-1], gate_matrix(Dataset(settings.features), line, booster)


def _number(checkpoint: Path) -> int:
    return int(checkpoint.parents[1].name)
